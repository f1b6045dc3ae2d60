"""Counts what a scan has found so far: the mutable counterpart of ``model.ScanTotals``."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import zip_longest
from typing import TYPE_CHECKING

from cachewarmer import paths
from cachewarmer.errors import CacheWarmerError
from cachewarmer.model import ERROR_SAMPLE, PathError, ScanTotals, WorkItem
from cachewarmer.model.results import ScannedAddress
from cachewarmer.planning.portions import Portion

if TYPE_CHECKING:  # only of jobs that keep a ledger
    from cachewarmer.model.outcomes import FileOutcome

MAX_WARNINGS = 20
MAX_WARNING_CHARS = 500
SHOWN_PATTERNS = 5
LARGEST = 10
"""How many of the largest files a scan names."""


class ScanCounter:
    """The counts of one scan. To be changed on the event loop only."""

    def __init__(self) -> None:
        self.base = ""
        """The export, without a trailing slash: the beginning of every path that is reported."""
        self.directories = 0
        self.files = 0
        self.bytes = 0
        self.excluded_files = 0
        self.skipped_files = 0
        self.links = 0
        self.hardlinks = 0
        self.duplicates = 0
        self.unchanged_files = 0
        self.told: list[FileOutcome] | None = None
        """Outcomes of the names that failed, for the ledger, whose keeper takes them out; None: no ledger is kept."""
        self.address = ""
        """The address that is scanned, for a job whose addresses are separate caches; else empty."""
        self.lines = 0
        """Lines of a list that were looked up."""
        self.lost_files = 0
        self.failed_files = 0
        self.failed_directories = 0
        self.partial_files = 0
        self.left_out_bytes = 0
        self.cut_ranges = 0
        """Ranges of a list that extend past the end of their file."""
        self._cut_range = ""
        self.snapshots = 0
        """Snapshot directories that were left out."""
        self._snapshot = ""
        self.lost_links = 0
        """Symbolic links that were to be followed but lead to no file that may be read."""
        self._lost_link = ""
        self.warnings: list[str] = []
        self.items = 0
        self.errors: list[PathError] = []
        self._histogram = [0] * 64
        self._largest: list[tuple[int, str]] = []

    def add_files(self, directory: bytes, files: Sequence[tuple[bytes, int, bytes]]) -> None:
        """Counts files of one directory that will be warmed: the name, the size and the handle (ignored) of each."""
        histogram, largest = self._histogram, self._largest
        smallest = largest[0][0] if len(largest) >= LARGEST else -1
        for name, size, _ in files:
            self.bytes += size
            histogram[min(63, size.bit_length())] += 1
            if size > smallest:
                path = self._whole(paths.join_bytes(directory, name))
                (heapq.heappush if len(largest) < LARGEST else heapq.heappushpop)(largest, (size, path))
                smallest = largest[0][0] if len(largest) >= LARGEST else -1
        self.files += len(files)

    def add_portion(self, directory: bytes, file: tuple[bytes, int, bytes], portion: Portion) -> None:
        """Counts a part of a file that will be warmed; ``file`` is its name, its size and its handle."""
        name, size, handle = file
        wanted = sum(stop - start for start, stop in portion.ranges)
        if portion.further:
            self.bytes += wanted
            self.left_out_bytes -= wanted
        else:
            self.add_files(directory, [(name, wanted, handle)])
            self.partial_files += 1
            self.left_out_bytes += size - wanted

    def add_cut_range(self, path: bytes) -> None:
        """Counts a range of a list that extends past the end of its file."""
        self.cut_ranges += 1
        self._cut_range = self._cut_range or self._whole(path)

    def add_error(self, path: bytes, error: CacheWarmerError | str, *, directory: bool = False) -> None:
        """Counts a name that could not be looked up, or a directory that could not be listed completely."""
        if directory:
            self.failed_directories += 1
        else:
            self.failed_files += 1
        whole = self._whole(path)
        self._tell(whole, error)
        if len(self.errors) < ERROR_SAMPLE:
            self.errors.append(PathError.of(whole, error))

    def add_lost(self, items: Iterable[WorkItem], error: CacheWarmerError) -> None:
        """Counts as lost the files of items that can't be handed out, because their only address does not answer."""
        from cachewarmer.model.outcomes import given_up

        error = error.of_no_file()
        said = PathError.of("", error).error
        for item in items:
            if item.start > 0 or item.further:
                continue  # another item counts its file
            lost = list(given_up(item, said))
            self.lost_files += len(lost)
            if self.told is not None:
                self.told += lost
            room = ERROR_SAMPLE - len(self.errors)
            self.errors += [PathError.of(one.path, error) for one in lost[:room]]

    def add_unknown(self, name: bytes, problem: str) -> None:
        """Counts a name that the list itself marks as unreadable, for the reason ``problem``."""
        self.failed_files += 1
        whole = paths.to_text(name)
        self._tell(whole, problem)
        if len(self.errors) < ERROR_SAMPLE:
            self.errors.append(PathError.of(whole, problem))

    def _tell(self, path: str, error: CacheWarmerError | str) -> None:
        if self.told is not None:
            from cachewarmer.model.outcomes import FileOutcome, FileStatus

            said = PathError.of(path, error).error
            self.told.append(FileOutcome(path, 0, 0.0, 0.0, FileStatus.FAILED, 0, said, self.address, 0.0))

    def add_snapshot(self, path: bytes) -> None:
        """Counts a snapshot directory that is left out."""
        self.snapshots += 1
        self._snapshot = self._snapshot or self._whole(path)

    def add_lost_link(self, path: bytes) -> None:
        """Counts a link that can't be followed: it leads out of the export, to a directory, in a circle or nowhere."""
        self.skipped_files += 1
        self.lost_links += 1
        self._lost_link = self._lost_link or self._whole(path)

    def warn(self, text: str) -> None:
        """Adds a warning to the report, unless it is there already or ``MAX_WARNINGS`` are."""
        if text not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text if len(text) <= MAX_WARNING_CHARS else f"{text[:MAX_WARNING_CHARS]}…")

    def conclude(self, *, follow_links: bool, patterns: Sequence[str] = ()) -> None:
        """Adds the warnings that are known only at the end of a scan; ``patterns`` are those of the job."""
        if self.snapshots:
            what = _count(self.snapshots, "snapshot directory", "snapshot directories")
            beside = f" beside what {', '.join(patterns[:SHOWN_PATTERNS])} says" if patterns else ""
            shown = paths.printable(self._snapshot)
            self.warn(f"{what} left out{beside}, such as {shown}; --include-snapshots reads them")
        if self.cut_ranges:
            what = _count(self.cut_ranges, "range goes", "ranges go")
            self.warn(f"{what} past the end of the file, such as {paths.printable(self._cut_range)}")
        if self.lost_links:
            what = _count(self.lost_links, "symbolic link leads", "symbolic links lead")
            self.warn(f"{what} to no file that is read here, such as {paths.printable(self._lost_link)}")
        if self.links and not follow_links:
            what = _count(self.links, "symbolic link", "symbolic links")
            self.warn(f"{what} not followed; --follow-links reads those that lead to files of the export")

    def _whole(self, path: bytes) -> str:
        return f"{self.base}/{paths.to_text(path)}"

    def largest(self) -> list[tuple[int, str]]:
        """The largest files as (bytes, path), largest first."""
        return sorted(self._largest, reverse=True)

    def totals(self, *, finished: bool = False) -> ScanTotals:
        """The counts as they are now; ``finished``: whether the scan has ended."""
        used = max((bits for bits, count in enumerate(self._histogram) if count), default=-1) + 1
        return ScanTotals(
            directories=self.directories,
            files=self.files,
            bytes=self.bytes,
            excluded_files=self.excluded_files,
            skipped_files=self.skipped_files,
            links=self.links,
            hardlinks=self.hardlinks,
            duplicates=self.duplicates,
            unchanged_files=self.unchanged_files,
            partial_files=self.partial_files,
            left_out_bytes=self.left_out_bytes,
            failed_files=self.failed_files,
            failed_directories=self.failed_directories,
            lost_files=self.lost_files,
            warnings=tuple(self.warnings),
            items=self.items,
            errors=tuple(self.errors),
            histogram=tuple(self._histogram[:used]),
            by_address=(self._of_address(),) if self.address else (),
            finished=finished,
        )

    def _of_address(self) -> ScannedAddress:
        return ScannedAddress(
            self.address, self.files, self.unchanged_files, self.failed_files, self.failed_directories
        )


def joined(parts: Sequence[ScanTotals], *, finished: bool = False) -> ScanTotals:
    """Adds up the totals of several scans of one job, such as one for each address."""
    histogram = [sum(counts) for counts in zip_longest(*(one.histogram for one in parts), fillvalue=0)]
    sums = {one.name: sum(getattr(part, one.name) for part in parts) for one in fields(ScanTotals) if one.type == "int"}
    return ScanTotals(
        **sums,
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
        errors=tuple(error for part in parts for error in part.errors)[:ERROR_SAMPLE],
        histogram=tuple(histogram),
        by_address=tuple(one for part in parts for one in part.by_address),
        finished=finished,
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
