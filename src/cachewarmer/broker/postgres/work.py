"""The transactions of the PostgreSQL broker for work items: to publish, lease, settle, hand back or give them up."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import Backlog, WorkLease
from cachewarmer.broker.postgres import standing
from cachewarmer.broker.postgres.database import Database, Transaction
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import LeaseLost
from cachewarmer.model import Priority, Receipt, Tally, Turns, WorkItem

PUBLISH_ITEMS = 500
"""Maximum number of items in one INSERT; each may have 64 KiB."""


class WorkSide:
    """Implements the methods of ``Broker`` of the same names, for work items."""

    def __init__(self, database: Database, settings: LeaseSettings, damaged: record.DamagedRows) -> None:
        self._database = database
        self._settings = settings
        self._damaged = damaged
        self._turns = Turns()

    async def publish(self, items: Sequence[WorkItem]) -> None:
        by_job: dict[str, dict[str, str]] = {}
        for item in map(record.with_id, items):
            by_job.setdefault(item.job_id, {})[item.item_id] = item.to_json()
        for job_id, messages in by_job.items():
            ordered = list(messages.items())
            for start in range(0, len(ordered), PUBLISH_ITEMS):
                await self._publish(job_id, ordered[start : start + PUBLISH_ITEMS])

    async def _publish(self, job_id: str, messages: Sequence[tuple[str, str]]) -> None:
        async with self._database.transaction() as sql:
            # Locked until the end, so that two managers that publish the same items never deadlock.
            if rows.standing(await standing.locked(sql, job_id)).state.final:
                return
            ids, texts = zip(*messages, strict=True)
            count = await sql.count("add_items", job_id=job_id, item_ids="\n".join(ids), messages="\n".join(texts))
            if count:
                await sql.run("count_published", job_id=job_id, count=count)

    async def claim(self, most: int, lease_seconds: float, job_id: str, least: Priority) -> list[WorkLease]:
        leases: list[WorkLease] = []
        while len(leases) < most:
            token, left = secrets.token_hex(8), most - len(leases)
            chosen = {"job_id": job_id, "least": least.rank, "turns": self._turns.of(left), "most": left}
            async with self._database.statement() as sql:
                found = await sql.all("claim", token=token, seconds=lease_seconds, **chosen)
            self._turns.taken(len(found))
            for row in sorted(found, key=lambda one: (int(one["priority"]), int(one["seq"]))):
                if rows.never_leased(row["was_until"], row["visible_at"] - lease_seconds):
                    self._damaged.name_lease(f"item {row['item_id']} of job {row['job_id']}", row["was_until"])
                failed = row["deliveries"] - 1
                lease = rows.lease_or_poison(row, token, row["visible_at"], failed, self._settings.max_deliveries)
                if isinstance(lease, rows.Poisoned):
                    async with self._database.transaction() as sql:
                        await standing.poison(sql, row, lease)
                else:
                    leases.append(lease)
            if len(found) < left:
                break  # it was all there is
        return leases

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        async with self._database.statement() as sql:
            row = await sql.one("renew_item", seconds=lease_seconds, **rows.held(lease))
        if row is None:
            raise LeaseLost(f"the lease on {lease.item.path} was lost")
        lease.expires_at = row["visible_at"]

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        worker = record.printable(worker)
        async with self._database.transaction() as sql:
            settled = await sql.all(
                "settle_items",
                job_ids=[lease.item.job_id for lease, _ in results],
                item_ids=[lease.item.item_id for lease, _ in results],
                tokens=[lease.token for lease, _ in results],
            )
            done = {(row["job_id"], row["item_id"]) for row in settled}
            counted: list[bool] = []
            by_job: dict[str, list[Receipt]] = {}
            for lease, receipt in results:
                key = (lease.item.job_id, lease.item.item_id)
                counted.append(key in done)
                if key in done:
                    done.remove(key)
                    by_job.setdefault(lease.item.job_id, []).append(receipt)
            for job_id in sorted(by_job):
                await _add_to_tally(sql, job_id, worker, by_job[job_id])
                pieces = ((one.key, one.piece) for one in by_job[job_id] if one.piece)
                await standing.add_pieces(sql, job_id, pieces)
        # After the commit: of two workers that settle the last items at the same time, one sees the other's.
        for job_id in by_job:
            await self._finish(job_id)
        return counted

    async def _finish(self, job_id: str) -> None:
        async with self._database.statement() as sql:
            row = await sql.one("settled_count", job_id=job_id)
        if row is not None and row["settled"]:
            async with self._database.transaction() as sql:
                await standing.finish_if_settled(sql, job_id)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float) -> bool:
        most = self._settings.max_deliveries
        async with self._database.transaction() as sql:
            if reason and lease.deliveries >= most:
                await standing.locked(sql, lease.item.job_id)  # which counts it: before the item, as everywhere
            row = await sql.one("held_item", **rows.held(lease))
            if row is None:
                return False
            if reason and row["deliveries"] >= most:
                given_up = record.given_up(row["deliveries"], reason)
                await standing.poison(sql, row, rows.Poisoned(lease.item, given_up, lease.item.file_count))
                return True
            await sql.run(
                "hand_back",
                delay=delay_seconds,
                forgiven=int(not reason),
                reason=record.printable(reason),
                message=rows.handed_back(lease.item),
                **rows.held(lease),
            )
            return False

    async def backlog(self) -> Backlog:
        async with self._database.statement() as sql:
            (counts,), active, tallies = await sql.together("backlog", "active_jobs", "active_tallies")
        statuses = [status for _, status in standing.readable(self._damaged, active, tallies)]
        return Backlog.of(statuses, waiting_items=counts["waiting"], leased_items=counts["leased"])


async def _add_to_tally(sql: Transaction, job_id: str, worker: str, receipts: Sequence[Receipt]) -> None:
    row = await sql.one("tally", job_id=job_id, worker=worker)
    before = Tally(worker=worker) if row is None else standing.load_tally(row["tally"])
    tally = record.add_all(before, receipts)
    await sql.run("put_tally", job_id=job_id, worker=worker, items=tally.items, tally=record.dump(asdict(tally)))
