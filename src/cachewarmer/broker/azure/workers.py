"""A row for each worker process: its last report, with the time stamp of the service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import doing
from cachewarmer.broker import record
from cachewarmer.broker.azure.clock import ServiceClock
from cachewarmer.model import WorkerReport
from cachewarmer.model.live import KEEP_SECONDS


class WorkerRows:
    """The rows of the workers of one prefix. Errors as ``Broker`` says."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._partition = f"{prefix}.workers"
        self._damaged = damaged

    async def note(self, report: WorkerReport) -> None:
        """Writes a worker's row."""
        row = {
            "PartitionKey": self._partition,
            "RowKey": hashlib.blake2b(report.key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
            "Report": report.to_json().encode("ascii"),
        }
        with doing("noting how this worker does") as call:
            await call(self._client.upsert_entity, row, mode=UpdateMode.REPLACE)

    async def reports(self, job_id: str) -> list[WorkerReport]:
        """See ``Broker.workers``."""
        seen = [(str(row["RowKey"]), _report_of(row), seconds) for row, seconds in await self._rows()]
        return record.worker_reports(seen, job_id, self._damaged)

    async def forget(self) -> None:
        """Drops the rows of workers that were not heard of for long."""
        for row, seconds in await self._rows():
            if seconds >= KEEP_SECONDS:
                with doing("forgetting a worker") as call:
                    await call(self._client.delete_entity, self._partition, row["RowKey"])

    async def _rows(self) -> list[tuple[Mapping[str, Any], float]]:
        """Each row, and its age in seconds by the service's clock."""
        clock = ServiceClock()

        async def query() -> list[Mapping[str, Any]]:
            found = self._client.query_entities(
                "PartitionKey eq @partition",
                parameters={"partition": self._partition},
                raw_response_hook=clock.look,
            )
            return [row async for row in found]

        with doing("looking for workers") as call:
            rows = await call(query)
        return [(row, clock.seconds_since(row)) for row in rows]


def _report_of(row: Mapping[str, Any]) -> bytes:
    """Its text; nothing, which no report is, where somebody wrote another thing there."""
    report = row.get("Report")
    return report if isinstance(report, bytes) else b""
