"""Tells warm blocks from cold ones by how long their first and their second read took (pure).

The second reads say what warm looks like now, under the load of now. A cold block's first read takes the way to the
origin. Two things can show how long that is: the first reads themselves, where enough of them are slow, and calls that
a cache can't answer by itself. Where neither tells the origin from the cache, the answer is that nothing can be told.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import field
from statistics import median
from typing import NamedTuple

from cachewarmer.values import dataclass
from cachewarmer.verification.intervals import Interval, corrected, effective_samples, wilson

LEAST_OF_SIZE = 12
"""Reads of about one length, from which on they are compared among themselves."""
LEAST_APART = 0.8
"""By how much more of the warm than of the cold must look warm; below it nothing can be told."""
LEAST_TIMES = 2.0
"""How many times as long as from the cache an answer from the origin must take: below that both are equally far, since a
first read may be slower for other reasons than that its block is cold."""
COUNTED_SHARE = 0.5
"""What a cache has counted of its origin is a mean, with the waiting of other readers in it: a cold read takes at least this
share of it.
"""
LEAST_CHANCE = 1e-2
"""First reads are slower than second ones if chance alone would make them so slow less often than this."""
LEAST_MORE = 2.0
"""This many times as many of the first as of the second reads must be slow where nothing else shows the origin: a machine that
stalls from time to time does so in both, and more in a read that comes after a pause than in one that follows at once.
"""
MOST_SPILLED = 0.1
"""Of the samples next to a cold one, read after it, at most this many are warm where a cache fetches just what it is asked."""
UP = 0.65
"""The border lies so far up between the slowest of what is warm and the fastest of what is cold, in logarithms: what a
slower tier of the cache answers is warm, too."""
GRID = 200


class Pair(NamedTuple):
    """One sample that was read twice, back to back."""

    byte_count: int
    first_seconds: float
    second_seconds: float
    weight: float
    draws: int = 1
    """How often the sample was drawn."""
    unit: int = -1
    """The stretch of a file that it lies in, by a number of it: a cache may fetch all of that at once; -1: not known."""
    turn: int = 0
    """When its reading began, counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the samples say together."""

    warm: Interval | None
    """The warm fraction; None: it can't be determined."""
    reason: str = ""
    """Why not."""
    cold: tuple[bool, ...] = ()
    """Of each pair; empty where it can't be determined."""
    threshold_seconds: float = 0.0
    """A first read that took longer than about this counts as cold."""
    evidence: str = ""
    """What tells the origin from the cache: ``reads`` or ``origin``."""
    looks_cold: float = 0.0
    """The share of the warm that looks cold: of ``cold``, this many are not."""
    apart: float = field(default=0.0)
    """The share of the warm that look warm, less that of the cold: 1 where nothing is mistaken."""


class _Border(NamedTuple):
    place: float
    sensitivity: Interval
    mistaken: Interval


def judge(
    pairs: Sequence[Pair], origin_seconds: Sequence[float] = (), *, complete: bool = False, by_counts: bool = False
) -> Judgement:
    """Judges samples. ``origin_seconds`` are round trips through the cache to its origin; ``by_counts``: about what they
    take, which is used only where the reads themselves don't tell. ``complete``: the samples are all there is.
    """
    if not pairs:
        return Judgement(warm=None, reason="nothing was read")
    usual = _usual(pairs)
    first = [math.log(max(1e-7, pair.first_seconds)) - level for pair, level in zip(pairs, usual, strict=True)]
    second = sorted(math.log(max(1e-7, pair.second_seconds)) - level for pair, level in zip(pairs, usual, strict=True))
    border, evidence = _border_of(first, second, usual, origin_seconds, by_counts=by_counts)
    if border is None:
        return Judgement(warm=None, reason=_why(first, second, asked=bool(origin_seconds)))
    cold = [value > border.place for value in first]
    spilled = _take_back_spilled(pairs, cold)
    weights = [pair.weight for pair in pairs]
    share = sum(weight for weight, is_cold in zip(weights, cold, strict=True) if not is_cold) / sum(weights)
    seen = Interval(share, share, share) if complete and not spilled else wilson(share, _effective(pairs, spilled))
    return Judgement(
        warm=corrected(seen, border.sensitivity, border.mistaken),
        cold=tuple(cold),
        threshold_seconds=math.exp(border.place + median(usual)),
        evidence=evidence,
        looks_cold=1 - border.sensitivity.value,
        apart=border.sensitivity.value - border.mistaken.value,
    )


def _border_of(
    first: Sequence[float],
    second: Sequence[float],
    usual: Sequence[float],
    origin_seconds: Sequence[float],
    *,
    by_counts: bool,
) -> tuple[_Border | None, str]:
    """The border between warm and cold, and what shows it."""
    if not by_counts:
        border = _by_origin(second, usual, origin_seconds)
        if border is not None:
            return border, "origin"
    border = _by_reads(sorted(first), second)
    if not by_counts:
        return border, "reads"
    lowest = _by_counts(second, usual, origin_seconds)
    return (lowest, "origin") if border is None else (_capped(border, lowest), "reads")


def _take_back_spilled(pairs: Sequence[Pair], cold: list[bool]) -> bool:
    """Whether the cache fetches more than it is asked for, so that a cold sample has warmed its neighbours.

    Then of the samples of one stretch only the first one tells what was warm before, and the others take its word.
    """
    firsts: dict[int, int] = {}
    for place in sorted(range(len(pairs)), key=lambda place: pairs[place].turn):
        firsts.setdefault(pairs[place].unit, place)
    firsts.pop(-1, None)
    later = [(place, firsts[pair.unit]) for place, pair in enumerate(pairs) if firsts.get(pair.unit, place) != place]
    after_cold = [not cold[place] for place, first in later if cold[first]]
    if sum(after_cold) <= MOST_SPILLED * len(after_cold):
        return False
    for place, first in later:
        cold[place] = cold[first]
    return True


def _effective(pairs: Sequence[Pair], spilled: bool) -> float:
    """How many equal samples these are worth; those of one stretch are one where they take the word of the first."""
    if not spilled:
        return effective_samples([pair.weight for pair in pairs], [pair.draws for pair in pairs])
    weights: dict[int, float] = {}
    for place, pair in enumerate(pairs):
        key = pair.unit if pair.unit >= 0 else -2 - place
        weights[key] = weights.get(key, 0.0) + pair.weight
    return effective_samples(list(weights.values()), [1] * len(weights))


def _usual(pairs: Sequence[Pair]) -> list[float]:
    """For each pair how long a second read of such a length takes, as a logarithm: the median of its like."""
    every = median([math.log(max(1e-7, pair.second_seconds)) for pair in pairs])
    groups: dict[int, list[float]] = {}
    for pair in pairs:
        groups.setdefault(_length_class(pair.byte_count), []).append(math.log(max(1e-7, pair.second_seconds)))
    levels = {key: median(group) for key, group in groups.items() if len(group) >= LEAST_OF_SIZE}
    return [levels.get(_length_class(pair.byte_count), every) for pair in pairs]


def _length_class(byte_count: int) -> int:
    return byte_count.bit_length() // 2


def _below(values: Sequence[float], place: float) -> Interval:
    return wilson(bisect_right(values, place) / len(values), len(values))


def _by_origin(second: Sequence[float], usual: Sequence[float], origin_seconds: Sequence[float]) -> _Border | None:
    """A border between the second reads and what comes from the origin, which no cold read can be faster than."""
    if not origin_seconds:
        return None
    far = [math.log(max(1e-7, one)) for one in origin_seconds]
    origin = sorted(one - level for level in set(usual) for one in far)
    if median(origin) - median(second) < math.log(LEAST_TIMES):
        return None
    best, low, high = 0.0, 0.0, 0.0
    grid = sorted({*_thinned(second), *_thinned(origin)})
    for here, following in itertools.pairwise(grid):
        place = (here + following) / 2
        apart = _share(second, place) - _share(origin, place)
        if apart > best + 0.01:
            best, low = apart, here
        if apart > best - 0.01:
            high = following
    if best < LEAST_APART:
        return None
    place = low + UP * (high - low)
    # No cold read is faster than the origin's answer: at most as many are mistaken as of those.
    most = bisect_right(origin, place) / len(origin)
    return _Border(place, _below(second, place), Interval(most / 2, 0.0, most))


def _by_reads(first: Sequence[float], second: Sequence[float]) -> _Border | None:
    """A border below the slow ones of the first reads, where they stand apart from all that the second reads show."""
    if not _slower(first, second):
        return None
    place = second[int(0.99 * (len(second) - 1))]
    for _ in range(4):
        slow = first[bisect_right(first, place) :]
        if len(slow) < 4:
            return None
        middle = median(slow)
        spread = max(0.02, 1.4826 * median([one - middle for one in slow if one >= middle]))
        apart = {
            one: _share(second, one) - _normal((one - middle) / spread)
            for one in _between(second[len(second) // 2], middle)
        }
        best = max(apart.values())
        good = [one for one, value in apart.items() if value > best - 0.005]
        place = good[0] + UP * (good[-1] - good[0])
    mistaken = _normal((place - middle) / spread)
    sensitivity = _below(second, place)
    dense = _count(first, middle, spread)
    if middle - median(second) < math.log(LEAST_TIMES) or sensitivity.value - mistaken < LEAST_APART:
        return None
    if 2 * _count(first, place, spread) > dense:
        return None  # they are the tail of the others, no population of their own
    if 1 - _share(first, place) < LEAST_MORE * (1 - _share(second, place)):
        return None  # what is slow is slow in both
    return _Border(place, sensitivity, wilson(mistaken, len(slow)))


def _by_counts(second: Sequence[float], usual: Sequence[float], counted_seconds: Sequence[float]) -> _Border | None:
    """A border well below what the cache has counted its origin to take, if few of the second reads are above it."""
    if not counted_seconds:
        return None
    place = math.log(max(1e-7, COUNTED_SHARE * median(counted_seconds))) - median(usual)
    sensitivity = _below(second, place)
    if place - median(second) < math.log(LEAST_TIMES) or sensitivity.value < LEAST_APART:
        return None
    return _Border(place, sensitivity, Interval(0.0, 0.0, 0.0))


def _capped(border: _Border, lowest: _Border | None) -> _Border:
    """The border, no higher than what the origin takes at least: the slow reads may be of several kinds, such as one round
    trip and two, and all of them are cold.
    """
    if lowest is None or lowest.place >= border.place:
        return border
    return border._replace(place=lowest.place, sensitivity=lowest.sensitivity)


def _slower(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether more of the first reads are slow than chance explains, however slow that is."""
    both = sorted([*first, *second])
    tests = 0
    least = 1.0
    above = 4
    while above <= len(both) // 2:
        place = both[-above - 1]
        slow, all_slow = len(first) - bisect_right(first, place), len(both) - bisect_right(both, place)
        least = min(least, _tail(slow, all_slow))
        tests += 1
        above = math.ceil(above * 1.3)
    place = second[int(0.95 * (len(second) - 1))]
    slow = len(first) - bisect_right(first, place)
    least = min(least, _tail(slow, slow + len(second) - bisect_right(second, place)))
    return least * (tests + 1) < LEAST_CHANCE


def _tail(heads: int, throws: int) -> float:
    """How likely it is to get at least this many heads in this many throws of a coin."""
    if heads * 2 <= throws:
        return 1.0
    logs = math.lgamma(throws + 1) - throws * math.log(2)
    terms = (math.exp(logs - math.lgamma(one + 1) - math.lgamma(throws - one + 1)) for one in range(heads, throws + 1))
    return min(1.0, math.fsum(terms))


def _why(first: Sequence[float], second: Sequence[float], *, asked: bool) -> str:
    if asked:
        return "the origin answers about as fast as a second read: cache and origin are equally far, or the cache keeps nothing"
    if _slower(sorted(first), second):
        return "first reads are slower than second ones, but too little to tell cold blocks from warm ones"
    return (
        "no first read is slower than a second one, and nothing shows that the origin is farther away than the cache: "
        "either all is warm, or both are equally far"
    )


def _share(values: Sequence[float], place: float) -> float:
    return bisect_right(values, place) / len(values)


def _count(values: Sequence[float], middle: float, width: float) -> int:
    return bisect_right(values, middle + width / 2) - bisect_left(values, middle - width / 2)


def _thinned(values: Sequence[float]) -> Sequence[float]:
    step = max(1, len(values) // GRID)
    return [*values[::step], values[-1]]


def _between(low: float, high: float) -> list[float]:
    return [low + (high - low) * number / GRID for number in range(GRID + 1)]


def _normal(deviations: float) -> float:
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
