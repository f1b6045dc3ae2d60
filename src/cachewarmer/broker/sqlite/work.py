"""The transactions of the SQLite broker for work items: to publish, lease, settle, hand back or give them up."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import Backlog, WorkLease
from cachewarmer.broker.sqlite.fresh import FreshItems
from cachewarmer.broker.sqlite.keys import id_in, key_of, row_of, token_of
from cachewarmer.broker.sqlite.processes import is_gone
from cachewarmer.broker.sqlite.standing import PUT_TALLY, Standings, tally_in, tally_values
from cachewarmer.errors import LeaseLost
from cachewarmer.model import BY_RANK, Priority, Receipt, Tally, Turns, WorkItem

RANKS = range(len(BY_RANK))


class WorkSteps(Standings):
    """Implements the methods of ``Broker`` of the same names, for work items."""

    def __init__(self, path: str, max_deliveries: int, busy_seconds: float) -> None:
        super().__init__(path, max_deliveries, busy_seconds)
        self._item_turns = Turns()
        self._fresh: FreshItems | None = None
        """The items that this process has published; None until it claims items too."""

    def publish(self, items: Sequence[WorkItem]) -> None:
        by_job: dict[str, list[tuple[WorkItem, str]]] = {}
        for item in map(record.with_id, items):
            by_job.setdefault(item.job_id, []).append((item, item.to_json()))
        with self.transaction():
            for job_id, new in by_job.items():
                job = self._job(job_id)
                if rows.state_of(job).final:
                    continue
                near = job["near_keys"] == 1
                values = [(job_id, key_of(item, near=near), message, item.byte_count) for item, message in new]
                added = self.run_many("add_item", values)
                self.run("count_published", job_id=job_id, count=added)
                if self._fresh is not None:
                    for (item, message), (_, key, *_) in zip(new, values, strict=True):
                        self._fresh.add(job_id, key, message, item)

    def claim(self, most: int, lease_seconds: float, job_id: str, least: Priority, now: float) -> list[WorkLease]:
        leases: list[WorkLease] = []
        self._fresh = self._fresh or FreshItems()
        if least is not Priority.LOW and not self._open_items(job_id, 1, least, now):
            return leases  # the usual case, for which other processes need not wait
        with self.transaction():
            while len(leases) < most:
                found = self._open_items(job_id, most - len(leases), least, now)
                if not found:
                    break
                for row in found:
                    lease = self._lease_or_poison(row, lease_seconds, now)
                    if lease is not None:
                        leases.append(lease)
        self._item_turns.taken(len(leases))
        return leases

    def _open_items(self, job_id: str, most: int, least: Priority, now: float) -> list[sqlite3.Row]:
        waiting: list[list[sqlite3.Row]] = [[] for _ in BY_RANK]
        for job in self.run("working_jobs", job_id=job_id, least=least.rank).fetchall():
            rank = job["priority"] if job["priority"] in RANKS else Priority.NORMAL.rank  # it may be damaged
            waiting[rank] += self.run("open_items", job_id=job["job_id"], now=now, most=most)
        return self._item_turns.choose([sorted(one, key=lambda row: int(row["seq"])) for one in waiting], most)

    def _lease_or_poison(self, row: sqlite3.Row, lease_seconds: float, now: float) -> WorkLease | None:
        if rows.never_leased(row["visible_at"], now):
            self._damaged.name_lease(f"item {id_in(row['key'])} of job {row['job_id']}", row["visible_at"])
        token, until = token_of(row["seq"], secrets.token_hex(8)), now + lease_seconds
        fresh = self._fresh.take(row["job_id"], row["key"], row["message"]) if self._fresh is not None else None
        lease = rows.lease_or_poison(row, token, until, row["deliveries"], self._max_deliveries, fresh)
        if isinstance(lease, rows.Poisoned):
            self._poison(row, lease, now)
            return None
        self.run("lease_item", seq=row["seq"], token=token, owner=self._owner, until=until)
        return lease

    def renew(self, lease: WorkLease, lease_seconds: float, now: float) -> float:
        with self.transaction():
            until = now + lease_seconds
            if not self.run("renew_item", until=until, **_held(lease)).rowcount:
                raise LeaseLost(f"the lease on {lease.item.path} was lost")
            return until

    def complete(self, worker: str, results: Iterable[tuple[WorkLease, Receipt]], now: float) -> list[bool]:
        worker = record.printable(worker)
        counted: list[bool] = []
        by_job: dict[str, list[Receipt]] = {}
        with self.transaction():
            for lease, receipt in results:
                done = self.run("settle_item", **_held(lease)).rowcount == 1
                counted.append(done)
                if done and receipt.piece:
                    self.run("add_piece", job_id=lease.item.job_id, key=receipt.key, piece=receipt.piece)
                if done:
                    by_job.setdefault(lease.item.job_id, []).append(receipt)
            for job_id, receipts in by_job.items():
                row = self.run("tally", job_id=job_id, worker=worker).fetchone()
                tally = record.add_all(Tally(worker=worker) if row is None else tally_in(row), receipts)
                self.connection.execute(PUT_TALLY, {"job_id": job_id, **tally_values(tally)})
                self._finish_if_settled(job_id, now)
        return counted

    def abandon(self, lease: WorkLease, reason: str, delay_seconds: float, now: float) -> bool:
        with self.transaction():
            row = self.run("held_item", **_held(lease)).fetchone()
            if row is None:
                return False
            if reason and row["deliveries"] >= self._max_deliveries:
                given_up = record.given_up(row["deliveries"], reason)
                self._poison(row, rows.Poisoned(lease.item, given_up, lease.item.file_count), now)
                return True
            self.run(
                "hand_back",
                until=now + delay_seconds if delay_seconds else 0.0,
                forgiven=int(not reason),
                reason=record.printable(reason),
                message=rows.handed_back(lease.item),
                **_held(lease),
            )
            return False

    def _poison(self, row: sqlite3.Row, poisoned: rows.Poisoned, now: float) -> None:
        poisoned = poisoned._replace(reason=record.printable(poisoned.reason))
        job = self._job(row["job_id"])
        ids = {"job_id": row["job_id"], "item_id": id_in(row["key"])}
        self.run("add_poison", reason=poisoned.reason, message=row["message"], now=now, **ids)
        if poisoned.item.ledger:
            from cachewarmer.model.outcomes import item_key, pack_poison

            piece = pack_poison(row["message"], poisoned.reason)
            self.run("add_piece", job_id=row["job_id"], key=item_key(poisoned.item), piece=piece)
        self.run("poison_item", seq=row["seq"], reason=poisoned.reason)
        self.run("count_poison", **rows.poison_counts(job, poisoned))
        self._finish_if_settled(row["job_id"], now)

    def release_dead_owners(self) -> None:
        """Releases the leases of processes of this machine that have ended; each counts as a failed delivery."""
        gone = [row["owner"] for row in self.run("owners").fetchall() if is_gone(row["owner"])]
        if gone:
            with self.transaction():
                for owner in gone:
                    self.run("free_items_of", owner=owner)
                    self.run("free_jobs_of", owner=owner)

    def backlog(self, now: float) -> Backlog:
        with self.reading():
            row = self.run("backlog", now=now).fetchone()
            active = [status for _, status in self._readable(self.run("active_jobs").fetchall())]
        return Backlog.of(active, waiting_items=row["waiting"], leased_items=row["leased"])


def _held(lease: WorkLease) -> dict[str, Any]:
    """The values by which a statement finds the item of a lease."""
    return {"seq": row_of(lease.token), "token": lease.token}
