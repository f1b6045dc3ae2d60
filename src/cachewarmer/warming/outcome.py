"""The outcome of one work item, counted while it is read and reported in its receipt."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cachewarmer.errors import CacheWarmerError, FileVanished
from cachewarmer.model import FileEntry, PathError, Receipt, SlowPath, WorkItem
from cachewarmer.paths import to_text
from cachewarmer.targets.base import ReadRequest
from cachewarmer.warming.item_paths import full_path

if TYPE_CHECKING:  # only of jobs that keep a ledger
    from cachewarmer.warming.notes import Notes

ERRORS_PER_ITEM = 20
"""Maximum number of failed paths that a receipt names."""
SLOWEST_PER_ITEM = 5


class ItemOutcome:
    """What was read of an item and what failed, in all its passes."""

    __slots__ = ("bytes", "calls", "changed", "fast_seconds", "files", "notes", "problems", "sizes", "slowest")

    def __init__(self) -> None:
        self.bytes = 0
        self.files = 0
        """Files that need no more reading, whether they were read or failed."""
        self.calls = 0
        self.changed = 0
        """Files whose size has changed since the scan."""
        self.problems: dict[int, CacheWarmerError] = {}
        """Why files could not be read, by their numbers in the item."""
        self.sizes: dict[int, int] = {}
        """Sizes in bytes of files that have changed since the scan, by their numbers in the item."""
        self.slowest: list[tuple[float, bytes]] = []
        """Seconds and path of the slowest requests, a heap with the fastest of them first."""
        self.fast_seconds = -1.0
        """A request that took no longer is not among the slowest."""
        self.notes: Notes | None = None
        """What a ledger records of each file; None: no ledger is kept."""

    def add_slow(self, request: ReadRequest) -> None:
        """Records a request that took longer than ``fast_seconds`` as one of the slowest."""
        slow = self.slowest
        (heapq.heappush if len(slow) < SLOWEST_PER_ITEM else heapq.heapreplace)(slow, (request.seconds, request.path))
        if len(slow) == SLOWEST_PER_ITEM:
            self.fast_seconds = slow[0][0]

    def failure(self, item: WorkItem) -> CacheWarmerError | None:
        """The transient error for which none of the item's files could be read, so that the item is to be tried again.

        None: some files were read, they failed for different reasons, or a failure is permanent; then the receipt
        reports each file. An error that stands for several files names none of them.
        """
        problems, total = list(self.problems.values()), len(item.files or ())
        if not problems or len(problems) < total or not all(one.transient for one in problems):
            return None
        if total == 1:
            return problems[0]
        neutral = problems[0].of_no_file()
        same = neutral.failure
        return neutral if all(one.of_no_file().failure == same for one in problems) else None

    def receipt(self, item: WorkItem, excluded: int, skipped: int, seconds: float) -> Receipt:
        """The receipt of the item. ``excluded``, ``skipped``: files left out; ``seconds``: how long it took in all."""
        files = item.files or ()
        vanished = sum(isinstance(problem, FileVanished) for problem in self.problems.values())
        failed = len(self.problems) - vanished
        # A file in several ranges is counted by the first; the others report a failure only as an error.
        first_range = item.start <= 0 and not item.further
        key, piece = self._records(item) if item.ledger else ("", b"")
        return Receipt(
            item_id=item.item_id,
            files=len(files) - failed - vanished if first_range else 0,
            bytes=self.bytes,
            failed_files=failed if first_range else 0,
            vanished_files=vanished if first_range else 0,
            changed_files=self.changed,
            excluded_files=excluded,
            skipped_files=skipped,
            calls=self.calls,
            seconds=seconds,
            key=key,
            piece=piece,
            errors=_sample(item, files, self.problems),
            slowest=tuple(
                SlowPath(full_path(item, to_text(path)), took) for took, path in sorted(self.slowest, reverse=True)
            ),
        )

    def _records(self, item: WorkItem) -> tuple[str, bytes]:
        """The key of the item in a ledger, and the packed records of its files."""
        from cachewarmer.model.outcomes import item_key, pack
        from cachewarmer.warming.notes import lines

        return item_key(item), pack(lines(item, self.notes, self.sizes, self.problems))


def _sample(item: WorkItem, files: Sequence[FileEntry], problems: dict[int, CacheWarmerError]) -> tuple[PathError, ...]:
    sample = []
    for index, problem in problems.items():
        if isinstance(problem, FileVanished):
            continue
        path = f"{item.path}/{files[index].path}" if files[index].path else item.path
        sample.append(PathError.of(full_path(item, path), problem))
        if len(sample) == ERRORS_PER_ITEM:
            break
    return tuple(sample)
