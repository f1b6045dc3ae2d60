"""The manager: takes jobs, handles each with a keeper (``job``), and runs the fleet.

A manager may be killed at any moment: the job's lease runs out, and another manager takes the job, scans it again, and
publishes the same items with the same ids, so that the totals come out the same.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from cachewarmer.about import about
from cachewarmer.amounts import counted, duration
from cachewarmer.broker.base import MANAGER_SECONDS, Broker, JobLease
from cachewarmer.broker.patience import outage_log
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import BrokerError, CacheWarmerError, ProgramChanged
from cachewarmer.eventloop import end_tasks
from cachewarmer.manager.job import JobKeeper
from cachewarmer.model import BY_RANK, Priority
from cachewarmer.targets.pool import SessionPool

log = logging.getLogger(__name__)

MOST_JOBS = 64
"""Maximum number of jobs that a manager handles at once; each costs some calls per second."""
MORE_URGENT_JOBS = 8
"""Additional jobs for each higher priority level, so that there is room for urgent ones."""
TIDY_SECONDS = 3600.0
"""Mean time between two rounds of tidying the broker; each wait is 0.5 to 1.5 times as long, so that managers don't
coincide.
"""
FIRST_OPEN_SECONDS = 5.0
"""How long the start of the fleet's driver waits for the broker to be opened."""
MOST_OPEN_SECONDS = 60.0
"""Maximum time between two attempts to open the broker."""


class FleetRunner(Protocol):
    """What the manager needs of a fleet's driver, which runs beside the manager until the manager stops."""

    @property
    def may_have_machines(self) -> bool:
        """Whether machines may be running, as far as is known."""

    async def run(self, stop: asyncio.Event) -> None: ...


class Manager:
    """The work of one manager process.

    ``pool`` provides the sessions for scanning; the caller closes it. ``jobs_at_once`` is how many jobs are scanned at
    the same time. Jobs that are only being read or are paused don't count, and less urgent jobs don't count against a
    more urgent one. With ``waits_at_start``, a job also waits if none of its addresses has ever answered; this is off
    where a user is present, who may have mistyped an address. ``busy_seconds`` is how long to wait for a broker that is
    locked by others, for a manager whose jobs no other manager could continue. ``on_scanning`` is called with True when
    a scan begins, and with False when it ends. ``on_end`` is called with the id of each job that this manager has
    settled; it must not raise.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        pool: SessionPool,
        *,
        name: str = "",
        fleet_driver: FleetRunner | None = None,
        jobs_at_once: int = 4,
        exit_when_idle: float | None = None,
        waits_at_start: bool = True,
        busy_seconds: float | None = None,
        on_scanning: Callable[[bool], None] = lambda _: None,
        on_end: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.name = name or process_name()
        self.fleet_driver = fleet_driver
        self.jobs_at_once = jobs_at_once
        self.exit_when_idle = exit_when_idle
        self.waits_at_start = waits_at_start
        self.busy_seconds = busy_seconds
        self._pool = pool
        self._on_scanning = on_scanning
        self._on_end = on_end
        self._scanning: dict[str, Priority] = {}
        self._waits = False
        """Whether it has logged that it is waiting for jobs."""
        self._ended = self._handed_back = 0
        self._why = "it was asked to"

    async def run(self, stop: asyncio.Event) -> None:
        """Takes jobs until ``stop`` is set, or until there has been none for ``exit_when_idle`` seconds.

        Before this returns or raises, unfinished jobs go back to the queue, for another manager to continue with.

        Raises:
            BrokerError: the broker can't be opened, or refuses to hand out jobs.
            ProgramChanged: nothing more can be done until the program is started again.
        """
        began = time.monotonic()
        fleet: asyncio.Task[None] | None = None
        beside: list[asyncio.Task[None]] = []
        jobs: set[asyncio.Task[None]] = set()
        opening = asyncio.create_task(self._open_broker(stop))
        try:
            if self.fleet_driver is not None:
                # It takes care of an earlier manager's machines even if the broker does not answer; usually that does.
                await asyncio.wait({opening}, timeout=FIRST_OPEN_SECONDS)
                fleet = asyncio.create_task(self.fleet_driver.run(stop))
            await opening
            beside = [asyncio.create_task(self._tidy()), asyncio.create_task(self._note())]
            await self._take_jobs(jobs, fleet, stop)
        finally:
            stop.set()
            await end_tasks(opening, *beside)
            await asyncio.gather(*jobs, return_exceptions=True)
            if fleet is not None:
                await fleet
        back = f"; {counted(self._handed_back, 'job')} handed back" if self._handed_back else ""
        log.info(
            "stopped: %s; %s ended in %s%s",
            self._why,
            counted(self._ended, "job"),
            duration(time.monotonic() - began),
            back,
        )

    async def _take_jobs(
        self, jobs: set[asyncio.Task[None]], fleet: asyncio.Task[None] | None, stop: asyncio.Event
    ) -> None:
        idle_since = time.monotonic()
        stopped = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                if fleet is not None and fleet.done():
                    fleet.result()
                least = self._least_wanted(len(jobs))
                lease = await self._claim(least) if least is not None else None
                if lease is not None:
                    log.info("job %s: %s", lease.job.job_id, lease.job.label, extra=about(job=lease.job.job_id))
                    self._waits = False
                    self._scanning[lease.job.job_id] = lease.job.priority
                    jobs.add(asyncio.create_task(self.manage(lease, stop)))
                    continue
                if jobs:
                    idle_since = time.monotonic()
                elif self.exit_when_idle is not None and time.monotonic() - idle_since >= self.exit_when_idle:
                    self._why = f"there was nothing to do for {self.exit_when_idle:.0f} s"
                    return
                elif not (self._waits or outage_log(self.broker).lasting):
                    self._waits = True
                    log.info("waiting for jobs")
                done = await self._wait(jobs, stopped)
                for job in done & jobs:
                    jobs.discard(job)
                    error = job.exception()
                    if isinstance(error, ProgramChanged):
                        raise error
                    _tell_of(error)
        finally:
            await end_tasks(stopped)

    def _least_wanted(self, jobs: int) -> Priority | None:
        """The least priority that a further job must have; None if there is no room for any.

        Scans of less urgent jobs take no room from a more urgent job: however long they take, it is scanned meanwhile.
        """
        for least in reversed(BY_RANK):
            scanning = sum(priority.rank <= least.rank for priority in self._scanning.values())
            if scanning < self.jobs_at_once and jobs < MOST_JOBS + MORE_URGENT_JOBS * (BY_RANK[-1].rank - least.rank):
                return least
        return None

    async def _wait(self, jobs: set[asyncio.Task[None]], stopped: asyncio.Task[bool]) -> set[asyncio.Task[Any]]:
        """Waits until it is time to look for a job again, and returns the tasks that have ended."""
        seconds = self.settings.lease.poll_seconds
        others = {stopped} if jobs else {stopped, asyncio.create_task(self.broker.wait_for_work(seconds))}
        done, _ = await asyncio.wait({*jobs, *others}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(*others - {stopped})
        return done

    async def manage(self, lease: JobLease, stop: asyncio.Event) -> None:
        """Sees one job through to its end; hands it back if ``stop`` is set, and lets go of it if its lease is lost.

        Raises:
            BrokerError: the broker fails for longer than a lease lasts, or refuses a call.
            ProgramChanged: the program was replaced while it was running; the job has been handed back.
        """
        job_id = lease.job.job_id

        def on_busy(busy: bool) -> None:
            if busy:
                self._scanning[job_id] = lease.job.priority
            else:
                self._scanning.pop(job_id, None)

        on_busy(True)
        ended = await JobKeeper(
            self.broker,
            self.settings,
            self._pool,
            lease,
            waits_at_start=self.waits_at_start,
            busy_seconds=self.busy_seconds,
            on_busy=on_busy,
            on_scanning=self._on_scanning,
        ).keep(stop)
        self._ended += ended
        self._handed_back += not ended
        if ended and self._on_end is not None:
            await self._on_end(job_id)

    async def _open_broker(self, stop: asyncio.Event) -> None:
        """Opens the broker, if it is not open yet.

        If a manager ended because it could not, an earlier manager's machines would run forever. So it keeps trying as
        long as there may be machines, and the fleet's driver, which sees no queue meanwhile, deletes them in time.
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
        """Makes the broker forget old jobs, at the start and about every hour."""
        while True:
            try:
                await self.broker.tidy(self.settings.lease.keep_seconds)
            except BrokerError as error:
                log.warning("%s; trying again next time", error)
            await asyncio.sleep(TIDY_SECONDS * random.uniform(0.5, 1.5))

    async def _note(self) -> None:
        """Records regularly that a manager is running, for users who wait for one."""
        while True:
            try:
                await self.broker.note_manager(self.name)
            except BrokerError as error:
                outage_log(self.broker).failed(f"noting that this manager is at work: {error}")
            await asyncio.sleep(MANAGER_SECONDS)

    async def _claim(self, least: Priority) -> JobLease | None:
        outage = outage_log(self.broker)
        try:
            lease = await self.broker.claim_job(self.settings.lease.lease_seconds, least=least)
        except BrokerError as error:
            if not error.transient and not self._may_have_machines:
                raise
            outage.failed(f"claiming a job: {error}")
            return None
        outage.answered()
        return lease


def _tell_of(error: BaseException | None) -> None:
    """Logs the error, if any, with which a keeper ended."""
    if isinstance(error, CacheWarmerError):
        log.error("%s; a manager continues the job when the lease expires", error)
    elif error is not None:
        log.error("managing a job failed", exc_info=error)
