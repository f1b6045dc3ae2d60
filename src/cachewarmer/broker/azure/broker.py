"""The broker of a fleet: Azure storage queues for jobs and work, an Azure table for records, receipts and tallies."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from cachewarmer.azure.calls import all_of
from cachewarmer.azure.sign_in import Clients, SignIn
from cachewarmer.broker.azure.ledger import Ledger, Settlement, Sums
from cachewarmer.broker.azure.messages import (
    MOST_PUBLISHED_BYTES,
    failed_deliveries,
    first_generation_job,
    handed_back_text,
    item_of,
    job_of,
    poison_text,
    published_text,
)
from cachewarmer.broker.azure.names import FIRST_GENERATION_JOB, JobScan, check_prefix, queue_name, table_name
from cachewarmer.broker.azure.queues import Queue, Taken, Token
from cachewarmer.broker.azure.tables import ROUNDS, JobRecord, Records
from cachewarmer.broker.azure.tidy import Tidier
from cachewarmer.broker.base import Backlog, Broker, JobLease, WorkLease
from cachewarmer.broker.record import given_up, poison_sample
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerError, BrokerUnavailable, InvalidMessage, LeaseLost, UnknownJob
from cachewarmer.model import (
    JobState,
    JobStatus,
    Receipt,
    ScanTotals,
    WarmJob,
    WorkItem,
    check_transition,
    new_job_id,
)

log = logging.getLogger(__name__)

BROKER_NAME = "broker"
"""Under this name a claim settles what it finds to be poison."""


class AzureBroker(Broker):
    """The queues and the table of one prefix in one storage account; see ``open_broker`` for the credentials.

    Raises:
        UsageError: Azure does not take the prefix.
        ConfigError: the connection string can't be understood, or is for another account.
    """

    max_message_bytes = MOST_PUBLISHED_BYTES

    def __init__(
        self,
        account: str,
        prefix: str,
        settings: LeaseSettings | None = None,
        *,
        storage_key: str = "",
        resource_group: str = "",
        connection_string: str = "",
        endpoint_suffix: str = "",
    ) -> None:
        self.prefix = check_prefix(prefix)
        self.url = f"azure://{account}/{prefix}"
        self.settings = settings or LeaseSettings()
        self._sign_in = SignIn(account, storage_key, resource_group, connection_string, endpoint_suffix)
        self._open: _Open | None = None
        self._first_generation_ready = False
        self._managed_scans: dict[str, int] = {}
        """The scan of each job that this process last took to manage."""
        self._latest_scans: dict[str, int] = {}
        """The scan that counts, of jobs whose state was asked for."""

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
        opened = _Open(self._sign_in.clients(), self.prefix)
        try:
            for queue in (opened.jobs, opened.work, opened.poison):
                await queue.create()
            await opened.records.create_table()
        except BaseException:
            await opened.clients.close()
            raise
        self._open = opened

    async def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            await opened.clients.close()

    @property
    def _at(self) -> _Open:
        if self._open is None:
            raise BrokerError(f"the broker {self.url} is not open")
        return self._open

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: WarmJob, file_list: AsyncIterable[bytes] | None = None) -> str:
        at = self._at
        job = replace(
            job,
            job_id=job.job_id or new_job_id(),
            submitted_at=job.submitted_at or time.time(),
            has_file_list=job.has_file_list or file_list is not None,
        )
        WarmJob.from_json(job.to_json())  # what no manager could read is refused here
        if await at.records.find(job.job_id) is not None:
            return job.job_id
        if file_list is not None:
            await at.records.put_list(job.job_id, file_list)
        # The message first: a job with a record and without a message would never run. If we end between the two,
        # a repeat posts a second message, which managers know by its id.
        await at.jobs.send(job.to_json())
        await at.records.add(JobRecord(job=job, state=JobState.QUEUED, submitted_at=job.submitted_at))
        return job.job_id

    async def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        async for chunk in self._at.records.get_list(job_id):
            yield chunk

    async def claim_job(self, owner: str, lease_seconds: float, job_id: str = "") -> JobLease | None:  # noqa: ARG002
        if job_id:
            raise BrokerError(f"{self.url}: a queue gives the next job, not a chosen one: start a manager for it")
        while taken := await self._at.jobs.receive(1, lease_seconds):
            lease = await self._managed(taken[0])
            if lease is not None:
                return lease
        return None

    async def _managed(self, taken: Taken) -> JobLease | None:
        """The lease of a job message; None if it was poison, of a job that ended, or a repeat."""
        at = self._at
        try:
            job = job_of(taken.text, taken.token.message_id)
        except InvalidMessage as error:
            await self._poison_message(at.jobs, taken, str(error))
            return None
        submitted = job.submitted_at or time.time()
        await at.records.add(JobRecord(job=job, state=JobState.QUEUED, submitted_at=submitted))
        message_id = taken.token.message_id
        record = await at.records.change(job.job_id, lambda record: record.taken_by(message_id))
        if record.state.final or record.message_id != message_id:
            await at.jobs.delete(taken.token)
            return None
        self._managed_scans[job.job_id] = record.scan_number
        return JobLease(str(taken.token), taken.expires_at, taken.deliveries, record.job)

    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        token, lease.expires_at = await self._at.jobs.change(Token.parse(lease.token), lease_seconds)
        lease.token = str(token)

    async def release_job(self, lease: JobLease) -> None:
        try:
            await self._at.jobs.change(Token.parse(lease.token), 0)
        except LeaseLost:
            return

    async def settle_job(self, lease: JobLease) -> None:
        await self._at.jobs.delete(Token.parse(lease.token))

    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        at = self._at
        for _ in range(ROUNDS):
            record = await at.records.get(job_id)
            status = _status(record, await at.ledger.sums(record.counted_scan))
            if not check_transition(job_id, status.state, state) and record.state is state:
                return status
            changed = record.moved_to(state, reason, time.time())
            if await at.records.replace(changed):
                return _status(changed, await at.ledger.sums(record.counted_scan))
        raise BrokerUnavailable(f"job {job_id} is changed by others all the time")

    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        def change(record: JobRecord) -> JobRecord:
            # Not of a scan that another manager has begun anew, nor behind one that is finished.
            late = self._managed_scans.get(job_id, record.scan_number) != record.scan_number
            if late or (record.scan.finished and not totals.finished):
                return record
            record = replace(record, scan=totals)
            if totals.finished and record.state is JobState.SCANNING:
                return record.moved_to(JobState.WARMING, "", time.time())
            return record

        await self._at.records.change(job_id, change)

    async def state(self, job_id: str) -> JobState:
        state, self._latest_scans[job_id] = await self._at.records.state(job_id)
        return state

    async def status(self, job_id: str) -> JobStatus:
        record = await self._at.records.get(job_id)
        return _status(record, await self._at.ledger.sums(record.counted_scan))

    async def jobs(self) -> list[JobStatus]:
        found = await self._at.records.all()
        sums = await all_of(self._at.ledger.sums(record.counted_scan) for record in found)
        statuses = [_status(record, rows) for record, rows in zip(found, sums, strict=True)]
        return sorted(statuses, key=lambda status: status.submitted_at, reverse=True)

    async def tidy(self, keep_seconds: float) -> None:
        await self._at.tidier.tidy(keep_seconds, time.time())

    # -- work ------------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        work = self._at.work
        numbered = [replace(item, scan=self._managed_scans.get(item.job_id, 0)) for item in items]
        texts = [published_text(item) for item in numbered]  # all of them can be posted, or none is
        await all_of(work.send(text) for text in texts)

    async def claim(self, worker: str, most: int, lease_seconds: float, job_id: str = "") -> list[WorkLease]:  # noqa: ARG002
        if job_id:
            raise BrokerError(f"{self.url}: a queue gives the next item, not those of one job")
        while taken := await self._at.work.receive(most, lease_seconds):
            found = await all_of(self._leased(one) for one in taken)
            leases = [lease for lease in found if lease is not None]
            if leases:
                return leases
        return []

    async def _leased(self, taken: Taken) -> WorkLease | None:
        """The lease of a work message; None if it was poison."""
        try:
            item = item_of(taken.text, taken.token.message_id)
        except InvalidMessage as error:
            await self._poison_message(self._at.work, taken, str(error))
            return None
        if item.scan < self._latest_scans.get(item.job_id, 0):
            await self._at.work.delete(taken.token)  # its job is scanned anew, and counts only what that publishes
            return None
        if item.job_id == FIRST_GENERATION_JOB and not self._first_generation_ready:
            now = time.time()
            record = JobRecord(job=first_generation_job(item), state=JobState.WARMING, submitted_at=now, started_at=now)
            await self._at.records.add(record)
            self._first_generation_ready = True
        item, deliveries = failed_deliveries(item, taken.deliveries)
        lease = WorkLease(str(taken.token), taken.expires_at, deliveries, item)
        if deliveries > self.settings.max_deliveries:
            await self._poison_item(lease, given_up(deliveries - 1, item.last_error))
            return None
        return lease

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        token, lease.expires_at = await self._at.work.change(Token.parse(lease.token), lease_seconds)
        lease.token = str(token)

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        held = await all_of(self._still_held(lease) for lease, _ in results)
        by_scan: dict[JobScan, list[int]] = {}
        for place, (lease, _) in enumerate(results):
            if held[place]:
                by_scan.setdefault(JobScan(lease.item.job_id, lease.item.scan), []).append(place)
        counted = [False] * len(results)

        async def settle(scan: JobScan, places: list[int]) -> None:
            rows = [Settlement(results[place][0].item.item_id, results[place][1]) for place in places]
            outcomes = await self._at.ledger.settle(scan, worker, rows)
            for place, before in zip(places, outcomes, strict=True):
                counted[place] = not before

        await all_of(settle(scan, places) for scan, places in by_scan.items())
        await all_of(self._let_go(lease) for (lease, _), ours in zip(results, held, strict=True) if ours)
        return counted

    async def _still_held(self, lease: WorkLease) -> bool:
        """Whether the item is ours: by the clock, or because the service lets us renew it."""
        if lease.expires_at > time.time():
            return True
        try:
            await self.renew(lease, self.settings.lease_seconds)
        except LeaseLost:
            return False
        return True

    async def _let_go(self, lease: WorkLease) -> None:
        """Takes a settled item off the queue. If that fails it is delivered again, and not counted again."""
        token = lease.token
        try:
            if not await self._at.work.delete(Token.parse(token)) and lease.token != token:
                await self._at.work.delete(Token.parse(lease.token))  # a renewal came between
        except BrokerUnavailable as error:
            log.warning("%s; it will be delivered once more", error)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        if reason and lease.deliveries >= self.settings.max_deliveries:
            return await self._poison_item(lease, given_up(lease.deliveries, reason))
        if not reason:
            try:
                ended = (await self.state(lease.item.job_id)).final
            except UnknownJob as error:
                return await self._poison_stray(lease, str(error))
            if ended:
                await self._at.work.delete(Token.parse(lease.token))
                return False
        with contextlib.suppress(LeaseLost):
            await self._at.work.change(Token.parse(lease.token), delay_seconds, handed_back_text(lease.item, reason))
        return False

    async def poison(self, lease: WorkLease, reason: str) -> None:
        await self._poison_item(lease, reason)

    async def _poison_item(self, lease: WorkLease, reason: str) -> bool:
        """Settles an item as poison, unless somebody else has it or it has a receipt; whether it is in poison now."""
        item = lease.item
        if not await self._still_held(lease):
            return False
        settlement = Settlement(item.item_id, poisoned_files=item.file_count, poison_errors=poison_sample(item, reason))
        (before,) = await self._at.ledger.settle(JobScan(item.job_id, item.scan), BROKER_NAME, [settlement])
        if before != "receipt":
            # Again if we ended between the two steps once: rather two messages for people than none.
            await self._at.poison.send(poison_text(self._at.work.name, item.to_json(), reason))
        await self._let_go(lease)
        return before != "receipt"

    async def _poison_stray(self, lease: WorkLease, reason: str) -> bool:
        """Moves an item to the poison queue that no job can count."""
        log.warning("an item goes to poison: %s", reason)
        await self._at.poison.send(poison_text(self._at.work.name, lease.item.to_json(), reason))
        await self._let_go(lease)
        return True

    async def _poison_message(self, queue: Queue, taken: Taken, reason: str) -> None:
        """Moves a message that can't be understood to the poison queue."""
        log.warning("a message of the queue %s goes to poison: %s", queue.name, reason)
        await self._at.poison.send(poison_text(queue.name, taken.text, reason))
        await queue.delete(taken.token)

    async def backlog(self) -> Backlog:
        at = self._at
        found = await at.records.active()
        sums = await all_of(at.ledger.sums(record.counted_scan) for record in found)
        statuses = [_status(record, rows) for record, rows in zip(found, sums, strict=True)]
        # Leased messages are still on the queue, so its length is never less than the items that nobody has settled: where
        # it is, messages were cleared by hand, and nobody can ever read them. Asked for last: what was published by then.
        length = await at.work.length()
        backlog = Backlog.of(statuses, waiting_items=length)
        if not backlog.active_jobs:
            return replace(backlog, stray_items=length)
        unsettled = min(backlog.unsettled_items, length)
        if any(
            status.state in (JobState.SCANNING, JobState.WARMING) and not status.scan.finished for status in statuses
        ):
            # The totals of a scan that goes on are a second old, those of one that began again are too small, and a
            # first-generation job has none. So count the queue, less what rests there for paused jobs.
            paused = [status for status in statuses if status.state is JobState.PAUSED]
            resting = sum(max(0, status.scan.items - status.settled_items) for status in paused)
            unsettled = max(unsettled, length - resting)
        return replace(backlog, unsettled_items=unsettled)


class _Open:
    """The queues and rows of an open broker."""

    def __init__(self, clients: Clients, prefix: str) -> None:
        self.clients = clients
        self.jobs, self.work, self.poison = (
            Queue(clients.queues.get_queue_client(queue_name(prefix, kind))) for kind in ("job", "work", "poison")
        )
        table = clients.tables.get_table_client(table_name(prefix))
        self.records = Records(table, prefix)
        self.ledger = Ledger(table, prefix)
        self.tidier = Tidier(table, prefix, self.records)


def _status(record: JobRecord, sums: Sequence[Sums]) -> JobStatus:
    return JobStatus(
        job=record.job,
        state=record.state,
        scan=record.scan,
        tallies=tuple(one.tally for one in sums if one.tally.items),
        poisoned_items=sum(one.poisoned_items for one in sums),
        poisoned_files=sum(one.poisoned_files for one in sums),
        poison_errors=tuple(error for one in sums for error in one.poison_errors),
        submitted_at=record.submitted_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        reason=record.reason,
    ).settled()
