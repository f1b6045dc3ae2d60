"""The state of an open Azure broker: its queues, its rows, and the known scan of each job."""

from __future__ import annotations

from cachewarmer.azure.sign_in import Clients
from cachewarmer.broker.azure.fleets import FleetRows
from cachewarmer.broker.azure.managers import ManagerRows
from cachewarmer.broker.azure.names import JobScan, queue_name, table_name
from cachewarmer.broker.azure.pieces import Pieces
from cachewarmer.broker.azure.published import PublishedIds
from cachewarmer.broker.azure.queues import Queue
from cachewarmer.broker.azure.ranked import RankedQueues
from cachewarmer.broker.azure.receipts import Receipts, Sums
from cachewarmer.broker.azure.tables import JobRecord, Records
from cachewarmer.broker.azure.tidy import Tidier
from cachewarmer.broker.azure.workers import WorkerRows
from cachewarmer.broker.record import DamagedRows, kept_verdict
from cachewarmer.model import BY_RANK, JobStatus, Priority


class Opened:
    """The queues and rows of one prefix."""

    def __init__(self, clients: Clients, prefix: str) -> None:
        self.clients = clients
        self.jobs, self.work = (
            RankedQueues(
                [_queue(clients, queue_name(prefix, kind, one), optional=one is not Priority.NORMAL) for one in BY_RANK]
            )
            for kind in ("job", "work")
        )
        self.poison = _queue(clients, queue_name(prefix, "poison"))
        table = clients.tables.get_table_client(table_name(prefix))
        damaged = DamagedRows()
        self.records = Records(table, prefix, damaged)
        self.receipts = Receipts(table, prefix, damaged)
        self.pieces = Pieces(table, prefix)
        self.managers = ManagerRows(table, prefix)
        self.fleets = FleetRows(table, prefix, damaged)
        self.workers = WorkerRows(table, prefix, damaged)
        self.tidier = Tidier(table, prefix, self.records)
        self.scans = Scans()

    async def create(self) -> None:
        """Creates the queues and the table that are missing."""
        await self.jobs.create()
        await self.work.create()
        await self.poison.create()
        await self.records.create_table()

    async def all_there(self) -> bool:
        """Whether the table and the queues for jobs and work exist."""
        return await self.records.table_exists() and await self.jobs.exists() and await self.work.exists()

    async def status(self, job_id: str) -> JobStatus:
        """The status of a job. Raises ``UnknownJob``."""
        record = await self.records.get(job_id)
        return status_of(record, await self.receipts.sums(record.counted_scan))

    async def status_of(self, record: JobRecord) -> JobStatus:
        """The status of a job whose record was just read."""
        return status_of(record, await self.receipts.sums(record.counted_scan))


def _queue(clients: Clients, name: str, *, optional: bool = False) -> Queue:
    return Queue(clients.queues.get_queue_client(name), optional=optional)


class Scans:
    """Which scan of each job counts, as far as this process knows, and what it has published in those it manages."""

    def __init__(self) -> None:
        self._managed: dict[str, int] = {}
        self._left: dict[str, int] = {}
        """The scans of jobs that this process has left: what it still publishes in them must not count."""
        self._latest: dict[str, int] = {}
        self._published: dict[JobScan, PublishedIds] = {}

    @property
    def managed_jobs(self) -> list[str]:
        """The jobs that this process has taken to manage."""
        return list(self._managed)

    def manage(self, job_id: str, number: int) -> None:
        """Records that this process has taken the job, and publishes in this scan from now on."""
        if self._managed.get(job_id, number) != number:
            self._forget(JobScan(job_id, self._managed[job_id]))
        self._left.pop(job_id, None)
        self._managed[job_id] = number

    def leave(self, job_id: str) -> None:
        """Records that another manager has the job now, or that it was handed back or is over."""
        number = self._managed.get(job_id)
        if number is not None:
            self._forget(JobScan(job_id, number))
            del self._managed[job_id]
            self._left[job_id] = number

    def _forget(self, scan: JobScan) -> None:
        ids = self._published.pop(scan, None)
        if ids is not None:
            ids.close()

    def managed(self, job_id: str, default: int = 0) -> int:
        """The number of the scan that this process manages, or managed when it left the job; else ``default``."""
        return self._managed.get(job_id, self._left.get(job_id, default))

    def see(self, job_id: str, number: int) -> None:
        """Records that this scan counts, according to the record of the job."""
        self._latest[job_id] = number

    def is_left_behind(self, scan: JobScan) -> bool:
        """Whether a later scan of the job is known to count instead of this one."""
        return scan.number < self._latest.get(scan.job_id, 0)

    def published(self, scan: JobScan) -> PublishedIds:
        """The ids that this process has published in a scan."""
        if scan not in self._published:
            self._published[scan] = PublishedIds()
        return self._published[scan]

    def published_count(self, scan: JobScan) -> int:
        """How many ids this process has published in a scan."""
        ids = self._published.get(scan)
        return len(ids) if ids is not None else 0

    def close(self) -> None:
        """Forgets all scans, and deletes their temporary files."""
        for scan in list(self._published):
            self._forget(scan)
        self._managed.clear()
        self._left.clear()


def status_of(record: JobRecord, sums: list[Sums]) -> JobStatus:
    """The status of a job, from its record and the sums of its workers."""
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
        bound=kept_verdict(record.learnt),
    ).settled()
