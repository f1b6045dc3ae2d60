"""Keeps a reader below a bandwidth. Pure: the time, in seconds of any clock, is an argument."""

from __future__ import annotations

from typing import TypeAlias

BURST_SECONDS = 0.25
"""The allowance that may accumulate while nothing is read, in seconds of the rate."""


Place: TypeAlias = tuple[float, float]
"""A place in the queue of a pace, and one in that of the pace that it is part of; in bytes."""


class Pace:
    """A token bucket whose rate may change at any time.

    A caller that waits holds a place in the queue, not a time, so a new rate also applies to it. What is taken here is
    also taken of ``whole``: a rate that several paces have together.
    """

    def __init__(self, bytes_per_second: float, now: float, whole: Pace | None = None) -> None:
        self._rate = bytes_per_second
        self._whole = whole
        self._allowed = 0.0
        """Bytes that may have been requested in all by the time ``_at``."""
        self._booked = 0.0
        """Bytes that were booked in all."""
        self._at = now

    def __repr__(self) -> str:
        return f"<Pace {self._rate:.0f} B/s waiting={max(0.0, self._booked - self._allowed):.0f}>"

    @property
    def bytes_per_second(self) -> float:
        """The rate, which is at most that of the whole; 0: no limit."""
        rates = (self._rate, self._whole.bytes_per_second if self._whole else 0.0)
        return min((rate for rate in rates if rate), default=0.0)

    def change(self, bytes_per_second: float, now: float) -> None:
        """Sets the rate from ``now`` on; 0: no limit."""
        self._advance(now)
        self._rate = bytes_per_second

    def take(self, count: int, now: float) -> Place:
        """Books ``count`` bytes; returns their place, for ``wait``."""
        self._advance(now)
        place = self._booked, self._whole.take(count, now)[0] if self._whole else 0.0
        self._booked += count
        return place

    def wait(self, place: Place, now: float) -> float:
        """Seconds until the bytes at a place may be requested, unless a rate changes."""
        self._advance(now)
        own, of_whole = place
        seconds = max(0.0, own - self._allowed) / self._rate if self._rate else 0.0
        return max(seconds, self._whole.wait((of_whole, 0.0), now)) if self._whole else seconds

    def _advance(self, now: float) -> None:
        if self._rate:
            self._allowed += self._rate * max(0.0, now - self._at)
            self._allowed = min(self._allowed, self._booked + BURST_SECONDS * self._rate)
        else:
            self._allowed = self._booked
        self._at = max(self._at, now)

    def holds_back(self, now: float) -> bool:
        """Whether the next request would have to wait."""
        return self.wait((self._booked, 0.0), now) > 0 or (self._whole is not None and self._whole.holds_back(now))

    @property
    def piece_bytes(self) -> int:
        """The size of a request: a tenth of a second's allowance, but at least 64 KiB and at most 1 MiB."""
        rate = self.bytes_per_second
        return int(min(1 << 20, max(1 << 16, rate / 10))) if rate else 1 << 20
