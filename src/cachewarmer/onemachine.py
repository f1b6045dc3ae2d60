"""The whole of it on one machine: a manager and its workers over the embedded broker, for one job."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import time
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from cachewarmer import eventloop
from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker, JobLease
from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, CacheWarmerError, UsageError
from cachewarmer.manager import Manager
from cachewarmer.model import JobState, JobStatus, ScanTotals, Tally, WarmJob, WorkItem
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.submitter import submit, wait_until_warm
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker.worker import Worker, with_share

log = logging.getLogger(__name__)

STATUS_SECONDS = 0.25
"""Between two looks at the job."""
STOP_SECONDS = 0.7
"""How long the readers may take to finish what they hold after an interrupt."""
READER_RESTARTS = 3
"""How often a reader process that died is replaced before the job is left as it is."""


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What ``scan`` found."""

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
) -> JobStatus:
    """Warms one job with this machine alone and returns its status: final, or as far as it came when ``stop`` was set.

    The statuses that ``on_status`` gets also count what is read of items that have no receipt yet.

    ``prepare`` is called first in each further process (it must pickle): the place to set up logging.
    ``resume`` goes on with an earlier job instead (``""``: the latest unfinished one); ``job`` is then None.

    Raises:
        UsageError: there is nothing to resume, or another process is warming the job now.
        Interrupted: ``stop`` was set before the job was posted.
        CacheWarmerError: the broker can't be used.
    """
    settings = replace(settings, lease=replace(settings.lease, drain_seconds=STOP_SECONDS, poll_seconds=STATUS_SECONDS))
    async with open_broker(broker_url, settings.lease) as broker:
        job_id = await _begin(broker, job, resume, file_list, stop)
        lease = await broker.claim_job(settings.lease.lease_seconds, job_id)
        if lease is None:
            status = await broker.status(job_id)
            if status.state.final:
                return status
            raise UsageError(f"job {job_id} is being warmed by another process")
        share = max(1, processes)
        ended = asyncio.Event()
        manager = Manager(broker, settings, scan_attempts=1)
        tasks = [asyncio.create_task(manager.manage(lease, ended))]
        in_hand: dict[int, Tally] = {}
        try:
            if share == 1:
                reader = Worker(broker, settings, job_id=job_id)
                tasks.append(asyncio.create_task(reader.run(ended)))
            else:
                shared = with_share(settings, share)
                tasks.append(
                    asyncio.create_task(_run_readers(broker_url, shared, job_id, share, ended, in_hand, prepare))
                )

            def show(status: JobStatus) -> None:
                if share == 1:
                    in_hand[0] = reader.in_hand()
                on_status(replace(status, tallies=(*status.tallies, *in_hand.values())))

            status = await _watch(broker, job_id, show, stop, tasks)
        finally:
            ended.set()
            await asyncio.gather(*tasks, return_exceptions=True)
        await _settle(broker, lease, status)
        return await broker.status(job_id)


async def _settle(broker: Broker, lease: JobLease, status: JobStatus) -> None:
    """Closes the books of a job that ended before its manager noticed."""
    if status.state.final:
        await broker.set_state(lease.job.job_id, status.state)
        await broker.settle_job(lease)


async def _watch(
    broker: Broker,
    job_id: str,
    on_status: Callable[[JobStatus], None],
    stop: asyncio.Event,
    tasks: Sequence[asyncio.Task[None]],
) -> JobStatus:
    """Waits for the job's end; a part that fails ends the wait with its error."""
    waiting = asyncio.create_task(wait_until_warm(broker, job_id, on_status, stop, STATUS_SECONDS))
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
        await eventloop.end_tasks(waiting)


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
    unfinished = [status for status in await broker.jobs() if not status.state.final]
    if not resume:
        if not unfinished:
            raise UsageError("there is no unfinished job to resume")
        resume = unfinished[0].job.job_id
    status = await broker.status(resume)
    if status.state.final:
        raise UsageError(f"job {resume} is {status.state}: there is nothing to resume")
    if status.state is JobState.PAUSED:
        await broker.set_state(resume, status.resumed)
    return resume


# -- several reader processes --------------------------------------------------------------------------------------


async def _run_readers(
    broker_url: str,
    settings: Settings,
    job_id: str,
    count: int,
    stop: asyncio.Event,
    in_hand: dict[int, Tally],
    prepare: Callable[[], None] | None,
) -> None:
    """Runs reader processes until ``stop``; replaces one that dies a few times, then gives up.

    ``in_hand`` gets what each last said of its unfinished items, by process id.

    Raises:
        CacheWarmerError: readers keep dying.
    """
    context = multiprocessing.get_context("spawn")
    readers: list[tuple[SpawnProcess, Connection]] = []
    deaths = 0
    try:
        while not stop.is_set():
            for reader, channel in [one for one in readers if not one[0].is_alive()]:
                readers.remove((reader, channel))
                channel.close()
                in_hand.pop(reader.pid or 0, None)
                deaths += 1
                log.warning("a reader process ended with %s", reader.exitcode)
                if deaths > READER_RESTARTS:
                    raise CacheWarmerError(f"the reader processes keep ending (last: {reader.exitcode})")
            while len(readers) < count:
                ours, theirs = context.Pipe()
                reader = context.Process(
                    target=_reader_process, args=(broker_url, settings, job_id, count, theirs, prepare)
                )
                reader.start()
                theirs.close()
                readers.append((reader, ours))
            for reader, channel in readers:
                with contextlib.suppress(EOFError, OSError):  # it has just died: the next turn sees to that
                    while channel.poll():
                        in_hand[reader.pid or 0] = channel.recv()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), STATUS_SECONDS)
    finally:
        in_hand.clear()
        for _, channel in readers:
            channel.close()
        deadline = time.monotonic() + 2 * STOP_SECONDS
        while any(reader.is_alive() for reader, _ in readers) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for reader, _ in readers:
            reader.kill()
            reader.join()


def _reader_process(
    broker_url: str,
    settings: Settings,
    job_id: str,
    count: int,
    channel: Connection,
    prepare: Callable[[], None] | None,
) -> None:
    """The body of a reader process: works until the parent closes its end of the channel, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare()
    with contextlib.suppress(BrokerError, KeyboardInterrupt):
        eventloop.run(_read_until_closed(broker_url, settings, job_id, count, channel))


async def _read_until_closed(broker_url: str, settings: Settings, job_id: str, count: int, channel: Connection) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(channel.fileno(), stop.set)
    async with open_broker(broker_url, settings.lease) as broker:
        worker = Worker(broker, settings, job_id=job_id, sharers=count)
        telling = asyncio.create_task(_tell(worker, channel))
        try:
            await worker.run(stop)
        finally:
            await eventloop.end_tasks(telling)


async def _tell(worker: Worker, channel: Connection) -> None:
    """Tells the parent how it goes, until that is gone."""
    with contextlib.suppress(OSError):
        while True:
            await asyncio.sleep(STATUS_SECONDS)
            channel.send(worker.in_hand())


# -- scan only -----------------------------------------------------------------------------------------------------


async def scan(
    job: WarmJob,
    settings: Settings,
    *,
    on_progress: Callable[[ScanTotals], None],
    stop: asyncio.Event,
    file_list: AsyncIterable[bytes] | None = None,
) -> ScanReport:
    """Counts what a job would warm; reads no file. When ``stop`` is set: what was counted so far, not finished.

    Raises:
        CacheWarmerError: the target can't be opened or listed.
    """
    counter = ScanCounter()
    began = time.monotonic()

    async def ignore(items: Sequence[WorkItem]) -> None:
        pass

    async def count() -> None:
        async with SessionPool(settings, open_session) as pool:
            await scan_tree(job, await open_sessions(job, pool), settings.plan, counter, ignore, file_list=file_list)

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
