"""Runs Slurm's commands sbatch, squeue, sacct and scancel, parses their output, and translates their failures.

Reference: the manual pages of the commands, for the options and the columns (Slurm 20.11 and later).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from cachewarmer.config import cluster_environment
from cachewarmer.errors import CapacityError, FleetError, FleetUnavailable
from cachewarmer.values import dataclass

CALL_SECONDS = 100.0
"""Timeout of a command, which itself gives up on a silent controller after several times MessageTimeout (10 s)."""
MOST_ERROR_CHARACTERS = 300
COLUMNS = {"JobArrayID": 40, "State": 24, "exit_code": 12, "StartTime": 24, "EndTime": 24, "Reason": 64}
"""The columns requested from squeue, with their widths: squeue pads or truncates each value to its width."""
UNREACHABLE = re.compile(
    r"unable to contact|socket timed out|connection refused|connection timed out|temporarily unable|zero bytes were"
    r"|standby mode|network is unreachable|no route to host|communication connection failure|transport endpoint"
    r"|connect failure|resource temporarily unavailable",
    re.IGNORECASE,
)
NO_ROOM = re.compile(
    r"limit|not available \(down|nodes? (?:is|are) busy|node count specification|currently unavailable"
    r"|configuration not available now|submit/run|partition (?:is )?(?:down|in state)",
    re.IGNORECASE,
)
"""Messages of sbatch that refuse a job which it would accept at another time."""


class Phase(StrEnum):
    """The state of an array element."""

    QUEUED = "queued"
    RUNNING = "running"
    LEAVING = "leaving"
    """Its processes are being ended, and its state is not final yet."""
    ENDED = "ended"


QUEUED_STATES = frozenset("PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT".split())
ENDED_STATES = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED RECONFIG_FAIL REVOKED "
    "TIMEOUT".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of a job array, as Slurm reports it."""

    name: str
    """``ARRAY_INDEX``."""
    state: str
    exit_status: int = 0
    """The status as in wait(2): the signal in the low seven bits, the exit code above them."""
    started_at: float = 0.0
    """Unix seconds; 0: it has not started."""
    ended_at: float = 0.0
    """Unix seconds; 0: it has not ended."""
    reason: str = ""
    """Why it waits; empty: Slurm gives no reason."""

    @property
    def phase(self) -> Phase:
        if self.state in QUEUED_STATES:
            return Phase.QUEUED
        if self.state in ENDED_STATES:
            return Phase.ENDED
        return Phase.LEAVING if self.state == "COMPLETING" else Phase.RUNNING

    @property
    def exit_code(self) -> int:
        """The exit code with which it ended by itself; 0 also if a signal ended it."""
        return 0 if self.exit_status & 0x7F else self.exit_status >> 8


class Slurm:
    """Runs Slurm's commands as the user of this process, for the jobs of one name.

    Raises (every method but ``accounted``): FleetError: a command failed; see ``error_of`` for its type.
    """

    def __init__(self, job_name: str) -> None:
        self._job_name = job_name
        self._user = str(os.geteuid())

    async def submit(self, script: str, environment: Mapping[str, str], options: Sequence[str]) -> str:
        """Submits a job array with the options of sbatch ``options``; returns its id.

        Its elements run ``script`` with ``environment`` and the variables of ``config.cluster_environment``.
        """
        done = await self._run(
            "sbatch",
            ["--parsable", f"--job-name={self._job_name}", "--export=ALL", *options],
            script=script,
            environment={**cluster_environment(), **environment},
        )
        array = done.strip().partition(";")[0]
        if not array.isdecimal():
            raise FleetError(f"it printed {array[:80]!r}, which is not the id of a job", doing="sbatch")
        return array

    async def try_submit(self, script: str, environment: Mapping[str, str], options: Sequence[str]) -> None:
        """Asks whether Slurm would accept such an array, without submitting it."""
        await self._run(
            "sbatch",
            ["--test-only", f"--job-name={self._job_name}", "--export=ALL", *options],
            script=script,
            environment={**cluster_environment(), **environment},
        )

    async def elements(self) -> list[Element]:
        """Every element that the controller knows; it forgets those that ended after MinJobAge (default: 5 minutes)."""
        columns = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
        printed = await self._run(
            "squeue", ["--noheader", "--array", "--states=all", *self._ours(), f"--Format={columns}"]
        )
        return [element_of(line) for line in printed.splitlines() if line.strip()]

    async def accounted(self, names: Sequence[str]) -> dict[str, Element]:
        """The elements of these names that the accounting knows, by name; empty if the cluster has no accounting."""
        arguments = ["--noheader", "--allocations", "--parsable2", "--format=JobID,State,ExitCode,Start,End"]
        try:
            printed = await self._run("sacct", [*arguments, f"--jobs={','.join(names)}"])
        except FleetError:
            return {}
        found = (accounted_of(line) for line in printed.splitlines())
        return {element.name: element for element in found if element is not None}

    async def cancel(self, names: Sequence[str]) -> None:
        """Cancels the elements of these names; it is not an error if some have ended already."""
        await self._run("scancel", ["--quiet", *names], failures_matter=False)

    async def terminate(self, names: Sequence[str]) -> None:
        """Sends SIGTERM to the workers themselves, so that they finish and their jobs end as completed."""
        await self._run("scancel", ["--quiet", "--batch", "--signal=TERM", *names], failures_matter=False)

    def _ours(self) -> list[str]:
        return [f"--name={self._job_name}", f"--user={self._user}"]

    async def _run(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        script: str = "",
        environment: Mapping[str, str] | None = None,
        failures_matter: bool = True,
    ) -> str:
        """Runs a command with ``script`` as its standard input; returns its standard output.

        Raises:
            FleetError: it failed (see ``error_of``), is not installed, or took longer than ``CALL_SECONDS``.
        """
        try:
            child = await asyncio.create_subprocess_exec(
                program,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**(cluster_environment() if environment is None else environment), "SLURM_TIME_FORMAT": "%s"},
                start_new_session=True,  # an interrupt of the terminal is for the manager
            )
        except OSError as error:
            advice = "" if error.filename != program else "run the manager where Slurm's commands are installed"
            raise FleetError(f"it can't be started: {error.strerror}", doing=program, advice=advice) from error
        try:
            async with asyncio.timeout(CALL_SECONDS):
                out, complaint = await child.communicate(script.encode())
        except TimeoutError as error:
            raise FleetUnavailable(f"no answer for {CALL_SECONDS:.0f} s", doing=program) from error
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode and failures_matter:
            raise error_of(program, child.returncode, complaint.decode(errors="replace"))
        return out.decode(errors="replace")


def error_of(program: str, code: int, complaint: str) -> FleetError:
    """The error for a command's message: the commands have the same exit code for all failures.

    It is a ``FleetUnavailable`` if the controller can't be reached, a ``CapacityError`` if sbatch would accept the job
    at another time, else a ``FleetError``.
    """
    lines = [re.sub(r"^(?:\w*:? ?error: )+", "", line) for line in complaint.splitlines()]
    text = "; ".join(dict.fromkeys(line.strip() for line in lines if line.strip()))[:MOST_ERROR_CHARACTERS]
    problem = text or f"it ended with exit code {code}"
    if UNREACHABLE.search(text):
        return FleetUnavailable(problem, doing=program)
    if program == "sbatch" and NO_ROOM.search(text):
        return CapacityError(problem, doing=program)
    return FleetError(problem, doing=program)


def element_of(line: str) -> Element:
    """Parses a line of squeue, by the widths of ``COLUMNS``.

    Raises:
        FleetError: it is not an element of a job array; another version of squeue may print something else.
    """
    cells, at = [], 0
    for width in COLUMNS.values():
        cells.append(line[at : at + width].strip())
        at += width
    name, state, status, started, ended, reason = cells
    if not re.fullmatch(r"\d+_\d+", name) or not re.fullmatch(r"[A-Z_]+", state):
        raise FleetError(f"it printed {line.strip()[:80]!r}, which is not an element of a job array", doing="squeue")
    has_ended = state in ENDED_STATES
    begun = state not in QUEUED_STATES
    return Element(
        name=name,
        state=state,
        exit_status=int(status) if status.isdecimal() else 0,
        started_at=_seconds(started) if begun else 0.0,
        ended_at=_seconds(ended) if has_ended else 0.0,
        reason="" if reason == "None" else reason,
    )


def accounted_of(line: str) -> Element | None:
    """Parses a line of ``sacct --parsable2``; None: it is not an element of a job array."""
    cells = line.split("|")
    if len(cells) != 5 or not re.fullmatch(r"\d+_\d+", cells[0]):
        return None
    code, _, number = cells[2].partition(":")
    status = (int(code) if code.isdecimal() else 0) << 8 | (int(number) if number.isdecimal() else 0)
    state = cells[1].partition(" ")[0]  # CANCELLED by UID
    return Element(
        name=cells[0],
        state=state,
        exit_status=status,
        started_at=_seconds(cells[3]),
        ended_at=_seconds(cells[4]),
    )


def _seconds(text: str) -> float:
    """A time in Unix seconds, as ``SLURM_TIME_FORMAT=%s`` prints it; 0 for N/A, NONE and Unknown."""
    return float(text) if text.isdecimal() else 0.0
