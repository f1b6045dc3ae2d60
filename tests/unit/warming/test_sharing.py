"""Readers that share a cache by the clock, against a simulated cache under simulated time."""

import random
from statistics import median

import pytest

from cachewarmer.model import Bound
from cachewarmer.testing.simulated_cache import CacheModel, SimulatedCache
from cachewarmer.warming import clock
from cachewarmer.warming.rounds import Observation
from cachewarmer.warming.sharing import PERIOD_SECONDS, Company, Sharing, period
from cachewarmer.warming.steering import SECOND_WINDOW
from cachewarmer.warming.window import WindowLimits
from tests.unit.warming.test_window import Warmer

THREADS = CacheModel(threads=64, origin_seconds=0.02)
LINK = CacheModel(threads=64, origin_seconds=0.02, link_bytes_per_second=12.5e6)
SEEDS = range(1, 6)


def warmers_of(model, readers, seed, file_bytes=8192, apart=0.01):
    """So many, begun within some seconds; their clocks differ by ``apart`` at most."""
    cache, chance = SimulatedCache(model, seed), random.Random(seed)
    return cache, [
        Warmer(
            cache,
            file_bytes=file_bytes,
            begins=0.5 + chance.uniform(0, 4) * (number > 0),
            seed=100 * seed + number,
            hint=SECOND_WINDOW,
            path_seconds=model.wire_seconds,
            clock=1000.0 + 3 * seed + chance.uniform(-apart, apart),
        )
        for number in range(readers)
    ]


def measured(model, readers, seed, begin=30.0, end=50.0, **how):
    """The slowest reader's rate by the fastest one's, and the calls that all of them held."""
    cache, warmers = warmers_of(model, readers, seed, **how)
    cache.run(begin)
    before = [one.reader.calls for one in warmers]
    cache.run(end)
    rates = [one.reader.calls - calls for one, calls in zip(warmers, before, strict=True)]
    held = sum(w for one in warmers for now, w in one.windows if now > begin) / ((end - begin) / 0.05)
    return min(rates) / max(rates), held


@pytest.mark.parametrize(("readers", "least"), [(2, 0.75), (4, 0.55)])
def test_readers_that_share_a_clock_come_to_similar_shares_of_the_threads(readers, least):
    assert median(measured(THREADS, readers, seed)[0] for seed in SEEDS) >= least


@pytest.mark.parametrize("readers", [2, 4])
def test_at_a_link_they_come_to_equal_shares_and_hold_little_more_than_fills_it(readers):
    fills = LINK.link_bytes_per_second / 13_312 * LINK.origin_seconds
    outcomes = [measured(LINK, readers, seed, file_bytes=13_312) for seed in SEEDS]
    assert median(even for even, _ in outcomes) >= 0.75
    assert median(held for _, held in outcomes) <= 2 * fills


def test_clocks_may_differ_by_some_hundredths_of_a_second():
    assert median(measured(THREADS, 2, seed, apart=0.05)[0] for seed in SEEDS) >= 0.6


@pytest.mark.parametrize("model", [THREADS, LINK], ids=["threads", "link"])
def test_a_reader_alone_does_not_cut_its_window_at_common_moments(model):
    for seed in range(1, 3):
        cache, (alone,) = warmers_of(model, 1, seed)
        cache.run(60)
        held = [window for now, window in alone.windows if now > 10]
        assert min(held) >= 0.8 * median(held)


def test_who_is_left_alone_takes_what_others_leave_and_stops_cutting_its_window():
    cache, (stays, leaves) = warmers_of(THREADS, 2, 1)
    cache.run(40)
    assert min(window for now, window in stays.windows if now > 30) < 25
    leaves.finder.limit(1)
    cache.run(160)
    held = [window for now, window in stays.windows if now > 130]
    assert median(held) >= 50
    assert min(held) >= 0.8 * median(held)


def test_a_gentle_reader_and_one_without_a_common_clock_do_not_share_by_it():
    for limits, wall in ((WindowLimits.gentle(), 1000.0), (None, None)):
        cache = SimulatedCache(THREADS, 1)
        warmers = [
            Warmer(cache, begins=0.5 + 3 * number, seed=number + 1, limits=limits, clock=wall) for number in range(2)
        ]
        cache.run(30)
        assert all(one.finder._sharing is None for one in warmers)


def a_look(now, seconds, *, calls=20, slow=False):
    canary = 1.0 if slow else 0.0003
    return Observation(now=now, wall=now, calls=calls, seconds=calls * seconds, limited=True, canary=(canary,))


def test_the_wall_clock_alone_tells_the_moments():
    number, since = period(5 * PERIOD_SECONDS + 1.5)
    assert (number, since) == (5, 1.5)
    assert period(-1.0) == (-1, PERIOD_SECONDS - 1.0)


def test_other_reads_end_the_sharing():
    """Cold files after warm ones, say: what was learnt of latencies says nothing about them."""
    lateness = Warmer(SimulatedCache(THREADS)).finder.lateness
    sharing = Sharing(40, 7.0, 7.0, 0.001, random.Random(1))
    now, window = 7.0, 40
    while now < 12 and window is not None:
        now += 0.05
        window = sharing.observe(a_look(now, 0.001), lateness, 0.001, 1, 64)
    assert window is not None
    sharing._hear(now, None)
    while now < 14 and window is not None:
        now += 0.05
        window = sharing.observe(a_look(now, 0.02), lateness, 0.02, 1, 64)
    assert window is None


def test_a_window_that_was_proved_and_makes_others_wait_shows_company():
    company = Company()
    assert not company.others_wait(20, 1.0)
    company.held(20, 5.0, 3.0, suspected=False)
    assert company.others_wait(20, 6.0)
    assert not company.others_wait(30, 7.0)
    assert not company.others_wait(20, 100.0)


def test_a_knee_that_moves_up_shows_company_once_and_other_calls_forget_it():
    company = Company()
    company.others_wait(20, 1.0)
    assert not company.left(25, 2.0)
    assert company.left(40, 2.0)
    assert not company.left(40, 2.0)
    company.others_wait(20, 3.0)
    company.forget()
    assert not company.left(40, 4.0)


def test_the_bound_is_the_link_where_a_queue_ends_the_growth():
    cache, warmers = warmers_of(LINK, 2, 1, file_bytes=13_312)
    cache.run(40)
    assert [one.finder.bound for one in warmers] == [Bound.LINK] * 2


@pytest.mark.parametrize(("state", "synchronised"), [(0, True), (1, True), (5, False), (-1, False)])
def test_a_clock_is_common_where_the_kernel_says_that_it_is_synchronised(monkeypatch, state, synchronised):
    class Library:
        @staticmethod
        def adjtimex(_buffer):
            return state

    monkeypatch.setattr(clock.ctypes, "CDLL", lambda _name: Library)
    monkeypatch.setattr(clock, "_asked", [])
    assert clock.is_synchronised() is synchronised
    assert clock.is_synchronised() is synchronised


def test_a_system_that_cannot_be_asked_has_no_common_clock(monkeypatch):
    monkeypatch.setattr(clock.ctypes, "CDLL", lambda _name: object())
    monkeypatch.setattr(clock, "_asked", [])
    assert not clock.is_synchronised()
