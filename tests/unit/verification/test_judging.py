"""Warm or cold, from times alone: on a simulated cache, idle and with another load."""

import random

import pytest

from cachewarmer.testing.simulated_cache import CacheModel
from cachewarmer.verification.judging import Pair, judge
from tests.unit.verification.simulated import Tree, pairs_of

RUNS = 100
SAMPLES = 60


@pytest.mark.parametrize("load", [False, True], ids=["idle", "loaded"])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
def test_the_interval_covers_the_truth_in_95_of_100_runs(fraction, load):
    """Each run has a tree of its own: whole directories and single files are warm. All of them can be told."""
    covered = 0
    for seed in range(RUNS):
        tree = Tree(fraction, seed, files=150)
        pairs, origin, _ = pairs_of(tree, seed, count=SAMPLES, load=load)
        warm = judge(pairs, origin).warm
        assert warm is not None
        covered += warm.low - 1e-9 <= tree.truth <= warm.high + 1e-9
    assert covered >= 95


@pytest.mark.parametrize("load", [False, True], ids=["idle", "loaded"])
@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 0.75])
def test_a_cache_that_can_not_be_asked_for_its_origin_shows_it_by_its_reads(fraction, load):
    tree = Tree(fraction, 5)
    pairs, _, _ = pairs_of(tree, 5, count=400, load=load)
    found = judge(pairs)
    assert found.evidence == "reads"
    assert found.warm.low <= tree.truth <= found.warm.high
    assert abs(found.warm.value - tree.truth) < 0.06


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_nothing_can_be_told_where_origin_and_cache_are_equally_far(fraction):
    near = CacheModel(threads=16, origin_seconds=0.0)
    pairs, origin, _ = pairs_of(Tree(fraction, 2), 2, count=200, model=near)
    found = judge(pairs, origin)
    assert found.warm is None
    assert "equally far" in found.reason


def test_nothing_can_be_told_where_all_is_fast_and_the_origin_is_not_known():
    pairs, _, _ = pairs_of(Tree(1.0, 2), 2, count=200)
    assert judge(pairs).warm is None


def test_a_cache_that_keeps_nothing_is_not_called_warm():
    """Its second reads take as long as the origin: what is read again says nothing about warm."""
    chance = random.Random(1)
    pairs = [Pair(1000, chance.uniform(0.02, 0.03), chance.uniform(0.02, 0.03), 1 / 200) for _ in range(200)]
    assert judge(pairs, [chance.uniform(0.018, 0.022) for _ in range(20)]).warm is None


def test_first_reads_that_are_only_a_little_slower_are_no_cold_blocks():
    """A first read may find other things cold than the cache: 15 % more time is not an origin."""
    chance = random.Random(3)
    pairs = [Pair(1000, chance.gauss(1.15e-3, 1e-4), chance.gauss(1e-3, 1e-4), 1 / 300) for _ in range(300)]
    assert judge(pairs).warm is None
    assert judge(pairs, [0.02] * 10).warm.value == 1.0


def test_slow_answers_that_come_to_warm_blocks_too_are_taken_out():
    """Every tenth answer takes as long as the origin, cold or not: 60 % warm looks like 54 %, and is told as 60 %."""
    chance = random.Random(4)

    def seconds(warm):
        return chance.uniform(0.02, 0.03) if not warm or chance.random() < 0.1 else chance.uniform(4e-4, 8e-4)

    pairs = [Pair(1000, seconds(number % 10 < 6), seconds(True), 1 / 2000) for number in range(2000)]
    found = judge(pairs, [chance.uniform(0.02, 0.03) for _ in range(24)])
    assert found.warm.low <= 0.6 <= found.warm.high
    assert abs(found.warm.value - 0.6) < 0.03


@pytest.mark.parametrize("more", [1.0, 1.5, 1.8])
def test_a_machine_that_stalls_in_both_reads_shows_no_cold_blocks(more):
    """Nothing is a cache here: some answers wait for a processor, more of the first ones, as these come after a pause."""
    chance = random.Random(7)

    def seconds(stalled):
        return chance.lognormvariate(-9, 0.2) + (chance.lognormvariate(-5.9, 0.2) if chance.random() < stalled else 0)

    pairs = [Pair(0, seconds(0.055 * more), seconds(0.055), 1 / 2000) for _ in range(2000)]
    near = [chance.uniform(1e-4, 2e-4) for _ in range(24)]
    assert judge(pairs, near).warm is None


def test_no_sample_tells_nothing():
    assert judge([]).warm is None


# -- caches that fetch more than they are asked for, and that keep it later ---------------------------------------------


def unit_pairs(cold_units, units=40, each=5, spills=True, chance=None):
    """Samples of stretches of files, read in turn; of a cold stretch the first one is slow, and the others unless it
    has warmed them.
    """
    chance = chance or random.Random(1)
    pairs, touched = [], set()
    order = [unit for unit in range(units) for _ in range(each)]
    chance.shuffle(order)
    for turn, unit in enumerate(order):
        is_cold = unit < cold_units and not (spills and unit in touched)
        touched.add(unit)
        first = 0.025 * chance.uniform(1, 1.4) if is_cold else 0.001 * chance.uniform(0.7, 1.5)
        pairs.append(Pair(65536, first, 0.001 * chance.uniform(0.7, 1.5), 1 / len(order), 1, unit, turn))
    return pairs


@pytest.mark.parametrize("spills", [True, False])
@pytest.mark.parametrize("cold_units", [12, 20, 40])
def test_what_the_verifier_itself_has_warmed_does_not_count_as_warm(cold_units, spills):
    """Of five samples of a block of the cache only the first one read is slow where the cache fetches the whole block."""
    judged = judge(unit_pairs(cold_units, spills=spills))
    truth = 1 - cold_units / 40
    assert judged.warm.value == pytest.approx(truth, abs=0.02)
    assert judged.warm.low <= truth <= judged.warm.high
    assert sum(judged.cold) == cold_units * 5


def test_samples_that_take_the_word_of_another_are_not_counted_as_further_ones():
    narrow, wide = (judge(unit_pairs(20, spills=spills)).warm for spills in (False, True))
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_of_a_whole_tree_the_interval_is_no_point_where_its_blocks_were_not_all_seen():
    whole = judge(unit_pairs(20, spills=False), complete=True).warm
    assert whole.high - whole.low < 0.05
    assert judge(unit_pairs(20), complete=True).warm.high > whole.high + 0.05


def test_slow_reads_of_two_kinds_are_both_cold_where_the_cache_has_counted_what_its_origin_takes():
    """One round trip and two: the border does not come to lie between them, though some second reads are slow too."""
    chance = random.Random(5)
    pairs = []
    for number in range(300):
        first = 0.0225 if number < 130 else 0.0455 if number < 220 else 0.0009
        second = 0.022 if number % 40 == 0 else 0.001
        pairs.append(Pair(65536, first * chance.uniform(0.97, 1.1), second * chance.uniform(0.8, 1.3), 1 / 300))
    judged = judge(pairs, [0.017] * 20, by_counts=True)
    assert judged.warm.value == pytest.approx(80 / 300, abs=0.03)
    assert judged.threshold_seconds < 0.02


def test_what_the_cache_has_counted_tells_where_nearly_all_is_warm():
    chance = random.Random(6)
    pairs = [Pair(65536, 0.001 * chance.uniform(0.6, 2), 0.001 * chance.uniform(0.6, 2), 1 / 300) for _ in range(300)]
    assert judge(pairs).warm is None
    judged = judge(pairs, [0.02] * 20, by_counts=True)
    assert (judged.warm.value, judged.evidence) == (1.0, "origin")


@pytest.mark.parametrize("waiting", [1.0, 1.4, 1.9])
@pytest.mark.parametrize("cold", [300, 150, 30])
def test_what_the_cache_has_counted_while_others_wait_too_hides_no_cold_read(cold, waiting):
    """The mean that it counts holds their waiting; a cold read takes less, and is cold all the same."""
    chance = random.Random(8)

    def seconds(is_cold):
        return chance.choice([0.0215, 0.0215, 0.044]) * chance.uniform(0.98, 1.1) if is_cold else warm()

    def warm():
        return 0.001 * chance.uniform(0.6, 2) if chance.random() < 0.93 else chance.uniform(0.01, 0.06)

    pairs = [Pair(65536, seconds(number < cold), warm(), 1 / 300) for number in range(300)]
    judged = judge(pairs, [0.02 * waiting * chance.uniform(0.98, 1.02) for _ in range(20)], by_counts=True)
    assert judged.warm is not None
    assert judged.warm.value == pytest.approx(1 - cold / 300, abs=0.04)
