"""The manager: takes jobs, scans their trees, publishes the work as the scan goes, and closes the books.

A manager may be killed at any moment: the job's lease runs out, another manager takes it, scans again, and publishes
the same items with the same ids, so that the totals come out the same.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from cachewarmer.broker.base import Broker, JobLease
from cachewarmer.broker.patience import persist
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import BrokerError, CacheWarmerError, InvalidTransition, LeaseLost, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import JobState, WarmJob, WorkItem
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import Opener, SessionPool

log = logging.getLogger(__name__)

T = TypeVar("T")

MOST_JOBS = 64
"""Jobs that one manager looks after, scanned or not: each costs some calls a second."""
RECORD_SECONDS = 1.0
"""Between two writes of a scan's totals while it goes on."""
TIDY_SECONDS = 3600.0
"""Between two looks for what the broker may forget; from half of it to one and a half, that managers don't meet."""
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
    """One manager process's work.

    ``jobs_at_once`` is how many jobs it scans at the same time; those that are only read or paused don't count.
    ``scan_attempts`` is how often a scan is tried when all addresses fail.
    """

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
        self._scanning: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Takes jobs until ``stop``, or until there was none for ``exit_when_idle`` seconds.

        After ``stop`` the jobs in hand go back to the queue, for another manager to go on with.
        """
        fleet = asyncio.create_task(self.fleet_driver.run(stop)) if self.fleet_driver else None
        jobs: set[asyncio.Task[None]] = set()
        stopped = asyncio.create_task(stop.wait())
        tidying: asyncio.Task[None] | None = None
        try:
            await self._open_broker(stop)
            tidying = asyncio.create_task(self._tidy())
            idle_since = time.monotonic()
            while not stop.is_set():
                if fleet is not None and fleet.done():
                    fleet.result()
                room = len(self._scanning) < self.jobs_at_once and len(jobs) < MOST_JOBS
                lease = await self._claim() if room else None
                if lease is not None:
                    log.info("job %s: %s", lease.job.job_id, lease.job.label)
                    self._scanning.add(lease.job.job_id)
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
                    error = job.exception()
                    if isinstance(error, CacheWarmerError):
                        log.error("%s; a manager goes on with the job when its lease has run out", error)
                    elif error is not None:
                        log.error("a job ended badly", exc_info=error)
        finally:
            stop.set()
            stopped.cancel()
            if tidying is not None:
                await end_tasks(tidying)
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
                if self.fleet_driver is None or not (error.transient or self._may_have_machines):
                    raise
                log.warning("%s; trying again in %.0f s", error, wait)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)
            wait = min(MOST_OPEN_SECONDS, wait * 2)

    @property
    def _may_have_machines(self) -> bool:
        return self.fleet_driver is not None and self.fleet_driver.may_have_machines

    async def _tidy(self) -> None:
        """Lets the broker forget what is old, at the start and every hour or so."""
        while True:
            try:
                await self.broker.tidy(self.settings.lease.keep_seconds)
            except BrokerError as error:
                log.warning("%s; left for the next time", error)
            await asyncio.sleep(TIDY_SECONDS * random.uniform(0.5, 1.5))

    async def _claim(self) -> JobLease | None:
        try:
            return await self.broker.claim_job(self.settings.lease.lease_seconds)
        except BrokerError as error:
            if not error.transient and not self._may_have_machines:
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
                await self._persist(lambda: self.broker.settle_job(lease))
            elif renewer.done():
                log.warning("job %s: lost its lease; another manager goes on", lease.job.job_id)
            else:
                await end_tasks(work)
                await self.broker.release_job(lease)
        finally:
            self._scanning.discard(lease.job.job_id)
            for task in (work, renewer, stopped):
                await end_tasks(task)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeats a broker call while its failure is transient, for as long as a lease lasts."""
        return await persist(call, self.settings.lease.lease_seconds)

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
            status = await self._persist(lambda: self.broker.status(job.job_id))
            to_scan = not status.scan.finished and not status.state.final
            if to_scan and status.state is JobState.QUEUED:
                to_scan = await self._set_state(job.job_id, JobState.SCANNING)
            if to_scan:
                await self._scan_with_retries(job)
        except _Ended:
            pass
        except CacheWarmerError as error:
            if isinstance(error, BrokerError) and error.transient:
                raise  # the lease runs out, and a manager to whom the broker answers goes on
            log.error("job %s failed: %s", job.job_id, error)  # noqa: TRY400  # one line is what an operator wants
            await self._set_state(job.job_id, JobState.FAILED, error.failure.dump())
        except Exception as error:
            # A fault of this program: the next manager would only meet it again, and so would the one after it.
            log.exception("job %s failed", job.job_id)
            await self._set_state(job.job_id, JobState.FAILED, f"{type(error).__name__}: {error}")
        finally:
            self._scanning.discard(job.job_id)
        await self._wait_until_settled(job.job_id)

    async def _set_state(self, job_id: str, state: JobState, reason: str = "") -> bool:
        """Whether the job could be moved there: not if it was cancelled meanwhile."""
        try:
            await self._persist(lambda: self.broker.set_state(job_id, state, reason))
        except InvalidTransition:
            return False
        return True

    async def _wait_until_settled(self, job_id: str) -> None:
        wait = 0.02
        while True:
            status = await self._persist(lambda: self.broker.status(job_id))
            if status.state.final and await self._set_state(job_id, status.state):
                log.info("job %s is %s", job_id, status.state)
                return
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
        """Scans the whole tree, and records its totals. Raises ``_Ended`` if the job ends meanwhile."""
        counter = ScanCounter()
        gate = _Gate()
        scan = asyncio.create_task(self._publish_all(job, counter, gate))
        watcher = asyncio.create_task(self._watch(job.job_id, counter, gate))
        try:
            await asyncio.wait([scan, watcher], return_when=asyncio.FIRST_COMPLETED)
            if watcher.done():
                watcher.result()
                raise _Ended
            scan.result()
        finally:
            await end_tasks(scan)
            await end_tasks(watcher)
        await self._persist(lambda: self.broker.record_scan(job.job_id, counter.totals(finished=True)))

    async def _publish_all(self, job: WarmJob, counter: ScanCounter, gate: _Gate) -> None:
        file_list = self.broker.file_list(job.job_id) if job.has_file_list else None
        async with SessionPool(self.settings, self._opener) as pool:

            async def publish(items: Sequence[WorkItem]) -> None:
                await gate.pass_through()
                await self._persist(lambda: self.broker.publish(items))

            sessions = await open_sessions(job, pool)
            await scan_tree(
                job,
                sessions,
                self.settings.plan,
                counter,
                publish,
                message_bytes=self.broker.max_message_bytes,
                file_list=file_list,
            )
        await gate.pass_through()

    async def _watch(self, job_id: str, counter: ScanCounter, gate: _Gate) -> None:
        """Writes a scan's totals every second, and lets it rest while the job is paused; returns when the job ends."""
        while True:
            await asyncio.sleep(min(RECORD_SECONDS, self.settings.lease.poll_seconds))
            try:
                state = await self.broker.state(job_id)
                if state.final:
                    return
                gate.hold(state is JobState.PAUSED)
                if state is JobState.PAUSED:
                    self._scanning.discard(job_id)
                else:
                    self._scanning.add(job_id)
                await self.broker.record_scan(job_id, counter.totals())
            except BrokerError as error:
                log.warning("recording the scan of job %s: %s", job_id, error)


class _Gate:
    """Where a scan stops while its job is paused."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def hold(self, held: bool) -> None:
        if held:
            self._open.clear()
        else:
            self._open.set()

    async def pass_through(self) -> None:
        """Waits while the job is paused."""
        await self._open.wait()
