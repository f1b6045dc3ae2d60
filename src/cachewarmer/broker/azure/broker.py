"""The Azure broker: storage queues hold jobs and work items, and a table holds records, receipts and tallies."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from cachewarmer.azure.calls import all_of
from cachewarmer.azure.sign_in import SignIn
from cachewarmer.broker.azure.lost import Lost
from cachewarmer.broker.azure.messages import MOST_PUBLISHED_BYTES, job_of
from cachewarmer.broker.azure.names import JobScan, check_prefix
from cachewarmer.broker.azure.opened import Opened
from cachewarmer.broker.azure.queues import Taken, Token
from cachewarmer.broker.azure.tables import ROUNDS, JobRecord
from cachewarmer.broker.azure.work import WorkSide
from cachewarmer.broker.base import Backlog, Broker, JobLease, JobLook, Trial, WorkLease
from cachewarmer.broker.record import managers_lost
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerError, BrokerUnavailable, InvalidMessage, LeaseLost, NothingThere
from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Learnt,
    Priority,
    Receipt,
    ScanTotals,
    WarmJob,
    WorkerReport,
    WorkItem,
    check_transition,
    new_job_id,
)
from cachewarmer.model.outcomes import BASE

log = logging.getLogger(__name__)


class AzureBroker(Broker):
    """The queues and the table of one prefix in one storage account; see ``open_broker`` for the credentials.

    Raises:
        UsageError: Azure does not accept the prefix.
        ConfigError: the connection string or the key is not valid, or is for another account.
    """

    workers_are_rented = True
    chooses_jobs = False
    max_message_bytes = MOST_PUBLISHED_BYTES

    def __init__(
        self,
        account: str,
        prefix: str,
        settings: LeaseSettings | None = None,
        *,
        create: bool = True,
        storage_key: str = "",
        resource_group: str = "",
        connection_string: str = "",
        endpoint_suffix: str = "",
    ) -> None:
        self.prefix = check_prefix(prefix)
        self.url = f"azure://{account}/{prefix}"
        self.settings = settings or LeaseSettings()
        self._create = create
        self._sign_in = SignIn(account, storage_key, resource_group, connection_string, endpoint_suffix)
        self._open: Opened | None = None
        self._work: WorkSide | None = None
        self._lost: Lost | None = None

    def __repr__(self) -> str:
        return f"<AzureBroker {self.url} {'open' if self._open else 'closed'}>"

    async def open(self) -> None:
        if self._open is not None:
            return
        try:
            await self._connect()
        except BrokerError as error:
            refused = getattr(error.__cause__, "status_code", None) in (401, 403)
            if not (refused and self._sign_in.resource_group and self._sign_in.uses_identity):
                raise
            log.info("%s: no data role; looking up the account's key", self.url)
            await self._sign_in.look_up_key()
            await self._connect()

    async def _connect(self) -> None:
        opened = Opened(self._sign_in.clients(), self.prefix)
        try:
            if self._create:
                await opened.create()
            elif not await opened.all_there():
                raise NothingThere(f"there is nothing at {self.url}: no job was ever submitted there; check the prefix")
        except BaseException:
            await opened.clients.close()
            raise
        self._work = WorkSide(opened, self.settings)
        self._lost = Lost(opened, self.settings)
        self._open = opened

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.scans.close()
            await opened.clients.close()

    @property
    def _at(self) -> Opened:
        if self._open is None:
            raise BrokerError(f"the broker {self.url} is not open")
        return self._open

    @property
    def _items(self) -> WorkSide:
        if self._open is None or self._work is None:
            raise BrokerError(f"the broker {self.url} is not open")
        return self._work

    @property
    def _losses(self) -> Lost:
        if self._open is None or self._lost is None:
            raise BrokerError(f"the broker {self.url} is not open")
        return self._lost

    def trials(self) -> Sequence[Trial]:
        at = self._at
        queues = "Storage Queue Data Contributor gives it"
        return (
            Trial(
                "job queue", "messages may be changed and deleted", f"a manager needs it: {queues}", at.jobs.try_taking
            ),
            Trial(
                "work queue",
                "messages may be changed and deleted",
                f"a worker needs it: {queues}",
                at.work.try_taking,
            ),
            Trial(
                "table",
                "rows may be written and deleted",
                "all but status need it: Storage Table Data Contributor gives it",
                at.records.try_writing,
            ),
        )

    @property
    def untried(self) -> Sequence[str]:
        return ("posting",)

    async def clock_ahead(self) -> float:
        return await self._at.work.time_ahead()

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: WarmJob, file_list: AsyncIterable[bytes] | None = None) -> str:
        at = self._at
        job = replace(
            job,
            job_id=job.job_id or new_job_id(),
            submitted_at=job.submitted_at or time.time(),
            has_file_list=job.has_file_list or file_list is not None,
        )
        WarmJob.from_json(job.to_json())  # a job that no manager could read is refused here
        if await at.records.find(job.job_id) is not None:
            return job.job_id
        if file_list is not None:
            await at.records.put_list(job.job_id, file_list)
        # The message first: a job with a record but without a message would never run. If the process ends between the
        # two, a repeated call posts a second message, which managers recognize by its id.
        await at.jobs.send(job.to_json(), job.priority)
        await at.records.add(JobRecord(job=job, state=JobState.QUEUED, submitted_at=job.submitted_at))
        return job.job_id

    async def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        async for chunk in self._at.records.get_list(job_id):
            yield chunk

    async def claim_job(
        self, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> JobLease | None:
        if job_id:
            raise BrokerError(
                f"{self.url}: a queue only hands out the next job, not a particular one: start a manager instead"
            )
        while taken := await self._at.jobs.receive(1, lease_seconds, least):
            lease = await self._managed(taken[0])
            if lease is not None:
                return lease
        return None

    async def _managed(self, taken: Taken) -> JobLease | None:
        """The lease of a job message; None: it was poison, of a job that has ended, or a repeat."""
        at = self._at
        message_id = taken.token.message_id
        try:
            job = job_of(taken.text, message_id)
        except InvalidMessage as error:
            await self._items.poison_message(at.jobs, taken, str(error))
            return None
        submitted = job.submitted_at or time.time()
        await at.records.add(JobRecord(job=job, state=JobState.QUEUED, submitted_at=submitted))
        most = self.settings.max_deliveries

        def take(record: JobRecord) -> JobRecord:
            delivered = taken.deliveries - record.handed_back
            mine = record.message_id in ("", message_id) and not (record.state.final or record.scan.finished)
            if mine and delivered > most:
                return record.moved_to(JobState.FAILED, managers_lost(delivered - 1), time.time())
            return record.taken_by(message_id)

        record = await at.records.change(job.job_id, take)
        if record.state.final or record.message_id != message_id:
            await at.jobs.delete(taken.token)
            return None
        at.scans.manage(job.job_id, record.scan_number)
        deliveries = max(1, taken.deliveries - record.handed_back)
        return JobLease(str(taken.token), taken.expires_at, deliveries, record.job)

    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        try:
            token, lease.expires_at = await self._at.jobs.change(Token.parse(lease.token), lease_seconds)
        except LeaseLost:
            self._at.scans.leave(lease.job.job_id)
            raise
        lease.token = str(token)

    async def release_job(self, lease: JobLease) -> None:
        job_id = lease.job.job_id
        self._at.scans.leave(job_id)
        try:
            await self._at.jobs.change(Token.parse(lease.token), 0)
        except LeaseLost:
            return
        await self._at.records.change(job_id, lambda record: replace(record, handed_back=record.handed_back + 1))

    async def settle_job(self, lease: JobLease) -> None:
        await self._at.jobs.delete(Token.parse(lease.token))
        self._at.scans.leave(lease.job.job_id)
        self._losses.forget(lease.job.job_id)

    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        at = self._at
        for _ in range(ROUNDS):
            record = await at.records.get(job_id)
            status = await at.status_of(record)
            if not check_transition(job_id, status.state, state) and record.state is state:
                return status
            changed = record.moved_to(state, reason, time.time())
            if await at.records.replace(changed):
                return await at.status_of(changed)
        raise BrokerUnavailable(f"job {job_id} keeps being changed by others")

    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        scans = self._at.scans

        def change(record: JobRecord) -> JobRecord:
            if scans.managed(job_id, record.scan_number) != record.scan_number:
                raise LeaseLost(f"another manager has restarted the scan of job {job_id} anew")
            items = scans.published_count(record.counted_scan) or totals.items
            return record.scanned(replace(totals, items=items), time.time())

        await self._at.records.change(job_id, change)

    async def look(self, job_id: str) -> JobLook:
        found, number = await self._at.records.look(job_id)
        self._at.scans.see(job_id, number)
        return found

    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        await self._at.records.keep_learnt(job_id, learnt)

    async def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        record = await self._at.records.change(job_id, lambda record: record.limited(bandwidth))
        return await self._at.status_of(record)

    async def status(self, job_id: str) -> JobStatus:
        return await self._at.status(job_id)

    async def jobs(self) -> list[JobStatus]:
        found = await self._at.records.all()
        statuses = await all_of(self._at.status_of(record) for record in found)
        return sorted(statuses, key=lambda status: status.submitted_at, reverse=True)

    async def tidy(self, keep_seconds: float) -> None:
        await self._at.tidier.tidy(keep_seconds, time.time())
        await self._at.managers.forget(keep_seconds)
        await self._at.workers.forget()

    # -- what keeps a job from waiting forever --------------------------------------------------------------------

    async def stranded(self, job_id: str) -> bool:
        return await self._losses.stranded(job_id)

    async def begin_scan_again(self, job_id: str) -> bool:
        at = self._at
        for _ in range(ROUNDS):
            record = await at.records.get(job_id)
            changed = record.scanned_again()
            if changed is None:
                return False
            if await at.records.replace(changed):
                at.scans.manage(job_id, changed.scan_number)
                self._losses.forget(job_id)
                return True
        raise BrokerUnavailable(f"job {job_id} keeps being changed by others")

    async def note_manager(self, name: str) -> None:
        await self._at.managers.note(name, self._at.scans.managed_jobs)
        await self._losses.repost_jobs()

    async def manager_seen(self) -> float | None:
        return min((one.seconds_ago for one in await self._at.managers.seen()), default=None)

    async def take_fleet(self, fleet: str, manager: str, seconds: float) -> bool:
        return await self._at.fleets.take(fleet, manager, seconds)

    async def note_worker(self, report: WorkerReport) -> None:
        await self._at.workers.note(report)

    async def workers(self, job_id: str = "") -> list[WorkerReport]:
        return await self._at.workers.reports(job_id)

    # -- the ledger ------------------------------------------------------------------------------------------------

    async def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        scan = (await self._at.records.get(job_id)).counted_scan
        async for piece in self._at.pieces.read(scan):
            yield piece

    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        base = all(key.startswith(BASE) for key, _ in pieces)
        await self._at.pieces.put(JobScan(job_id) if base else await self._own_scan(job_id), pieces)

    async def forget_scanned(self, job_id: str, part: str) -> None:
        await self._at.pieces.forget_scanned(await self._own_scan(job_id), part)

    async def forget_ledger(self, job_id: str) -> None:
        await self._at.pieces.forget((await self._at.records.get(job_id)).counted_scan)

    async def _own_scan(self, job_id: str) -> JobScan:
        """The scan that this process manages. Raises ``LeaseLost`` if another manager's scan counts now."""
        record = await self._at.records.get(job_id)
        if self._at.scans.managed(job_id, record.scan_number) != record.scan_number:
            raise LeaseLost(f"another manager has restarted the scan of job {job_id} anew")
        return record.counted_scan

    # -- work ------------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        await self._items.publish(items)

    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        if job_id:
            raise BrokerError(f"{self.url}: a queue only hands out the next item, not those of one job")
        return await self._items.claim(most, lease_seconds, least)

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        await self._items.renew(lease, lease_seconds)

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        return await self._items.complete(worker, results)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        return await self._items.abandon(lease, reason, delay_seconds)

    async def backlog(self) -> Backlog:
        at = self._at
        found = await at.records.active()
        statuses = await all_of(at.status_of(record) for record in found)
        # Leased messages are still on the queue, so its length is never below the number of unsettled items, unless
        # messages were deleted by hand and can never be read. It is read last, to include all that was published.
        length = await at.work.length()
        backlog = Backlog.of(statuses, waiting_items=length)
        if not backlog.active_jobs:
            return replace(backlog, stray_items=length)
        unsettled = min(backlog.unsettled_items, length)
        if any(
            status.state in (JobState.SCANNING, JobState.WARMING) and not status.scan.finished for status in statuses
        ):
            # The totals of a running scan are a second old, those of one that began again are too small, and a
            # first-generation job has none. So the queue is counted, without what waits there for paused jobs.
            paused = [status for status in statuses if status.state is JobState.PAUSED]
            resting = sum(max(0, status.scan.items - status.settled_items) for status in paused)
            unsettled = max(unsettled, length - resting)
        return replace(backlog, unsettled_items=unsettled)
