"""The submitter: posts a job, and waits for that job, whatever else goes on at the broker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable
from dataclasses import replace

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, Interrupted
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import JobStatus, WarmJob, new_job_id

log = logging.getLogger(__name__)

MANAGER_AWAY_SECONDS = 30.0
"""No manager seen for this long: nobody takes jobs."""
LOOK_SECONDS = 10.0
"""Between two looks for a manager."""


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
    managed: bool = False,
) -> JobStatus:
    """The status of a job once it is in a final state, or once ``stop`` is set.

    ``managed``: managers elsewhere take the job; when none has been seen for a while, the log says so.

    Raises:
        UnknownJob: the broker has no such job, or has it no more: its end can't come. A broker that can't be reached is
            asked again, with a warning.
    """
    status: JobStatus | None = None
    watch = ManagerWatch(broker) if managed else None
    outage = outage_log(broker)
    while True:
        if watch is not None:
            await watch.look()
        try:
            status = await broker.status(job_id)
            outage.answered()
            on_status(status)
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


class ManagerWatch:
    """Says once that no manager takes jobs, and when one does again."""

    def __init__(self, broker: Broker, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._since = self._looked_at = clock()
        self._told = False

    async def look(self) -> None:
        """Looks, if it is time to; a broker that does not answer says nothing about managers."""
        now = self._clock()
        if now - self._since < MANAGER_AWAY_SECONDS or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            seen = await self._broker.manager_seen()
        except BrokerError:
            return
        if seen is not None and seen < MANAGER_AWAY_SECONDS:
            if self._told:
                log.warning("a manager is at work again")
            self._told = False
        elif not self._told:
            self._told = True
            ago = "was ever seen there" if seen is None else f"was seen there for {seen:.0f} s"
            log.warning("no manager %s: nobody takes the job; start one, or go on waiting", ago)
