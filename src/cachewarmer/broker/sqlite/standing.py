"""What the transactions of the SQLite broker share: the row and status of a job, its state changes, and tallies."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from cachewarmer.broker import record, rows
from cachewarmer.broker.record import reading_row
from cachewarmer.broker.sound import check_count, sound
from cachewarmer.broker.sqlite.database import Database
from cachewarmer.broker.sqlite.processes import own_name
from cachewarmer.errors import DamagedRecord, UnknownJob
from cachewarmer.model import TALLY_COUNTS, JobState, JobStatus, Tally, check_transition


class Standings(Database):
    """An open file. Each public method is one transaction; the time is an argument (``now``, in Unix seconds)."""

    def __init__(self, path: str, max_deliveries: int, busy_seconds: float) -> None:
        super().__init__(path, busy_seconds)
        self._max_deliveries = max_deliveries
        self._owner = own_name()
        self._damaged = record.DamagedRows()
        self._managed = record.ManagedJobs()

    def _job(self, job_id: str) -> sqlite3.Row:
        row: sqlite3.Row | None = self.run("job", job_id=job_id).fetchone()
        if row is None:
            raise UnknownJob(f"there is no job {job_id}")
        return row

    def _set_state(self, row: sqlite3.Row, state: JobState, reason: str, now: float) -> None:
        if check_transition(row["job_id"], rows.state_of(row), state):
            self._put_standing(row["job_id"], rows.standing(row).moved_to(state, reason, now))

    def _put_standing(self, job_id: str, standing: record.Standing) -> None:
        self.run("set_state", **rows.stands(job_id, standing))

    def _finish_if_settled(self, job_id: str, now: float) -> None:
        """Sets the final state in the transaction that settles the last item, so that no manager is needed for it."""
        counts = self.run("settled_count", job_id=job_id).fetchone()
        if counts["scan_finished"] and counts["settled"] >= counts["published_items"]:
            for row, status in self._readable([self._job(job_id)]):
                self._set_state(row, status.state, "", now)

    def _settle_job(self, job_id: str, token: str, now: float) -> None:
        if self.run("settle_job", job_id=job_id, token=token).rowcount and self.state(job_id) in rows.KEEP_NOTHING:
            self.run("forget_items", job_id=job_id, now=now)
            self.run("drop_chunks", job_id=job_id)

    def state(self, job_id: str) -> JobState:
        return rows.state_of(self._job(job_id))

    def _readable(self, rows: Sequence[sqlite3.Row]) -> Iterator[tuple[sqlite3.Row, JobStatus]]:
        """The jobs that can be read, with their status; damaged ones are logged once and skipped."""
        for row in rows:
            try:
                yield row, self._status(row)
            except DamagedRecord as error:
                self._damaged.name(error)

    def _status(self, row: sqlite3.Row) -> JobStatus:
        tallies = self.run("tallies", job_id=row["job_id"]).fetchall()
        with reading_row(f"job {row['job_id']}"):
            for column in ("deliveries", "priority"):
                check_count(column, row[column])
            return rows.status(row, [tally_in(one) for one in tallies])

    def _check_lease(self, job_id: str) -> None:
        row = self.run("job", job_id=job_id).fetchone()
        if row is not None:
            self._managed.check(job_id, row["token"])


TALLY_COLUMNS = ("job_id", "worker", "errors", "slowest", *TALLY_COUNTS)
PUT_TALLY = f"INSERT OR REPLACE INTO tallies ({', '.join(TALLY_COLUMNS)}) VALUES (:{', :'.join(TALLY_COLUMNS)})"  # noqa: S608  # names of our own
"""The only statement that is not in ``queries.sql``, because its columns are the counts of the model."""


def tally_values(tally: Tally) -> dict[str, Any]:
    """The values of the row of a tally, except the job."""
    return {
        "worker": tally.worker,
        "errors": record.dump(tally.errors),
        "slowest": record.dump(tally.slowest),
        **{name: getattr(tally, name) for name in TALLY_COUNTS},
    }


def tally_in(row: sqlite3.Row) -> Tally:
    """The tally in a row. Call it in ``record.reading_row``, which translates the errors of a damaged row."""
    tally = Tally(
        worker=row["worker"],
        errors=record.load_errors(json.loads(row["errors"])),
        slowest=record.load_slowest(json.loads(row["slowest"])),
        **{name: row[name] for name in TALLY_COUNTS},
    )
    return sound(tally)
