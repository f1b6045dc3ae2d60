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


def test_no_sample_tells_nothing():
    assert judge([]).warm is None
