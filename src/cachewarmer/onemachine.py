"""Warms on one machine: a manager and its workers with the embedded broker, for one job."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import replace
from functools import partial

from cachewarmer import eventloop
from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker, JobLease
from cachewarmer.broker.counted import CallCounts, counted
from cachewarmer.broker.learnt import first_windows
from cachewarmer.broker.patience import outage_log, persist
from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, InvalidTransition, UsageError
from cachewarmer.manager import Manager
from cachewarmer.manager.stall import Stall
from cachewarmer.model import JobState, JobStatus, Learnt, Lessons, ScanTotals, WarmJob, WorkItem, verdict
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.submitter import submit, wait_until_warm
from cachewarmer.targets import open_session
from cachewarmer.targets.breaker import Outage
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady
from cachewarmer.values import dataclass
from cachewarmer.warming import steered
from cachewarmer.worker import Worker
from cachewarmer.worker.processes import STATUS_SECONDS, STOP_SECONDS, ReaderHere, ReaderProcesses, Readers
from cachewarmer.worker.share import reader_count, shares, with_share


@dataclass(frozen=True, slots=True)
class ScanReport:
    """The result of ``scan``."""

    totals: ScanTotals
    largest: list[tuple[int, str]]
    """(bytes, path), largest first."""
    seconds: float


async def warm(
    job: WarmJob | None,
    *,
    broker_url: str,
    settings: Settings,
    processes: int,
    on_status: Callable[[JobStatus], None],
    stop: asyncio.Event,
    resume: str | None = None,
    file_list: AsyncIterable[bytes] | None = None,
    prepare: Callable[[], None] | None = None,
    on_outages: Callable[[Sequence[Outage]], None] = lambda _: None,
    calls: CallCounts | None = None,
) -> JobStatus:
    """Warms one job with only this machine. Returns its status, which is final unless ``stop`` was set.

    The statuses that ``on_status`` gets also count what is read of items that have no receipt yet.

    ``on_outages`` gets the addresses that do not answer at present, each with when that began, just before each status;
    most of the time there are none.

    ``calls`` counts what this process, without further ones, asks its broker.

    ``prepare`` is called first in each further process (it must pickle): the place to set up logging.
    ``resume`` continues with an earlier job instead, also with one that failed: that of the id, or for ``""`` the latest
    unfinished one, of the target of ``job`` unless that is None.

    Raises:
        UsageError: there is nothing to resume, or another process is warming the job now.
        Interrupted: ``stop`` was set before the job was posted.
        CacheWarmerError: the broker can't be used.
    """
    settings = replace(settings, lease=replace(settings.lease, drain_seconds=STOP_SECONDS, poll_seconds=STATUS_SECONDS))
    async with counted(open_broker(broker_url, settings.lease), calls or CallCounts()) as broker:
        if not broker.chooses_jobs:  # before a job is posted that nobody here could take
            raise BrokerError(
                f"{broker.url}: a queue only hands out the next job, not a particular one: submit to a manager instead of warming here"
            )
        job_id = await _begin(broker, job, resume, file_list, stop)
        lease = await broker.claim_job(settings.lease.lease_seconds, job_id)
        if lease is None:
            status = await broker.status(job_id)
            if status.state.final:
                return status
            raise UsageError(f"job {job_id} is being warmed by another process")
        count = reader_count(settings.nfs.most_calls, processes) if processes > 1 else 1
        ended = asyncio.Event()
        lessons = Lessons()
        first = shares(settings.nfs.most_calls, count, scanning=True)
        alone = count == 1
        scanning = settings if alone else with_share(settings, first.scan, count)
        async with SessionPool(scanning, open_session, announce=alone) as pool, steered(pool):
            await _learn(broker, job_id, pool, count)
            readers: Readers
            if alone:
                readers = ReaderHere(Worker(broker, settings, pool, job_id=job_id), pool)
            else:
                readers = ReaderProcesses(broker_url, settings, job_id, count, pool, prepare)
            manager = Manager(
                broker,
                settings,
                pool,
                waits_at_start=False,
                busy_seconds=_busy_seconds(settings),
                on_scanning=readers.on_scanning,
            )
            tasks = [asyncio.create_task(manager.manage(lease, ended)), asyncio.create_task(readers.run(ended))]
            stall = Stall(settings.lease.patience_seconds, time.monotonic())
            show = partial(
                _show, readers=readers, stall=stall, lessons=lessons, on_outages=on_outages, on_status=on_status
            )
            try:
                status = await _watch(broker, job_id, show, stop, tasks, stall)
            finally:
                ended.set()
                await asyncio.gather(*tasks, return_exceptions=True)
        await _settle(broker, lease, status, settings)
        await _keep(broker, job_id, lessons)
        status = await broker.status(job_id)
        return replace(status, bound=lessons.times.main) if lessons.times.main.bound else status


async def _learn(broker: Broker, job_id: str, pool: SessionPool, readers: int) -> None:
    """What was kept with a job that is resumed, for the search of the windows to begin with."""
    if pool.settings.nfs.window_auto:
        pool.learn(await first_windows(broker, readers=readers, job_id=job_id, ask_workers=False))


async def _keep(broker: Broker, job_id: str, lessons: Lessons) -> None:
    """Keeps with a job what it has taught. It is over, or interrupted, without that as well."""
    learnt = lessons.learnt
    if learnt != Learnt():
        with contextlib.suppress(BrokerError):
            await broker.keep_learnt(job_id, learnt)


def _show(
    status: JobStatus,
    *,
    readers: Readers,
    stall: Stall,
    lessons: Lessons,
    on_outages: Callable[[Sequence[Outage]], None],
    on_status: Callable[[JobStatus], None],
) -> None:
    """Reports a status that includes what has been read of unfinished items."""
    on_outages(readers.outages())
    reports = readers.reports()
    shown = replace(status, tallies=(*status.tallies, *readers.in_hand()), bound=verdict(status, reports))
    lessons.look(status, reports, time.monotonic())
    stall.look(shown, readers.failures(), time.monotonic())
    on_status(shown)


def _busy_seconds(settings: Settings) -> float:
    """How long another process may hold the broker's file: as long as a cache may be away."""
    return settings.lease.patience_seconds or math.inf


async def _settle(broker: Broker, lease: JobLease, status: JobStatus, settings: Settings) -> None:
    """Settles a job that ended before its manager noticed."""
    seconds = settings.lease.lease_seconds

    async def close() -> None:
        await broker.set_state(lease.job.job_id, status.state)
        await broker.settle_job(lease)
        await broker.claim_job(seconds, lease.job.job_id)  # handed back by its manager: the broker settles what is over

    if status.state.final:
        await persist(close, seconds, outage_log(broker), busy_seconds=_busy_seconds(settings))


async def _watch(
    broker: Broker,
    job_id: str,
    on_status: Callable[[JobStatus], None],
    stop: asyncio.Event,
    tasks: Sequence[asyncio.Task[None]],
    stall: Stall,
) -> JobStatus:
    """Waits for the job's end; a part that fails ends the wait with its error, and a job that stalls fails."""
    waiting = asyncio.create_task(wait_until_warm(broker, job_id, on_status, stop, STATUS_SECONDS))
    stalled = asyncio.create_task(_fail_when_stalled(broker, job_id, stall))
    manager, *others = tasks
    try:
        await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            if task.done() and not waiting.done():
                task.result()
        if manager.done() and not waiting.done():
            manager.result()
            status = await broker.status(job_id)
            if status.state.final:  # no need to wait for the next look
                return status
        return await waiting
    finally:
        await eventloop.end_tasks(waiting, stalled)


async def _fail_when_stalled(broker: Broker, job_id: str, stall: Stall) -> None:
    await stall.over.wait()
    seconds = stall.patience_seconds
    with contextlib.suppress(InvalidTransition):
        await persist(lambda: broker.set_state(job_id, JobState.FAILED, stall.reason), seconds, outage_log(broker))


async def _begin(
    broker: Broker,
    job: WarmJob | None,
    resume: str | None,
    file_list: AsyncIterable[bytes] | None,
    stop: asyncio.Event,
) -> str:
    if resume is None:
        assert job is not None
        return await submit(broker, job, file_list, stop)
    status = await (broker.status(resume) if resume else _latest(broker, job))
    if status.state is JobState.FAILED and await broker.revive(status.job.job_id):
        status = await broker.status(status.job.job_id)
    if status.state.final:
        raise UsageError(f"job {status.job.job_id} is {status.state}: there is nothing to resume")
    if status.state is JobState.PAUSED:
        await broker.set_state(status.job.job_id, status.resumed)
    return status.job.job_id


async def _latest(broker: Broker, job: WarmJob | None) -> JobStatus:
    """The latest job that has not come to its end, of the target of ``job`` where that is given.

    Raises:
        UsageError: there is none.
    """
    for status in await broker.jobs():
        unfinished = not status.state.final or status.state is JobState.FAILED
        if unfinished and (job is None or status.job.label == job.label):
            return status
    of_target = f" of {job.label}" if job is not None else ""
    raise UsageError(f"there is no unfinished job{of_target} to resume")


# -- scan only -----------------------------------------------------------------------------------------------------


async def scan(
    job: WarmJob,
    settings: Settings,
    *,
    on_progress: Callable[[ScanTotals], None],
    stop: asyncio.Event,
    file_list: AsyncIterable[bytes] | None = None,
) -> ScanReport:
    """Counts what a job would warm, without reading any file. When ``stop`` is set, returns what was counted so far,
    unfinished.

    Raises:
        CacheWarmerError: the target can't be opened or listed.
    """
    counter = ScanCounter()
    began = time.monotonic()

    async def ignore(items: Sequence[WorkItem]) -> None:
        pass

    async def count() -> None:
        async with SessionPool(settings, open_session) as pool, steered(pool):
            sessions = steady(await open_sessions(job, pool), pool)
            await scan_tree(job, sessions, settings.plan, counter, ignore, file_list=file_list, pool=pool)

    counting = asyncio.create_task(count())
    stopping = asyncio.create_task(stop.wait())
    try:
        while not counting.done() and not stopping.done():
            await asyncio.wait({counting, stopping}, timeout=STATUS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            on_progress(counter.totals())
        if counting.done():
            counting.result()
    finally:
        finished = counting.done()
        await eventloop.end_tasks(counting, stopping)
    return ScanReport(counter.totals(finished=finished), counter.largest(), time.monotonic() - began)
