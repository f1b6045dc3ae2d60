"""The commands as functions, for programs: ``warm``, ``scan`` and ``verify`` in the caller's own event loop.

Import them from ``cachewarmer``. Options that stand in the settings file only are taken from it, as the commands do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Literal, Unpack

from cachewarmer import onemachine
from cachewarmer.addresses import each_address as addresses_of_job
from cachewarmer.blocking import in_daemon_thread
from cachewarmer.broker import open_broker
from cachewarmer.broker.find import find_job
from cachewarmer.choice.arguments import (
    READING_ARGUMENTS,
    Choosing,
    Place,
    check_known,
    in_words_of_functions,
    reading_of,
    selected,
    size_of,
    texts,
)
from cachewarmer.choice.copied import CopiedList, list_of_job
from cachewarmer.choice.jobs import jobs_of, list_of
from cachewarmer.choice.ledgers import Opened, compared, failed_list, write_ledger
from cachewarmer.choice.reading import with_reading
from cachewarmer.choice.values import Ledger, Selection
from cachewarmer.config import Settings, default_broker_url, load_settings
from cachewarmer.errors import CacheWarmerError, JobFailed, UsageError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Bandwidth, JobState, JobStatus, Priority, Report, ScanTotals, WarmJob
from cachewarmer.planning.filelist import path_chunks
from cachewarmer.planning.pathmap import PathMap
from cachewarmer.rates import Rates
from cachewarmer.target import parse_bandwidth
from cachewarmer.targets.breaker import Outage
from cachewarmer.values import dataclass
from cachewarmer.verification.addresses import verify_each
from cachewarmer.verification.arguments import demand_from
from cachewarmer.verification.found import Verified, together
from cachewarmer.verification.verify import DEFAULT_HALF_WIDTH

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

PriorityName = Literal["high", "normal", "low"]
AspectName = Literal["data", "attributes", "access"]

STOP_SECONDS = 5.0
"""How long a job may take to hand back its items after its loop was left."""
MOST_PROCESSES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a job."""

    job: str
    """Its id: what ``resume`` takes."""
    state: JobState
    files: int
    bytes: int
    """What has been read so far, including unfinished work items."""
    files_per_second: float
    bytes_per_second: float
    """Over the last ten seconds."""
    seconds_left: float | None
    """None if not known yet."""
    unanswered: tuple[str, ...]
    """The mount addresses that do not answer at present."""
    report: Report
    """All numbers; final when the job is over."""

    @property
    def over(self) -> bool:
        """Whether this is the last value."""
        return self.state.final


async def warm(
    target: Place = "",
    *,
    max_bandwidth: int | str = 0,
    priority: PriorityName | Priority = "normal",
    in_order: bool = False,
    access_as: Iterable[str] = (),
    metadata_only: bool = False,
    each_address: bool = False,
    address_subset: Iterable[str] = (),
    fan_out: bool = False,
    processes: int = 1,
    broker: str = "",
    name: str = "",
    resume: bool | str = False,
    ledger: Place = "",
    keep_ledger: bool = False,
    since: Place = "",
    failed_of: str = "",
    **choosing: Unpack[Choosing],
) -> AsyncGenerator[Progress, None]:
    """Warms a tree from this machine, and gives its progress several times a second; the last value is of the end.

    A loop that is left early, or cancelled, stops the job: it can be resumed. Of values that come faster than they are
    taken, the latest is given.

    Args:
        target: what to warm.
        max_bandwidth: bytes per second, or text such as ``"800Mbit"``, or by the hour ``"08:00-20:00=200Mbit,=2Gbit"``;
            0: no limit.
        priority: how urgent the job is beside others of the same broker.
        in_order: whether the files of a list are handed out in its order.
        access_as: users, as ``UID[:GID[,GID...]]``, whose access to each name is asked for, so that the cache knows it.
        metadata_only: whether no file is read: only listings, attributes and ``access_as``.
        each_address: whether everything is read through each mount address: they are caches of their own.
        address_subset: with ``each_address``, only these of them.
        fan_out: with ``each_address``, whether one is warmed first, and the others can fill from it.
        processes: reader processes. With more than one, the main module needs ``if __name__ == "__main__":``.
        broker: the URL of the broker that keeps the job; empty: ``CACHEWARMER_BROKER``, or the user's own file.
        name: what the job is called.
        resume: the id of a job to continue with, without a target; or True: the latest unfinished one of the target.
        ledger: a file that gets a record of each file when the job is over, just before the last value.
        keep_ledger: whether these records are kept at the broker, without a file.
        since: a ledger's file, or the id or name of a job that kept one: only what is new or changed is read.
        failed_of: the id or name of a job that kept a ledger: what failed in it is read, without a target.
        choosing: which files, and how they are read: see ``Choosing``.

    Raises:
        UsageError: an argument is invalid, or there is nothing to resume.
        JobFailed: the job failed as a whole, after the value that says so. Files that failed are in the report.
        CacheWarmerError: the broker or the settings can't be used, or the ledger can't be written.
    """
    check_known("warm", choosing)
    if bool(os.fspath(target)) == (isinstance(resume, str) or bool(failed_of)):
        raise UsageError("warm needs a target, or the id of a job to resume (or failed_of), and not both")
    if resume == "":
        raise UsageError("resume is the id of a job, or True")
    if not 1 <= processes <= MOST_PROCESSES:
        raise UsageError(f"processes must be between 1 and {MOST_PROCESSES}, not {processes}")
    kept = Ledger(file=os.fspath(ledger), keep=keep_ledger, since=os.fspath(since), failed_of=failed_of)
    with in_words_of_functions():
        settings = with_reading(load_settings(), reading_of(choosing))
        selection = selected(
            choosing,
            name=name,
            max_bandwidth=_bandwidth(max_bandwidth),
            priority=_priority(priority),
            in_order=in_order,
            access_as=texts(access_as),
            metadata_only=metadata_only,
            each_address=each_address,
            address_subset=texts(address_subset),
            fan_out=fan_out,
            ledger=bool(kept.file or keep_ledger),
        )
        kept.check(
            metadata_only=metadata_only,
            has_target=bool(os.fspath(target)),
            has_list=selection.files_from is not None,
            resumes=resume is not False,
        )
        url = broker or default_broker_url()
        opened = partial(open_broker, url, settings.lease)
        job = await _compared_job(target, selection, opened, kept)
    latest = _Latest()
    stop = asyncio.Event()
    working = asyncio.create_task(
        onemachine.warm(
            job,
            broker_url=url,
            settings=settings,
            processes=processes,
            on_status=latest.put,
            on_outages=latest.outages,
            stop=stop,
            resume=resume if isinstance(resume, str) else "" if resume else None,
            file_list=failed_list(opened, kept) if failed_of else _listed(choosing, selection),
        )
    )
    working.add_done_callback(lambda _: latest.changed.set())
    try:
        while not working.done():
            await latest.changed.wait()
            progress = latest.take()
            if progress is not None and not working.done():
                yield progress
        with in_words_of_functions():
            status = working.result()
            await write_ledger(opened, [status], kept.file)
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
    on_progress: Callable[[ScanTotals], None] | None = None,
    **choosing: Unpack[Choosing],
) -> Report:
    """Counts what ``warm`` would read, and reads no file.

    ``on_progress`` is called with what is counted so far, several times a second. ``choosing``: see ``Choosing``.

    Raises:
        UsageError: an argument is invalid.
        CacheWarmerError: the target can't be opened or listed.
    """
    check_known("scan", choosing)
    job, settings, listed = await _scanned(target, choosing)
    with in_words_of_functions():
        found = await onemachine.scan(
            job, settings, on_progress=on_progress or (lambda _: None), stop=asyncio.Event(), file_list=listed
        )
    return Report.of_scan(job, found.totals, found.largest, found.seconds)


async def verify(
    target: Place = "",
    *,
    job: str = "",
    each_address: bool = False,
    address_subset: Iterable[str] = (),
    interval: float = DEFAULT_HALF_WIDTH,
    samples: int = 0,
    expect: float = 0.0,
    seed: int | None = None,
    what: Iterable[AspectName] = ("data",),
    identity: str = "",
    ask: bool = True,
    broker: str = "",
    on_progress: Callable[[str], None] | None = None,
    **choosing: Unpack[Choosing],
) -> Verified:
    """Finds out how much of a tree is warm: reads a sample twice.

    ``main.warm`` of what it returns is the warm fraction with its confidence interval; None if that can't be determined,
    and ``main.reason`` says why. ``meets(0.99)`` says whether that much is warm. ``addresses`` has the same for each
    address, where several were looked at by themselves.

    Args:
        target: what should be warm.
        job: instead of a target, the id or name of a job: what that was to read.
        each_address: whether the mount addresses are caches of their own: each is judged by itself, with a sample of its
            own. A ``job`` that was warmed so is verified so in any case.
        address_subset: with ``each_address``, only these of them.
        interval: how far the confidence interval may reach to each side; it decides how many samples are read.
        samples: this many instead.
        expect: a fraction that there should be enough samples to show, such as 0.99.
        seed: chooses the sample of an earlier run again, which is warm by then; None: random.
        what: data, attributes, access.
        identity: the user, as ``UID[:GID[,GID...]]``, who asks for access; empty: the user who reads.
        ask: whether caches that can be asked are, instead of reading samples: JuiceFS, this machine's page cache.
        broker: the URL of the broker that keeps the ``job``; empty: ``CACHEWARMER_BROKER``, or the user's own file.
        on_progress: called with how far it is, in words.
        choosing: see ``Choosing``.

    Raises:
        UsageError: an argument is invalid, or there is no such job.
        CacheWarmerError: the target can't be opened or listed, or does not answer any more. Of several addresses: none
            of them.
    """
    check_known("verify", choosing)
    if bool(os.fspath(target)) == bool(job):
        raise UsageError("verify needs either a target or a job")
    if job and not choosing.keys() <= READING_ARGUMENTS:
        raise UsageError("a job has its own choice of files: leave out the arguments that choose files")
    subset = texts(address_subset)
    if subset and not each_address:
        raise UsageError("address_subset needs each_address")
    demand = demand_from(
        interval=interval, samples=samples, expect=expect, seed=seed, what=what, identity=identity, ask=ask
    )
    tell = on_progress or (lambda _: None)
    if not job:
        made, settings, listed = await _scanned(target, choosing, each_address=each_address, address_subset=subset)
        with in_words_of_functions(), closing(CopiedList(listed, copied=made.each_address)) as files:
            return together(await verify_each(made, settings, demand, on_progress=tell, file_list=files.first))
    with in_words_of_functions():
        settings = with_reading(load_settings(), reading_of(choosing))
        async with open_broker(broker or default_broker_url(), settings.lease, create=False) as kept:
            found = (await kept.status(await find_job(kept, job))).job
            if each_address:
                found = await in_daemon_thread(lambda: addresses_of_job(found, subset))
            lists = partial(list_of_job, kept, found)
            return together(await verify_each(found, settings, demand, on_progress=tell, file_list=lists))


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
        """A status while the job continues; that of its end comes from whoever has waited for it."""
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


async def _scanned(
    target: Place, choosing: Choosing, **others: object
) -> tuple[WarmJob, Settings, AsyncIterator[bytes] | None]:
    """What a function that posts no job needs: the job that it would be, the settings, and the list of its files."""
    with in_words_of_functions():
        settings = with_reading(load_settings(), reading_of(choosing))
        selection = selected(choosing, **others)
        return await _job(target, selection), settings, _listed(choosing, selection)


async def _compared_job(target: Place, selection: Selection, opened: Opened, kept: Ledger) -> WarmJob | None:
    """The job, with what it is compared with; None: one is resumed by its id."""
    made = [await _job(target, selection)] if os.fspath(target) else []
    compare = await compared(opened, made, kept)
    return compare[0] if compare else None


async def _job(target: Place, selection: Selection) -> WarmJob:
    """The job for a target, read through every address of a host name. Names are resolved beside the event loop."""
    place = os.fspath(target)
    (job,) = await in_daemon_thread(lambda: jobs_of([place], selection, resolve=True, tell_slow=False))
    return job


def _listed(choosing: Choosing, selection: Selection) -> AsyncIterator[bytes] | None:
    """The list of files that are named one by one; None if there is none."""
    entries = choosing.get("files_from")
    others = list_of(replace(selection, files_from=None))
    if entries is None:
        return others
    named = path_chunks(entries, PathMap.of(selection.maps))
    return named if others is None else _one_after_the_other(others, named)


async def _one_after_the_other(*lists: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for one in lists:
        async for chunk in one:
            yield chunk


def _bandwidth(said: int | str) -> Bandwidth:
    return parse_bandwidth(said) if isinstance(said, str) else Bandwidth(size_of("max_bandwidth", said, int))


def _priority(said: PriorityName | Priority) -> Priority:
    try:
        return Priority(said)
    except ValueError:
        raise UsageError(f"priority must be one of {', '.join(Priority)}, not {said!r}") from None
