"""The rows of the status table for the records and file lists of jobs. For tallies and receipts see ``receipts``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import create, doing, error_code
from cachewarmer.broker import record
from cachewarmer.broker.azure.clock import ServiceClock
from cachewarmer.broker.azure.names import JobScan, records_partition, scan_partition
from cachewarmer.broker.base import JobLook
from cachewarmer.broker.record import reading_row
from cachewarmer.broker.sound import MOST_SECONDS, sound
from cachewarmer.errors import BrokerError, BrokerUnavailable, DamagedRecord, UnknownJob
from cachewarmer.model import Bandwidth, JobState, Learnt, ScanTotals, WarmJob
from cachewarmer.values import dataclass

PROPERTY_BYTES = 64 * 1024
"""Maximum size of a binary property (REST reference, Understanding the Table Service Data Model)."""
SAMPLE_BYTES = 24 * 1024
"""Maximum size of a sample of errors in a property."""
CHUNKS_A_ROW = 12
"""Maximum number of chunks in a row: with a full property for each, it stays below the 1 MiB of an entity."""
ROUNDS = 20
"""How often a change is tried, if somebody else changes the row at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(record.Standing):
    """The record of a job in the table; ``etag`` is that of the row as it was read."""

    job: WarmJob
    message_id: str = ""
    """The id of the message with which a manager first took the job; another message of the job is a repeat."""
    scan_number: int = 0
    """The number of the scan that counts. A manager that scans again what another left unfinished begins the next."""
    tidied: bool = False
    """Whether the receipts and the file list of the job were dropped after its end."""
    handed_back: int = 0
    """How often a manager has handed the job back, which the queue counts as a delivery too."""
    reposted: bool = False
    """Whether the message of the job was lost once, and another one was posted."""
    bandwidth: str = ""
    """The bandwidth that ``limit`` set, to be read without the whole job; empty: the one in the items holds."""
    learnt: str = ""
    """What is known about the addresses of the job, as ``Learnt`` writes it; empty: nothing."""
    learnt_at: float = 0.0
    """When ``learnt`` was written, by the clock of the service."""
    etag: str = ""

    @property
    def counted_scan(self) -> JobScan:
        return JobScan(self.job.job_id, self.scan_number)

    def taken_by(self, message_id: str) -> JobRecord:
        """The record after a manager has taken the job with this message; the same object if nothing changes.

        A scan that another manager has begun and not finished is discarded, with all that was counted in it. It may
        have published more than the next scan finds, because a tree may change, and then nobody could tell when all is
        done. A scan that another manager has taken but not begun is discarded too: that manager may only be slow.
        """
        record = self if self.message_id else replace(self, message_id=message_id)
        taken = bool(self.message_id) or self.state is not JobState.QUEUED
        begun = taken and not (self.state.final or self.scan.finished)
        if begun and record.message_id == message_id:
            record = replace(record, scan_number=self.scan_number + 1, scan=ScanTotals())
        return record

    def scanned_again(self) -> JobRecord | None:
        """See ``Standing``. The new scan has its own partition, where earlier receipts do not count.

        It gets a new number even if the job is being scanned again already, because two managers must never share one.
        """
        changed = record.Standing.scanned_again(self)  # super() would refer to the class before it got slots
        if changed is None:
            return None
        return replace(changed, scan=ScanTotals(), scan_number=self.scan_number + 1)

    def limited(self, bandwidth: Bandwidth) -> JobRecord:
        """The record with another bandwidth. Raises ``InvalidTransition``."""
        record.check_limit(self.job.job_id, self.state)
        return replace(self, job=record.limited(self.job, bandwidth), bandwidth=bandwidth.text())

    def entity(self, prefix: str) -> dict[str, Any]:
        scan = replace(self.scan, errors=record.sample_within(self.scan.errors, SAMPLE_BYTES))
        return {
            "PartitionKey": records_partition(prefix),
            "RowKey": self.job.job_id,
            "Job": self.job.to_json().encode("ascii"),
            "State": str(self.state),
            "Reason": record.printable(self.reason)[:4000],
            "SubmittedAt": float(self.submitted_at),
            "StartedAt": float(self.started_at),
            "FinishedAt": float(self.finished_at),
            "Scan": record.dump_scan(scan).encode("ascii"),
            "MessageId": self.message_id,
            "ScanNumber": self.scan_number,
            "Tidied": self.tidied,
            "HandedBack": self.handed_back,
            "BegunAgain": self.begun_again,
            "Reposted": self.reposted,
            "Bandwidth": self.bandwidth,
            "Learnt": self.learnt,
            "LearntAt": self.learnt_at,
        }

    @classmethod
    def read(cls, entity: Any) -> JobRecord:
        """The record in a row. Raises ``DamagedRecord``."""
        with reading_row(f"job {entity.get('RowKey')}"):
            found = cls(
                job=WarmJob.from_json(bytes(entity["Job"])),
                state=JobState(entity["State"]),
                reason=entity["Reason"],
                submitted_at=float(entity["SubmittedAt"]),
                started_at=float(entity["StartedAt"]),
                finished_at=float(entity["FinishedAt"]),
                scan=record.load_scan(bytes(entity["Scan"]).decode("ascii")),
                message_id=entity["MessageId"],
                scan_number=entity["ScanNumber"],
                tidied=entity["Tidied"],
                handed_back=entity.get("HandedBack", 0),  # rows of earlier versions lack this and what follows
                begun_again=entity.get("BegunAgain", False),
                reposted=entity.get("Reposted", False),
                bandwidth=entity.get("Bandwidth", ""),
                learnt=_text(entity.get("Learnt")),
                learnt_at=_seconds(entity.get("LearntAt")),
                etag=entity.metadata["etag"],
            )
            return sound(found)


class Records:
    """The job records and file lists of one prefix. Raises the errors that ``Broker`` documents."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._prefix = prefix
        self._damaged = damaged
        self._clock = ServiceClock()

    async def create_table(self) -> None:
        """Creates the table if it is missing. For an identity that may not create tables, it must exist."""
        await create(f"making the table {self._client.table_name}", self._client.create_table, self._is_there)

    async def _is_there(self) -> bool:
        try:
            return await self.table_exists()
        except BrokerError:
            return False

    async def table_exists(self) -> bool:
        """Whether the table exists."""
        with doing(f"looking at the table {self._client.table_name}") as call:
            try:
                await call(self._client.get_entity, records_partition(self._prefix), "none")
            except ResourceNotFoundError as error:
                return error_code(error) != "TableNotFound"
        return True

    # -- records ---------------------------------------------------------------------------------------------------

    async def find(self, job_id: str) -> JobRecord | None:
        """The record of a job; None: there is none. Raises ``DamagedRecord``."""
        with doing(f"reading job {job_id}") as call:
            try:
                entity = await call(
                    self._client.get_entity,
                    records_partition(self._prefix),
                    job_id,
                    raw_response_hook=self._clock.look,
                )
            except ResourceNotFoundError:
                return None
        return JobRecord.read(entity)

    async def get(self, job_id: str) -> JobRecord:
        """The record of a job. Raises ``UnknownJob``, ``DamagedRecord``."""
        record = await self.find(job_id)
        if record is None:
            raise UnknownJob(f"there is no job {job_id}")
        return record

    async def look(self, job_id: str) -> tuple[JobLook, int]:
        """What workers need to know about a job, and the number of the scan that counts.

        This is one point read of few properties. Raises ``UnknownJob``, ``DamagedRecord``.
        """
        with doing(f"reading the state of job {job_id}") as call:
            try:
                entity = await call(
                    self._client.get_entity,
                    records_partition(self._prefix),
                    job_id,
                    select=["State", "ScanNumber", "Bandwidth", "Learnt", "LearntAt"],
                    raw_response_hook=self._clock.look,
                )
            except ResourceNotFoundError:
                raise UnknownJob(f"there is no job {job_id}") from None
        with reading_row(f"job {job_id}"):
            bandwidth = record.load_bandwidth(entity.get("Bandwidth") or "")
            age = self._clock.now.timestamp() - _seconds(entity.get("LearntAt"))
            learnt = Learnt.kept(entity.get("Learnt"), age)
            return JobLook(JobState(entity["State"]), bandwidth, learnt), entity["ScanNumber"]

    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        """See ``Broker.keep_learnt``. It does not interfere with concurrent changes of the rest of the record."""
        row = {
            "PartitionKey": records_partition(self._prefix),
            "RowKey": job_id,
            "Learnt": learnt.to_json(),
            "LearntAt": self._clock.now.timestamp(),  # as in the last answer, which is recent for the manager of a job
        }
        with doing(f"keeping what job {job_id} has taught") as call:
            try:
                await call(self._client.update_entity, row, mode=UpdateMode.MERGE)
            except ResourceNotFoundError:
                raise UnknownJob(f"there is no job {job_id}") from None

    async def all(self) -> list[JobRecord]:
        """The records of all jobs of this prefix, in one query of one partition."""
        return await self._query("PartitionKey eq @partition")

    async def active(self) -> list[JobRecord]:
        """The records of jobs that are not in a final state; the service filters them."""
        active = " or ".join(f"State eq '{state}'" for state in JobState if not state.final)
        return await self._query(f"PartitionKey eq @partition and ({active})")

    async def _query(self, condition: str) -> list[JobRecord]:
        async def query() -> list[Any]:
            found = self._client.query_entities(condition, parameters={"partition": records_partition(self._prefix)})
            return [entity async for entity in found]

        with doing(f"listing the jobs in {self._client.table_name}") as call:
            rows = await call(query)
        records: list[JobRecord] = []
        for row in rows:
            try:
                records.append(JobRecord.read(row))
            except DamagedRecord as error:
                self._damaged.name(error)
        return records

    async def add(self, record: JobRecord) -> bool:
        """Writes a new record; False: there is one already, which is left unchanged."""
        with doing(f"recording job {record.job.job_id}") as call:
            try:
                await call(self._client.create_entity, record.entity(self._prefix))
            except ResourceExistsError:
                return False
        return True

    async def replace(self, record: JobRecord) -> bool:
        """Writes a record back; False: somebody has changed the row since it was read."""
        with doing(f"changing job {record.job.job_id}") as call:
            try:
                await call(
                    self._client.update_entity,
                    record.entity(self._prefix),
                    mode=UpdateMode.REPLACE,
                    etag=record.etag,
                    match_condition=MatchConditions.IfNotModified,
                )
            except (ResourceModifiedError, ResourceNotFoundError):
                return False
        return True

    async def change(self, job_id: str, change: Callable[[JobRecord], JobRecord]) -> JobRecord:
        """Applies ``change`` to the current record; nothing is written if it returns its argument.

        Raises:
            UnknownJob: there is no such record. BrokerUnavailable: others have changed it in each of ``ROUNDS`` tries.
        """
        for _ in range(ROUNDS):
            record = await self.get(job_id)
            changed = change(record)
            if changed is record or await self.replace(changed):
                return changed
        raise BrokerUnavailable(f"job {job_id} keeps being changed by others")

    async def try_writing(self) -> None:
        """Tries to delete and change a row that does not exist: the service reports that only to those permitted."""
        nobody = {"PartitionKey": f"{self._prefix}-nobody", "RowKey": "nobody"}
        with doing("writing to the table") as call:
            await call(
                self._client.delete_entity, nobody["PartitionKey"], nobody["RowKey"]
            )  # a missing row is not an error
            with suppress(ResourceNotFoundError):
                await call(self._client.update_entity, nobody, mode=UpdateMode.MERGE)

    async def remove(self, job_id: str) -> None:
        """Deletes a record. It is not an error if there is none."""
        with doing(f"forgetting job {job_id}") as call:
            await call(self._client.delete_entity, records_partition(self._prefix), job_id)

    # -- file lists ------------------------------------------------------------------------------------------------

    async def put_list(self, job_id: str, chunks: AsyncIterable[bytes]) -> None:
        """Stores a list, in place of what an interrupted submission left. The last row shows that it is complete."""
        row: list[bytes] = []
        number = 0
        async for chunk in chunks:
            if len(chunk) > PROPERTY_BYTES:
                raise BrokerError(f"a piece of the file list has {len(chunk)} bytes: the maximum is {PROPERTY_BYTES}")
            row.append(chunk)
            if len(row) == CHUNKS_A_ROW:
                await self._put_row(job_id, f"f-{number:08}", {f"C{n}": one for n, one in enumerate(row)})
                number += 1
                row = []
        if row:
            await self._put_row(job_id, f"f-{number:08}", {f"C{n}": one for n, one in enumerate(row)})
            number += 1
        await self._put_row(job_id, "f-rows", {"Rows": number})

    async def _put_row(self, job_id: str, row: str, properties: dict[str, Any]) -> None:
        entity = {"PartitionKey": scan_partition(self._prefix, JobScan(job_id)), "RowKey": row, **properties}
        with doing(f"storing the file list of job {job_id}") as call:
            await call(self._client.upsert_entity, entity, mode=UpdateMode.REPLACE)

    async def get_list(self, job_id: str) -> AsyncIterator[bytes]:
        """Yields the chunks in order; none if no list is stored."""
        head = await self._get_row(job_id, "f-rows")
        for number in range(head["Rows"] if head else 0):
            entity = await self._get_row(job_id, f"f-{number:08}")
            if entity is None:
                raise BrokerError(f"the file list of job {job_id} has lost a part")
            for place in range(CHUNKS_A_ROW):
                if f"C{place}" in entity:
                    yield bytes(entity[f"C{place}"])

    async def _get_row(self, job_id: str, row: str) -> Any:
        with doing(f"reading the file list of job {job_id}") as call:
            try:
                return await call(self._client.get_entity, scan_partition(self._prefix, JobScan(job_id)), row)
            except ResourceNotFoundError:
                return None


def _text(value: Any) -> str:
    """The text in a property that no job depends on; empty if it holds something else."""
    return value if isinstance(value, str) else ""


def _seconds(value: Any) -> float:
    """The time in a property that no job depends on; 0 if it holds something else."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= MOST_SECONDS else 0.0


def load_json(value: Any) -> Any:
    """Parses the JSON in a binary property."""
    return json.loads(bytes(value))
