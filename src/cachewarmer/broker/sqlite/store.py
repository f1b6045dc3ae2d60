"""The SQLite broker's transactions: synchronous, one connection, used by one thread.

Each public method is one transaction. Time is an argument (``now``, Unix seconds).
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import MOST_FLEET_SECONDS, Backlog, JobLease, JobLook, WorkLease
from cachewarmer.broker.record import reading_row
from cachewarmer.broker.sound import check_count, sound
from cachewarmer.broker.sqlite.database import Database
from cachewarmer.broker.sqlite.keys import id_in, key_of, row_of, token_of
from cachewarmer.broker.sqlite.processes import is_gone, own_name
from cachewarmer.errors import DamagedRecord, LeaseLost, UnknownJob
from cachewarmer.model import (
    BY_RANK,
    TALLY_COUNTS,
    Bandwidth,
    JobState,
    JobStatus,
    Priority,
    Receipt,
    ScanTotals,
    Tally,
    Turns,
    WarmJob,
    WorkerReport,
    WorkItem,
    check_transition,
)
from cachewarmer.model.live import KEEP_SECONDS

RANKS = range(len(BY_RANK))


class Store(Database):
    """One open file, and what a broker does in it."""

    def __init__(self, path: str, max_deliveries: int, busy_seconds: float) -> None:
        super().__init__(path, busy_seconds)
        self._max_deliveries = max_deliveries
        self._owner = own_name()
        self._damaged = record.DamagedRows()
        self._managed = record.ManagedJobs()
        self._item_turns, self._job_turns = Turns(), Turns()

    def _job(self, job_id: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self.run("job", job_id=job_id).fetchone()
        if row is None:
            raise UnknownJob(f"there is no job {job_id}")
        return row

    # -- jobs ------------------------------------------------------------------------------------------------------

    def has_job(self, job_id: str) -> bool:
        return self.run("job", job_id=job_id).fetchone() is not None

    def begin_list(self, job_id: str) -> None:
        """Drops what an interrupted submission of the same id left behind."""
        with self.transaction():
            self.run("drop_chunks", job_id=job_id)

    def add_chunk(self, job_id: str, number: int, chunk: bytes) -> None:
        with self.transaction():
            self.run("add_chunk", job_id=job_id, number=number, chunk=chunk)

    def chunk(self, job_id: str, number: int) -> bytes | None:
        row = self.run("chunk", job_id=job_id, number=number).fetchone()
        return None if row is None else bytes(row[0])

    def add_job(self, job: WarmJob) -> None:
        with self.transaction():
            self.run(
                "add_job",
                job_id=job.job_id,
                message=job.to_json(),
                state=JobState.QUEUED,
                submitted_at=job.submitted_at,
                priority=job.priority.rank,
            )

    def claim_job(self, lease_seconds: float, job_id: str, least: Priority, now: float) -> JobLease | None:
        chosen = {"job_id": job_id, "least": least.rank, "turn": self._job_turns.next.rank}
        with self.transaction():
            for row, status in self._readable(self.run("free_jobs", now=now, **chosen).fetchall()):
                over = row["deliveries"] >= self._max_deliveries and not job_id
                if over and not (status.scan.finished or status.state.final):
                    self._set_state(row, JobState.FAILED, record.managers_lost(row["deliveries"]), now)
                    self._settle_job(row["job_id"], "", now)
                    continue
                if status.state.final:
                    self._set_state(row, status.state, "", now)
                    self._settle_job(row["job_id"], "", now)
                    continue
                if rows.never_leased(row["lease_until"], now):
                    self._damaged.name_lease(f"job {row['job_id']}", row["lease_until"])
                token = secrets.token_hex(8)
                until = now + lease_seconds
                self.run("lease_job", job_id=row["job_id"], token=token, owner=self._owner, until=until)
                self._managed.take(row["job_id"], token)
                self._job_turns.taken(1)
                return JobLease(token, until, row["deliveries"] + 1, status.job)
        return None

    def renew_job(self, lease: JobLease, lease_seconds: float, now: float) -> float:
        with self.transaction():
            until = now + lease_seconds
            if not self.run("renew_job", job_id=lease.job.job_id, token=lease.token, until=until).rowcount:
                raise LeaseLost(f"another manager has job {lease.job.job_id}")
            return until

    def release_job(self, lease: JobLease) -> None:
        self._managed.leave(lease.job.job_id)
        with self.transaction():
            self.run("release_job", job_id=lease.job.job_id, token=lease.token)

    def settle_job(self, lease: JobLease, now: float) -> None:
        self._managed.leave(lease.job.job_id)
        with self.transaction():
            self._settle_job(lease.job.job_id, lease.token, now)

    def _settle_job(self, job_id: str, token: str, now: float) -> None:
        if self.run("settle_job", job_id=job_id, token=token).rowcount and self.state(job_id) in rows.KEEP_NOTHING:
            self.run("forget_items", job_id=job_id, now=now)
            self.run("drop_chunks", job_id=job_id)

    def set_state(self, job_id: str, state: JobState, reason: str, now: float) -> JobStatus:
        with self.transaction():
            self._set_state(self._job(job_id), state, reason, now)
            self._finish_if_settled(job_id, now)
            return self._status(self._job(job_id))

    def _set_state(self, row: sqlite3.Row, state: JobState, reason: str, now: float) -> None:
        if check_transition(row["job_id"], rows.state_of(row), state):
            self._put_standing(row["job_id"], rows.standing(row).moved_to(state, reason, now))

    def _put_standing(self, job_id: str, standing: record.Standing) -> None:
        self.run(
            "set_state",
            job_id=job_id,
            state=standing.state,
            reason=standing.reason,
            started_at=standing.started_at,
            finished_at=standing.finished_at,
        )

    def _finish_if_settled(self, job_id: str, now: float) -> None:
        """Stamps the final state in the very step that settled the last item, so that it needs no manager."""
        counts = self.run("settled_count", job_id=job_id).fetchone()
        if counts["scan_finished"] and counts["settled"] >= counts["published_items"]:
            for row, status in self._readable([self._job(job_id)]):
                self._set_state(row, status.state, "", now)

    def record_scan(self, job_id: str, totals: ScanTotals, now: float) -> None:
        with self.transaction():
            row = self._job(job_id)
            self._managed.check(job_id, row["token"])
            before = rows.standing(row)
            after = before.scanned(totals, now)
            if after is before:
                return
            self.run("set_scan", job_id=job_id, scan=record.dump_scan(totals), finished=int(totals.finished))
            if after.state is not before.state:
                self._put_standing(job_id, after)
                self._finish_if_settled(job_id, now)

    def try_writing(self) -> None:
        """Takes the file for writing, and lets go of it again. Raises ``sqlite3.Error`` where that is not allowed."""
        with self.transaction():
            pass

    def stranded(self, job_id: str) -> bool:
        with self.reading():
            status = self._status(self._job(job_id))
            waits = status.state is JobState.WARMING and status.scan.finished
            return waits and self.run("any_open_item", job_id=job_id).fetchone() is None

    def begin_scan_again(self, job_id: str) -> bool:
        with self.transaction():
            row = self._job(job_id)
            self._managed.check(job_id, row["token"])
            before = rows.standing(row)
            after = before.scanned_again()
            if after is not None and after is not before:
                self.run("begin_again", job_id=job_id, state=after.state)
                for name in ("drop_items", "drop_tallies", "drop_poison", "drop_told"):
                    self.run(name, job_id=job_id)
            return after is not None

    def revive(self, job_id: str) -> bool:
        with self.transaction():
            after = rows.standing(self._job(job_id)).revived()
            if after is None:
                return False
            self._put_standing(job_id, after)
            self.run("back_on_queue", job_id=job_id)
            return True

    def note_manager(self, name: str, now: float) -> None:
        with self.transaction():
            self.run("note_manager", name=record.printable(name), now=now)

    def manager_seen(self, now: float) -> float | None:
        with self.reading():
            seen_at = self.run("manager_seen", now=now).fetchone()[0]
        return None if seen_at is None else max(0.0, now - seen_at)

    def take_fleet(self, fleet: str, manager: str, seconds: float, now: float) -> bool:
        with self.transaction():
            before = self.run("fleet", fleet=fleet).fetchone()
            if before is not None and rows.never_leased(before["lease_until"], now, MOST_FLEET_SECONDS):
                self._damaged.name_lease(f"the fleet {fleet}", before["lease_until"])
            done = self.run("take_fleet", fleet=fleet, manager=manager, seconds=seconds, now=now)
            return done.rowcount > 0

    def note_worker(self, key: str, report: str, now: float) -> None:
        with self.transaction():
            self.run("note_worker", key=record.printable(key), report=report, now=now)
            self.run("old_workers", before=now - KEEP_SECONDS, now=now)

    def workers(self, job_id: str, now: float) -> list[WorkerReport]:
        with self.reading():
            found = self.run("workers", now=now).fetchall()
        seen = ((row["key"], row["report"], max(0.0, row["seconds"])) for row in found)
        return record.worker_reports(seen, job_id, self._damaged)

    def state(self, job_id: str) -> JobState:
        return rows.state_of(self._job(job_id))

    def look(self, job_id: str, now: float) -> JobLook:
        return rows.look(self._job(job_id), now)

    def keep_learnt(self, job_id: str, learnt: str, now: float) -> None:
        with self.transaction():
            if not self.run("keep_learnt", job_id=job_id, learnt=learnt, now=now).rowcount:
                raise UnknownJob(f"there is no job {job_id}")

    def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        with self.transaction():
            self.run("limit", **rows.limited(self._job(job_id), bandwidth))
            return self._status(self._job(job_id))

    def status(self, job_id: str) -> JobStatus:
        with self.reading():
            return self._status(self._job(job_id))

    def jobs(self) -> list[JobStatus]:
        with self.reading():
            return [status for _, status in self._readable(self.run("all_jobs").fetchall())]

    def _readable(self, rows: Sequence[sqlite3.Row]) -> Iterator[tuple[sqlite3.Row, JobStatus]]:
        """The jobs that make sense, with their status; the others are named once and passed over."""
        for row in rows:
            try:
                yield row, self._status(row)
            except DamagedRecord as error:
                self._damaged.name(error)

    def tidy(self, before: float, now: float) -> None:
        """Forgets jobs that ended before ``before``. What else a job leaves behind is dropped as it is settled."""
        with self.transaction():
            self.run("old_managers", before=before, now=now)
            self.run("old_workers", before=now - KEEP_SECONDS, now=now)
            for row in self.run("old_jobs", before=before).fetchall():
                for name in rows.ALL_OF_A_JOB:
                    self.run(name, job_id=row["job_id"])
        self.shrink()

    def _status(self, row: sqlite3.Row) -> JobStatus:
        tallies = self.run("tallies", job_id=row["job_id"]).fetchall()
        with reading_row(f"job {row['job_id']}"):
            for column in ("deliveries", "priority"):
                check_count(column, row[column])
            return rows.status(row, [_tally(one) for one in tallies])

    # -- the ledger ------------------------------------------------------------------------------------------------

    def pieces(self, job_id: str, after: str) -> list[tuple[str, bytes]]:
        from cachewarmer.model.outcomes import PIECES_AT_ONCE

        with self.reading():
            found = self.run("pieces", job_id=job_id, after=after, most=PIECES_AT_ONCE).fetchall()
        return [(row["key"], row["piece"]) for row in found]

    def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        with self.transaction():
            self._check_lease(job_id)
            for key, piece in pieces:
                self.run("add_piece", job_id=job_id, key=key, piece=piece)

    def forget_scanned(self, job_id: str, part: str) -> None:
        with self.transaction():
            self._check_lease(job_id)
            self.run("drop_scanned", job_id=job_id, part=part)

    def forget_ledger(self, job_id: str) -> None:
        with self.transaction():
            self.run("drop_ledger", job_id=job_id)

    def _check_lease(self, job_id: str) -> None:
        row = self.run("job", job_id=job_id).fetchone()
        if row is not None:
            self._managed.check(job_id, row["token"])

    # -- work ------------------------------------------------------------------------------------------------------

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

    def claim(self, most: int, lease_seconds: float, job_id: str, least: Priority, now: float) -> list[WorkLease]:
        leases: list[WorkLease] = []
        if least is not Priority.LOW and not self._open_items(job_id, 1, least, now):
            return leases  # mostly so: others need not wait for it
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
        lease = rows.lease_or_poison(row, token, until, row["deliveries"], self._max_deliveries)
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
                tally = record.add_all(Tally(worker=worker) if row is None else _tally(row), receipts)
                self.connection.execute(PUT_TALLY, {"job_id": job_id, **_tally_values(tally)})
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
        """Frees at once what processes of this machine held that are gone; it counts as a failed delivery."""
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


TALLY_COLUMNS = ("job_id", "worker", "errors", "slowest", *TALLY_COUNTS)
PUT_TALLY = f"INSERT OR REPLACE INTO tallies ({', '.join(TALLY_COLUMNS)}) VALUES (:{', :'.join(TALLY_COLUMNS)})"  # noqa: S608  # names of our own
"""The one statement that is not in the file: its columns are the counts of the model."""


def _held(lease: WorkLease) -> dict[str, Any]:
    """The values that find an item under its lease."""
    return {"seq": row_of(lease.token), "token": lease.token}


def _tally_values(tally: Tally) -> dict[str, Any]:
    return {
        "worker": tally.worker,
        "errors": record.dump(tally.errors),
        "slowest": record.dump(tally.slowest),
        **{name: getattr(tally, name) for name in TALLY_COUNTS},
    }


def _tally(row: sqlite3.Row) -> Tally:
    tally = Tally(
        worker=row["worker"],
        errors=record.load_errors(json.loads(row["errors"])),
        slowest=record.load_slowest(json.loads(row["slowest"])),
        **{name: row[name] for name in TALLY_COUNTS},
    )
    return sound(tally)
