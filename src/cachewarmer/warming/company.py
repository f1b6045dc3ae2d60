"""What shows a reader that others read from the same cache. Pure."""

from __future__ import annotations

from cachewarmer.warming.rounds import Observation

PROVED_SECONDS = 1.0
"""A window is proved once it was held for so long and made nobody wait."""
REMEMBERED_SECONDS = 60.0
"""How long it counts that a window was proved, or that one made others wait."""
MOVED_FACTOR, MOVED_CALLS = 1.5, 2
"""The knee has moved if a good window exceeds one that made others wait by this factor, and by this many calls."""
GROWN_FACTOR, QUEUED_FACTOR = 1.25, 1.5
"""READs wait in a queue with those of others if their latency grows by the first factor while the window stays, or exceeds
the least of late by the second."""
COMPARED_CALLS = 400
"""Latencies are compared over this many calls, or over one second."""


class Company:
    """Watches one reader's search, for as long as that reader takes itself to be alone."""

    def __init__(self) -> None:
        self._proved, self._proved_at = 0, 0.0
        self._waited, self._waited_at = 0, 0.0
        """The last window that made others wait, and when it did."""
        self._held_since = -1.0
        self._calls, self._seconds, self._compared_at = 0, 0.0, 0.0
        self._least = 0.0

    def held(self, window: int, now: float, since: float, *, suspected: bool) -> None:
        """Takes note that a window has been held since then, and that nobody waits."""
        if now - since >= PROVED_SECONDS and not suspected:
            self._proved, self._proved_at = window, now

    def forget(self) -> None:
        """Drops what is known of windows: the calls are different ones now."""
        self._waited = 0

    def others_wait(self, window: int, now: float) -> bool:
        """Takes note that a window makes others wait; returns whether it was proved not long ago."""
        self._waited, self._waited_at = window, now
        return 0 < window <= self._proved and now - self._proved_at < REMEMBERED_SECONDS

    def left(self, good: int, now: float) -> bool:
        """Whether a good window exceeds one that made others wait: other readers have given back threads."""
        if not self._waited or now - self._waited_at >= REMEMBERED_SECONDS:
            return False
        moved = good > MOVED_FACTOR * self._waited and good - self._waited > MOVED_CALLS
        if moved:
            self._waited = 0
        return moved

    def queues(self, seen: Observation, window: int, since: float, least_latency: float) -> bool:
        """Whether READs take longer although the window has stayed the same since then."""
        if since != self._held_since:
            self._held_since, self._least = since, 0.0
            self._calls, self._seconds, self._compared_at = 0, 0.0, seen.now
        self._calls += seen.calls
        self._seconds += seen.seconds
        enough = self._calls >= COMPARED_CALLS or seen.now - self._compared_at > 1
        if not enough or self._calls < 2 * window:
            return False
        mean = self._seconds / self._calls
        self._least = min(self._least or mean, mean)
        self._calls, self._seconds, self._compared_at = 0, 0.0, seen.now
        grown = mean > GROWN_FACTOR * self._least or 0 < QUEUED_FACTOR * least_latency < mean
        return grown and seen.now - since >= PROVED_SECONDS
