"""Removes what is no longer needed from the status table: receipts of jobs that are over, and old jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import NOT_FOUND, Call, doing
from cachewarmer.broker.azure.names import FIRST_GENERATION_JOB, JobScan, scan_partition
from cachewarmer.broker.azure.tables import JobRecord, Records

RECEIPT_SECONDS = 3600.0
"""How long the receipts of a job that is over are kept; by then, no worker still reads for it."""
STRAY_RECEIPT_SECONDS = 8 * 24 * 3600.0
"""How long receipts of items without a job are kept: longer than the 7 days that their messages may live."""
DELETES = 100
"""Maximum number of rows in an entity-group transaction (REST reference, Performing Entity Group Transactions)."""
OF_USE_WHILE_IT_RUNS = (
    "PartitionKey eq @partition and ((RowKey ge 'r-' and RowKey lt 'r.') or (RowKey ge 'f-' and RowKey lt 'f.'))"
)
"""Selects receipts and the file list, but not the tallies."""
EVERYTHING = "PartitionKey eq @partition"


class Tidier:
    """Tidies the rows of one prefix. Raises the errors that ``Broker`` documents; the next call does what remains."""

    def __init__(self, client: TableClient, prefix: str, records: Records) -> None:
        self._client = client
        self._prefix = prefix
        self._records = records

    async def tidy(self, keep_seconds: float, now: float) -> None:
        """Forgets jobs that ended ``keep_seconds`` ago or earlier, and drops receipts and lists of jobs that are over.

        ``now`` is in Unix seconds. See ``RECEIPT_SECONDS``.
        """
        for record in await self._records.all():
            if record.finished_at and now - record.finished_at >= keep_seconds:
                for scan in _scans(record):
                    await self._drop(EVERYTHING, scan)
                await self._records.remove(record.job.job_id)
            elif record.finished_at and now - record.finished_at >= RECEIPT_SECONDS and not record.tidied:
                for scan in _scans(record):
                    await self._drop(OF_USE_WHILE_IT_RUNS if scan == record.counted_scan else EVERYTHING, scan)
                await self._records.change(record.job.job_id, lambda one: replace(one, tidied=True))
            elif record.job.job_id == FIRST_GENERATION_JOB:
                before = datetime.fromtimestamp(now - STRAY_RECEIPT_SECONDS, UTC)
                await self._drop(f"{OF_USE_WHILE_IT_RUNS} and Timestamp lt @before", record.counted_scan, before=before)

    async def _drop(self, condition: str, scan: JobScan, **parameters: object) -> None:
        """Deletes the rows of a scan's partition that a condition selects."""
        chosen = {"partition": scan_partition(self._prefix, scan), **parameters}
        await drop_rows(self._client, f"tidying up after job {scan.job_id}", condition, chosen)


async def drop_rows(client: TableClient, what: str, condition: str, chosen: Mapping[str, object]) -> None:
    """Deletes the rows of one partition that a condition with the parameters ``chosen`` selects."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    with doing(what) as call:
        found = client.query_entities(condition, parameters=dict(chosen), select=["PartitionKey", "RowKey"])
        async for entity in found:
            rows.append(("delete", entity))
            if len(rows) == DELETES:
                await _delete(client, call, rows)
                rows = []
        if rows:
            await _delete(client, call, rows)


async def _delete(client: TableClient, call: Call, rows: list[tuple[str, Mapping[str, Any]]]) -> None:
    try:
        await call(client.submit_transaction, rows)
    except HttpResponseError as error:
        if error.status_code != NOT_FOUND:  # another manager, or an earlier try, has deleted them
            raise


def _scans(record: JobRecord) -> list[JobScan]:
    return [JobScan(record.job.job_id, number) for number in range(record.scan_number + 1)]
