"""Keeps a reader below a bandwidth. Pure: the time is an argument."""

from __future__ import annotations

BURST_SECONDS = 0.25
"""How much of a second's allowance may be saved up while nothing is read."""


class Pace:
    """A token bucket of ``bytes_per_second``."""

    def __init__(self, bytes_per_second: float, now: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._free_at = now

    def take(self, count: int, now: float) -> float:
        """Books ``count`` bytes; returns the seconds to wait before they may be asked for."""
        self._free_at = max(self._free_at, now - BURST_SECONDS)
        wait = max(0.0, self._free_at - now)
        self._free_at += count / self.bytes_per_second
        return wait

    def holds_back(self, now: float) -> bool:
        """Whether what is asked for next has to wait."""
        return self._free_at > now

    @property
    def piece_bytes(self) -> int:
        """How much to ask for at once: a tenth of a second's allowance, between 64 KiB and 1 MiB."""
        return int(min(1 << 20, max(1 << 16, self.bytes_per_second / 10)))
