"""The table of jobs that ``status`` shows, and the lines about the workers of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cachewarmer.amounts import counted, size, span
from cachewarmer.cli.bounds import BOUNDS
from cachewarmer.cli.colours import STATES, Shade, paint
from cachewarmer.cli.failures import without
from cachewarmer.cli.text import columns, shorten
from cachewarmer.model import InHand, JobState, JobStatus, Priority, WorkerReport, with_in_hand
from cachewarmer.paths import printable
from cachewarmer.rates import Rate

HEADER = ("JOB", "STATE", "AGE", "FILES", "BYTES", "RATE", "ETA", "WORKERS", "NAME")
RIGHT = {"AGE", "FILES", "BYTES", "RATE", "ETA", "WORKERS"}
DROPPED = ("WORKERS", "RATE", "AGE", "ETA", "FILES", "BYTES")
"""Columns to leave out on a narrow terminal, in this order."""
LEAST_NAME = 20
"""Minimum width of a name in characters."""


def table(
    statuses: Sequence[JobStatus],
    workers: Sequence[WorkerReport],
    now: float,
    rate_of: Callable[[JobStatus], Rate],
) -> str:
    """A header and a row for each job, with the reason below a job that failed.

    Args:
        statuses: the jobs according to the receipts; what workers have read of unfinished items is added here.
        workers: the reports of the workers of all these jobs.
        now: the time in Unix seconds.
        rate_of: returns the rate of a job; it is called with the status that includes unfinished items.
    """
    if not statuses:
        return "no jobs"
    rows = [_row(with_in_hand(status, workers), workers, now, rate_of) for status in statuses]
    widths = {name: max(len(row[place]) for row in (HEADER, *rows)) for place, name in enumerate(HEADER[:-1])}
    for name in DROPPED:
        if sum(widths.values()) + 2 * len(widths) + LEAST_NAME <= columns():
            break
        del widths[name]
    room = max(LEAST_NAME, columns() - sum(widths.values()) - 2 * len(widths))
    lines = [_line(HEADER, widths, room)]
    for row, status in zip(rows, statuses, strict=True):
        lines.append(_line(row, widths, room))
        lines += [f"    {shorten(reason, columns() - 4)}" for reason in _reasons(status)]
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Mapping[str, int], room: int) -> str:
    """Joins those cells of a row whose columns are in ``widths``, and the job's name in ``room`` characters."""
    cells = []
    for name, text in zip(HEADER, row, strict=True):
        if name in widths:
            cell = text.rjust(widths[name]) if name in RIGHT else text.ljust(widths[name])
            cells.append(paint(cell, STATES.get(text.partition(",")[0], Shade.PLAIN)) if name == "STATE" else cell)
    return "  ".join([*cells, shorten(row[-1], room)])


def _row(
    status: JobStatus, workers: Sequence[WorkerReport], now: float, rate_of: Callable[[JobStatus], Rate]
) -> tuple[str, ...]:
    scan, rate = status.scan, rate_of(status)
    since = status.submitted_at or status.started_at
    left = rate.seconds_left(status)
    return (
        status.job.job_id,
        _state(status),
        span(max(0.0, now - since)) if since else "",
        _of(f"{status.total('files'):,}", f"{scan.files:,}", status),
        _of(size(status.total("bytes")), size(scan.bytes), status),
        f"{size(rate.bytes)}/s" if rate.bytes else "",
        span(left) if left else "",
        _workers(status, workers),
        status.job.name or status.job.label,
    )


def _state(status: JobStatus) -> str:
    """The state, and the priority unless it is normal."""
    if status.state.final or status.job.priority is Priority.NORMAL:
        return str(status.state)
    return f"{status.state}, {status.job.priority}"


def _of(read: str, scanned: str, status: JobStatus) -> str:
    """How much has been read of what the scan has found so far."""
    if status.state is JobState.COMPLETED:
        return read
    return f"{read} of {scanned}{'' if status.scan.finished else '+'}"


def _workers(status: JobStatus, workers: Sequence[WorkerReport]) -> str:
    """The number of active workers, and when one of them was last seen."""
    if status.state.final:
        return str(status.worker_count)
    mine = [one for one in workers if one.in_hand(status.job.job_id) is not None]
    at_work = [one for one in mine if one.at_work]
    if not mine or (status.state is JobState.PAUSED and not at_work):
        return "0"
    last = span(min(one.seen_seconds for one in at_work or mine))
    return f"{len(at_work)}, {last} ago" if at_work else f"0, last seen {last} ago"


def _reasons(status: JobStatus) -> list[str]:
    """Why a job failed, or how many files could not be warmed, with the first of them; at most one line."""
    if status.state is JobState.FAILED:
        return [f"failed: {printable(str(without(status.failure, address='', subject=status.job.full_path)))}"]
    if not status.failed_files:
        return []
    first = (f", the first: {printable(one.path)}: {printable(one.error)}" for one in status.errors)
    return [f"{counted(status.failed_files, 'file')} failed{next(first, '')}"]


def worker_lines(status: JobStatus, workers: Sequence[WorkerReport]) -> list[str]:
    """Lines about the workers of an unfinished job: one for each worker, and one for each address that is silent."""
    if status.state.final:
        return []
    rows = [(worker, held) for worker in workers if (held := worker.in_hand(status.job.job_id)) is not None]
    lines = ["  workers:"] if rows else []
    for worker, held in rows:
        place = f" on {printable(worker.host)}" if worker.host else ""
        lines.append(f"    {printable(worker.worker)}{place}: {', '.join(_doing(worker, held))}")
        lines += [
            f"      {printable(one.address)}: no answer for {span(one.silent_seconds)}: {printable(one.problem)}"
            for one in worker.addresses
            if one.silent_seconds and worker.at_work
        ]
    return lines


def _doing(worker: WorkerReport, held: InHand) -> list[str]:
    """What a worker is doing, as short phrases."""
    seen = f"seen {span(worker.seen_seconds)} ago"
    if not worker.at_work:
        return ["has ended" if worker.ended else f"{paint('LOST', Shade.BAD)}, last {seen}"]
    window = sum(one.window for one in worker.addresses)
    flying = sum(one.in_flight for one in worker.addresses)
    calls = f"{flying} of {window} calls in flight" if window else ""
    parts = [seen, f"{counted(held.items, 'item')} in hand", calls, BOUNDS.get(worker.bound, "")]
    return [part for part in parts if part]


def cut(text: str, rows: int) -> str:
    """Cuts the table to at most this many rows, so that its beginning stays visible on the terminal."""
    lines = text.split("\n")
    if len(lines) <= rows:
        return text
    return "\n".join(
        [*lines[: rows - 1], f"… {len(lines) - rows + 1:,} more lines; --limit and --state show fewer jobs"]
    )


def redrawn(old: str, new: str) -> str:
    """What to write to a terminal that shows ``old``, so that it shows ``new`` instead without flickering."""
    up = f"\x1b[{old.count(chr(10)) + 1}F" if old else ""
    lines = "\n".join(f"\x1b[K{line}" for line in new.split("\n"))
    return f"{up}{lines}\x1b[J"
