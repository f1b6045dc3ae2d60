"""Histograms of latencies: cheap to update, and they can be added."""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp

OCTAVE_BUCKETS = 4
"""Buckets from a time to its double: a quantile is exact to a quarter of itself."""
LEAST_EXPONENT = -17
"""Exponent of the first bucket, which has everything below 2**-17 s, about 8 µs."""
BUCKETS = 26 * OCTAVE_BUCKETS
"""The last bucket holds everything from 224 s on."""


class LatencyHistogram:
    """Counts of calls by their seconds; ``seconds`` is the sum of them all."""

    __slots__ = ("counts", "seconds")

    def __init__(self, counts: Iterable[int] = (), seconds: float = 0.0) -> None:
        self.counts = [*counts] or [0] * BUCKETS
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<LatencyHistogram calls={self.calls} p50={self.quantile(0.5):.6f}>"

    @property
    def calls(self) -> int:
        return sum(self.counts)

    def add(self, seconds: float, calls: int = 1) -> None:
        """Takes note of calls that took so long each."""
        self.counts[bucket(seconds)] += calls
        self.seconds += seconds * calls

    def merge(self, other: LatencyHistogram) -> LatencyHistogram:
        """Both together."""
        counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        return LatencyHistogram(counts, self.seconds + other.seconds)

    def copy(self) -> LatencyHistogram:
        """A copy of the current counts."""
        return LatencyHistogram(self.counts, self.seconds)

    def quantile(self, share: float) -> float:
        """Seconds that ``share`` of the calls took at most, rounded up to the end of its bucket; 0 without calls."""
        calls = self.calls
        wanted, seen = share * calls, 0
        for place, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return upper_bound(place)
        return 0.0


def bucket(seconds: float) -> int:
    """The place of a time among the counts."""
    mantissa, exponent = frexp(seconds)  # 0.5 <= mantissa < 1
    place = (exponent - LEAST_EXPONENT) * OCTAVE_BUCKETS + int((mantissa - 0.5) * 2 * OCTAVE_BUCKETS)
    return min(BUCKETS - 1, place) if place > 0 and seconds > 0 else 0


def upper_bound(place: int) -> float:
    """The end of a bucket, in seconds."""
    octave, part = divmod(place + 1, OCTAVE_BUCKETS)
    return float(2.0 ** (octave + LEAST_EXPONENT - 1) * (1 + part / OCTAVE_BUCKETS))
