"""Receipts and tallies in the status table: each item is settled exactly once, whatever the network does.

The row ``r-<item id>`` of an item exists once the item is settled, as a receipt or as poison. It is created in one
entity-group transaction with the tally row of the process that settled it, so both happen or neither does. A tally row
belongs to a single process and holds absolute sums. It is written on the condition that it has not changed since that
process last saw it, so a request that was given up and arrives late can't undo or repeat anything. If an answer is
lost, the receipts show which call has written them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from cachewarmer.azure.calls import all_of, doing
from cachewarmer.broker import record
from cachewarmer.broker.azure.names import JobScan, receipt_row, scan_partition, tally_row
from cachewarmer.broker.azure.pieces import piece_entity
from cachewarmer.broker.azure.tables import SAMPLE_BYTES, load_json
from cachewarmer.broker.record import reading_row
from cachewarmer.broker.sound import sound
from cachewarmer.errors import BrokerUnavailable, DamagedRecord
from cachewarmer.model import ERROR_SAMPLE, TALLY_COUNTS, PathError, Receipt, SlowPath, Tally
from cachewarmer.values import dataclass

MOST_RECEIPTS = 99
"""Maximum number of receipts and pieces in one transaction, which has at most 100 operations, one for the tally."""
MOST_BYTES = 2 * 1024 * 1024
"""Maximum size of the pieces in one transaction, whose request may have 4 MiB in base64."""
LOOKS_IN_FLIGHT = 16
"""Maximum number of concurrent reads of receipts that may exist."""
ROUNDS = 8
"""How often a transaction is tried, without the rows that turned out to exist already."""
CONFLICT = frozenset({404, 409, 412})
"""The HTTP statuses for a row that exists already, is gone, or has changed since it was read."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an item ends: with its receipt, or in poison."""

    item_id: str
    receipt: Receipt | None = None
    poisoned_files: int = 0
    poison_errors: tuple[PathError, ...] = ()
    key: str = ""
    piece: bytes = b""
    """``key`` and ``piece`` are what the item adds to the ledger of its job; empty: nothing."""

    @property
    def kind(self) -> str:
        return "receipt" if self.receipt is not None else "poison"


@dataclass(frozen=True, slots=True)
class Sums:
    """A tally row: what one process, or one worker, has settled of a job."""

    tally: Tally
    poisoned_items: int = 0
    poisoned_files: int = 0
    poison_errors: tuple[PathError, ...] = ()
    etag: str = field(default="", compare=False)
    """The ETag of the row as it was written; empty: there is no row yet."""

    def add(self, settlements: Sequence[Settlement]) -> Sums:
        poisoned = [one for one in settlements if one.receipt is None]
        errors = self.poison_errors + tuple(error for one in poisoned for error in one.poison_errors)
        return replace(
            self,
            tally=record.add_all(self.tally, [one.receipt for one in settlements if one.receipt is not None]),
            poisoned_items=self.poisoned_items + len(poisoned),
            poisoned_files=self.poisoned_files + sum(one.poisoned_files for one in poisoned),
            poison_errors=errors[:ERROR_SAMPLE],
        )

    def entity(self, partition: str, row: str) -> dict[str, Any]:
        """The row. Samples are truncated to the size of a property; counts never are."""
        counts = {name: getattr(self.tally, name) for name in TALLY_COUNTS}
        slowest = [SlowPath(one.path[-400:], one.seconds) for one in self.tally.slowest]
        return {
            "PartitionKey": partition,
            "RowKey": row,
            "Worker": record.printable(self.tally.worker),
            "Counts": record.dump(
                {**counts, "poisoned_items": self.poisoned_items, "poisoned_files": self.poisoned_files}
            ),
            "Errors": record.dump(record.sample_within(self.tally.errors, SAMPLE_BYTES)).encode("ascii"),
            "Slowest": record.dump(slowest).encode("ascii"),
            "PoisonErrors": record.dump(record.sample_within(self.poison_errors, SAMPLE_BYTES)).encode("ascii"),
        }

    @classmethod
    def read(cls, entity: Any) -> Sums:
        """The sums in a row. Raises ``DamagedRecord``."""
        with reading_row(f"the tally {entity.get('RowKey')} in {entity.get('PartitionKey')}"):
            counts: dict[str, int] = load_json(entity["Counts"].encode("ascii"))
            tally = Tally(
                worker=entity["Worker"],
                errors=record.load_errors(load_json(entity["Errors"])),
                slowest=record.load_slowest(load_json(entity["Slowest"])),
                **{name: counts.get(name, 0) for name in TALLY_COUNTS},  # an older worker counts less
            )
            found = cls(
                sound(tally),
                counts["poisoned_items"],
                counts["poisoned_files"],
                record.load_errors(load_json(entity["PoisonErrors"])),
                entity.metadata["etag"],
            )
            return sound(found)


class Receipts:
    """Settles items for this process, and reads what all processes have settled. Raises the errors of ``Broker``."""

    def __init__(self, client: TableClient, prefix: str, damaged: record.DamagedRows) -> None:
        self._client = client
        self._prefix = prefix
        self._damaged = damaged
        self._nonce = secrets.token_hex(6)
        self._locks: dict[tuple[JobScan, str], asyncio.Lock] = {}
        self._known: dict[tuple[JobScan, str], Sums] = {}

    async def settle(self, scan: JobScan, worker: str, settlements: Sequence[Settlement]) -> list[str]:
        """Settles items of one scan. Returns for each how it was settled before; empty: it was settled by this call.

        After an exception the same call may be made again: nothing is counted twice.
        """
        # A row has one writer at a time, because the sums are absolute.
        async with self._locks.setdefault((scan, worker), asyncio.Lock()):
            outcomes: list[str] = []
            for batch in _batches(settlements):
                outcomes += await self._settle_batch(scan, worker, batch)
            return outcomes

    async def _settle_batch(self, scan: JobScan, worker: str, settlements: Sequence[Settlement]) -> list[str]:
        batch = secrets.token_hex(8)
        outcomes: dict[int, str] = {}
        pending: dict[str, int] = {}
        for place, one in enumerate(settlements):
            if one.item_id in pending:
                outcomes[place] = settlements[pending[one.item_id]].kind
            else:
                pending[one.item_id] = place
        what = f"settling items of job {scan.job_id}"
        for _ in range(ROUNDS):
            if not pending:
                break
            chosen = [settlements[place] for place in pending.values()]
            if not await self._write(what, scan, worker, batch, chosen):
                found = await self._receipts(scan, list(pending))
                if any(receipt["Batch"] == batch for receipt in found.values()):
                    pending.clear()  # an attempt of this very call went through, and its answer was lost
                    break
                for item_id, receipt in found.items():
                    outcomes[pending.pop(item_id)] = str(receipt["Kind"])
                continue
            pending.clear()
        if pending:
            raise BrokerUnavailable(f"{what}: the rows keep changing")
        return [outcomes.get(place, "") for place in range(len(settlements))]

    async def _write(
        self, what: str, scan: JobScan, worker: str, batch: str, settlements: Sequence[Settlement]
    ) -> bool:
        """Writes receipts and the tally in one transaction; False: some of the rows exist already or have changed."""
        partition = scan_partition(self._prefix, scan)
        row = tally_row(worker, self._nonce)
        before = await self._own_sums(scan, worker, partition, row)
        after = before.add(settlements)
        operations: list[tuple[Any, ...]] = [
            (
                "create",
                {
                    "PartitionKey": partition,
                    "RowKey": receipt_row(one.item_id),
                    "Kind": one.kind,
                    "Batch": batch,
                    "Worker": record.printable(worker),
                },
            )
            for one in settlements
        ]
        operations += [
            ("upsert", piece_entity(partition, one.key, one.piece), {"mode": UpdateMode.REPLACE})
            for one in {one.key: one for one in settlements if one.piece}.values()
        ]
        entity = after.entity(partition, row)
        if before.etag:
            condition = {
                "mode": UpdateMode.REPLACE,
                "etag": before.etag,
                "match_condition": MatchConditions.IfNotModified,
            }
            operations.append(("update", entity, condition))
        else:
            operations.append(("create", entity))
        with doing(what) as call:
            try:
                answers = await call(self._client.submit_transaction, operations)
            except HttpResponseError as error:
                if error.status_code in CONFLICT:
                    return False
                raise
        self._known[scan, worker] = replace(after, etag=answers[-1]["etag"])
        return True

    async def _own_sums(self, scan: JobScan, worker: str, partition: str, row: str) -> Sums:
        """The row of this process: as it was last written, or as the table has it if the outcome of that is unknown."""
        known = self._known.pop((scan, worker), None)  # not known again until the next answer
        if known is not None:
            return known
        with doing(f"reading the tally of job {scan.job_id}") as call:
            try:
                return Sums.read(await call(self._client.get_entity, partition, row))
            except ResourceNotFoundError:
                return Sums(Tally(worker=worker))

    async def _receipts(self, scan: JobScan, item_ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The receipts that exist among ``item_ids``."""
        partition = scan_partition(self._prefix, scan)

        async def one(item_id: str) -> Mapping[str, Any] | None:
            with doing(f"reading receipts of job {scan.job_id}") as call:
                try:
                    found: Mapping[str, Any] = await call(self._client.get_entity, partition, receipt_row(item_id))
                except ResourceNotFoundError:
                    return None
            return found

        found = await all_of((one(item_id) for item_id in item_ids), LOOKS_IN_FLIGHT)
        return {item_id: receipt for item_id, receipt in zip(item_ids, found, strict=True) if receipt is not None}

    async def sums(self, scan: JobScan) -> list[Sums]:
        """The sums of every worker that has settled items of the scan, in one query and O(workers)."""

        async def query() -> list[Any]:
            found = self._client.query_entities(
                "PartitionKey eq @partition and RowKey ge 't-' and RowKey lt 't.'",
                parameters={"partition": scan_partition(self._prefix, scan)},
            )
            return [entity async for entity in found]

        with doing(f"reading the tallies of job {scan.job_id}") as call:
            rows = await call(query)
        sums: list[Sums] = []
        for row in rows:
            try:
                sums.append(Sums.read(row))
            except DamagedRecord as error:  # its counts are missing, so the job is found stranded and scanned again
                self._damaged.name(error)
        return _by_worker(sums)


def _batches(settlements: Sequence[Settlement]) -> Iterator[Sequence[Settlement]]:
    """The settlements of each transaction, limited by its operations and by the size of pieces of ledgers."""
    first, operations, size = 0, 0, 0
    for place, one in enumerate(settlements):
        operations += 2 if one.piece else 1
        size += len(one.piece)
        if place > first and (operations > MOST_RECEIPTS or size > MOST_BYTES):
            yield settlements[first:place]
            first, operations, size = place, 2 if one.piece else 1, len(one.piece)
    if settlements:
        yield settlements[first:]


def _by_worker(rows: Sequence[Sums]) -> list[Sums]:
    """Adds up the rows of each worker, of which one that was restarted with the same name has several."""
    merged: dict[str, Sums] = {}
    for row in rows:
        other = merged.get(row.tally.worker)
        if other is None:
            merged[row.tally.worker] = row
            continue
        merged[row.tally.worker] = Sums(
            other.tally.add(row.tally, row.tally.items),
            other.poisoned_items + row.poisoned_items,
            other.poisoned_files + row.poisoned_files,
            (other.poison_errors + row.poison_errors)[:ERROR_SAMPLE],
        )
    return [merged[worker] for worker in sorted(merged)]
