"""A row for each worker process: its last report, with the timestamp of the service."""

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
    """The rows of the workers of one prefix. Raises the errors that ``Broker`` documents."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._partition = f"{prefix}.workers"
        self._damaged = damaged

    async def note(self, report: WorkerReport) -> None:
        """Writes the row of a worker."""
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
        """Drops the rows of workers that have not reported for ``KEEP_SECONDS``."""
        for row, seconds in await self._rows():
            if seconds >= KEEP_SECONDS:
                with doing("forgetting a worker") as call:
                    await call(self._client.delete_entity, self._partition, row["RowKey"])

    async def _rows(self) -> list[tuple[Mapping[str, Any], float]]:
        """Each row with its age in seconds, by the clock of the service."""
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
    """The text of a report; empty, which is not a valid report, if the row holds something else."""
    report = row.get("Report")
    return report if isinstance(report, bytes) else b""
