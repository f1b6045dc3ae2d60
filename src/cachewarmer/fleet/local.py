"""A fleet of worker processes on this machine: the same contract and the same policy as for VMs elsewhere.

Each worker's standard input is a pipe that nothing is written to. When this process ends, however it ends, the kernel
closes the pipe, and the workers (``--exit-on-eof``) hand back what they hold and leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from cachewarmer.config import child_environment, process_name
from cachewarmer.errors import CapacityError, FleetError
from cachewarmer.fleet.base import Fleet, FleetSize, MachineTime, WorkerLaunch
from cachewarmer.values import dataclass

STOP_SECONDS = 30.0
"""From SIGTERM to SIGKILL: more than a worker takes to finish or hand back (``LeaseSettings.drain_seconds``)."""


@dataclass(slots=True, eq=False)
class _Machine:
    process: subprocess.Popen[bytes]
    time: MachineTime


class LocalFleet(Fleet):
    """``command`` gives the command line of a worker by its name; the default is this very program's."""

    outlives_manager = False

    def __init__(
        self,
        launch: WorkerLaunch,
        *,
        stop_seconds: float = STOP_SECONDS,
        command: Callable[[str], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = process_name()
        self._launch = launch
        self._stop_seconds = stop_seconds
        self._command = command or self._own_command
        self._clock = clock
        self._machines: list[_Machine] = []
        self._exists = False
        self._wanted = 0
        self._evicted = 0
        self._complaint = ""

    def __repr__(self) -> str:
        return f"<LocalFleet {self.name} running={len(self._running())}/{self._wanted}>"

    def _own_command(self, name: str) -> list[str]:
        program = ["cachewarmer"] if _frozen() else [sys.executable, "-m", "cachewarmer"]
        options = ["--name", name, "--exit-on-eof"]
        if self._launch.storage_resource_group:
            options += ["--storage-resource-group", self._launch.storage_resource_group]
        return [*program, "worker", *options, *self._launch.local_options]

    async def check(self) -> None:
        pass  # what a worker process needs, this process has

    async def observe(self) -> FleetSize:
        self._reap("evicted")
        return FleetSize(exists=self._exists, wanted=self._wanted, running=len(self._running()), evicted=self._evicted)

    async def create(self, workers: int) -> None:
        self._exists = True
        await self.resize(workers)

    async def resize(self, workers: int) -> None:
        self._reap("evicted")
        if self._complaint:
            complaint, self._complaint = self._complaint, ""
            raise FleetError(complaint)
        running = len(self._running())
        self._wanted = max(workers, running)
        for _ in range(self._wanted - running):
            self._start()

    async def delete(self) -> None:
        self._reap("evicted")
        for machine in self._running():
            if not machine.time.end:  # a second SIGTERM would end it without handing anything back
                machine.time = replace(machine.time, end="deleted")
                machine.process.terminate()
        deadline = time.monotonic() + self._stop_seconds
        while self._running() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            self._reap("deleted")
        for machine in self._running():
            # The session too: the single-file program is two processes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(machine.process.pid, signal.SIGKILL)
            machine.process.wait()
        self._reap("deleted")
        self._exists, self._wanted, self._complaint = False, 0, ""

    def ledger(self) -> list[MachineTime]:
        return [one.time for one in self._machines]

    async def close(self) -> None:
        await self.delete()

    def _running(self) -> list[_Machine]:
        return [one for one in self._machines if not one.time.ended_at]

    def _start(self) -> None:
        name = f"{self.name}.{len(self._machines) + 1}"
        try:
            process = subprocess.Popen(  # noqa: S603  # our own program
                self._command(name),
                executable=sys.executable if _frozen() else None,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=child_environment(self._launch.broker_url),
                start_new_session=True,  # an interrupt of the terminal is for the manager, which then stops them
            )
        except OSError as error:
            kind = CapacityError if error.errno in (errno.EAGAIN, errno.ENOMEM) else FleetError
            raise kind(f"a worker process can't be started on this machine: {error}") from error
        self._machines.append(_Machine(process, MachineTime(name=name, started_at=self._clock())))

    def _reap(self, end: str) -> None:
        """Notes which processes have ended; ``end`` says what became of those whose end was not asked for."""
        for machine in self._running():
            code = machine.process.poll()
            if code is None:
                continue
            assert machine.process.stdin is not None
            machine.process.stdin.close()
            asked_for = machine.time.end
            how = asked_for or ("failed" if code > 0 else end)
            machine.time = replace(machine.time, ended_at=self._clock(), end=how)
            if asked_for:
                continue
            self._evicted += 1
            if machine.time.failed_early:
                self._complaint = (
                    f"worker {machine.time.name} ended at once with exit code {code}: its own lines say why"
                )


def _frozen() -> bool:
    """Whether this is the single-file program, which is its own interpreter."""
    return bool(getattr(sys, "frozen", False))
