"""Confidence intervals for a fraction (pure). All of them are two-sided, at 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z = 1.959964
"""Standard deviations of the normal distribution within which 95 % lie."""
LEAST_SAMPLES = 30
MOST_SAMPLES = 100_000


class Interval(NamedTuple):
    """A fraction that was estimated, and the range that it lies in."""

    value: float
    low: float
    high: float


def wilson(share: float, samples: float) -> Interval:
    """The interval of a share of ``samples``, which need not be a whole number (Wilson 1927, with continuity correction
    as Newcombe 1998 has it: it covers the truth in 95 % or more of all cases, near 0 and 1 too).
    """
    if samples <= 0:
        return Interval(share, 0.0, 1.0)
    z2 = Z * Z
    middle, below = 2 * samples * share + z2, 2 * (samples + z2)

    def reach(sign: float) -> float:
        inside = z2 + sign * 2 - 1 / samples + 4 * share * (samples * (1 - share) - sign)
        return Z * math.sqrt(max(0.0, inside)) + 1

    low = 0.0 if share <= 0 else max(0.0, (middle - reach(-1)) / below)
    high = 1.0 if share >= 1 else min(1.0, (middle + reach(1)) / below)
    return Interval(share, min(low, share), max(high, share))


def effective_samples(weights: Sequence[float], draws: Sequence[int]) -> float:
    """How many equal samples say as much as those of these weights (Kish 1965); one that was drawn twice counts as two."""
    squares = sum(one * one / times for one, times in zip(weights, draws, strict=True))
    return sum(weights) ** 2 / squares if squares else 0.0


def corrected(seen: Interval, sensitivity: Interval, mistaken: Interval) -> Interval:
    """The fraction that is warm, where only the fraction ``seen`` as warm is known (Rogan and Gladen 1978).

    ``sensitivity`` is the share of warm blocks that are seen as warm, ``mistaken`` that of cold ones. The uncertainty
    of all three is joined as the method of variance estimates recovery does (Zou and Donner 2008).
    """
    apart = max(1e-9, sensitivity.value - mistaken.value)
    value = min(1.0, max(0.0, (seen.value - mistaken.value) / apart))
    lower = math.hypot(
        seen.value - seen.low,
        value * (sensitivity.high - sensitivity.value),
        (1 - value) * (mistaken.high - mistaken.value),
    )
    upper = math.hypot(
        seen.high - seen.value,
        value * (sensitivity.value - sensitivity.low),
        (1 - value) * (mistaken.value - mistaken.low),
    )
    return Interval(value, max(0.0, value - lower / apart), min(1.0, value + upper / apart))


def samples_for(half_width: float) -> int:
    """How many samples make the interval reach no further than ``half_width`` to each side, whatever the fraction is."""
    low, high = LEAST_SAMPLES, MOST_SAMPLES
    while low < high:
        middle = (low + high) // 2
        half = wilson(0.5, middle)
        low, high = (low, middle) if half.high - 0.5 <= half_width else (middle + 1, high)
    return low


def samples_to_show(expected: float) -> int:
    """How many samples, all of them warm, put the low end of the interval at ``expected`` or above."""
    low, high = LEAST_SAMPLES, MOST_SAMPLES
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if wilson(1.0, middle).low >= expected else (middle + 1, high)
    return low
