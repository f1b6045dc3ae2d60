"""Converts rows of the brokers that use a relational database. Pure.

A ``Row`` is any object that returns a column by its name. The columns of ``jobs`` and ``items`` have the same names and
meanings in all databases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from cachewarmer.bounds import MOST_LEASE_SECONDS
from cachewarmer.broker import record
from cachewarmer.broker.base import MOST_FLEET_SECONDS, JobLook, WorkLease
from cachewarmer.broker.sound import check_count, sound
from cachewarmer.errors import DamagedRecord, InvalidMessage
from cachewarmer.model import ERROR_SAMPLE, Bandwidth, JobState, JobStatus, Learnt, Tally, WarmJob, WorkItem

AHEAD_SECONDS = 60.0
"""Times in a row that are further in the future than this are not valid: clocks do not differ by so much."""

KEEP_NOTHING = frozenset({JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS, JobState.CANCELLED})
"""Final states in which the items of a job are dropped. A failed job may be continued, and keeps them."""

ALL_OF_A_JOB = ("drop_items", "drop_tallies", "drop_poison", "drop_chunks", "drop_ledger", "drop_job")
"""The statements that forget a job."""

NUMBERS = {"LONGEST_FLEET": MOST_FLEET_SECONDS, "LONGEST": MOST_LEASE_SECONDS, "AHEAD": AHEAD_SECONDS}
"""Names for numbers in the statements: seconds in the future beyond which a time is not valid."""


class Row(Protocol):
    """A row of a result, with columns by name."""

    def __getitem__(self, column: str, /) -> Any: ...


def state_of(job: Row) -> JobState:
    """The state of a job. Raises ``DamagedRecord``."""
    with record.reading_row(f"job {job['job_id']}"):
        return JobState(job["state"])


def standing(job: Row) -> record.Standing:
    """The state, times and totals of a job. Raises ``DamagedRecord``."""
    with record.reading_row(f"job {job['job_id']}"):
        stands = record.Standing(
            state=JobState(job["state"]),
            reason=job["reason"],
            submitted_at=job["submitted_at"],
            started_at=job["started_at"],
            finished_at=job["finished_at"],
            scan=record.load_scan(job["scan"]),
            begun_again=bool(job["begun_again"]),
        )
        return sound(stands)


def look(job: Row, now: float) -> JobLook:
    """What workers need to know about a job (``Broker.look``). Raises ``DamagedRecord``."""
    with record.reading_row(f"job {job['job_id']}"):
        return JobLook(JobState(job["state"]), record.load_bandwidth(job["bandwidth"]), learnt(job, now))


def learnt(job: Row, now: float) -> Learnt | None:
    """What ``keep_learnt`` stored; None: nothing, or it is damaged, since a job does not depend on it."""
    kept_at = job["learnt_at"]
    return Learnt.kept(job["learnt"], now - kept_at if isinstance(kept_at, (int, float)) else None)


def limited(job: Row, bandwidth: Bandwidth) -> dict[str, str]:
    """The columns of a job that change with its bandwidth. Raises ``InvalidTransition``, ``DamagedRecord``."""
    job_id = job["job_id"]
    with record.reading_row(f"job {job_id}"):
        record.check_limit(job_id, JobState(job["state"]))
        message = record.limited(WarmJob.from_json(job["message"]), bandwidth).to_json()
    return {"job_id": job_id, "message": message, "bandwidth": bandwidth.text()}


def status(job: Row, tallies: Sequence[Tally]) -> JobStatus:
    """The status of a job. Raises ``DamagedRecord``."""
    stands = standing(job)
    with record.reading_row(f"job {job['job_id']}"):
        found = JobStatus(
            job=WarmJob.from_json(job["message"]),
            state=stands.state,
            # Each id counts once, however often a list or a second scan named it.
            scan=replace(stands.scan, items=job["published_items"]),
            tallies=tuple(tallies),
            poisoned_items=job["poisoned_items"],
            poisoned_files=job["poisoned_files"],
            poison_errors=record.load_errors(json.loads(job["poison_errors"])),
            submitted_at=stands.submitted_at,
            started_at=stands.started_at,
            finished_at=stands.finished_at,
            reason=stands.reason,
            bound=record.kept_verdict(job["learnt"]),
        )
        return sound(found).settled()


def stands(job_id: str, standing: record.Standing) -> dict[str, Any]:
    """The columns of a job's standing: the values of the statement ``set_state``."""
    return {
        "job_id": job_id,
        "state": standing.state,
        "reason": standing.reason,
        "started_at": standing.started_at,
        "finished_at": standing.finished_at,
    }


def with_numbers(statements: str) -> str:
    """The text of statements with the names in ``NUMBERS`` replaced by their numbers."""
    return re.sub(rf"\b({'|'.join(NUMBERS)})\b", lambda found: f"{NUMBERS[found[1]]:.1f}", statements)


def never_leased(until: object, now: float, most_seconds: float = MOST_LEASE_SECONDS) -> bool:
    """Whether the end of a lease, or of a delay, in a row is one that this program never sets."""
    return not isinstance(until, int | float) or not until <= now + most_seconds  # nor NaN


class Poisoned(NamedTuple):
    """An item that is given up."""

    item: WorkItem
    """The item, without its list of files if that was not unpacked."""
    reason: str
    files: int
    """The number of files that count as failed."""


def lease_or_poison(
    row: Row, token: str, until: float, failed: int, max_deliveries: int, fresh: WorkItem | None = None
) -> WorkLease | Poisoned:
    """Decides whether an item is delivered or given up, after ``failed`` deliveries that failed.

    ``fresh`` is the item in its message, if it is known already; then the message is not parsed.
    """
    try:
        with record.reading_row("this item"):
            check_count("deliveries", failed)
            last_error = str(row["last_error"])
        if failed >= max_deliveries:
            # The item may have killed each process that held it, so its list of files is not even unpacked.
            envelope = record.envelope(row["message"])
            item = WorkItem.from_json(envelope.text)
            return Poisoned(item, record.given_up(failed, last_error), envelope.file_count)
        item = fresh or WorkItem.from_json(row["message"])
    except (InvalidMessage, DamagedRecord) as error:
        return Poisoned(WorkItem(), str(error), 1)
    item = record.with_id(item)
    if item.failed_deliveries != failed or item.last_error != last_error:
        item = replace(item, failed_deliveries=failed, last_error=last_error)
    return WorkLease(token, until, failed + 1, item)


def poison_counts(job: Row, poisoned: Poisoned) -> dict[str, Any]:
    """The counts that a poisoned item adds to its job: the values of the statement ``count_poison``."""
    errors = (
        *record.load_errors(json.loads(job["poison_errors"])),
        *record.poison_sample(poisoned.item, poisoned.reason),
    )
    # A file that is cut into ranges is counted by its first range.
    files = 0 if poisoned.item.start > 0 or poisoned.item.further else poisoned.files
    return {"job_id": job["job_id"], "files": files, "errors": record.dump(errors[:ERROR_SAMPLE])}


def handed_back(item: WorkItem) -> str:
    """The new message of an item that is handed back; empty: it stays the same, since nothing has been read."""
    return replace(item, failed_deliveries=0, last_error="").to_json() if item.came else ""


def held(lease: WorkLease) -> dict[str, str]:
    """The values by which a statement finds the item of a lease."""
    return {"job_id": lease.item.job_id, "item_id": lease.item.item_id, "token": lease.token}
