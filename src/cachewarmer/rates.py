"""The rate of a job, from the counts of the last seconds."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from cachewarmer.model import JobState, JobStatus

RATE_SECONDS = 10.0
"""The time that rates are taken over."""
MOST_ETA_SECONDS = 100 * 3600.0
"""A longer estimate says only that hardly anything was read just now: it is not shown."""


class Rate(NamedTuple):
    """How fast files and bytes are read."""

    files: float = 0.0
    bytes: float = 0.0

    def seconds_for(self, files: int, size: int) -> float:
        """How long this many files and bytes will take; 0 if unknown, or there are none."""
        left = 0.0
        if size > 0 and self.bytes:
            left = size / self.bytes
        elif files > 0 and self.files:
            left = files / self.files
        return left if left < MOST_ETA_SECONDS else 0.0

    def seconds_left(self, status: JobStatus) -> float:
        """How long the rest of a job will take; 0 if unknown, or it does not continue."""
        if not status.scan.finished or status.state is JobState.PAUSED or status.state.final:
            return 0.0
        return self.seconds_for(status.scan.files - status.total("files"), status.scan.bytes - status.total("bytes"))


class Rates:
    """Feed it with the counts of one job, and the time of each (seconds of any clock that only goes forwards)."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, int, int]] = deque()

    def add(self, now: float, files: int, read: int) -> Rate:
        """The rate over the last ``RATE_SECONDS``, with these counts.

        What is read of an item that is then given back is read again: counts may fall, a rate may not.
        """
        self._past.append((now, files, read))
        while len(self._past) > 2 and now - self._past[0][0] > RATE_SECONDS:
            self._past.popleft()
        then, files_then, read_then = self._past[0]
        seconds = now - then
        if seconds <= 0:
            return Rate()
        return Rate(max(0, files - files_then) / seconds, max(0, read - read_then) / seconds)


def average(status: JobStatus, now: float) -> Rate:
    """The rate since the job was begun; ``now`` in Unix seconds."""
    seconds = status.seconds(now)
    return Rate(status.total("files") / seconds, status.total("bytes") / seconds) if seconds else Rate()
