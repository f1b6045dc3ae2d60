"""Detects blocks that a cache has dropped right after fetching them, from the counts of JuiceFS.

JuiceFS writes what it has read to its cache in the background, and drops a block if that writer can't keep up: the
reader gets its bytes, but the cache stays cold. ``.stats`` at the root of the mount counts the blocks that were
fetched, written and dropped. ``Discards`` uses these counts in two ways: it holds readers back while too many blocks
wait for the writer, and it tells afterwards whether a block may have been dropped, so that the file must be read again.

Reading ``.stats`` costs JuiceFS as much as reading several small files, so one look serves many files.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from cachewarmer.errors import FileError
from cachewarmer.targets.mount.table import read_table

TYPE = "fuse.juicefs"
TRIES = 10
"""Maximum number of times that a file is read before it counts as failed."""
LATE_SECONDS, LATE_SECONDS_OF_MANY = 0.02, 0.1
"""How far the counts may lag behind: for a file of one block, and for a file whose blocks are fetched ahead."""
CHECK_SECONDS = 0.1
"""Time between two checks of what was read."""
BLOCK_BYTES = 4 << 20
"""The size of the blocks in which files are fetched and dropped: JuiceFS's default; smaller ones cost more looks."""
FIRST_LIMIT, MIN_LIMIT, MAX_LIMIT = 10, 2, 64
"""Bounds of the number of blocks that may wait for the cache's writer. JuiceFS was observed to drop blocks above 13."""
CALM_LOOKS = 100
"""The number of looks without a drop after which the limit rises by one."""
CREDIT = 0.8
"""The share of the observed rate at which the writer is assumed to write between two looks."""
RATE_SECONDS = 0.25
"""The time over which the observed rate is averaged."""
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.002, 0.02
TURN_SECONDS = 0.5
"""Interval at which a thread that waits for room reports that it is alive."""
REMEMBERED_LOOKS = 256

_FETCHED = b"juicefs_object_request_durations_histogram_seconds_GET_total"
_FETCHING = b"juicefs_object_request_durations_histogram_seconds_GET_sum"
_WRITTEN = b"juicefs_blockcache_writes"
_DROPPED = b"juicefs_blockcache_drops"


class Counts(NamedTuple):
    """Numbers of blocks since the file system was mounted."""

    fetched: float
    written: float
    dropped: float
    fetching_seconds: float = 0.0
    """The time that fetching took, summed over all blocks."""


def read_counts(stats: bytes) -> Counts:
    """The counts in a ``.stats`` file; a count that is missing is 0.

    Raises:
        OSError, ValueError: the file can't be read or is invalid.
    """
    sums = dict.fromkeys((_FETCHED, _WRITTEN, _DROPPED, _FETCHING), 0.0)
    with open(stats, "rb") as file:
        for line in file:
            name = line.partition(b" ")[0].partition(b"{")[0]
            if name in sums:
                sums[name] += float(line.split()[-1])
    return Counts(*sums.values())


class Discards:
    """The counts of one mount, shared by the threads that read it."""

    def __init__(
        self,
        look: Callable[[], Counts],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``look`` reads the counts, and is called once here. Raises what it raises."""
        self._read_counts = look
        self._clock = clock
        self._sleep = sleep
        self._turn = threading.Lock()
        """Held by the thread that looks on behalf of all."""
        self._room_made = threading.Condition()
        # All below is guarded by the condition's lock.
        self._in_flight = 0
        self._limit = FIRST_LIMIT
        self._calm = 0
        began = clock()
        self._level, self._level_at = 0.0, began
        """Blocks that wait for the writer, as estimated without a look, and the time of the estimate."""
        self._rate = 0.0
        """Blocks that the writer writes in a second."""
        self._counts = look()
        self._drained = _unwritten(self._counts)
        """``_unwritten`` when no block waits for the writer. It drifts, because other programs read and write too."""
        self._looks = deque([(began, self._counts.dropped)], maxlen=REMEMBERED_LOOKS)
        """When each look began, and how many blocks had been dropped by then."""

    def __repr__(self) -> str:
        return f"<Discards dropped={self._counts.dropped:g} waiting={self._level:.0f}/{self._limit}>"

    @property
    def limit(self) -> int:
        """Blocks that may wait for the writer now. It falls after a drop, and rises slowly again."""
        return self._limit

    def begin(self, alive: Callable[[], bool]) -> float:
        """Waits until the cache's writer has room for another block; returns a mark for ``kept``.

        Call ``end`` when the block has been read. ``alive`` is called repeatedly, and ends the wait by returning
        False.
        """
        while True:
            with self._room_made:
                if self._has_room(self._clock()) or not alive():
                    self._level += 1
                    self._in_flight += 1
                    return self._counts.dropped
                looking = self._turn.acquire(blocking=False)
                if not looking:
                    self._room_made.wait(TURN_SECONDS)
            if looking:
                try:
                    self._make_room(alive)
                finally:
                    self._turn.release()

    def end(self) -> float:
        """Records that a block was read; returns the time of the clock."""
        with self._room_made:
            self._in_flight -= 1
        return self._clock()

    def kept(self, mark: float, until: float) -> bool:
        """Whether no block was dropped between ``mark`` and ``until``, a time of the clock up to now."""
        with self._room_made:
            if self._looks[-1][0] < until:
                self._take(*self._look())
            later = (dropped for began, dropped in self._looks if began >= until)
            return next(later, self._counts.dropped) == mark

    def fetch_seconds(self) -> float | None:
        """Average seconds to fetch a block from the origin since the file system was mounted; None: none was fetched.

        Raises:
            OSError, ValueError: the counts can't be read.
        """
        counts = self._read_counts()
        return counts.fetching_seconds / counts.fetched if counts.fetched else None

    def _has_room(self, now: float) -> bool:
        """Whether another block may wait, by the estimate. Call it with the lock held."""
        self._level = max(0.0, self._level - (now - self._level_at) * self._rate * CREDIT)
        self._level_at = now
        return self._level + 1 <= self._limit

    def _make_room(self, alive: Callable[[], bool]) -> None:
        """Looks, and waits if the writer is really behind."""
        while True:
            began, counts = self._look()
            with self._room_made:
                self._take(began, counts)
                missing = self._level + 1 - self._limit
                seconds = max(missing, self._limit / 2) / (self._rate * CREDIT) if self._rate else MAX_WAIT_SECONDS
            if missing > 0:
                if not alive():
                    return
                self._sleep(min(MAX_WAIT_SECONDS, max(MIN_WAIT_SECONDS, seconds)))
            with self._room_made:
                if self._has_room(self._clock()):
                    self._room_made.notify_all()
                    return

    def _look(self) -> tuple[float, Counts]:
        return self._clock(), self._read_counts()

    def _take(self, began: float, counts: Counts) -> None:
        """Takes the counts of a look into account. Call it with the lock held."""
        before, since = self._counts, self._looks[-1][0]
        if began <= since:
            return  # another thread's look overtook this one
        self._counts = counts
        self._looks.append((began, counts.dropped))
        written = counts.written - before.written
        unwritten = _unwritten(counts)
        if written == 0 and counts.fetched == before.fetched:
            self._drained = unwritten  # nothing has moved: the writer has nothing to do
        was_busy = _unwritten(before) > self._drained
        self._drained = min(self._drained, unwritten)
        self._level, self._level_at = unwritten - self._drained + self._in_flight, began
        seconds = began - since
        change = (written / seconds - self._rate) * min(1.0, seconds / RATE_SECONDS)
        if change > 0 or (was_busy and unwritten > self._drained):  # a writer that had nothing to do may be faster
            self._rate += change
        self._calm += 1
        if counts.dropped > before.dropped:
            self._limit, self._calm = max(MIN_LIMIT, self._limit - max(1, self._limit // 4)), 0
            self._rate *= CREDIT
        elif self._calm >= CALM_LOOKS:
            self._limit, self._calm = min(MAX_LIMIT, self._limit + 1), 0


def _unwritten(counts: Counts) -> float:
    return counts.fetched - counts.written - counts.dropped


def gave_up(path: bytes) -> FileError:
    """The error of a file that the cache did not keep."""
    return FileError(
        f"the cache dropped blocks in each of {TRIES} attempts: its disk can't keep up",
        doing="read",
        subject=b"/" + path.lstrip(b"/"),
        advice="use fewer threads, or mount with a larger buffer",
    )


class DiscardCounts:
    """The counts of mounts that have them, by device."""

    def __init__(self) -> None:
        self._known: dict[int, Discards | None] = {}
        self._lock = threading.Lock()

    def of(self, device: int) -> Discards | None:
        """The counts of the file system with this ``st_dev``; None: it has none."""
        if device not in self._known:
            with self._lock:
                if device not in self._known:
                    self._known[device] = _find(device)
        return self._known[device]


def _find(device: int) -> Discards | None:
    for entry in read_table():
        major, _, minor = entry.device.partition(":")
        if entry.kind != TYPE or os.makedev(int(major), int(minor)) != device:
            continue
        stats = os.path.join(entry.mount_point, b".stats")
        try:
            return Discards(lambda stats=stats: read_counts(stats))  # type: ignore[misc]
        except (OSError, ValueError):
            continue
    return None
