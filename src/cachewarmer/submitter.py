"""The submitter: submits a job and waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable
from dataclasses import replace

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, Interrupted, InvalidTransition
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import BoundTimes, JobState, JobStatus, WarmJob, WorkerReport, new_job_id, with_in_hand
from cachewarmer.model.live import NOTE_SECONDS

log = logging.getLogger(__name__)


async def submit(
    broker: Broker, job: WarmJob, file_list: AsyncIterable[bytes] | None = None, stop: asyncio.Event | None = None
) -> str:
    """Posts a job and returns its id. The id is made here, so that repeating a lost call posts nothing twice.

    Raises:
        Interrupted: ``stop`` was set first; what had been posted of a list of files belongs to no job.
    """
    job = replace(
        job,
        job_id=job.job_id or new_job_id(),
        submitted_at=job.submitted_at or time.time(),
        has_file_list=file_list is not None,
    )
    posting = asyncio.ensure_future(broker.submit(job, file_list))
    stopping = asyncio.ensure_future((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait([posting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not posting.done():
            raise Interrupted("interrupted while the job was being posted")
        return posting.result()
    finally:
        await end_tasks(posting, stopping)


async def wait_until_warm(
    broker: Broker,
    job_id: str,
    on_status: Callable[[JobStatus], None],
    stop: asyncio.Event,
    poll_seconds: float = 1.0,
    *,
    live: bool = False,
) -> JobStatus:
    """The status of a job once it is in a final state, or once ``stop`` is set.

    Where ``live`` is set, the statuses that ``on_status`` gets also count what workers have read of unfinished items.

    Raises:
        UnknownJob: the broker has no such job, or has it no more: its end can't come. A broker that can't be reached is
            asked again, with a warning.
    """
    status: JobStatus | None = None
    outage = outage_log(broker)
    rows, times = LiveRows(broker), BoundTimes()
    while True:
        try:
            status = await broker.status(job_id)
            shown = with_in_hand(status, await rows.of(job_id)) if live and not status.state.final else status
            if shown is not status:
                times.add(shown.bound, time.monotonic())
            status = replace(status, bound=times.main if times.main.bound else status.bound)
            outage.answered()
            on_status(shown)
            if status.state.final or stop.is_set():
                return status
        except BrokerError as error:
            if not error.transient or (stop.is_set() and status is None):
                raise
            outage.failed(f"asking for job {job_id}: {error}")
            if stop.is_set() and status is not None:
                return status
        try:
            await asyncio.wait_for(stop.wait(), poll_seconds)
        except TimeoutError:
            continue


class LiveRows:
    """The reports of workers, queried only as often as they change."""

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._rows: dict[str, tuple[float, list[WorkerReport]]] = {}

    async def of(self, job_id: str = "") -> list[WorkerReport]:
        """The reports of the workers that have had work of a job; without an id, of all workers. Raises ``BrokerError``."""
        asked, rows = self._rows.get(job_id, (0.0, []))
        now = self._clock()
        if job_id not in self._rows or now - asked >= NOTE_SECONDS / 2:
            rows = await self._broker.workers(job_id)
            self._rows[job_id] = (now, rows)
        return rows


async def resume(broker: Broker, job_id: str) -> JobStatus:
    """Resumes a job that was paused or failed, keeping its counts; returns its status.

    Raises:
        InvalidTransition: it continues already, has ended otherwise, or the broker can't take up a job that failed.
        UnknownJob: there is no such job.
    """
    status = await broker.status(job_id)
    if status.state is not JobState.FAILED:
        return await broker.set_state(job_id, status.resumed)
    if not await broker.revive(job_id):
        raise InvalidTransition(
            f"job {job_id} has failed, and this broker can't resume failed jobs",
            advice="submit it again",
        )
    return await broker.status(job_id)
