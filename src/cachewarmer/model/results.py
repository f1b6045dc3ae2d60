"""Results: receipts of items, tallies of workers, the totals of a scan, and the status of a job, made from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import NamedTuple

from cachewarmer import paths
from cachewarmer.errors import CacheWarmerError, Failure, one_line
from cachewarmer.model.bound import Verdict
from cachewarmer.model.jobs import JobState, WarmJob
from cachewarmer.values import dataclass

ERROR_SAMPLE = 100
"""Maximum number of failed paths that a status names."""
SLOWEST_SAMPLE = 10
"""Maximum number of slow paths that a status names."""


class PathError(NamedTuple):
    """A path that could not be warmed, and why: the parts of the error, whose subject is the path."""

    path: str
    problem: str
    doing: str = ""
    address: str = ""
    advice: str = ""

    @classmethod
    def of(cls, path: str, error: CacheWarmerError | str) -> PathError:
        """Makes the record of a path. If the error is about something else on the way to it, that is named too."""
        if isinstance(error, str):
            return cls(path, error)
        doing, subject = error.doing, paths.to_text(error.subject)
        if subject and not path.endswith(subject):
            doing = f"{doing} {paths.printable(subject)}".strip()
        return cls(path, error.problem, doing, error.address, error.advice)

    @property
    def error(self) -> str:
        """Why, in one line that does not name the path."""
        return one_line(self.problem, self.doing, "", self.address, self.advice)


class SlowPath(NamedTuple):
    """A path that took long to read."""

    path: str
    seconds: float


COUNTS = (
    "files",
    "bytes",
    "failed_files",
    "vanished_files",
    "excluded_files",
    "skipped_files",
    "changed_files",
    "calls",
)
"""The numbers in ``Counts``."""
TALLY_COUNTS = ("items", *COUNTS)
"""The numbers in a tally, as brokers store them."""
SETTLED_COUNTS = ("files", "failed_files", "vanished_files", "excluded_files", "skipped_files")
"""The possible outcomes of a file that a scan has listed: each file is counted in one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The outcome of the files of one or more items."""

    files: int = 0
    bytes: int = 0
    failed_files: int = 0
    vanished_files: int = 0
    excluded_files: int = 0
    skipped_files: int = 0
    """Symbolic links and special files."""
    changed_files: int = 0
    """Files whose size had changed since the scan, and which were read to their new size."""
    calls: int = 0
    """Number of READ calls, or read(2) calls."""
    errors: tuple[PathError, ...] = ()
    slowest: tuple[SlowPath, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Counts):
    """The outcome of one work item; it is written exactly once, together with the worker's tally."""

    item_id: str
    seconds: float = 0.0
    key: str = ""
    piece: bytes = field(default=b"", repr=False)
    """What the item adds to the ledger of its job, under ``key`` (see ``model.outcomes``); empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally(Counts):
    """The sum of one worker's receipts for one job."""

    worker: str
    items: int = 0

    def add(self, more: Counts, items: int = 1) -> Tally:
        """The tally with one more receipt added to it, or the sum of ``items`` receipts."""
        return replace(
            self,
            items=self.items + items,
            errors=(self.errors + more.errors)[:ERROR_SAMPLE],
            slowest=_slowest(self.slowest + more.slowest),
            **{name: getattr(self, name) + getattr(more, name) for name in COUNTS},
        )


def tally_name(worker: str, address: str) -> str:
    """The name of a worker's tally. If each address is a separate cache, a worker has a tally for each of them."""
    return f"{worker}@{address}" if address else worker


def split_tally_name(name: str) -> tuple[str, str]:
    """The worker and the address in the name of a tally; the address is empty if the name has none."""
    worker, _, address = name.rpartition("@")
    return (worker, address) if worker else (name, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressTotals:
    """What was read through one mount address of a job with ``each_address``."""

    address: str
    files: int = 0
    bytes: int = 0
    failed_files: int = 0
    """Once nothing is left to read, this includes files that were listed there but not read."""
    failed_directories: int = 0
    """Directories that could not be listed there: what is in them is unknown."""
    vanished_files: int = 0
    unchanged_files: int = 0
    """Files left out because an earlier ledger says that they were read there as they are now."""
    complete: bool = True
    """Whether everything was listed there, and nothing that was listed failed or is left to read."""


class ScannedAddress(NamedTuple):
    """What the scan has found at one mount address of a job with ``each_address``."""

    address: str
    files: int
    unchanged_files: int
    failed_files: int
    """Names that could not be looked up."""
    failed_directories: int


def _slowest(paths: Sequence[SlowPath]) -> tuple[SlowPath, ...]:
    """The slowest files, each once: a file that is read in ranges counts with the slowest of them."""
    found: dict[str, SlowPath] = {}
    for one in sorted(paths, key=lambda path: -path.seconds):
        found.setdefault(one.path, one)
    return tuple(found.values())[:SLOWEST_SAMPLE]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTotals:
    """What a scan has found. The last write to a broker wins, but the totals of a finished scan are final."""

    directories: int = 0
    files: int = 0
    """Files that passed the filters."""
    bytes: int = 0
    excluded_files: int = 0
    skipped_files: int = 0
    """Symbolic links and special files that are not read."""
    links: int = 0
    """Symbolic links seen; if they are not followed, ``skipped_files`` includes them."""
    hardlinks: int = 0
    """Names left out because the file is already read under another name."""
    duplicates: int = 0
    """Names left out because a list or a directory had already named them."""
    unchanged_files: int = 0
    """Files left out because an earlier ledger says that they were read as they are now."""
    partial_files: int = 0
    """Files of which only a part is wanted: their ends, or ranges that a list names."""
    left_out_bytes: int = 0
    """Bytes of these files that are not wanted."""
    failed_files: int = 0
    """Names that could not be looked up."""
    failed_directories: int = 0
    """Directories that could not be listed: what is in them is unknown."""
    items: int = 0
    """Work items; each id counts once."""
    errors: tuple[PathError, ...] = ()
    histogram: tuple[int, ...] = ()
    """Files by size: entry *n* counts sizes of *n* bits, that is 2**(n-1) ≤ size < 2**n; entry 0 counts empty files."""
    warnings: tuple[str, ...] = ()
    """What a user should know about this scan, each in one line: patterns that matched nothing, nested exports, …"""
    lost_files: int = 0
    """Those of ``files`` that did not become work items because their only address stopped answering."""
    by_address: tuple[ScannedAddress, ...] = ()
    """For a job with ``each_address``."""
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job as a broker sees it now: its record, its scan, and its workers' tallies.

    Times are in Unix seconds; 0: not yet.
    """

    job: WarmJob
    state: JobState
    scan: ScanTotals = field(default_factory=ScanTotals)
    tallies: tuple[Tally, ...] = ()
    poisoned_items: int = 0
    poisoned_files: int = 0
    poison_errors: tuple[PathError, ...] = ()
    submitted_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    reason: str = ""
    """Why the job failed, in the form in which it is stored: see ``failure``."""
    warnings: tuple[str, ...] = ()
    """What a user should know, in addition to the scan's warnings."""
    bound: Verdict = field(default_factory=Verdict)
    """What limits its rate now, or did for most of the time: as stored at the broker, or as its workers' rows show."""

    @property
    def over(self) -> bool:
        """Whether the job will never change again."""
        return self.state.final

    @property
    def failure(self) -> Failure:
        """Why the job failed, in parts; empty if it has not."""
        return Failure.load(self.reason)

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The warnings of the scan and of the job, each once, and one if files are missing."""
        missing = self.missing_files
        short = (f"{missing:,} files of the scan were neither read nor named as failed: warm again",) if missing else ()
        return tuple(dict.fromkeys((*self.scan.warnings, *self.warnings, *short)))

    def total(self, count: str) -> int:
        """The sum of one of ``TALLY_COUNTS`` over all workers."""
        total: int = sum(getattr(tally, count) for tally in self.tallies)
        return total

    @property
    def worker_count(self) -> int:
        """How many workers have settled items."""
        if not self.job.each_address:
            return len({tally.worker for tally in self.tallies})
        return len({split_tally_name(tally.worker)[0] for tally in self.tallies})

    @property
    def addresses(self) -> tuple[AddressTotals, ...]:
        """What was read through each address, if each of them is a separate cache; else empty."""
        if not self.job.each_address:
            return ()
        names = ("files", "bytes", "failed_files", "vanished_files")
        sums = {address: dict.fromkeys((*names, "settled", "errors"), 0) for address in self.job.access.addresses}
        for tally in self.tallies:
            found = sums.get(split_tally_name(tally.worker)[1])
            if found is not None:
                for name in names:
                    found[name] += getattr(tally, name)
                found["settled"] += sum(getattr(tally, name) for name in SETTLED_COUNTS)
                found["errors"] += len(tally.errors)
        scans = {one.address: one for one in self.scan.by_address}
        most = max((one["settled"] for one in sums.values()), default=0)
        return tuple(
            # Jobs of earlier versions don't say what was listed at which address.
            self._address_totals(scans.get(address) or ScannedAddress(address, most, 0, 0, 0), **one)
            for address, one in sums.items()
        )

    def _address_totals(
        self, scan: ScannedAddress, *, settled: int, errors: int, failed_files: int, **read: int
    ) -> AddressTotals:
        """The totals of one address.

        ``settled`` is the number of files whose outcome is in receipts, ``errors`` the number of errors that receipts
        name, and ``read`` holds the other sums of ``AddressTotals``.
        """
        failed_files += scan.failed_files
        if self.all_settled and not self.job.metadata_only:
            failed_files += max(0, scan.files - settled)  # given up in poison, or listed before the address was lost
        return AddressTotals(
            address=scan.address,
            failed_files=failed_files,
            failed_directories=scan.failed_directories,
            unchanged_files=scan.unchanged_files,
            complete=self.all_settled and not failed_files and not errors and not scan.failed_directories,
            **read,
        )

    @property
    def settled_items(self) -> int:
        """Number of items that need no more work: they have a receipt, or are in poison."""
        return self.total("items") + self.poisoned_items

    @property
    def all_settled(self) -> bool:
        """Whether the scan is finished and every published item is settled: nothing is left to read."""
        return self.scan.finished and self.settled_items >= self.scan.items

    @property
    def failed_files(self) -> int:
        """Number of files that could not be looked up or read, including those in poison and those that were lost."""
        return self.total("failed_files") + self.poisoned_files + self.scan.failed_files + self.scan.lost_files

    @property
    def errors(self) -> tuple[PathError, ...]:
        """A sample of the failed paths."""
        found = [*self.scan.errors, *self.poison_errors]
        for tally in self.tallies:
            found += tally.errors
        return tuple(found[:ERROR_SAMPLE])

    @property
    def slowest(self) -> tuple[SlowPath, ...]:
        """The files that took longest to read, slowest first."""
        return _slowest([path for tally in self.tallies for path in tally.slowest])

    @property
    def missing_files(self) -> int:
        """Files that the scan counted but whose outcome is unknown; 0 while there is anything left to read."""
        if not self.all_settled or self.job.metadata_only:
            return 0
        told = sum(self.total(count) for count in SETTLED_COUNTS) + self.poisoned_files + self.scan.lost_files
        return max(0, self.scan.files - told)

    @property
    def outcome(self) -> JobState:
        """The final state of the job, given that nothing is left to read."""
        failed = self.failed_files or self.scan.failed_directories or self.poisoned_items or self.missing_files
        failed = failed or len(self.errors)  # if only a later range of a large file failed
        return JobState.COMPLETED_WITH_ERRORS if failed else JobState.COMPLETED

    @property
    def resumed(self) -> JobState:
        """The state in which a paused job continues."""
        return JobState.WARMING if self.scan.finished else JobState.SCANNING

    def seconds(self, now: float) -> float:
        """How long the job has taken so far, or took; 0 if it has not started. ``now`` is in Unix seconds."""
        return max(0.0, (self.finished_at or now) - self.started_at) if self.started_at else 0.0

    def settled(self) -> JobStatus:
        """This status, in its final state if nothing is left to read: no process has to be running to set that."""
        if self.state in (JobState.SCANNING, JobState.WARMING) and self.all_settled:
            return replace(self, state=self.outcome)
        return self
