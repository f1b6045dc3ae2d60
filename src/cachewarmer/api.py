"""The commands as functions, for programs: ``warm``, ``scan`` and ``verify`` in the caller's own event loop.

Import them from ``cachewarmer``. Options that stand in the settings file only are taken from it, as the commands do.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from cachewarmer import onemachine
from cachewarmer.addresses import all_addresses
from cachewarmer.blocking import in_daemon_thread
from cachewarmer.config import Settings, default_broker_url, load_settings
from cachewarmer.errors import CacheWarmerError, InvalidValue, JobFailed, UsageError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Bandwidth, JobState, JobStatus, Priority, Report, ScanTotals, Transport, Wanted, WarmJob
from cachewarmer.planning.filelist import path_chunks
from cachewarmer.rates import Rates
from cachewarmer.target import make_job, parse_bandwidth, parse_size, parse_target, parse_time
from cachewarmer.targets.breaker import Outage
from cachewarmer.values import dataclass
from cachewarmer.verification.found import Verified
from cachewarmer.verification.intervals import MOST_SAMPLES
from cachewarmer.verification.measuring import Aspect
from cachewarmer.verification.verify import DEFAULT_HALF_WIDTH, Demand
from cachewarmer.verification.verify import verify as verify_job

__all__ = [
    "CacheWarmerError",
    "JobFailed",
    "JobState",
    "Progress",
    "Report",
    "ScanTotals",
    "UsageError",
    "Verified",
    "scan",
    "verify",
    "warm",
]

Place = str | os.PathLike[str]
"""A TARGET as the commands take it, or a path of this machine."""
Paths = Iterable[str | bytes] | AsyncIterable[str | bytes]
PriorityName = Literal["high", "normal", "low"]
TransportName = Literal["auto", "nfs", "mount", "local"]
AspectName = Literal["data", "attributes", "access"]

STOP_SECONDS = 5.0
"""How long a job whose loop was left may take to hand back what it holds."""
MOST_PROCESSES = 64
MOST_WINDOW = 65536
LEAST_INTERVAL, MOST_INTERVAL = 0.005, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is."""

    job: str
    """Its id: what ``resume`` takes."""
    state: JobState
    files: int
    bytes: int
    """What is read so far, that of unfinished work items included."""
    files_per_second: float
    bytes_per_second: float
    """Over the last ten seconds."""
    seconds_left: float | None
    """None: not known yet."""
    unanswered: tuple[str, ...]
    """The mount addresses that do not answer at present."""
    report: Report
    """All numbers; those of a job that is over are final."""

    @property
    def over(self) -> bool:
        """Whether this is the last value."""
        return self.state.final


async def warm(
    target: Place = "",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    max_file_size: int | str = 0,
    newer_than: float | str | datetime = 0.0,
    files_from: Paths | None = None,
    transport: TransportName | Transport = "auto",
    max_bandwidth: int | str = 0,
    priority: PriorityName | Priority = "normal",
    window: int | Literal["auto"] | None = None,
    processes: int = 1,
    broker: str = "",
    name: str = "",
    resume: bool | str = False,
) -> AsyncGenerator[Progress, None]:
    """Warms a tree from this machine, and gives its progress several times a second; the last value is of the end.

    A loop that is left early, or cancelled, stops the job: it can be resumed. Of values that come faster than they are
    taken, the latest is given.

    Args:
        target: what to warm.
        include: patterns of files to warm; none: all.
        exclude: patterns of files and directories to leave out.
        max_file_size: bytes, or text such as ``"2GiB"``; 0: no limit.
        newer_than: Unix seconds, a datetime (local time unless it has a zone), or text such as ``"3d"``.
        files_from: paths below the target to warm instead of all that is there.
        transport: how the target is read.
        max_bandwidth: bytes per second, or text such as ``"800Mbit"``, or by the hour ``"08:00-20:00=200Mbit,=2Gbit"``;
            0: no limit.
        priority: how urgent the job is beside others of the same broker.
        window: READ calls in flight for one address; None: what the settings say.
        processes: reader processes. With more than one, the main module needs ``if __name__ == "__main__":``.
        broker: the URL of the broker that keeps the job; empty: ``CACHEWARMER_BROKER``, or the user's own file.
        name: what the job is called.
        resume: the id of a job to go on with, without a target; or True: the latest unfinished one of the target.

    Raises:
        UsageError: an argument does not make sense, or there is nothing to resume.
        JobFailed: the job failed as a whole, after the value that says so. Files that failed are in the report.
        CacheWarmerError: the broker or the settings can't be used.
    """
    if bool(os.fspath(target)) == isinstance(resume, str):
        raise UsageError("warm needs a target, or the id of a job to resume, and not both")
    if resume == "":
        raise UsageError("resume is the id of a job, or True")
    settings = _settings(window)
    if not 1 <= processes <= MOST_PROCESSES:
        raise UsageError(f"processes must be between 1 and {MOST_PROCESSES}, not {processes}")
    job = None
    if not isinstance(resume, str):
        wanted = _wanted(include, exclude, max_file_size, newer_than)
        limit = _bandwidth(max_bandwidth)
        job = await _job(target, wanted, transport, name=name, bandwidth=limit, listed=files_from is not None)
        job = replace(job, priority=_priority(priority))
    latest = _Latest()
    stop = asyncio.Event()
    working = asyncio.create_task(
        onemachine.warm(
            job,
            broker_url=broker or default_broker_url(),
            settings=settings,
            processes=processes,
            on_status=latest.put,
            on_outages=latest.outages,
            stop=stop,
            resume=resume if isinstance(resume, str) else "" if resume else None,
            file_list=None if files_from is None else path_chunks(files_from),
        )
    )
    working.add_done_callback(lambda _: latest.changed.set())
    try:
        while not working.done():
            await latest.changed.wait()
            progress = latest.take()
            if progress is not None and not working.done():
                yield progress
        status = working.result()
        yield latest.made(status)
    finally:
        stop.set()
        try:
            await asyncio.wait({working}, timeout=STOP_SECONDS)
        finally:
            await end_tasks(working)
    if status.state is JobState.FAILED:
        raise JobFailed.from_failure(status.failure)


async def scan(
    target: Place,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    max_file_size: int | str = 0,
    newer_than: float | str | datetime = 0.0,
    files_from: Paths | None = None,
    transport: TransportName | Transport = "auto",
    window: int | Literal["auto"] | None = None,
    on_progress: Callable[[ScanTotals], None] | None = None,
) -> Report:
    """Counts what ``warm`` would read, and reads no file. The arguments are those of ``warm``.

    ``on_progress`` is called with what is counted so far, several times a second.

    Raises:
        UsageError: an argument does not make sense.
        CacheWarmerError: the target can't be opened or listed.
    """
    wanted = _wanted(include, exclude, max_file_size, newer_than)
    job = await _job(target, wanted, transport, listed=files_from is not None)
    found = await onemachine.scan(
        job,
        _settings(window),
        on_progress=on_progress or (lambda _: None),
        stop=asyncio.Event(),
        file_list=None if files_from is None else path_chunks(files_from),
    )
    return Report.of_scan(job.label, found.totals, found.largest, found.seconds)


async def verify(
    target: Place,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    max_file_size: int | str = 0,
    newer_than: float | str | datetime = 0.0,
    files_from: Paths | None = None,
    transport: TransportName | Transport = "auto",
    window: int | Literal["auto"] | None = None,
    interval: float = DEFAULT_HALF_WIDTH,
    samples: int = 0,
    expect: float = 0.0,
    seed: int | None = None,
    what: Iterable[AspectName] = ("data",),
    ask: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> Verified:
    """Finds out how much of a tree is warm: reads a sample twice. The first arguments are those of ``warm``.

    ``main.warm`` of what it returns is the warm fraction with its confidence interval; None where that can't be told,
    and ``main.reason`` says why.

    - ``interval``: how far the confidence interval may reach to each side; it decides how many samples are read;
    - ``samples``: so many instead;
    - ``expect``: a fraction that there should be enough samples to show, such as 0.99;
    - ``seed``: chooses the sample of an earlier run again, which is warm by then; None: random;
    - ``what``: data, attributes, access;
    - ``ask``: whether caches that can be asked are, instead of reading samples: JuiceFS, this machine's page cache;
    - ``on_progress``: called with how far it is, in words.

    Raises:
        UsageError: an argument does not make sense.
        CacheWarmerError: the target can't be opened or listed, or does not answer any more.
    """
    if not LEAST_INTERVAL <= interval <= MOST_INTERVAL:
        raise UsageError(f"interval must be between {LEAST_INTERVAL} and {MOST_INTERVAL}, not {interval}")
    if not 0 <= expect <= 1:
        raise UsageError(f"expect must be between 0 and 1, not {expect}")
    if not 0 <= samples <= MOST_SAMPLES:
        raise UsageError(f"samples must be between 0 and {MOST_SAMPLES}, not {samples}")
    try:
        aspects = tuple(dict.fromkeys(Aspect(one) for one in _texts(what)))
    except ValueError as error:
        raise UsageError(f"what is some of {', '.join(Aspect)}: {error}") from None
    demand = Demand(
        half_width=interval,
        samples=samples,
        expected=expect,
        seed=secrets.randbits(31) if seed is None else seed,
        aspects=aspects,
        ask=ask,
    )
    wanted = _wanted(include, exclude, max_file_size, newer_than)
    return await verify_job(
        await _job(target, wanted, transport, listed=files_from is not None),
        _settings(window),
        demand,
        on_progress=on_progress or (lambda _: None),
        file_list=None if files_from is None else path_chunks(files_from),
    )


# -- progress ----------------------------------------------------------------------------------------------------------


class _Latest:
    """The latest status of a job, until it is taken."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._rates = Rates()
        self._outages: tuple[str, ...] = ()
        self._progress: Progress | None = None

    def outages(self, outages: Sequence[Outage]) -> None:
        """The addresses that do not answer: told just before each status."""
        self._outages = tuple(one.address for one in outages)

    def put(self, status: JobStatus) -> None:
        """A status while the job goes on; that of its end comes from whoever has waited for it."""
        progress = self.made(status)
        if not progress.over:
            self._progress = progress
            self.changed.set()

    def take(self) -> Progress | None:
        """What nobody has taken yet."""
        self.changed.clear()
        taken, self._progress = self._progress, None
        return taken

    def made(self, status: JobStatus) -> Progress:
        """What a status means."""
        report = Report.of_job(status)
        rate = self._rates.add(time.monotonic(), report.files, report.bytes)
        over = status.state.final
        return Progress(
            job=report.job,
            state=status.state,
            files=report.files,
            bytes=report.bytes,
            files_per_second=rate.files,
            bytes_per_second=rate.bytes,
            seconds_left=0.0 if over else rate.seconds_left(status) or None,
            unanswered=() if over else self._outages,
            report=report,
        )


# -- arguments ---------------------------------------------------------------------------------------------------------


async def _job(
    target: Place,
    wanted: Wanted,
    transport: TransportName | Transport,
    *,
    name: str = "",
    bandwidth: Bandwidth = Bandwidth(),  # noqa: B008  # frozen
    listed: bool,
) -> WarmJob:
    """The job for a target, read through every address of a host name."""
    try:
        chosen = Transport(transport)
    except ValueError:
        raise UsageError(f"transport is one of {', '.join(Transport)}, not {transport!r}") from None
    parsed = parse_target(os.fspath(target))
    try:
        job = make_job(parsed, wanted, transport=chosen, name=name, bandwidth=bandwidth, has_file_list=listed)
    except InvalidValue as error:
        raise UsageError.like(error) from error
    return job if parsed.resolve_first or parsed.is_local else await in_daemon_thread(lambda: all_addresses(job))


def _bandwidth(said: int | str) -> Bandwidth:
    return parse_bandwidth(said) if isinstance(said, str) else Bandwidth(_number("max_bandwidth", said, int))


def _priority(said: PriorityName | Priority) -> Priority:
    try:
        return Priority(said)
    except ValueError:
        raise UsageError(f"priority is one of {', '.join(Priority)}, not {said!r}") from None


def _wanted(
    include: Iterable[str], exclude: Iterable[str], max_file_size: int | str, newer_than: float | str | datetime
) -> Wanted:
    try:
        return Wanted(
            include=_texts(include),
            exclude=_texts(exclude),
            max_file_bytes=_number("max_file_size", max_file_size, parse_size),
            newer_than=_unix_seconds(newer_than),
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    """The texts; one that stands alone is meant as a whole."""
    return (values,) if isinstance(values, str) else tuple(values)


def _number(name: str, value: int | str, parse: Callable[[str], int]) -> int:
    number = parse(value) if isinstance(value, str) else value
    if number < 0:
        raise UsageError(f"{name} must not be negative, but is {number}")
    return number


def _unix_seconds(value: float | str | datetime) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return parse_time(value, time.time()) if isinstance(value, str) else value


def _settings(window: int | Literal["auto"] | None) -> Settings:
    loaded = load_settings()
    if window is None:
        return loaded
    if window == "auto":
        return replace(loaded, nfs=replace(loaded.nfs, window_auto=True))
    if isinstance(window, str) or not 1 <= window <= MOST_WINDOW:
        raise UsageError(f'window must be "auto" or between 1 and {MOST_WINDOW}, not {window!r}')
    return replace(loaded, nfs=replace(loaded.nfs, window_calls=window, window_auto=False))
