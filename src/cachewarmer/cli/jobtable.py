"""The table of jobs that ``status`` shows, and which job a user means. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cachewarmer.cli.text import duration, size
from cachewarmer.errors import UnknownJob
from cachewarmer.model import JobState, JobStatus, WorkerReport, with_in_hand
from cachewarmer.paths import printable

HEADER = ("JOB", "STATE", "AGE", "DONE", "RATE", "ETA", "WORKERS", "NAME")
MOST_NAMED = 5
"""Jobs that an error names where several are meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Which jobs to show; the defaults show all."""

    limit: int = 0
    """At most so many, the newest; 0: all."""
    state: str = ""
    since_seconds: float = 0.0
    """Only those submitted in the last so many seconds; 0: whenever."""

    def of(self, statuses: Sequence[JobStatus], now: float) -> list[JobStatus]:
        """Those of them, in the order they came in; ``now`` in Unix seconds."""
        found = [one for one in statuses if not self.state or one.state == self.state]
        if self.since_seconds:
            found = [one for one in found if one.submitted_at >= now - self.since_seconds]
        if self.limit:
            newest = sorted(found, key=lambda one: -one.submitted_at)[: self.limit]
            kept = {one.job.job_id for one in newest}
            found = [one for one in found if one.job.job_id in kept]
        return found


def meant(text: str, statuses: Sequence[JobStatus]) -> str:
    """The id of the one job that has this id, or whose id alone begins so, or that alone has this name.

    Raises:
        UnknownJob: there is none, or several are meant.
    """
    ids = [one.job.job_id for one in statuses]
    if text in ids:
        return text
    named = [one.job.job_id for one in statuses if text and one.job.name == text]
    found = named or [one for one in ids if text and one.startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownJob(f"no job has the id or the name {printable(text)}")
    some = ", ".join(found[:MOST_NAMED]) + (", …" if len(found) > MOST_NAMED else "")
    raise UnknownJob(f"{printable(text)} means {len(found)} jobs: {some}", advice="give more of the id")


def table(statuses: Sequence[JobStatus], workers: Sequence[WorkerReport], now: float) -> list[str]:
    """A header and a line for each job, below it why it failed; what workers have read of unfinished items counts."""
    if not statuses:
        return ["no jobs"]
    rows = [HEADER, *(_row(with_in_hand(one, workers), workers, now) for one in statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown = lines[:1]
    for status, line in zip(statuses, lines[1:], strict=True):
        shown.append(line)
        if reason := str(status.failure) if status.reason else "":
            shown.append(f"  {printable(reason)}")
    return shown


def _row(status: JobStatus, workers: Sequence[WorkerReport], now: float) -> tuple[str, ...]:
    files, read = status.total("files"), status.total("bytes")
    seconds = status.seconds(now)
    rate = read / seconds if seconds else 0.0
    return (
        status.job.job_id,
        str(status.state),
        duration(max(0.0, now - status.submitted_at)) if status.submitted_at else "-",
        f"{files:,} of {status.scan.files:,} files, {size(read)} of {size(status.scan.bytes)}",
        f"{size(rate)}/s" if rate else "-",
        _eta(status, read, rate),
        _workers(status, workers),
        printable(status.job.name or status.job.label),
    )


def _eta(status: JobStatus, read: int, rate: float) -> str:
    left = status.scan.bytes - read
    known = status.state is JobState.WARMING and status.scan.finished and rate and left > 0
    return duration(left / rate) if known else "-"


def _workers(status: JobStatus, workers: Sequence[WorkerReport]) -> str:
    """How many are at work on it, and when the broker last heard of one."""
    mine = [one for one in workers if one.in_hand(status.job.job_id) is not None]
    if status.state.final or not mine:
        return "-"
    seen = min(one.seen_seconds for one in mine)
    return f"{sum(one.at_work for one in mine)} (seen {duration(seen)} ago)"
