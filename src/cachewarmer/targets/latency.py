"""Histograms of latencies, which are cheap to update and can be added up."""

from __future__ import annotations

from collections.abc import Iterable
from math import frexp

OCTAVE_BUCKETS = 4
"""Buckets from a time to its double, so that a quantile is at most a quarter too large."""
LEAST_EXPONENT = -17
"""Exponent of the first octave, as of frexp: the first bucket holds everything below 1.25 * 2**-18 s, about 5 µs."""
BUCKETS = 26 * OCTAVE_BUCKETS
"""The last bucket holds everything from 224 s on."""


class LatencyHistogram:
    """Counts calls by their duration; ``seconds`` is the sum of all durations."""

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
        """Records ``calls`` calls that took ``seconds`` each."""
        self.counts[bucket(seconds)] += calls
        self.seconds += seconds * calls

    def merge(self, other: LatencyHistogram) -> LatencyHistogram:
        """The sum of both histograms."""
        counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        return LatencyHistogram(counts, self.seconds + other.seconds)

    def copy(self) -> LatencyHistogram:
        """A copy of the current counts."""
        return LatencyHistogram(self.counts, self.seconds)

    def quantile(self, share: float) -> float:
        """Seconds within which ``share`` (0 to 1) of the calls ended, rounded up to a bucket's end; 0: no calls."""
        calls = self.calls
        wanted, seen = share * calls, 0
        for place, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return upper_bound(place)
        return 0.0


def bucket(seconds: float) -> int:
    """The index of the bucket of a duration."""
    mantissa, exponent = frexp(seconds)  # 0.5 <= mantissa < 1
    place = (exponent - LEAST_EXPONENT) * OCTAVE_BUCKETS + int((mantissa - 0.5) * 2 * OCTAVE_BUCKETS)
    return min(BUCKETS - 1, place) if place > 0 and seconds > 0 else 0


def upper_bound(place: int) -> float:
    """The end in seconds of the bucket with this index."""
    octave, part = divmod(place + 1, OCTAVE_BUCKETS)
    return float(2.0 ** (octave + LEAST_EXPONENT - 1) * (1 + part / OCTAVE_BUCKETS))
