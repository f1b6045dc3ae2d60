"""The pieces of ledgers in the status table: one row for each, in the partition of their scan.

A piece is divided among properties of 64 KiB, as many as a row may have. The pieces of items are written with their
receipts (see ``receipts``); this module writes those of scans, and reads all of them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import doing
from cachewarmer.broker.azure.names import JobScan, piece_row, scan_partition
from cachewarmer.broker.azure.tables import CHUNKS_A_ROW, PROPERTY_BYTES
from cachewarmer.broker.azure.tidy import drop_rows
from cachewarmer.model.outcomes import BASE, KEPT, PIECES_AT_ONCE, SCAN

log = logging.getLogger(__name__)

MOST_PIECE_BYTES = CHUNKS_A_ROW * PROPERTY_BYTES
PAST_BASE = chr(ord(BASE) + 1)
"""A key that sorts after all keys that begin with ``BASE``, and before all others."""


def piece_entity(partition: str, key: str, piece: bytes) -> dict[str, Any]:
    """The row of a piece. A piece that is too long, which this program never makes, is left out with a warning."""
    if len(piece) > MOST_PIECE_BYTES:
        log.warning("a piece of a ledger has %d bytes: at most %d are kept", len(piece), MOST_PIECE_BYTES)
        piece = b""
    parts = [piece[start : start + PROPERTY_BYTES] for start in range(0, len(piece), PROPERTY_BYTES)]
    return {
        "PartitionKey": partition,
        "RowKey": piece_row(key),
        **{f"C{number}": part for number, part in enumerate(parts)},
    }


def piece_of(entity: Any) -> bytes:
    """The piece in a row; empty: it was too long to be stored."""
    return b"".join(bytes(entity[f"C{number}"]) for number in range(CHUNKS_A_ROW) if f"C{number}" in entity)


class Pieces:
    """The pieces of one prefix. Raises the errors that ``Broker`` documents."""

    def __init__(self, client: TableClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    async def put(self, scan: JobScan, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Writes pieces in place of those with the same keys."""
        partition = scan_partition(self._prefix, scan)
        for key, piece in pieces:
            with doing(f"writing the ledger of job {scan.job_id}") as call:
                await call(self._client.upsert_entity, piece_entity(partition, key, piece), mode=UpdateMode.REPLACE)

    async def read(self, scan: JobScan) -> AsyncIterator[tuple[str, bytes]]:
        """Yields all pieces of a job and the scan that counts, with their keys, sorted by key.

        The pieces that the job was submitted with are in the partition of the first scan.
        """
        async for one in self._between(JobScan(scan.job_id), BASE, PAST_BASE):
            yield one
        async for one in self._between(scan, PAST_BASE, "~"):
            yield one

    async def _between(self, scan: JobScan, first: str, end: str) -> AsyncIterator[tuple[str, bytes]]:
        after = piece_row(first)
        chosen = {"partition": scan_partition(self._prefix, scan), "end": piece_row(end)}
        condition = "PartitionKey eq @partition and RowKey gt @after and RowKey lt @end"

        async def page() -> list[Any]:
            found = self._client.query_entities(
                condition, parameters={**chosen, "after": after}, results_per_page=PIECES_AT_ONCE
            ).by_page()
            return [entity async for entity in await anext(found)]

        while True:
            with doing(f"reading the ledger of job {scan.job_id}") as call:
                rows = await call(page)
            for row in rows:
                if piece := piece_of(row):
                    yield row["RowKey"].removeprefix(piece_row("")), piece
            if not rows:
                return
            after = rows[-1]["RowKey"]

    async def forget_scanned(self, scan: JobScan, part: str) -> None:
        """Drops the pieces that a scan, or a part of it, has written."""
        for kind in (SCAN, KEPT):
            await self._drop(scan, piece_row(kind + part))

    async def forget(self, scan: JobScan) -> None:
        """Drops all pieces of a job."""
        for one in {scan, JobScan(scan.job_id)}:
            await self._drop(one, piece_row(""))

    async def _drop(self, scan: JobScan, first: str) -> None:
        """Deletes the rows whose keys begin with ``first``."""
        await drop_rows(
            self._client,
            f"tidying up the ledger of job {scan.job_id}",
            "PartitionKey eq @partition and RowKey ge @first and RowKey lt @end",
            {"partition": scan_partition(self._prefix, scan), "first": first, "end": first + "~"},
        )
