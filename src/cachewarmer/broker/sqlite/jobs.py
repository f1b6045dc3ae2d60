"""The transactions of the SQLite broker for jobs, managers, fleets and the reports of workers."""

from __future__ import annotations

import secrets

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import MOST_FLEET_SECONDS, JobLease, JobLook
from cachewarmer.broker.sqlite.standing import Standings
from cachewarmer.errors import LeaseLost, UnknownJob
from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Priority,
    ScanTotals,
    Turns,
    WarmJob,
    WorkerReport,
)
from cachewarmer.model.live import KEEP_SECONDS


class JobSteps(Standings):
    """Implements the methods of ``Broker`` of the same names, for jobs, managers, workers and fleets."""

    def __init__(self, path: str, max_deliveries: int, busy_seconds: float) -> None:
        super().__init__(path, max_deliveries, busy_seconds)
        self._job_turns = Turns()

    def has_job(self, job_id: str) -> bool:
        return self.run("job", job_id=job_id).fetchone() is not None

    def begin_list(self, job_id: str) -> None:
        """Drops what an interrupted submission with the same id has left behind."""
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

    def set_state(self, job_id: str, state: JobState, reason: str, now: float) -> JobStatus:
        with self.transaction():
            self._set_state(self._job(job_id), state, reason, now)
            self._finish_if_settled(job_id, now)
            return self._status(self._job(job_id))

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
        """Begins and ends a write transaction. Raises ``sqlite3.Error`` if the file may not be written."""
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

    def tidy(self, before: float, now: float) -> None:
        """Forgets jobs that ended before ``before``. What a job no longer needs was dropped when it was settled."""
        with self.transaction():
            self.run("old_managers", before=before, now=now)
            self.run("old_workers", before=now - KEEP_SECONDS, now=now)
            for row in self.run("old_jobs", before=before).fetchall():
                for name in rows.ALL_OF_A_JOB:
                    self.run(name, job_id=row["job_id"])
        self.shrink()
