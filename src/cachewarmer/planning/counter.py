"""What a scan has seen so far: the mutable side of ``model.ScanTotals``."""

from __future__ import annotations

import heapq

from cachewarmer import paths
from cachewarmer.errors import CacheWarmerError
from cachewarmer.model import ERROR_SAMPLE, PathError, ScanTotals

LARGEST = 10
"""How many of the largest files a scan names."""


class ScanCounter:
    """Counts for one scan; changed on the event loop only."""

    def __init__(self) -> None:
        self.base = ""
        """What stands before every path that is reported: the export, without a slash at its end."""
        self.directories = 0
        self.files = 0
        self.bytes = 0
        self.excluded_files = 0
        self.skipped_files = 0
        self.links = 0
        self.hardlinks = 0
        self.duplicates = 0
        self.failed_files = 0
        self.failed_directories = 0
        self.warnings: list[str] = []
        self.items = 0
        self.errors: list[PathError] = []
        self._histogram = [0] * 64
        self._largest: list[tuple[int, str]] = []

    def add_file(self, directory: bytes, name: bytes, size: int) -> None:
        """A file that will be warmed."""
        self.files += 1
        self.bytes += size
        self._histogram[min(63, size.bit_length())] += 1
        if len(self._largest) < LARGEST or size > self._largest[0][0]:
            path = self._whole(directory + b"/" + name if directory else name)
            (heapq.heappush if len(self._largest) < LARGEST else heapq.heappushpop)(self._largest, (size, path))

    def add_error(self, path: bytes, error: CacheWarmerError | str) -> None:
        """A directory or name that could not be looked at."""
        self.failed_files += 1
        if len(self.errors) < ERROR_SAMPLE:
            self.errors.append(PathError.of(self._whole(path), error))

    def _whole(self, path: bytes) -> str:
        return f"{self.base}/{paths.to_text(path)}"

    def largest(self) -> list[tuple[int, str]]:
        """The largest files, (bytes, path), largest first."""
        return sorted(self._largest, reverse=True)

    def totals(self, *, finished: bool = False) -> ScanTotals:
        """The counts as they stand."""
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
            failed_files=self.failed_files,
            failed_directories=self.failed_directories,
            warnings=tuple(self.warnings),
            items=self.items,
            errors=tuple(self.errors),
            histogram=tuple(self._histogram[:used]),
            finished=finished,
        )
