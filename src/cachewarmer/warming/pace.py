"""Keeps a reader below a bandwidth. Pure: the time is an argument."""

from __future__ import annotations

BURST_SECONDS = 0.25
"""How much of a second's allowance may be saved up while nothing is read."""


class Pace:
    """A token bucket. Its rate may change at any time, also for those who wait: each has its place in the row, not a time."""

    def __init__(self, bytes_per_second: float, now: float) -> None:
        self._rate = bytes_per_second
        self._allowed = 0.0
        """How many bytes may have been asked for at ``_at``, since the beginning."""
        self._booked = 0.0
        self._at = now

    def __repr__(self) -> str:
        return f"<Pace {self._rate:.0f} B/s waiting={max(0.0, self._booked - self._allowed):.0f}>"

    @property
    def bytes_per_second(self) -> float:
        """0: no limit."""
        return self._rate

    def change(self, bytes_per_second: float, now: float) -> None:
        """Another rate from now on; 0: no limit."""
        self._advance(now)
        self._rate = bytes_per_second

    def take(self, count: int, now: float) -> float:
        """Books ``count`` bytes; returns their place in the row."""
        self._advance(now)
        place = self._booked
        self._booked += count
        return place

    def wait(self, place: float, now: float) -> float:
        """The seconds until what stands at a place may be asked for, if the rate stays as it is."""
        self._advance(now)
        return max(0.0, place - self._allowed) / self._rate if self._rate else 0.0

    def _advance(self, now: float) -> None:
        if self._rate:
            self._allowed += self._rate * max(0.0, now - self._at)
            self._allowed = min(self._allowed, self._booked + BURST_SECONDS * self._rate)
        else:
            self._allowed = self._booked
        self._at = max(self._at, now)

    def holds_back(self, now: float) -> bool:
        """Whether what is asked for next has to wait."""
        return self.wait(self._booked, now) > 0

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once: a tenth of a second's allowance, between 64 KiB and 1 MiB."""
        return int(min(1 << 20, max(1 << 16, self._rate / 10))) if self._rate else 1 << 20
