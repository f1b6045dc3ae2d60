"""Caches that discard what they have just fetched, and say so.

JuiceFS writes what it has read to its cache in the background, and drops a block when that writer can't keep up: the
reader gets its bytes and the cache stays cold. It counts those blocks (``juicefs_blockcache_drops`` in ``.stats`` at the
mount's root). A file that was read while the count stood still is in the cache; one that was not is read again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cachewarmer.errors import FileError
from cachewarmer.targets.mount.table import read_table

COUNTER = b"juicefs_blockcache_drops"
TYPE = "fuse.juicefs"
TRIES = 10
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.02, 2.0
"""Before a file is read again, so that the cache's writer catches up; doubles each time."""
LATE_SECONDS = 0.1
"""The count may be a little late: what was read is looked at once more after one to two times this long."""


class Discards:
    """The count of one mount; safe for use by several threads, which share a look at it where they can."""

    def __init__(self, stats: bytes) -> None:
        self._stats = stats
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._count = 0.0
        self._looked_at = 0.0
        """When the last look began, by the monotonic clock; 0: never."""

    def __repr__(self) -> str:
        return f"<Discards {os.fsdecode(self._stats)} count={self._count:g}>"

    def mark(self) -> float:
        """A count from before what comes next."""
        with self._lock:
            if not self._looked_at:
                self._look()
            return self._count

    def kept_since(self, mark: float, now: float | None = None) -> bool:
        """Whether nothing was discarded from ``mark`` to ``now`` (monotonic; None: this moment)."""
        now = time.monotonic() if now is None else now
        with self._lock:
            if self._looked_at <= now:
                self._look()
            return self._count == mark

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        with open(self._stats, "rb") as file:
            self._count = sum(float(line.split()[-1]) for line in file if line.startswith(COUNTER))

    @contextmanager
    def turn(self, tries: int, waiting: Callable[[], bool]) -> Iterator[None]:
        """One file is read again at a time, each later than the last time, so that the writer catches up.

        ``waiting`` is called now and then meanwhile; True from it ends the wait.
        """
        while not self._turn.acquire(timeout=0.5):
            if waiting():
                yield
                return
        try:
            time.sleep(min(MOST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (tries - 1)))
            waiting()
            yield
        finally:
            self._turn.release()


def gave_up(path: bytes) -> FileError:
    """The error of a file that the cache would not keep."""
    return FileError(
        f"the cache discarded blocks all {TRIES} times that it was read: its disk can't keep up with what is fetched",
        doing="read",
        subject=b"/" + path.lstrip(b"/"),
        advice="fewer threads, or a larger buffer for the mount, may help",
    )


class DiscardCounts:
    """The mounts that count, by device."""

    def __init__(self) -> None:
        self._known: dict[int, Discards | None] = {}

    def of(self, device: int) -> Discards | None:
        """The count of the file system with that ``st_dev``; None: it has none."""
        if device not in self._known:
            self._known[device] = _find(device)
        return self._known[device]


def _find(device: int) -> Discards | None:
    for entry in read_table():
        major, _, minor = entry.device.partition(":")
        if entry.kind != TYPE or os.makedev(int(major), int(minor)) != device:
            continue
        found = Discards(os.path.join(entry.mount_point, b".stats"))
        try:
            found.mark()
        except (OSError, ValueError):
            continue
        return found
    return None
