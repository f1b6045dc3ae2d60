"""The rows of the status table: a job's record and its stored file list. Tallies and receipts: ``receipts``."""

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
"""Most bytes of a binary property (REST reference, Understanding the Table Service Data Model)."""
SAMPLE_BYTES = 24 * 1024
"""What a sample of errors may take of one."""
CHUNKS_A_ROW = 12
"""With a full property each, a row stays below the 1 MiB that an entity may have."""
ROUNDS = 20
"""How often a change is tried again because somebody else changed the row meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(record.Standing):
    """What the table keeps of a job; ``etag`` is of the row as it was read."""

    job: WarmJob
    message_id: str = ""
    """The message that a manager first took the job by; another message of the same job is a repeat."""
    scan_number: int = 0
    """Which scan counts: a manager that has to scan again what another left unfinished begins the next one."""
    tidied: bool = False
    """Whether the receipts and the file list of the job were dropped, some time after its end."""
    handed_back: int = 0
    """How often a manager handed the job back: the queue counts those as deliveries too."""
    reposted: bool = False
    """Whether the job's message got lost once, and another one was posted."""
    bandwidth: str = ""
    """What somebody has limited the job to meanwhile, for workers to read without the whole job; empty: as the items say."""
    learnt: str = ""
    """What is known of the job's addresses, as ``Learnt`` writes it; empty: nothing."""
    learnt_at: float = 0.0
    """When that was written, by the service's clock."""
    etag: str = ""

    @property
    def counted_scan(self) -> JobScan:
        return JobScan(self.job.job_id, self.scan_number)

    def taken_by(self, message_id: str) -> JobRecord:
        """The record once a manager has taken the job by this message; the same one where nothing has to be changed.

        A scan that another manager began and did not finish is left behind with all that was counted of it: what it
        published may be more than the next scan finds, for a tree may change, and nobody could tell when all is done.
        So is one that another manager took and has not begun: that one may be slow, and still be about to.
        """
        record = self if self.message_id else replace(self, message_id=message_id)
        taken = bool(self.message_id) or self.state is not JobState.QUEUED
        begun = taken and not (self.state.final or self.scan.finished)
        if begun and record.message_id == message_id:
            record = replace(record, scan_number=self.scan_number + 1, scan=ScanTotals())
        return record

    def scanned_again(self) -> JobRecord | None:
        """As every broker's, in a partition of its own: the receipts of what is published again don't count.

        Where it was done before and is not finished, another manager may be at it: no two ever share a scan's number.
        """
        changed = record.Standing.scanned_again(self)  # super() would mean the class before it had slots
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
                handed_back=entity.get("HandedBack", 0),  # those from here on are not in rows of earlier versions
                begun_again=entity.get("BegunAgain", False),
                reposted=entity.get("Reposted", False),
                bandwidth=entity.get("Bandwidth", ""),
                learnt=_text(entity.get("Learnt")),
                learnt_at=_seconds(entity.get("LearntAt")),
                etag=entity.metadata["etag"],
            )
            return sound(found)


class Records:
    """The job records and file lists of one prefix. Errors as ``Broker`` says."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._prefix = prefix
        self._damaged = damaged
        self._clock = ServiceClock()

    async def create_table(self) -> None:
        """Makes the table if it is missing. An identity that may not make tables finds it there."""
        await create(f"making the table {self._client.table_name}", self._client.create_table, self._is_there)

    async def _is_there(self) -> bool:
        try:
            return await self.table_exists()
        except BrokerError:
            return False

    async def table_exists(self) -> bool:
        """Whether there is such a table."""
        with doing(f"looking at the table {self._client.table_name}") as call:
            try:
                await call(self._client.get_entity, records_partition(self._prefix), "none")
            except ResourceNotFoundError as error:
                return error_code(error) != "TableNotFound"
        return True

    # -- records ---------------------------------------------------------------------------------------------------

    async def find(self, job_id: str) -> JobRecord | None:
        """The record, or None."""
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
        """The record. Raises ``UnknownJob``."""
        record = await self.find(job_id)
        if record is None:
            raise UnknownJob(f"there is no job {job_id}")
        return record

    async def look(self, job_id: str) -> tuple[JobLook, int]:
        """What workers ask, and the number of the scan that counts: one point read of few properties. Raises
        ``UnknownJob``.
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
        """See ``Broker.keep_learnt``. Changes nothing else of the record, whoever else does at the same time."""
        row = {
            "PartitionKey": records_partition(self._prefix),
            "RowKey": job_id,
            "Learnt": learnt.to_json(),
            "LearntAt": self._clock.now.timestamp(),  # of the last answer: the job's manager asks all the time
        }
        with doing(f"keeping what job {job_id} has taught") as call:
            try:
                await call(self._client.update_entity, row, mode=UpdateMode.MERGE)
            except ResourceNotFoundError:
                raise UnknownJob(f"there is no job {job_id}") from None

    async def all(self) -> list[JobRecord]:
        """Every job of this prefix: one query of one partition."""
        return await self._query("PartitionKey eq @partition")

    async def active(self) -> list[JobRecord]:
        """The jobs whose record is in no final state; the service leaves the others out."""
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
        """Writes a new record; False: there is one already, which stays as it is."""
        with doing(f"recording job {record.job.job_id}") as call:
            try:
                await call(self._client.create_entity, record.entity(self._prefix))
            except ResourceExistsError:
                return False
        return True

    async def replace(self, record: JobRecord) -> bool:
        """Writes a record back; False: somebody changed the row since it was read."""
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
        """Applies ``change`` to the record as it is now; a ``change`` that returns its argument writes nothing.

        Raises:
            UnknownJob: there is no such record. BrokerUnavailable: others change it all the time.
        """
        for _ in range(ROUNDS):
            record = await self.get(job_id)
            changed = change(record)
            if changed is record or await self.replace(changed):
                return changed
        raise BrokerUnavailable(f"job {job_id} keeps being changed by others")

    async def try_writing(self) -> None:
        """Deletes and changes a row that is not there: it is found missing only by who may do so."""
        nobody = {"PartitionKey": f"{self._prefix}-nobody", "RowKey": "nobody"}
        with doing("writing to the table") as call:
            await call(
                self._client.delete_entity, nobody["PartitionKey"], nobody["RowKey"]
            )  # missing isn't an error to it
            with suppress(ResourceNotFoundError):
                await call(self._client.update_entity, nobody, mode=UpdateMode.MERGE)

    async def remove(self, job_id: str) -> None:
        """Deletes a record; no error if there is none."""
        with doing(f"forgetting job {job_id}") as call:
            await call(self._client.delete_entity, records_partition(self._prefix), job_id)

    # -- file lists ------------------------------------------------------------------------------------------------

    async def put_list(self, job_id: str, chunks: AsyncIterable[bytes]) -> None:
        """Stores a list; what an interrupted submission left behind is overwritten. The last row says it is whole."""
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
        """The chunks in order; none if no list is stored."""
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
    """A property that no job depends on; empty where somebody wrote another thing there."""
    return value if isinstance(value, str) else ""


def _seconds(value: Any) -> float:
    """The same for a time."""
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= MOST_SECONDS else 0.0


def load_json(value: Any) -> Any:
    """What a binary property with JSON holds."""
    return json.loads(bytes(value))
