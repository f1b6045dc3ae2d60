"""The report of a job or of a scan, for both text and JSON. The JSON keys are a contract.

Times are Unix seconds, given by the caller.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, field, fields
from itertools import zip_longest
from typing import Any

from cachewarmer.errors import Failure
from cachewarmer.model.bandwidth import Bandwidth
from cachewarmer.model.bound import Verdict
from cachewarmer.model.jobs import WarmJob
from cachewarmer.model.results import AddressTotals, JobStatus, PathError, ScanTotals, SlowPath, Tally
from cachewarmer.values import dataclass

MOST_LARGEST = 10
MOST_SLOWEST = 10
"""Maximum numbers of largest and slowest files that a report names."""
WORST_FIRST = ("failed", "cancelled", "scanning", "warming", "queued", "paused", "completed_with_errors", "completed")
"""The state of several jobs is the first of these that any of them has."""
HIGHEST_FIRST = ("high", "normal", "low")
OVER = ("failed", "cancelled", "completed_with_errors", "completed")
TOO_SHORT = "too_short"
"""``bound_by`` of a job that was too short to tell what limited it."""
SHORT_SECONDS = 10.0
"""A job that took longer than this has a verdict, unless nobody stored it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of one job or one scan, or the sums of several, which are then in ``parts``."""

    target: str = ""
    job: str = ""
    """The job's id; empty for a scan, which no broker knows about."""
    name: str = ""
    priority: str = ""
    """For several jobs, the highest."""
    bandwidth: Bandwidth = Bandwidth()  # noqa: RUF009  # frozen
    """The current limit of one job."""
    state: str = ""
    failure: Failure = field(default_factory=Failure)
    """Why the job failed; empty if it has not."""
    files: int = 0
    bytes: int = 0
    directories: int = 0
    failed_files: int = 0
    failed_directories: int = 0
    vanished_files: int = 0
    changed_files: int = 0
    excluded_files: int = 0
    skipped_files: int = 0
    links: int = 0
    """Symbolic links seen."""
    hardlinks: int = 0
    duplicates: int = 0
    """Names left out because the file is read under another name, or was named before; includes ``hardlinks``."""
    unchanged_files: int = 0
    """Files left out because an earlier ledger says that they were read as they are now."""
    partial_files: int = 0
    """Files of which only a part is wanted."""
    left_out_bytes: int = 0
    """Bytes of these files that are not wanted."""
    scanned_files: int = 0
    scanned_bytes: int = 0
    scan_finished: bool = False
    poisoned_items: int = 0
    calls: int = 0
    seconds: float = 0.0
    errors: tuple[PathError, ...] = ()
    slowest: tuple[SlowPath, ...] = ()
    largest: tuple[tuple[int, str], ...] = ()
    """(bytes, path), largest first."""
    histogram: tuple[int, ...] = ()
    """Files by size, as in ``ScanTotals.histogram``."""
    workers: tuple[Tally, ...] = ()
    addresses: tuple[AddressTotals, ...] = ()
    """For a job with ``each_address``."""
    warnings: tuple[str, ...] = ()
    bound: Verdict = field(default_factory=Verdict)
    """What limits the rate of an unfinished job; if the job is over, what limited it for most of the observed time."""
    parts: tuple[Report, ...] = ()

    @classmethod
    def of_job(cls, status: JobStatus, now: float | None = None) -> Report:
        """The report of ``warm``, ``status`` and ``submit --wait``.

        An unfinished job is measured up to ``now``, in Unix seconds; None: the current time.
        """
        scan = status.scan
        return cls(
            target=status.job.label,
            job=status.job.job_id,
            name=status.job.name,
            priority=str(status.job.priority),
            bandwidth=status.job.bandwidth,
            state=str(status.state),
            failure=status.failure,
            files=status.total("files"),
            bytes=status.total("bytes"),
            directories=scan.directories,
            failed_files=status.failed_files,
            failed_directories=scan.failed_directories,
            vanished_files=status.total("vanished_files"),
            changed_files=status.total("changed_files"),
            excluded_files=scan.excluded_files + status.total("excluded_files"),
            skipped_files=scan.skipped_files + status.total("skipped_files"),
            links=scan.links,
            hardlinks=scan.hardlinks,
            duplicates=scan.duplicates + scan.hardlinks,
            unchanged_files=scan.unchanged_files,
            partial_files=scan.partial_files,
            left_out_bytes=scan.left_out_bytes,
            scanned_files=scan.files,
            scanned_bytes=scan.bytes,
            scan_finished=scan.finished,
            poisoned_items=status.poisoned_items,
            calls=status.total("calls"),
            seconds=status.seconds(time.time() if now is None else now),
            errors=status.errors,
            slowest=status.slowest,
            histogram=scan.histogram,
            workers=status.tallies,
            addresses=status.addresses,
            warnings=status.all_warnings,
            bound=status.bound,
        )

    @classmethod
    def of_scan(cls, job: WarmJob, totals: ScanTotals, largest: Sequence[tuple[int, str]], seconds: float) -> Report:
        """The report of ``scan``: what ``job`` would read. ``largest`` holds (bytes, path)."""
        return cls(
            target=job.label,
            name=job.name,
            files=totals.files,
            bytes=totals.bytes,
            directories=totals.directories,
            failed_files=totals.failed_files,
            failed_directories=totals.failed_directories,
            links=totals.links,
            hardlinks=totals.hardlinks,
            duplicates=totals.duplicates + totals.hardlinks,
            warnings=totals.warnings,
            excluded_files=totals.excluded_files,
            skipped_files=totals.skipped_files,
            unchanged_files=totals.unchanged_files,
            partial_files=totals.partial_files,
            left_out_bytes=totals.left_out_bytes,
            scanned_files=totals.files,
            scanned_bytes=totals.bytes,
            scan_finished=totals.finished,
            seconds=seconds,
            errors=totals.errors,
            largest=tuple(largest),
            histogram=totals.histogram,
        )

    @classmethod
    def combine(cls, reports: Sequence[Report]) -> Report:
        """Combines several reports into one: numbers are added, lists are joined, and the worst state counts."""
        if len(reports) == 1:
            return reports[0]
        states = [report.state for report in reports if report.state]

        def joined(name: str) -> tuple[Any, ...]:
            return tuple(one for report in reports for one in getattr(report, name))

        return cls(
            job=",".join(report.job for report in reports if report.job),
            priority=min((one.priority for one in reports if one.priority), key=HIGHEST_FIRST.index, default=""),
            state=min(states, key=WORST_FIRST.index) if states else "",
            scan_finished=all(report.scan_finished for report in reports),
            errors=joined("errors"),
            slowest=tuple(sorted(joined("slowest"), key=lambda one: -one.seconds)[:MOST_SLOWEST]),
            largest=tuple(sorted(joined("largest"), reverse=True)[:MOST_LARGEST]),
            histogram=_added([report.histogram for report in reports]),
            workers=joined("workers"),
            addresses=joined("addresses"),
            warnings=tuple(dict.fromkeys(joined("warnings"))),
            parts=tuple(reports),
            **{name: sum(getattr(report, name) for report in reports) for name in _SUMMED},
        )

    @property
    def files_per_second(self) -> float:
        """The mean rate in files per second; 0 if no time has passed."""
        return self.files / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """The mean rate in bytes per second; 0 if no time has passed."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def bound_by(self) -> str:
        """What limits or limited the rate: one of ``Bound``, or ``TOO_SHORT``."""
        short = self.state in OVER and self.files and self.seconds < SHORT_SECONDS and not self.parts
        return TOO_SHORT if short and not self.bound.bound else str(self.bound.bound)

    def document(self) -> dict[str, Any]:
        """The JSON object: for a job, or for a scan if there is no job."""
        return self._job_document() if self.state else self._scan_document()

    def _job_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "job": self.job,
            "name": self.name,
            "target": self.target,
            "state": self.state,
            "priority": self.priority,
            **self.bandwidth.fields,
            "reason": str(self.failure),
            **{name: getattr(self, name) for name in _COUNTS},
            "scanned_files": self.scanned_files,
            "scanned_bytes": self.scanned_bytes,
            "scan_finished": self.scan_finished,
            "poisoned_items": self.poisoned_items,
            "calls": self.calls,
            "seconds": round(self.seconds, 3),
            "files_per_second": round(self.files_per_second, 3),
            "bytes_per_second": round(self.bytes_per_second, 3),
            "errors": [{"path": one.path, "error": one.error} for one in self.errors],
            "slowest": [{"path": path, "seconds": round(took, 6)} for path, took in self.slowest],
            "histogram": size_histogram(self.histogram),
            "warnings": list(self.warnings),
            "workers": _by_worker(self.workers),
        }
        document["bound_by"] = self.bound_by
        if self.bound.bound:
            document["bound"] = self.bound.document()
        if self.addresses:
            document["addresses"] = [asdict(one) for one in self.addresses]
        if self.parts:
            document["jobs"] = [part.document() for part in self.parts]
        return document

    def _scan_document(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "target": self.target,
            "name": self.name,
            **{name: getattr(self, name) for name in _COUNTS},
            "finished": self.scan_finished,
            "seconds": round(self.seconds, 3),
            "largest_files": [{"path": path, "bytes": count} for count, path in self.largest],
            "histogram": size_histogram(self.histogram),
            "warnings": list(self.warnings),
            "errors": [{"path": one.path, "error": one.error} for one in self.errors],
        }
        if self.parts:
            document["targets"] = [part.document() for part in self.parts]
        return document


_COUNTS = (
    "files",
    "bytes",
    "directories",
    "failed_files",
    "failed_directories",
    "vanished_files",
    "changed_files",
    "excluded_files",
    "skipped_files",
    "links",
    "hardlinks",
    "duplicates",
    "unchanged_files",
    "partial_files",
    "left_out_bytes",
)
"""The numbers that both jobs and scans have."""
_SUMMED = tuple(one.name for one in fields(Report) if one.type in ("int", "float"))


def _by_worker(tallies: Sequence[Tally]) -> list[dict[str, Any]]:
    """What each worker has read. A worker may have several tallies, such as one for what it has in hand."""
    rows: dict[str, dict[str, Any]] = {}
    for one in tallies:
        row = rows.setdefault(one.worker, {"worker": one.worker, "items": 0, "files": 0, "bytes": 0})
        for name in ("items", "files", "bytes"):
            row[name] += getattr(one, name)
    return list(rows.values())


def _added(histograms: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip_longest(*histograms, fillvalue=0))


def size_histogram(counts: Sequence[int]) -> list[dict[str, int]]:
    """The histogram in the form that reports use: the number of files with ``from`` ≤ size < ``below`` bytes."""
    return [
        {"from": 1 << (bits - 1) if bits else 0, "below": 1 << bits, "files": count}
        for bits, count in enumerate(counts)
        if count
    ]
