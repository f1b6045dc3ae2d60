"""The search for the knee against simulated caches: every row of caches, with 1, 2 and 4 readers, under many seeds.

    python -m benchmarks.knee_model [--write] [--seeds N] [--readers N …] [--jobs N] [THREADS:MILLISECONDS[:SIZE[:MBITS]]…]

Time is simulated, so the figures do not depend on the machine. One reader is measured for ten seconds from the tenth second
on: its rate against the best fixed window that another client does not feel, and that client's warm READ at p90 against what
is allowed (three times its idle p90 plus 2 ms). Several readers begin up to five seconds one after the other, and are
measured for twenty seconds from the twentieth after the last began: the same two of all of them together, and the rate of
the slowest by that of the fastest. SIZE is that of the files in bytes (8192), MBITS that of the cache's link. With --write
the results go into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import functools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks import page
from benchmarks.knee import Row
from cachewarmer.testing.simulated_cache import CacheModel, CallKind, SimulatedCache, SimulatedProbe, SimulatedReader
from cachewarmer.warming.rounds import Observation
from cachewarmer.warming.steering import (
    CANARY_SECONDS,
    FIRST_CANARY_SECONDS,
    FIRST_LOOK_SECONDS,
    LEAST_WINDOW,
    LOOK_SECONDS,
    SECOND_WINDOW,
)
from cachewarmer.warming.window import FIRST_CANARIES, FIRST_WINDOW, KneeFinder, WindowLimits

ROWS = (
    "4:2",
    "4:20",
    "4:200",
    "8:10",
    "8:20",
    "8:80",
    "16:20",
    "16:50",
    "64:2",
    "64:20",
    "64:200",
    "128:50",
    "512:20",
    "512:80",
    "1024:50",
    "1024:200",
    "64:20:13312:100",
    "64:50:67108864:1000",
    "64:20:67108864:100",
    "512:80:13312:1000",
)
READERS = (1, 2, 4)
CPU_SECONDS = 0.00006
"""Of the simulated cache, for each call."""
IDLE_SECONDS = 1.0
SETTLE_SECONDS = {1: 10.0, 2: 20.0, 4: 20.0}
MEASURE_SECONDS = {1: 10.0, 2: 20.0, 4: 20.0}
MOST_APART_SECONDS = 5.0
PROBE_SECONDS = 0.02
FIXED_SECONDS = 4.0
DEAREST_CALLS = 400_000
"""A simulation of more calls than this has a third of the seeds."""

Law = Callable[[WindowLimits, int, random.Random], KneeFinder]
"""Makes a search, from its limits, the window that is tried second, and its source of chance."""


def today(limits: WindowLimits, guess: int, chance: random.Random) -> KneeFinder:
    """The search as the program makes it."""
    return KneeFinder(limits, guess=guess, chance=chance)


def p90(times: Sequence[float]) -> float:
    ordered = sorted(times)
    return ordered[int(0.9 * (len(ordered) - 1))]


def model_of(row: Row) -> CacheModel:
    link = row.megabits * 1e6 / 8 if row.megabits else 1e12
    return CacheModel(
        threads=row.threads,
        origin_seconds=row.milliseconds / 1000,
        link_bytes_per_second=link,
        cpu_seconds=CPU_SECONDS,
    )


class Steered:
    """A reader whose window a search moves, looked at as often as ``warming.steering`` does."""

    def __init__(self, cache: SimulatedCache, row: Row, law: Law, begins: float, seed: int) -> None:
        self.cache = cache
        self._chance = random.Random(seed)
        self.finder = law(WindowLimits(least=LEAST_WINDOW), SECOND_WINDOW, self._chance)
        self.reader = SimulatedReader(cache, row.size, seed=seed)
        self.held = self.looks = 0
        """The sum of the windows at each look, and how many looks there were."""
        self._canary: SimulatedProbe | None = None
        self._answered = 0
        self._calls, self._seconds = 0, 0.0
        cache.at(begins, self._begin)

    def _begin(self) -> None:
        self._canary = SimulatedProbe(self.cache, CallKind.NULL, FIRST_CANARY_SECONDS)
        self._look()

    def _look(self) -> None:
        reader, canary, now = self.reader, self._canary, self.cache.now
        assert canary is not None
        answers = tuple(canary.times)
        canary.times.clear()
        self._answered += len(answers)
        usual = CANARY_SECONDS if self._answered > FIRST_CANARIES else FIRST_CANARY_SECONDS
        canary.every_seconds = usual * self._chance.uniform(0.5, 1.5)
        waiting = now - canary.waiting_since if canary.waiting_since is not None else 0.0
        seen = Observation(
            now=now,
            calls=reader.calls - self._calls,
            seconds=reader.seconds - self._seconds,
            bytes=(reader.calls - self._calls) * reader.call_bytes,
            in_flight=reader.in_flight,
            limited=True,
            canary=answers,
            canary_waiting=waiting if waiting > LOOK_SECONDS else 0.0,
            path_seconds=self.cache.model.wire_seconds,
        )
        self._calls, self._seconds = reader.calls, reader.seconds
        reader.window = self.finder.observe(seen)
        self.held, self.looks = self.held + reader.window, self.looks + 1
        reader.fill()
        self.cache.at(now + (FIRST_LOOK_SECONDS if reader.window <= FIRST_WINDOW else LOOK_SECONDS), self._look)


@dataclass(frozen=True, slots=True)
class Measured:
    """One simulation, after its readers have settled."""

    rate: float
    """Calls a second, of all readers."""
    wait: float
    """Another client's warm READ at p90, by what is allowed."""
    evenness: float = 1.0
    """The slowest reader's rate by that of the fastest."""
    held: float = 0.0
    """Calls of all windows, on average."""


@functools.cache
def fixed(row: Row, window: int) -> Measured:
    """One reader with a window that stays."""
    cache = SimulatedCache(model_of(row))
    other = SimulatedProbe(cache, CallKind.WARM, PROBE_SECONDS)
    cache.run(IDLE_SECONDS)
    allowed = 3 * p90(other.times) + 0.002
    reader = SimulatedReader(cache, row.size, window=window)
    reader.fill()
    settled = IDLE_SECONDS + 1 + 3 * row.milliseconds / 1000
    cache.run(settled)
    calls = reader.calls
    other.times.clear()
    cache.run(settled + FIXED_SECONDS)
    return Measured((reader.calls - calls) / FIXED_SECONDS, p90(other.times) / allowed, held=window)


def best_polite(row: Row) -> Measured:
    """The largest fixed window that another client does not feel, or the smallest that reads as much."""
    good, bad = 1, 2 * row.threads + 2
    while bad - good > max(1, good // 100):
        window = (good + bad) // 2
        good, bad = (window, bad) if fixed(row, window).wait <= 1 else (good, window)
    best = fixed(row, good)
    low, high = 0, good
    while high - low > max(1, high // 50):
        window = (low + high) // 2
        low, high = (low, window) if fixed(row, window).rate >= 0.98 * best.rate else (window, high)
    return Measured(best.rate, best.wait, held=high)


def searched(row: Row, readers: int, seed: int, law: Law = today) -> Measured:
    """Some readers that search, one beginning after the other."""
    cache = SimulatedCache(model_of(row), seed)
    chance = random.Random(f"{row} {readers} {seed}")
    other = SimulatedProbe(cache, CallKind.WARM, PROBE_SECONDS)
    cache.run(IDLE_SECONDS)
    allowed = 3 * p90(other.times) + 0.002
    later = [chance.uniform(0.0, MOST_APART_SECONDS) for _ in range(readers - 1)]
    begins = [IDLE_SECONDS, *(IDLE_SECONDS + seconds for seconds in sorted(later))]
    ones = [Steered(cache, row, law, when, 100 * seed + number) for number, when in enumerate(begins)]
    settled = begins[-1] + SETTLE_SECONDS[readers]
    cache.run(settled)
    before = [(one.reader.calls, one.held, one.looks) for one in ones]
    other.times.clear()
    seconds = MEASURE_SECONDS[readers]
    cache.run(settled + seconds)
    rates = [(one.reader.calls - calls) / seconds for one, (calls, _, _) in zip(ones, before, strict=True)]
    held = sum((one.held - held) / (one.looks - looks) for one, (_, held, looks) in zip(ones, before, strict=True))
    return Measured(sum(rates), p90(other.times) / allowed, min(rates) / max(rates), held)


@dataclass(frozen=True, slots=True)
class Line:
    """A row with so many readers."""

    row: Row
    readers: int
    best: Measured
    runs: tuple[Measured, ...]

    @property
    def shares(self) -> list[float]:
        return sorted(one.rate / self.best.rate for one in self.runs)

    @property
    def waits(self) -> list[float]:
        return sorted(one.wait for one in self.runs)

    @property
    def evenness(self) -> list[float]:
        return sorted(one.evenness for one in self.runs)

    def cells(self) -> list[str]:
        """The line of the table."""
        shares, waits, evenness = self.shares, self.waits, self.evenness
        held = median(one.held for one in self.runs)
        even = f"{median(evenness):.2f}, {evenness[0]:.2f}" if self.readers > 1 else ""
        return [
            str(self.row) if self.readers == 1 else "",
            str(self.readers),
            f"{100 * median(shares):.0f} %, {100 * shares[0]:.0f} %",
            f"{held:.0f} of {self.best.held:.0f}",
            f"{median(waits):.2f}, {waits[-1]:.2f}",
            even,
        ]


HEAD = (
    "cache",
    "readers",
    "rate / best polite: median, worst",
    "calls held, of those that bring that rate",
    "another's wait / allowed: median, worst",
    "slowest / fastest: median, worst",
)


def dearness(row: Row, readers: int) -> float:
    """About how many calls are simulated."""
    rates = [row.threads / row.milliseconds * 1000, 1 / CPU_SECONDS]
    if row.megabits:
        rates.append(row.megabits * 1e6 / 8 / min(row.size, 1 << 20))
    return min(rates) * (SETTLE_SECONDS[readers] + MEASURE_SECONDS[readers])


def lines(rows: Sequence[Row], readers: Sequence[int], seeds: int, jobs: int, law: Law = today) -> list[Line]:
    """All of them, ``jobs`` simulations at a time."""
    with ProcessPoolExecutor(jobs) as pool:
        best = {row: pool.submit(best_polite, row) for row in rows}
        wanted = []
        for row in rows:
            for count in readers:
                some = max(1, seeds // 3) if dearness(row, count) > DEAREST_CALLS else seeds
                runs = [pool.submit(searched, row, count, seed, law) for seed in range(1, some + 1)]
                wanted.append((row, count, runs))
        return [
            Line(row, count, best[row].result(), tuple(run.result() for run in runs)) for row, count, runs in wanted
        ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knee_model")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--readers", type=int, nargs="*", default=READERS, choices=READERS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("rows", nargs="*", metavar="THREADS:MILLISECONDS[:SIZE[:MBITS]]")
    given = parser.parse_args()
    rows = [Row.parse(text) for text in given.rows or ROWS]
    found = lines(rows, given.readers, given.seeds, given.jobs)
    text = page.table(HEAD, [line.cells() for line in found])
    print(text)
    if given.write:
        page.write("knee_model", text)


if __name__ == "__main__":
    main()
