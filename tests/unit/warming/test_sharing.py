"""Readers that share a cache without talking, against a simulated cache under simulated time."""

import dataclasses
import math
import random
from statistics import median

import pytest

from cachewarmer.model import Bound
from cachewarmer.testing.simulated_cache import CacheModel, CallKind, SimulatedCache, SimulatedProbe, SimulatedReader
from cachewarmer.warming.company import Company
from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation
from cachewarmer.warming.sharing import CUT, FIRST_CUT, FIRST_CUTS, MOST_USUAL, PERIOD_SECONDS, Queue, Sharing, Stage
from cachewarmer.warming.steering import SECOND_WINDOW
from cachewarmer.warming.window import WindowLimits
from tests.unit.warming.test_window import Warmer, p90

THREADS = CacheModel(threads=64, origin_seconds=0.02)
LINK = CacheModel(threads=64, origin_seconds=0.02, link_bytes_per_second=12.5e6)
SEEDS = range(1, 8)


def warmers_of(model, readers, seed, file_bytes=8192, limits=None):
    """So many, begun within some seconds."""
    cache, chance = SimulatedCache(model, seed), random.Random(seed)
    return cache, [
        Warmer(
            cache,
            file_bytes=file_bytes,
            begins=0.5 + chance.uniform(0, 4) * (number > 0),
            seed=100 * seed + number,
            guess=SECOND_WINDOW,
            path_seconds=model.wire_seconds,
            limits=limits,
        )
        for number in range(readers)
    ]


def measured(model, readers, seed, begin=25.0, end=45.0, **how):
    """The slowest reader's rate by the fastest one's, the calls that all of them held, and another's wait by what is allowed."""
    cache, warmers = warmers_of(model, readers, seed, **how)
    other = SimulatedProbe(cache, CallKind.WARM, 0.02)
    cache.run(0.5)
    allowed = 3 * p90(other.times) + 0.002
    cache.run(begin)
    before = [one.reader.calls for one in warmers]
    other.times.clear()
    cache.run(end)
    rates = [one.reader.calls - calls for one, calls in zip(warmers, before, strict=True)]
    held = sum(w for one in warmers for now, w in one.windows if now > begin) / ((end - begin) / 0.05)
    return min(rates) / max(rates), held, p90(other.times) / allowed


@pytest.mark.parametrize(("readers", "least"), [(2, 0.8), (4, 0.6)])
def test_readers_come_to_similar_shares_of_the_threads_and_others_do_not_wait(readers, least):
    outcomes = [measured(THREADS, readers, seed) for seed in SEEDS]
    assert median(even for even, _, _ in outcomes) >= least
    assert median(held for _, held, _ in outcomes) >= 50
    assert median(wait for _, _, wait in outcomes) <= 1


@pytest.mark.parametrize("readers", [2, 4])
def test_at_a_link_they_come_to_similar_shares_and_hold_little_more_than_fills_it(readers):
    fills = LINK.link_bytes_per_second / 13_312 * LINK.origin_seconds
    outcomes = [measured(LINK, readers, seed, file_bytes=13_312) for seed in SEEDS]
    assert median(even for even, _, _ in outcomes) >= 0.6
    assert median(held for _, held, _ in outcomes) <= 2 * fills


def test_two_that_read_large_files_hold_few_of_the_calls_that_wait_for_the_link():
    """One or two READs of a megabyte fill it. Who comes to a full one takes its queue for the way to the origin."""
    outcomes = [measured(LINK, 2, seed, file_bytes=1 << 26) for seed in SEEDS]
    assert median(held for _, held, _ in outcomes) <= 12
    assert median(even for even, _, _ in outcomes) >= 0.6


def test_late_answers_of_a_busy_machine_leave_shares_similar():
    busy = CacheModel(threads=64, origin_seconds=0.02, late_share=0.1, late_seconds=0.005)
    assert median(measured(busy, 2, seed)[0] for seed in SEEDS) >= 0.7


@pytest.mark.parametrize("model", [THREADS, LINK], ids=["threads", "link"])
def test_a_reader_alone_does_not_cut_its_window(model):
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
    cache.run(240)
    held = [window for now, window in stays.windows if now > 200]
    assert median(held) >= 50
    assert min(held) >= 0.8 * median(held)


def test_a_gentle_reader_does_not_take_part():
    cache, warmers = warmers_of(THREADS, 2, 1, limits=WindowLimits.gentle())
    cache.run(30)
    assert all(one.finder._sharing is None for one in warmers)


def test_the_knee_of_a_reader_that_shares_is_its_share():
    cache, warmers = warmers_of(THREADS, 2, 1)
    cache.run(25)
    knees = []
    for look in range(200):
        cache.run(25 + 0.1 * look)
        knees.append(warmers[0].finder.knee)
    assert max(knees) < 2 * min(knees)


def test_the_bound_is_the_link_where_a_queue_ends_the_growth():
    cache, warmers = warmers_of(LINK, 2, 1, file_bytes=13_312)
    cache.run(40)
    assert [one.finder.bound for one in warmers] == [Bound.LINK] * 2


def test_a_call_at_a_link_is_heard_by_a_reader_that_takes_itself_to_be_alone():
    """No canary tells it there."""
    cache, (listens,) = warmers_of(LINK, 1, 1, file_bytes=13_312)
    cache.run(20)
    assert listens.finder._sharing is None
    other = SimulatedReader(cache, 13_312, window=2 * listens.finder.window)
    other.fill()
    cache.run(20.5)
    assert listens.finder._sharing is not None


def test_readers_whose_reads_take_seconds_do_not_call():
    slow = CacheModel(threads=64, origin_seconds=2.0)
    cache, warmers = warmers_of(slow, 2, 1)
    for look in range(120):
        cache.run(look)
        assert all(one.finder._sharing is None for one in warmers)


# -- one reader, told what to see ------------------------------------------------------------------------------------


class Told:
    """One reader's part, looked at every 50 ms; its READs take what it is told. ``later``: its first few cuts lie behind it."""

    def __init__(self, *, heard, window=40, latency=0.02, later=False):
        self.now = 100.0
        self.lateness = Lateness()
        self.chance = random.Random(1)
        self.sharing = Sharing(window, self.now, latency, latency, self.chance, heard=heard)
        self.sharing._cuts += later * FIRST_CUTS
        self.window = window

    def see(self, latency, seconds=0.05, *, calls=100, limited=True):
        end = self.now + seconds - 1e-9
        while self.now < end and self.window is not None:
            self.now += 0.05
            seen = Observation(now=self.now, calls=calls, seconds=calls * latency, limited=limited)
            self.window = self.sharing.observe(seen, self.lateness, 1, 1024)
        return self.window

    def until(self, stage, latency):
        while self.sharing._stage is not stage:
            assert self.see(latency) is not None
            assert self.now < 200
        return self.window

    def settled(self):
        """It has heard a call, has grown, and holds."""
        self.see(0.02, 1.5)
        self.see(0.03)
        return self.until(Stage.HOLD, 0.03)


def test_who_hears_a_call_cuts_its_window_at_once_and_grows_by_the_time_alone():
    large, small = Told(heard=True, window=40), Told(heard=True, window=10)
    assert (large.see(0.02), small.see(0.02)) == (40 * CUT, 10 * CUT)
    grown = [(large.see(0.02), small.see(0.02)) for _ in range(25)]
    assert grown[-1][0] > 40 * CUT + 4
    assert {one - other for one, other in grown} <= {14, 15, 16}


def test_the_first_few_cuts_that_follow_the_very_first_are_deeper_than_later_ones():
    reader, cuts = Told(heard=True), []
    while len(cuts) < FIRST_CUTS + 1:
        reader.settled()
        held = reader.window
        reader.see(0.02, 0.5)
        reader.see(0.035, 0.1)
        assert reader.sharing._stage is Stage.SMALL
        cuts.append(reader.window / held)
    assert cuts[:2] == [pytest.approx(FIRST_CUT, abs=0.04)] * 2
    assert cuts[-1] == pytest.approx(CUT, abs=0.04)


def test_a_full_cache_is_left_for_what_fits_it():
    reader = Told(heard=True, window=40)
    reader.see(0.02, 1.5)
    full = reader.see(0.03)
    assert reader.until(Stage.HOLD, 0.03) == pytest.approx(1.05 * 0.97 * full * 2 / 3, abs=1.1)


def test_a_machine_that_was_busy_for_a_moment_does_not_end_the_growth():
    reader = Told(heard=True, window=100)
    reader.see(0.02, 0.5)
    small = reader.see(0.03)
    assert reader.sharing._stage is Stage.FULL
    assert reader.see(0.02, 1.0) > small


def test_a_call_gets_louder_until_it_shows_and_then_the_share_is_cut():
    reader = Told(heard=False, window=10)
    calls = {reader.see(0.02) for _ in range(10)}
    assert {22, 46} <= calls
    reader.until(Stage.SMALL, 0.035)
    assert reader.window == 10 * CUT


def test_a_call_gets_louder_at_the_pace_of_reads_though_the_least_is_not_known_yet():
    reader = Told(heard=False, window=4, latency=0.9)
    reader.sharing._queue.least = 0.0
    assert reader.see(0.9, 1.5, calls=0) == 2 * 4 + 2


def test_where_reads_have_come_to_take_seconds_nobody_calls():
    reader = Told(heard=True, window=40, latency=0.8)
    reader.see(0.8, 5.0)
    reader.until(Stage.HOLD, 1.1)
    while reader.now < 180:
        assert reader.see(1.02) is not None
        assert reader.sharing._stage is Stage.HOLD
    reader.until(Stage.CALL, 0.9)


def test_a_call_that_nobody_can_hear_ends_too():
    reader = Told(heard=False, window=10)
    reader.see(0.02, 3.0)
    assert reader.sharing._stage is not Stage.CALL


def test_who_holds_steps_back_from_a_full_cache_and_cuts_its_share_at_a_call():
    reader = Told(heard=True, window=40, later=True)
    held = reader.settled()
    reader.see(0.02, 1.0)
    assert reader.see(0.0275, 1.0) < held
    assert reader.sharing._stage is Stage.HOLD
    held = reader.see(0.02, 1.0)
    reader.see(0.035, 0.1)
    assert reader.sharing._stage is Stage.SMALL
    assert reader.window == held // 2


def test_readers_call_some_seconds_after_the_last_common_moment():
    for later, least in ((False, 3.5), (True, PERIOD_SECONDS)):
        reader = Told(heard=True, window=40, later=later)
        reader.settled()
        assert reader.until(Stage.CALL, 0.02) > 40
        assert least < reader.now - 100.0 < least + 3.5


def test_whose_calls_nobody_makes_room_for_is_alone():
    reader = Told(heard=True, window=40)
    checks, stage = 0, None
    while reader.window is not None:
        reader.see(0.02 * max(1.0, reader.window / 40))
        checks += stage is not Stage.CHECK and reader.sharing._stage is Stage.CHECK
        stage = reader.sharing._stage
        assert reader.now < 140
    assert checks == 2
    assert reader.sharing.share == pytest.approx(40, abs=3)


@pytest.mark.parametrize("threads", [4, 8, 10, 12, 16, 64])
def test_a_reader_alone_that_holds_a_call_less_than_there_are_threads_is_not_answered(threads):
    reader, checks, stage = Told(heard=False, window=threads - 1), 0, None
    while reader.window is not None:
        reader.see(0.02 * max(1.0, reader.window / threads))
        checks += stage is not Stage.CHECK and reader.sharing._stage is Stage.CHECK
        stage = reader.sharing._stage
        assert reader.now < 140
    assert checks == 2


def test_a_check_that_the_limit_leaves_no_room_for_is_no_answer():
    """No window of this reader makes a queue."""
    reader = Told(heard=False, window=900)
    while reader.see(0.02) is not None:
        assert reader.now < 140


def test_whom_others_make_room_for_cuts_its_share_too():
    reader = Told(heard=True, window=40, later=True)
    held = reader.settled()
    reader.until(Stage.CALL, 0.02)
    raised = reader.until(Stage.CHECK, 0.035)
    assert held < raised < 1.5 * held
    assert reader.until(Stage.SMALL, 0.02) == held // 2


def test_a_reader_with_too_little_to_read_neither_grows_nor_loses_its_share():
    reader = Told(heard=True, window=40)
    assert reader.see(0.02, 3.0, limited=False) == 40 * CUT
    while reader.sharing._stage is Stage.GROW:
        reader.see(0.02, limited=False)
    assert (reader.sharing._stage, reader.window) == (Stage.HOLD, 40)


def test_a_reader_that_was_starved_or_stood_still_does_not_make_up_for_it():
    reader = Told(heard=True, window=40)
    reader.see(0.02, 1.5)
    grown = reader.window
    reader.see(0.02, 2.0, limited=False)
    reader.now += 60.0
    assert reader.see(0.02) <= 2 * grown


def test_a_starved_reader_does_not_get_louder():
    reader = Told(heard=False, window=60)
    called = reader.see(0.02)
    assert max(reader.see(0.02, limited=False) for _ in range(10)) == called


def test_reads_that_take_longer_without_any_queue_are_no_company():
    lateness, chance = Lateness(), random.Random(1)
    sharing = Sharing(40, 0.0, 0.03, 0.02, chance, heard=True, queued=True)
    windows, now = [], 0.0
    while sharing._stage is not Stage.HOLD:
        now += 0.05
        windows.append(sharing.observe(Observation(now=now, calls=100, seconds=3.0, limited=True), lateness, 1, 1024))
        assert now < 2
    assert (min(windows), windows[-1], sharing.share) == (40 * CUT, 40, 40)


def test_a_latency_that_stays_high_is_soon_no_longer_stepped_back_from():
    reader = Told(heard=True, window=40, later=True)
    held = reader.settled()
    reader.see(0.02, 1.0)
    assert reader.see(0.027, 2.5) >= 0.4 * held
    assert reader.sharing._stage is Stage.HOLD


def test_an_origin_that_is_slow_and_quick_in_turn_costs_a_reader_alone_little():
    """It takes a quarter more, then a quarter less, every ten seconds."""
    rates = {}
    for drift in (0.0, 0.25):
        cache, (alone,) = warmers_of(THREADS, 1, 1)
        for look in range(1, 1200):
            seconds = 0.02 * (1 + drift * math.sin(look / 1200 * 12 * math.pi))
            cache.model = dataclasses.replace(THREADS, origin_seconds=seconds)
            cache.run(0.05 * look)
        rates[drift] = alone.reader.calls
    assert rates[0.25] >= 0.85 * rates[0.0]


def test_other_reads_end_the_sharing():
    """Cold files after warm ones, say: what was learnt of latencies says nothing about them."""
    reader = Told(heard=True, window=40, latency=0.001)
    reader.see(0.001, 1.5)
    reader.see(0.0015)
    reader.until(Stage.HOLD, 0.0015)
    assert reader.see(0.2, 1.0) is None


def test_reads_that_take_seconds_by_now_end_the_sharing():
    reader = Told(heard=True, window=40, latency=0.5)
    while reader.window is not None:
        reader.see(1.2)
        assert reader.now < 160


def test_canaries_that_are_slow_for_other_reasons_end_the_sharing():
    reader = Told(heard=True)
    reader.lateness.correct(MOST_USUAL + 0.1)
    assert reader.see(0.02) is None


def test_a_queue_is_not_seen_in_the_noise_of_few_calls():
    queue = Queue(0.02, 0.02, 0.0)
    chance = random.Random(1)
    for number in range(1, 100):
        mean = 0.02 * chance.uniform(0.7, 1.5)
        queue.follow(Observation(now=0.05 * number, calls=2, seconds=2 * mean, limited=True), 4.0, learn=False)
        assert not queue.exceeds(1.3)


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
