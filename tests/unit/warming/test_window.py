"""The window that finds the knee, against a simulated cache under simulated time."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachewarmer.model import Bound
from cachewarmer.testing.simulated_cache import CacheModel, CallKind, SimulatedCache, SimulatedProbe, SimulatedReader
from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation
from cachewarmer.warming.steering import SECOND_WINDOW
from cachewarmer.warming.window import NEXT, KneeFinder, Phase, WindowLimits

TICK_SECONDS = 0.05
IDLE_SECONDS = 0.5
SETTLE_SECONDS = 10.0
SMALL_FILE = 8192
FIXED_WINDOWS = (1, 2, 3, 4, 6, 7, 8, 12, 15, 16, 32, 48, 60, 63, 64, 96, 127, 128, 256, 384, 512)


def p90(times):
    ordered = sorted(times)
    return ordered[int(0.9 * (len(ordered) - 1))]


class Warmer:
    """A reader whose window a ``KneeFinder`` moves."""

    def __init__(
        self,
        cache,
        *,
        file_bytes=SMALL_FILE,
        begins=IDLE_SECONDS,
        limits=None,
        seed=2,
        hint=0,
        guess=0,
        path_seconds=0.0,
    ):
        self.cache = cache
        self.path_seconds = path_seconds
        self.finder = KneeFinder(limits, hint=hint, guess=guess, chance=random.Random(seed))
        self.reader = SimulatedReader(cache, file_bytes, seed=seed)
        self.canary = SimulatedProbe(cache, CallKind.NULL, TICK_SECONDS)
        self.windows = []
        self._calls, self._seconds, self._bytes = 0, 0.0, 0
        cache.at(begins, self._tick)

    def _tick(self):
        reader, canary, now = self.reader, self.canary, self.cache.now
        answers = tuple(canary.times)
        canary.times.clear()
        self.reader.window = self.finder.observe(
            Observation(
                now=now,
                calls=reader.calls - self._calls,
                seconds=reader.seconds - self._seconds,
                bytes=reader.bytes - self._bytes,
                in_flight=reader.in_flight,
                limited=True,
                canary=answers,
                canary_waiting=now - canary.waiting_since if canary.waiting_since is not None else 0.0,
                path_seconds=self.path_seconds,
            )
        )
        self._calls, self._seconds, self._bytes = reader.calls, reader.seconds, reader.bytes
        self.windows.append((now, reader.window))
        reader.fill()
        self.cache.at(now + TICK_SECONDS, self._tick)


@dataclass
class Outcome:
    calls_per_second: float
    others_seconds: float
    allowed_seconds: float


def fixed(model, window, file_bytes=SMALL_FILE, seconds=1.0):
    cache = SimulatedCache(model)
    reader = SimulatedReader(cache, file_bytes, window=window)
    other = SimulatedProbe(cache, CallKind.WARM, 0.02)
    cache.run(IDLE_SECONDS)
    allowed = 3 * p90(other.times) + 0.002
    reader.fill()
    cache.run(IDLE_SECONDS + 1)
    calls = reader.calls
    other.times.clear()
    cache.run(IDLE_SECONDS + 1 + seconds)
    return Outcome((reader.calls - calls) / seconds, p90(other.times), allowed)


def best_polite(model, file_bytes=SMALL_FILE):
    """The rate of the best fixed window that another client's warm READ does not feel."""
    outcomes = [fixed(model, window, file_bytes) for window in FIXED_WINDOWS if window <= model.threads]
    return max(one.calls_per_second for one in outcomes if one.others_seconds <= one.allowed_seconds)


def found(model, file_bytes=SMALL_FILE, seconds=10.0, seed=1, guess=0):
    cache = SimulatedCache(model, seed)
    warmer = Warmer(cache, file_bytes=file_bytes, seed=seed + 1, guess=guess)
    other = SimulatedProbe(cache, CallKind.WARM, 0.02)
    cache.run(IDLE_SECONDS)
    allowed = 3 * p90(other.times) + 0.002
    cache.run(IDLE_SECONDS + SETTLE_SECONDS)
    calls = warmer.reader.calls
    other.times.clear()
    cache.run(IDLE_SECONDS + SETTLE_SECONDS + seconds)
    return Outcome((warmer.reader.calls - calls) / seconds, p90(other.times), allowed)


@pytest.mark.parametrize("guess", [0, SECOND_WINDOW])
@pytest.mark.parametrize(
    ("threads", "milliseconds", "seeds"),
    [(4, 2, 7), (4, 20, 21), (8, 20, 21), (16, 20, 21), (64, 20, 7), (8, 50, 21), (128, 50, 7), (512, 80, 3)],
)
def test_ten_seconds_after_the_start_it_reads_at_nine_tenths_of_the_best_window_that_others_do_not_feel(
    threads, milliseconds, seeds, guess
):
    """In the middle of many runs; one alone may end a call or two lower, which is an eighth of a small cache."""
    model = CacheModel(threads=threads, origin_seconds=milliseconds / 1000)
    best = best_polite(model)
    outcomes = [found(model, seed=seed, guess=guess) for seed in range(seeds)]
    shares = sorted(one.calls_per_second / best for one in outcomes)
    feel = sorted(one.others_seconds / one.allowed_seconds for one in outcomes)
    assert shares[seeds // 2] >= min(0.9, (threads - 1) / threads - 0.02)
    assert shares[seeds // 10] >= 0.7
    assert feel[seeds // 2] <= 1


def reads_after(seconds, model, window=0, seed=1):
    """Files read so long after a beginning at which nothing is known, the canary's time least of all."""
    cache = SimulatedCache(model, seed)
    if window:
        reader = SimulatedReader(cache, SMALL_FILE, window=window, seed=seed + 1)
        reader.fill()
    else:
        reader = Warmer(cache, begins=0.0, guess=SECOND_WINDOW, seed=seed + 1).reader
    cache.run(seconds)
    return reader.calls


@pytest.mark.parametrize("far", ["origin", "cache"])
def test_far_away_the_search_is_soon_ahead_of_a_window_of_16(far):
    """At a round trip of 250 ms, to the origin or to the cache itself, each step takes two or three of them."""
    if far == "origin":
        model = CacheModel(threads=256, origin_seconds=0.25)
    else:
        model = CacheModel(threads=64, origin_seconds=0.001, wire_seconds=0.25)
    shares = sorted(reads_after(3.0, model, seed=seed) / reads_after(3.0, model, 16, seed) for seed in range(7))
    assert shares[0] >= 1
    shares = sorted(reads_after(10.0, model, seed=seed) / reads_after(10.0, model, 16, seed) for seed in range(3))
    assert shares[1] >= 5


def test_near_by_the_start_costs_little():
    """Where calls are answered at once, the first step comes within a few hundredths of a second."""
    model = CacheModel(threads=64, origin_seconds=0.00005, cpu_seconds=0.00006, wire_seconds=0.00015)
    shares = sorted(reads_after(1.0, model, seed=seed) / reads_after(1.0, model, 16, seed) for seed in range(5))
    assert shares[2] >= 0.85


def test_before_the_first_canary_is_answered_its_delay_proves_nothing():
    """It may be as far to the server; a canary that is never answered is noticed all the same."""
    finder = KneeFinder(WindowLimits(least=2), first=8)
    for step in range(1, 18):
        now = 0.05 * step
        window = finder.observe(Observation(now=now, calls=0, seconds=0.4, limited=True, canary_waiting=now))
        assert window == 8
    for step in range(18, 100):
        now = 0.05 * step
        window = finder.observe(Observation(now=now, calls=0, seconds=0.4, limited=True, canary_waiting=now))
    assert window < 8


@pytest.mark.parametrize(
    ("megabits", "milliseconds", "file_bytes", "guess"),
    [
        (100, 20, 13_000, 0),
        (1000, 20, 1 << 26, 0),
        (100, 50, 1 << 26, 0),
        (100, 50, 1 << 26, SECOND_WINDOW),
        (100, 20, 1 << 26, SECOND_WINDOW),
    ],
)
def test_at_the_limit_of_the_link_it_holds_no_more_than_twice_the_calls_that_fill_it(
    megabits, milliseconds, file_bytes, guess
):
    """Also where the second window is a guess, and eight times the first: so are the latencies, and these are no other
    calls."""
    bytes_per_second = megabits * 1e6 / 8
    model = CacheModel(threads=512, origin_seconds=milliseconds / 1000, link_bytes_per_second=bytes_per_second)
    cache = SimulatedCache(model)
    warmer = Warmer(cache, file_bytes=file_bytes, guess=guess)
    cache.run(SETTLE_SECONDS)
    read = warmer.reader.bytes
    cache.run(2 * SETTLE_SECONDS)
    assert (warmer.reader.bytes - read) / SETTLE_SECONDS >= 0.9 * bytes_per_second
    call_bytes = warmer.reader.call_bytes
    fills = bytes_per_second * model.origin_seconds / call_bytes
    held = [window for now, window in warmer.windows if now > SETTLE_SECONDS]
    assert sum(held) / len(held) <= max(2.0, 2 * fills) + 1.5  # trials included


@pytest.mark.parametrize(("megabits", "seconds"), [(100, 2.0), (100, 20.0), (1000, 2.0)])
def test_large_reads_do_not_pile_up_before_a_link_that_those_before_did_not_go_through(megabits, seconds):
    """As where warm files are followed by cold ones: the window that was found with them has nothing to say of these."""
    bytes_per_second = megabits * 1e6 / 8
    cache = SimulatedCache(CacheModel(threads=64, origin_seconds=0.02))
    warmer = Warmer(cache, file_bytes=1 << 26, guess=SECOND_WINDOW)
    cache.run(IDLE_SECONDS + seconds)
    assert warmer.finder.window > 32
    cache.model = replace(cache.model, link_bytes_per_second=bytes_per_second)
    cache.run(IDLE_SECONDS + seconds + 2 * SETTLE_SECONDS)
    read, begun = warmer.reader.bytes, cache.now
    cache.run(begun + SETTLE_SECONDS)
    assert (warmer.reader.bytes - read) / SETTLE_SECONDS >= 0.9 * bytes_per_second
    held = [window for now, window in warmer.windows if now > begun]
    fills = bytes_per_second * cache.model.origin_seconds / warmer.reader.call_bytes
    assert sum(held) / len(held) <= max(2.0, 2 * fills) + 1.5  # trials included


@pytest.mark.parametrize("milliseconds", [20, 50, 200])
def test_cold_files_that_follow_a_few_warm_ones_are_not_taken_for_a_knee(milliseconds):
    """Warm ones are read at a much higher rate with two calls than cold ones with sixteen."""
    knees = []
    for seed in range(1, 13):
        cache = SimulatedCache(CacheModel(threads=256, origin_seconds=milliseconds / 1000), seed)
        warmer = Warmer(cache, guess=SECOND_WINDOW, seed=seed)
        warmer.reader.warm_share = 1.0
        cache.run(IDLE_SECONDS + 0.06 + 0.02 * seed)
        warmer.reader.warm_share = 0.0
        cache.run(IDLE_SECONDS + 4 + 15 * milliseconds / 1000)
        knees.append(warmer.finder.window)
    assert sorted(knees)[2] >= 100


def test_a_warmer_that_comes_later_gets_its_share():
    model = CacheModel(threads=32, origin_seconds=0.02)
    cache = SimulatedCache(model)
    first, second = Warmer(cache), Warmer(cache, begins=5.0, seed=3)
    cache.run(25)
    before = first.reader.calls, second.reader.calls
    cache.run(65)
    rates = [now - then for now, then in zip((first.reader.calls, second.reader.calls), before, strict=True)]
    assert min(rates) >= 0.5 * max(rates)


@pytest.mark.parametrize("readers", [2, 4])
def test_several_readers_together_use_a_cache_as_well_as_one(readers):
    """They shrink at the same time and soon grow again: not much is left unused meanwhile."""
    model = CacheModel(threads=64, origin_seconds=0.02)
    best = fixed(model, 64, seconds=3.0).calls_per_second
    shares = []
    for seed in range(1, 4):
        cache = SimulatedCache(model, seed)
        warmers = [
            Warmer(
                cache,
                begins=IDLE_SECONDS + 1.5 * number,
                seed=10 * seed + number,
                guess=SECOND_WINDOW,
                path_seconds=model.wire_seconds,
            )
            for number in range(readers)
        ]
        cache.run(20)
        before = sum(one.reader.calls for one in warmers)
        cache.run(30)
        shares.append((sum(one.reader.calls for one in warmers) - before) / 10 / best)
    assert sorted(shares)[1] >= 0.86, shares


def test_who_comes_to_a_cache_that_another_fills_knows_that_it_shares_it():
    """Even its first two calls wait: from then on it gains as one who shares, and has a good part of it after 20 s."""
    shares = []
    for seed in range(1, 6):
        cache = SimulatedCache(CacheModel(threads=128, origin_seconds=0.05), seed)
        warmers = [
            Warmer(cache, begins=0.5 + 5 * number, seed=seed + number, guess=SECOND_WINDOW) for number in range(2)
        ]
        cache.run(25.5)
        before = [one.reader.calls for one in warmers]
        cache.run(45.5)
        rates = [one.reader.calls - calls for one, calls in zip(warmers, before, strict=True)]
        shares.append(min(rates) / max(rates))
    assert sorted(shares)[2] >= 0.7, shares


def test_readers_that_come_to_a_full_cache_know_by_the_path_that_it_is_full():
    """They have never seen an idle canary there: what they see is 12 to 75 ms, which they would let others wait for."""
    waits, shares = [], []
    for seed in range(1, 6):
        model = CacheModel(threads=64, origin_seconds=0.02)
        cache = SimulatedCache(model, seed)
        other = SimulatedProbe(cache, CallKind.WARM, 0.02)
        cache.run(IDLE_SECONDS)
        allowed = 3 * p90(other.times) + 0.002
        warmers = [
            Warmer(
                cache,
                begins=IDLE_SECONDS + number,
                seed=seed + number,
                guess=SECOND_WINDOW,
                path_seconds=model.wire_seconds,
            )
            for number in range(4)
        ]
        cache.run(20)
        before = [one.reader.calls for one in warmers]
        other.times.clear()
        cache.run(35)
        rates = [one.reader.calls - calls for one, calls in zip(warmers, before, strict=True)]
        waits.append(p90(other.times) / allowed)
        shares.append(min(rates) / max(rates))
    assert sorted(waits)[2] <= 2, waits  # 20 and more without the path
    assert sorted(shares)[2] >= 0.1, shares  # 0.01


@pytest.mark.parametrize("quick", [False, True])
def test_a_path_that_ends_before_the_server_is_not_believed_for_long(quick):
    """A proxy's handshake is short; the canary behind it takes 20 ms, full or not. One quick answer proves the path."""
    finder = KneeFinder(WindowLimits(least=2))
    finder.observe(Observation(now=0.0, calls=0, seconds=0.0, limited=True, path_seconds=0.0001))
    for step in range(1, 1200):
        calls = finder.window
        canary = (0.0001,) if quick and step == 9 else (0.02,)
        finder.observe(
            Observation(
                now=0.05 * step,
                calls=calls,
                seconds=0.05 * calls,
                in_flight=calls,
                limited=True,
                canary=canary,
                path_seconds=0.0001,
            )
        )
    assert finder.window == 2 if quick else finder.window > 16


def test_it_gives_way_to_other_load_and_takes_back_what_that_leaves():
    cache = SimulatedCache(CacheModel(threads=64, origin_seconds=0.02))
    warmer = Warmer(cache)
    other = SimulatedReader(cache, SMALL_FILE, seed=5)

    def load(window):
        other.window = window
        other.fill()

    cache.at(15, lambda: load(40))
    cache.at(25, lambda: load(0))
    cache.run(40)

    def held(begin, end):
        return median(window for now, window in warmer.windows if begin < now <= end)

    assert held(12, 15) > 50
    assert held(20, 25) <= 32
    assert held(35, 40) > 45


@pytest.mark.parametrize("late_share", [0.1, 0.3])
@pytest.mark.parametrize("threads", [8, 64])
def test_a_busy_machine_is_not_mistaken_for_a_full_cache(threads, late_share):
    """A part of all answers is late whatever the window is. To give way to that would help nobody."""
    model = CacheModel(threads=threads, origin_seconds=0.02, late_share=late_share, late_seconds=0.01)
    best = fixed(model, threads, seconds=5.0).calls_per_second
    shares = [found(model, seconds=20.0, seed=seed).calls_per_second / best for seed in (1, 2, 3)]
    assert sorted(shares)[1] >= 0.7


def test_lateness_is_learnt_and_not_mistaken_for_waiting():
    """A third of the canaries is slow: usual, once it is known. Then all of them are: others wait."""
    chance = random.Random(1)
    lateness = Lateness()
    for _ in range(200):
        lateness.add(slow=chance.random() < 0.3)
        if lateness.others_wait:
            lateness.learn()
            lateness.begin()
    assert 0.2 < lateness.usual < 0.4
    lateness.begin()
    alarms = 0
    for _ in range(200):
        lateness.add(slow=chance.random() < 0.3)
        if lateness.others_wait:
            alarms += 1
            lateness.begin()
    assert alarms <= 2
    lateness.begin()
    for _ in range(8):
        lateness.add(slow=True)
    assert lateness.others_wait


def test_a_slow_canary_alone_proves_nothing_and_two_on_end_do():
    lateness = Lateness()
    lateness.add(slow=True)
    assert not lateness.others_wait
    lateness.add(slow=True)
    assert lateness.others_wait


def test_where_many_canaries_are_slow_half_the_window_shows_who_is_the_reason():
    """With as many calls as threads, jitter makes some canaries wait: they are not taken for usual for long."""
    halved, usual = 0, []
    for seed in range(5):
        cache = SimulatedCache(CacheModel(threads=16, origin_seconds=0.02), seed)
        warmer = Warmer(cache, seed=seed)
        warmer.finder.lateness.correct(0.3)
        phases = set()
        for step in range(300):
            cache.run(0.1 * step)
            phases.add(warmer.finder.phase)
        halved += Phase.HALF in phases
        usual.append(warmer.finder.lateness.usual)
    assert halved >= 3
    assert sorted(usual)[2] < 0.15


def test_other_calls_are_searched_for_anew():
    """Warm files need few calls at a time for the CPU's rate; when cold ones follow, more are tried at once."""
    cache = SimulatedCache(CacheModel(threads=64, origin_seconds=0.02))
    warmer = Warmer(cache)
    warmer.reader.warm_share = 1.0
    cache.run(20)
    assert warmer.finder.window < 10
    warmer.reader.warm_share = 0.0
    cache.run(27)
    assert warmer.finder.window > 30


def test_several_readers_do_not_fill_a_link_in_turn():
    """For each of them a larger window brings more, as it takes from the others: there is an end to that."""
    bytes_per_second = 100e6 / 8
    model = CacheModel(threads=512, origin_seconds=0.02, link_bytes_per_second=bytes_per_second)
    cache = SimulatedCache(model)
    warmers = [Warmer(cache, file_bytes=13_000, begins=0.5 + 0.3 * number, seed=number) for number in range(2)]
    cache.run(40)
    fills = bytes_per_second * model.origin_seconds / 13_000
    assert sum(one.finder.window for one in warmers) <= 4 * fills


@pytest.mark.parametrize("canary", ["threadless_null", "silent_null"])
def test_without_a_canary_that_tells_it_goes_no_further_than_the_rate_grows(canary):
    """A silent canary is taken for a cache that makes others wait; one that needs no thread leaves the rate to judge."""
    cache = SimulatedCache(CacheModel(threads=8, origin_seconds=0.02, **{canary: True}))
    warmer = Warmer(cache)
    cache.run(25)
    assert all(window <= 16 for now, window in warmer.windows if now > 5)


def test_a_reader_that_has_too_little_to_read_teaches_nothing():
    finder = KneeFinder()
    for step in range(200):
        finder.observe(Observation(now=step * 0.05, calls=5, seconds=0.1, limited=False, canary=(0.0003,)))
    assert finder.window == 2
    assert finder.phase is Phase.START


def test_gentle_leaves_half_of_the_knee_to_others():
    cache = SimulatedCache(CacheModel(threads=64, origin_seconds=0.02))
    warmer = Warmer(cache, limits=WindowLimits.gentle())
    cache.run(40)
    held = sorted(window for now, window in warmer.windows if now > SETTLE_SECONDS)
    assert 20 <= held[len(held) // 2] <= 32


def test_the_limits_hold_and_gentle_waits_for_less():
    cache = SimulatedCache(CacheModel(threads=512, origin_seconds=0.02))
    warmer = Warmer(cache, limits=WindowLimits(most=10))
    cache.run(8)
    assert max(window for _, window in warmer.windows) == 10
    assert KneeFinder(WindowLimits.gentle()).canaries.limit_seconds < KneeFinder().canaries.limit_seconds


def test_a_limit_that_is_raised_leaves_room_and_one_that_is_lowered_holds_at_once():
    """Processes that share a window change their parts, as when a scan ends. A limit is neither the link nor the threads."""
    cache = SimulatedCache(CacheModel(threads=512, origin_seconds=0.02))
    warmer = Warmer(cache, limits=WindowLimits(most=10))
    cache.run(8)
    finder = warmer.finder
    assert (finder.knee, finder.bound) == (10, Bound.UNKNOWN)
    finder.limit(40)
    cache.run(12)
    assert (finder.knee, finder.bound) == (40, Bound.UNKNOWN)
    finder.limit(6)
    assert (finder.window, finder.knee) == (6, 6)
    cache.run(20)
    assert finder.knee == 6
    finder.limit(1)
    finder.limit(1024)
    cache.run(40)
    assert finder.knee > 100


def test_the_least_may_change_while_the_window_is_held():
    """A reader that begins to list needs a second call at once."""
    finder = KneeFinder(WindowLimits(), first=4)
    for step in range(400):
        finder.observe(
            Observation(now=0.05 * step, calls=1, seconds=0.02, limited=True, canary=(1.0 if step > 4 else 0.0003,))
        )
    assert finder.window == 1
    finder.limit(1024, 2)
    assert finder.window == 2
    finder.limit(1024, 1)
    finder.limit(1, 2)
    assert finder.window == 1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 64), st.integers(1, 400))
def test_whatever_it_is_told_it_stays_within_its_limits_and_its_table(seed, most, steps):
    """Hostile observations: latencies in two modes, canaries that lie, time that hardly moves, limits that change."""
    rng = random.Random(seed)
    finder = KneeFinder(WindowLimits(most=most))
    now, phase = 0.0, finder.phase
    for _ in range(steps):
        now += rng.choice((0.0, 0.001, 0.05, 1.0, 100.0))
        calls = rng.choice((0, 0, 1, 10, 10_000))
        if rng.random() < 0.05:
            most = rng.randint(1, 64)
            finder.limit(most)
        window = finder.observe(
            Observation(
                now=now,
                calls=calls,
                seconds=calls * rng.choice((0.0, 0.0003, 0.02, 10.0)),
                limited=rng.random() < 0.8,
                canary=tuple(rng.choice((0.0, 0.0003, 0.01, 5.0)) for _ in range(rng.randrange(4))),
                canary_waiting=rng.choice((0.0, 0.0, 0.001, 1e6)),
            )
        )
        assert 1 <= window <= most
        assert finder.phase in NEXT[phase]
        phase = finder.phase


def seconds_to(window, model, hint):
    """From the start until the window is first so large."""
    cache = SimulatedCache(model)
    warmer = Warmer(cache, hint=hint)
    cache.run(20.0)
    return next(now for now, found in warmer.windows if found >= window), warmer


def test_what_others_have_found_is_tried_after_the_first_window():
    """Later than it is known what is usual, and sooner than by doubling."""
    model = CacheModel(threads=256, origin_seconds=0.02)
    alone, _ = seconds_to(100, model, 0)
    told, warmer = seconds_to(100, model, 100)
    assert told < alone
    assert warmer.windows[0][1] <= 2


def test_what_others_have_found_is_no_more_than_a_start():
    """A hint that is far too large, or absurd, leaves the window where it is found without one, and within its limits."""
    model = CacheModel(threads=16, origin_seconds=0.02)
    held = []
    for hint in (0, 400, 10**9):
        cache = SimulatedCache(model)
        warmer = Warmer(cache, hint=hint, limits=WindowLimits(most=500))
        cache.run(20.0)
        assert max(window for _, window in warmer.windows) <= 500
        held.append(sorted(window for now, window in warmer.windows if now > 12)[len(warmer.windows) // 5])
    assert max(held) <= 1.5 * min(held)
