"""How a manager handles one job: it scans the job, waits for its end, and settles it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cachewarmer.about import about
from cachewarmer.broker.base import Broker, JobLease
from cachewarmer.broker.patience import outage_log, persist
from cachewarmer.config import Settings
from cachewarmer.errors import (
    BrokerError,
    CacheWarmerError,
    InvalidTransition,
    LeaseLost,
    ProgramChanged,
    TransportError,
    UnknownHost,
    UnknownJob,
    own_resource_error,
    program_changed,
)
from cachewarmer.eventloop import end_tasks
from cachewarmer.manager.learning import Learning
from cachewarmer.manager.publishing import Publisher
from cachewarmer.manager.waiting import Waiting, mounts_of
from cachewarmer.model import JobState, ScanTotals, WarmJob, WorkItem
from cachewarmer.planning.counter import ScanCounter, joined
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets.base import Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady

if TYPE_CHECKING:  # only some jobs need these, so they are imported when they do
    from cachewarmer.ledger.since import Since
    from cachewarmer.manager.fan_out import FanOut
    from cachewarmer.manager.told import ScanLedger

log = logging.getLogger(__name__)

T = TypeVar("T")

RECORD_SECONDS = 1.0
"""Time between two updates of a scan's totals."""
SCAN_RETRY_SECONDS = 2.0
"""Minimum time between a scan that failed because of its address and the next one."""
UNKNOWN_HOST_SECONDS = 30.0
"""How long a job waits for a host name that has never been resolved: the name is probably mistyped."""


class Ended(Exception):  # noqa: N818  # not an error: the job was cancelled, or ended elsewhere, during its scan
    """The job ended while it was being scanned."""


class JobKeeper:
    """Sees one job through to its end, under its lease.

    With ``waits_at_start``, the job also waits for addresses that have never answered. ``on_busy`` is called with True
    when the job is about to be scanned, and with False when it only waits; ``on_scanning`` is called with True when a
    scan begins, and with False when it ends. ``busy_seconds`` is how long to wait for a broker that others have locked;
    None: no longer than for one that fails.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        pool: SessionPool,
        lease: JobLease,
        *,
        waits_at_start: bool,
        busy_seconds: float | None,
        on_busy: Callable[[bool], None],
        on_scanning: Callable[[bool], None],
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._pool = pool
        self._lease = lease
        self._job = lease.job
        self._waits_at_start = waits_at_start
        self._busy_seconds = busy_seconds
        self._on_busy = on_busy
        self._on_scanning = on_scanning
        self._outage = outage_log(broker)
        self._learning = Learning(broker, lease.job)
        self._ledgers: dict[str, ScanLedger] = {}
        """By address: the records that the scan adds to the job's ledger; empty if no ledger is kept."""

    async def keep(self, stop: asyncio.Event) -> bool:
        """Works until the job has ended and returns True.

        Returns False if ``stop`` is set, after handing the job back, or if the job now belongs to another manager.

        Raises:
            BrokerError: the broker fails for longer than a lease lasts, or refuses a call.
            ProgramChanged: the program was replaced while it was running; the job has been handed back.
        """
        lease = self._lease
        work = asyncio.create_task(self._manage())
        renewer = asyncio.create_task(self._renew())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([work, renewer, stopped], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return await self._end(work)
            if renewer.done():
                log.warning(
                    "job %s: lost its lease; another manager continues",
                    lease.job.job_id,
                    extra=about(job=lease.job.job_id),
                )
            else:
                await end_tasks(work)
                await self._broker.release_job(lease)
            return False
        finally:
            self._on_busy(False)
            await end_tasks(work, renewer, stopped)

    async def _end(self, work: asyncio.Task[None]) -> bool:
        """Settles the job once the work on it is done, and returns True; False if another manager has taken it over."""
        try:
            work.result()
        except LeaseLost as error:
            log.warning("job %s: %s: letting go of it", self._job.job_id, error, extra=about(job=self._job.job_id))
            await self._broker.release_job(self._lease)  # does nothing if the other manager has the lease
            return False
        except ProgramChanged:
            await self._broker.release_job(self._lease)
            raise
        await self._persist(lambda: self._broker.settle_job(self._lease))
        return True

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes a broker call, and repeats it while it fails for a transient reason, for as long as a lease lasts."""
        seconds = self._settings.lease.lease_seconds
        return await persist(call, seconds, self._outage, busy_seconds=self._busy_seconds)

    async def _renew(self) -> None:
        """Returns when the lease is lost."""
        seconds = self._settings.lease.lease_seconds
        while True:
            await asyncio.sleep(seconds / 3)
            try:
                await self._broker.renew_job(self._lease, seconds)
            except LeaseLost:
                return
            except BrokerError as error:
                self._outage.failed(f"renewing job {self._job.job_id}: {error}")

    async def _manage(self) -> None:
        """Scans the job and waits for its end; starts again if its items were lost, or another manager began a scan."""
        job = self._job
        waiting = Waiting(self._broker, self._settings, self._pool, job, self._persist, self._learning)
        while True:
            await self._scan_or_fail()
            self._on_busy(False)
            if not await waiting.until_settled():
                return
            self._on_busy(True)

    async def _scan_or_fail(self) -> None:
        job = self._job
        try:
            status = await self._persist(lambda: self._broker.status(job.job_id))
            to_scan = not status.scan.finished and not status.state.final
            if to_scan and status.state is JobState.QUEUED:
                to_scan = await self._set_state(JobState.SCANNING)
            if to_scan:
                await self._learn()
            if to_scan and job.each_address and job.access.addresses:
                await self._scan_each_address()
            elif to_scan:
                await self._scan_with_retries()
        except Ended:
            pass
        except LeaseLost:
            raise
        except CacheWarmerError as error:
            if isinstance(error, BrokerError) and error.transient:
                raise  # the lease runs out, and a manager that can reach the broker continues
            await self._fail(error)
        except Exception as error:
            await self._fail_for(error)

    async def _learn(self) -> None:
        """Sets the windows that the scan begins with, if windows are searched for automatically."""
        if self._settings.nfs.window_auto:
            self._pool.learn(await self._learning.first_windows())

    async def _fail_for(self, error: Exception) -> None:
        """Fails the job because of an unexpected exception.

        Raises:
            ProgramChanged: that was the cause, so another manager can continue the job.
        """
        changed = program_changed(error)
        if changed is not None:
            raise changed from error
        lacking = own_resource_error(error)
        if lacking is not None:
            await self._fail(lacking)
            return
        # A bug: the next manager would only run into it again, and so would the one after that.
        job_id = self._job.job_id
        log.error("job %s failed", job_id, exc_info=error, extra=about(job=job_id))
        await self._set_state(JobState.FAILED, f"{type(error).__name__}: {error}")

    async def _fail(self, error: CacheWarmerError) -> None:
        """Fails the job with an error, and logs it in one line."""
        if isinstance(error, UnknownHost) and not error.advice:
            error.advice = await self._known_address(error.address)
        log.error("job %s failed: %s", self._job.job_id, error, extra=about(job=self._job.job_id))
        await self._set_state(JobState.FAILED, error.failure.dump())

    async def _known_address(self, name: str) -> str:
        """Advice for an unknown address: a similar address of an earlier job. Empty if there is none."""
        from cachewarmer.likeness import did_you_mean

        with suppress(BrokerError):
            jobs = [one.job for one in await self._broker.jobs() if one.scan.files]
            return did_you_mean(name, dict.fromkeys(address for job in jobs for address in job.access.addresses))
        return ""

    async def _set_state(self, state: JobState, reason: str = "") -> bool:
        """Moves the job to a state. Returns whether that was possible: False if, for example, it has been cancelled."""
        try:
            await self._persist(lambda: self._broker.set_state(self._job.job_id, state, reason))
        except InvalidTransition:
            return False
        return True

    # -- the scan --------------------------------------------------------------------------------------------------

    async def _scan_with_retries(self) -> None:
        """Scans the job, and starts again whenever its addresses fail, for as long as the patience lasts.

        Raises:
            TransportError: none of its addresses has answered for that long.
        """
        job, patience = self._job, self._settings.lease.patience_seconds
        mounts = mounts_of(job)
        reached = False
        failing_since = 0.0
        while True:
            began = time.monotonic()
            try:
                async with self._pool.scope() as scope:
                    sessions = await open_sessions(job, scope)
                    reached = True
                    await self._scan(steady(sessions, self._pool, mounts))
                return
            except TransportError as error:
                now = time.monotonic()
                if not failing_since or now - began > patience:
                    failing_since = now
                limit = UNKNOWN_HOST_SECONDS if isinstance(error, UnknownHost) and not reached else patience
                if not mounts or not (reached or self._waits_at_start) or (limit and now - failing_since > limit):
                    raise
                log.info(
                    "job %s: %s; scanning again when an address answers",
                    job.job_id,
                    error,
                    extra=about(job=job.job_id),
                )
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit or None):
                        await asyncio.sleep(SCAN_RETRY_SECONDS)
                        await self._pool.wait_until_up(mounts)

    async def _scan(self, sessions: Sequence[Session]) -> None:
        """Scans the whole tree and records its totals. Raises ``Ended`` if the job ends meanwhile."""
        job = self._job
        counter = ScanCounter()
        await self._begin_ledger(job, counter)
        await self._watched(lambda gate: self._publish_all(job, sessions, counter, gate), counter.totals)
        await self._persist(lambda: self._broker.record_scan(job.job_id, counter.totals(finished=True)))

    async def _scan_each_address(self) -> None:
        """Scans the tree at each address: caches have different file handles, and a listing warms a cache's metadata.

        Raises:
            CacheWarmerError: the scan failed at every address; this is the error of the first.
        """
        from cachewarmer.manager.each_address import AddressScan

        job = self._job
        scans = [
            AddressScan(
                job.at(address),
                self._settings,
                self._pool,
                waits_at_start=self._waits_at_start,
                begin=self._begin_ledger,
                file_list=lambda: self._broker.file_list(job.job_id),
            )
            for address in job.access.addresses
        ]

        def totals() -> ScanTotals:
            return joined([one.totals() for one in scans])

        async def publish(gate: Gate) -> None:
            async def one_scan(one: AddressScan) -> bool:
                await one.scan(lambda job, sessions, counter: self._publish_all(job, sessions, counter, gate))
                return one.failure is None

            if job.fan_out:
                from cachewarmer.manager.fan_out import Part

                await self._fan_out(totals).scan([Part(one.address, partial(one_scan, one)) for one in scans])
            else:
                await asyncio.gather(*(one_scan(one) for one in scans))

        await self._watched(publish, totals)
        failures = [one.failure for one in scans if one.failure is not None]
        if len(failures) == len(scans):
            raise failures[0]
        finished = joined([one.totals() for one in scans], finished=True)
        await self._persist(lambda: self._broker.record_scan(job.job_id, finished))

    def _fan_out(self, totals: Callable[[], ScanTotals]) -> FanOut:
        from cachewarmer.manager.fan_out import FanOut

        broker, job_id, lease = self._broker, self._job.job_id, self._settings.lease
        return FanOut(
            record=lambda: self._persist(lambda: broker.record_scan(job_id, totals())),
            status=lambda: self._persist(lambda: broker.status(job_id)),
            workers=lambda: self._persist(lambda: broker.workers(job_id)),
            is_gone=self._is_gone,
            poll_seconds=lease.poll_seconds,
            lost_seconds=2 * lease.lease_seconds,
        )

    async def _is_gone(self, address: str) -> bool:
        patience = self._settings.lease.patience_seconds
        return bool(patience) and await self._pool.reach(mounts_of(self._job.at(address))) >= patience

    async def _watched(self, publish: Callable[[Gate], Awaitable[None]], totals: Callable[[], ScanTotals]) -> None:
        """Publishes what a scan finds, and records its progress. Raises ``Ended`` if the job ends meanwhile."""
        gate = Gate()
        scan = asyncio.ensure_future(publish(gate))
        watcher = asyncio.create_task(self._watch(totals, gate))
        try:
            self._on_scanning(True)
            await asyncio.wait([scan, watcher], return_when=asyncio.FIRST_COMPLETED)
            if watcher.done():
                watcher.result()
                raise Ended
            scan.result()
            await self._flush_ledgers()
        finally:
            await end_tasks(scan, watcher)
            self._on_scanning(False)

    async def _publish_all(self, job: WarmJob, sessions: Sequence[Session], counter: ScanCounter, gate: Gate) -> None:
        file_list = self._broker.file_list(job.job_id) if job.has_file_list else None
        known = await self._since(job, counter) if job.ledger and job.since else None

        async def publish(items: Sequence[WorkItem]) -> None:
            await gate.pass_through()
            await self._flush_ledgers(whole=True)
            await self._persist(lambda: self._broker.publish(items))

        async with Publisher(publish) as publisher:
            await scan_tree(
                job,
                sessions,
                self._settings.plan,
                counter,
                publisher.add,
                message_bytes=self._broker.max_message_bytes,
                file_list=file_list,
                pool=self._pool,
                known=known,
            )
        await gate.pass_through()

    async def _begin_ledger(self, job: WarmJob, counter: ScanCounter) -> None:
        """Begins the scan's records in the ledger, if the job keeps one."""
        if job.ledger:
            from cachewarmer.manager.told import ScanLedger

            address = _own_address(job)
            ledger = ScanLedger(self._broker, job.job_id, address, self._persist)
            self._ledgers[address] = ledger
            await ledger.begin()
            counter.told = ledger.failed

    async def _since(self, job: WarmJob, counter: ScanCounter) -> Since:
        """The ledger that the files of the job are compared with."""
        from cachewarmer.ledger.records import records
        from cachewarmer.ledger.since import Since, base_pieces

        ledger = self._ledgers[_own_address(job)]
        since = Since(each_address=job.each_address, tell=ledger.unchanged.append)
        with suppress(UnknownJob):  # it has been forgotten since: there is nothing to compare with
            async for one in records(base_pieces(self._broker, job), each_address=job.each_address):
                since.add(one)
        if not len(since):
            counter.warn("the ledger to compare with has no files that were read: reading all files")
        return since

    async def _flush_ledgers(self, *, whole: bool = False) -> None:
        """Writes the records that are waiting; with ``whole``, only if there are enough of them for a piece."""
        for ledger in list(self._ledgers.values()):
            if ledger.is_whole or (ledger.waiting and not whole):
                await ledger.flush()

    async def _watch(self, totals: Callable[[], ScanTotals], gate: Gate) -> None:
        """Updates the totals of a scan every second, and suspends the scan while the job is paused.

        Returns when the job has ended.
        """
        job_id = self._job.job_id
        while True:
            await asyncio.sleep(min(RECORD_SECONDS, self._settings.lease.poll_seconds))
            try:
                state = await self._broker.state(job_id)
                if state.final:
                    return
                gate.hold(state is JobState.PAUSED)
                self._on_busy(state is not JobState.PAUSED)
                await self._broker.record_scan(job_id, totals())
                await self._flush_ledgers(whole=True)
                await self._learning.look_while_scanning()
            except LeaseLost:
                raise
            except BrokerError as error:
                self._outage.failed(f"recording the scan of job {job_id}: {error}")


def _own_address(job: WarmJob) -> str:
    """The address of the scan if each address is a separate cache, else empty."""
    return job.access.addresses[0] if job.each_address and job.access.addresses else ""


class Gate:
    """Where a scan waits while its job is paused."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def hold(self, held: bool) -> None:
        """Closes the gate (True) or opens it (False)."""
        if held:
            self._open.clear()
        else:
            self._open.set()

    async def pass_through(self) -> None:
        """Waits while the job is paused."""
        await self._open.wait()
