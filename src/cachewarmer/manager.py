"""The manager: takes jobs, scans their trees, publishes the work as the scan goes, and closes the books.

A manager may be killed at any moment: the job's lease runs out, another manager takes it, scans again, and publishes
the same items with the same ids, so that the totals come out the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from cachewarmer.broker.base import Broker, JobLease
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import BrokerError, CacheWarmerError, LeaseLost, TransportError
from cachewarmer.model import JobState, WarmJob, WorkItem
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import Opener, SessionPool

log = logging.getLogger(__name__)

RECORD_SECONDS = 1.0
"""Between two writes of a scan's totals while it goes on."""
SCAN_RETRY_SECONDS = 2.0
"""First wait before a scan is tried again after its addresses failed; doubles up to a minute."""
MOST_OPEN_SECONDS = 60.0
"""Between two attempts to open the broker, at most."""


class FleetRunner(Protocol):
    """What the manager needs of a fleet: something that runs beside it until it stops."""

    @property
    def may_have_machines(self) -> bool:
        """Whether machines may be running, as far as is known."""

    async def run(self, stop: asyncio.Event) -> None: ...


class _Ended(Exception):  # not an error: the job was cancelled, or ended elsewhere, in mid-scan
    pass


class Manager:
    """One manager process's work. ``scan_attempts`` is how often a scan is tried when all addresses fail."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        *,
        name: str = "",
        fleet_driver: FleetRunner | None = None,
        jobs_at_once: int = 4,
        exit_when_idle: float | None = None,
        scan_attempts: int = 5,
        opener: Opener = open_session,
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.name = name or process_name()
        self.fleet_driver = fleet_driver
        self.jobs_at_once = jobs_at_once
        self.exit_when_idle = exit_when_idle
        self.scan_attempts = scan_attempts
        self._opener = opener

    async def run(self, stop: asyncio.Event) -> None:
        """Takes jobs until ``stop``, or until there was none for ``exit_when_idle`` seconds.

        After ``stop`` the jobs in hand go back to the queue, for another manager to go on with.
        """
        fleet = asyncio.create_task(self.fleet_driver.run(stop)) if self.fleet_driver else None
        jobs: set[asyncio.Task[None]] = set()
        stopped = asyncio.create_task(stop.wait())
        try:
            await self._open_broker(stop)
            idle_since = time.monotonic()
            while not stop.is_set():
                if fleet is not None and fleet.done():
                    fleet.result()
                lease = await self._claim() if len(jobs) < self.jobs_at_once else None
                if lease is not None:
                    log.info("job %s: %s", lease.job.job_id, lease.job.label)
                    jobs.add(asyncio.create_task(self.manage(lease, stop)))
                    continue
                if jobs:
                    idle_since = time.monotonic()
                elif self.exit_when_idle is not None and time.monotonic() - idle_since >= self.exit_when_idle:
                    break
                watched = {*jobs, stopped}
                done, _ = await asyncio.wait(
                    watched, timeout=self.settings.lease.poll_seconds, return_when=asyncio.FIRST_COMPLETED
                )
                for job in done & jobs:
                    jobs.discard(job)
                    if job.exception() is not None:
                        log.error("a job ended badly", exc_info=job.exception())
        finally:
            stop.set()
            stopped.cancel()
            await asyncio.gather(*jobs, stopped, return_exceptions=True)
            if fleet is not None:
                await fleet

    async def _open_broker(self, stop: asyncio.Event) -> None:
        """Opens the broker, if it is not open yet.

        A manager that could not and ended would leave the machines of an earlier one running for ever. So as long as
        there may be some it tries again, and the fleet's driver, which sees no queue meanwhile, deletes them in time.
        """
        wait = 1.0
        while not stop.is_set():
            try:
                await self.broker.open()
                return
            except BrokerError as error:
                if self.fleet_driver is None or not (error.transient or self.fleet_driver.may_have_machines):
                    raise
                log.warning("%s; trying again in %.0f s", error, wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)
            wait = min(MOST_OPEN_SECONDS, wait * 2)

    async def _claim(self) -> JobLease | None:
        try:
            return await self.broker.claim_job(self.name, self.settings.lease.lease_seconds)
        except BrokerError as error:
            if not error.transient:
                raise
            log.warning("claiming a job: %s", error)
            return None

    # -- one job ---------------------------------------------------------------------------------------------------

    async def manage(self, lease: JobLease, stop: asyncio.Event) -> None:
        """Sees one job through to its end; hands it back when ``stop`` is set or its lease is lost."""
        work = asyncio.create_task(self._manage(lease))
        renewer = asyncio.create_task(self._renew(lease))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([work, renewer, stopped], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                await self.broker.settle_job(lease)
            elif renewer.done():
                log.warning("job %s: lost its lease; another manager goes on", lease.job.job_id)
            else:
                await _end(work)
                await self.broker.release_job(lease)
        finally:
            for task in (work, renewer, stopped):
                await _end(task)

    async def _renew(self, lease: JobLease) -> None:
        """Returns when the lease is lost."""
        seconds = self.settings.lease.lease_seconds
        while True:
            await asyncio.sleep(seconds / 3)
            try:
                await self.broker.renew_job(lease, seconds)
            except LeaseLost:
                return
            except BrokerError as error:
                log.warning("renewing job %s: %s", lease.job.job_id, error)

    async def _manage(self, lease: JobLease) -> None:
        job = lease.job
        try:
            status = await self.broker.status(job.job_id)
            if not status.scan.finished and not status.state.final:
                if status.state is JobState.QUEUED:
                    await self.broker.set_state(job.job_id, JobState.SCANNING)
                await self._scan_with_retries(job)
        except _Ended:
            pass
        except BrokerError:
            raise
        except CacheWarmerError as error:
            log.error("job %s failed: %s", job.job_id, error)  # noqa: TRY400  # one line is what an operator wants
            await self.broker.set_state(job.job_id, JobState.FAILED, str(error))
        await self._wait_until_settled(job.job_id)

    async def _wait_until_settled(self, job_id: str) -> None:
        wait = 0.02
        while True:
            try:
                status = await self.broker.status(job_id)
                if status.state.final:
                    status = await self.broker.set_state(job_id, status.state)
                    log.info("job %s is %s", job_id, status.state)
                    return
            except BrokerError as error:
                if not error.transient:
                    raise
                log.warning("asking for job %s: %s", job_id, error)
            await asyncio.sleep(wait)
            wait = min(self.settings.lease.poll_seconds, wait * 2)

    async def _scan_with_retries(self, job: WarmJob) -> None:
        for attempt in range(1, self.scan_attempts + 1):
            try:
                await self._scan(job)
                return
            except TransportError as error:
                if attempt == self.scan_attempts:
                    raise
                wait = min(60.0, SCAN_RETRY_SECONDS * 2 ** (attempt - 1))
                log.warning("job %s: %s; scanning again in %.0f s", job.job_id, error, wait)
                await asyncio.sleep(wait)

    async def _scan(self, job: WarmJob) -> None:
        counter = ScanCounter()
        settings = self.settings.plan
        file_list = self.broker.file_list(job.job_id) if job.has_file_list else None
        async with SessionPool(self.settings, self._opener) as pool, self._control(job.job_id, counter) as gate:

            async def publish(items: Sequence[WorkItem]) -> None:
                await gate.pass_through()
                await self.broker.publish(items)

            sessions = await open_sessions(job, pool)
            await scan_tree(
                job,
                sessions,
                settings,
                counter,
                publish,
                message_bytes=self.broker.max_message_bytes,
                file_list=file_list,
            )
        await self.broker.record_scan(job.job_id, counter.totals(finished=True))

    @asynccontextmanager
    async def _control(self, job_id: str, counter: ScanCounter) -> AsyncIterator[_Gate]:
        """While the scan goes on: writes its totals every second, and looks whether it shall pause or end."""
        gate = _Gate()
        watcher = asyncio.create_task(self._watch(job_id, counter, gate))
        try:
            yield gate
            if watcher.done():
                watcher.result()
            await gate.pass_through()
        finally:
            await _end(watcher)

    async def _watch(self, job_id: str, counter: ScanCounter, gate: _Gate) -> None:
        while True:
            await asyncio.sleep(min(RECORD_SECONDS, self.settings.lease.poll_seconds))
            try:
                state = await self.broker.state(job_id)
                if state.final:
                    gate.end()
                    return
                gate.hold(state is JobState.PAUSED)
                await self.broker.record_scan(job_id, counter.totals())
            except BrokerError as error:
                log.warning("recording the scan of job %s: %s", job_id, error)


class _Gate:
    """Where a scan stops while its job is paused, and ends when the job has ended."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._ended = False

    def hold(self, held: bool) -> None:
        if held:
            self._open.clear()
        else:
            self._open.set()

    def end(self) -> None:
        self._ended = True
        self._open.set()

    async def pass_through(self) -> None:
        """Waits while the job is paused. Raises ``_Ended`` if it has ended."""
        await self._open.wait()
        if self._ended:
            raise _Ended


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
