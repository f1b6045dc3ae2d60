"""Confidence intervals, against how often they hold."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.verification.intervals import (
    Interval,
    corrected,
    effective_samples,
    samples_for,
    samples_to_show,
    wilson,
)

EXACT = Interval(1.0, 1.0, 1.0)
NEVER = Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("samples", [30, 120, 400])
def test_an_interval_holds_in_95_of_100_cases(samples):
    """Summed over all that may come, not tried: at every fraction from 0 to 1."""
    intervals = [wilson(seen / samples, samples) for seen in range(samples + 1)]
    for step in range(101):
        truth = step / 100
        held = sum(
            math.comb(samples, seen) * truth**seen * (1 - truth) ** (samples - seen)
            for seen, (_, low, high) in enumerate(intervals)
            if low <= truth <= high
        )
        assert held >= 0.95, (truth, held)


@given(st.floats(0, 1), st.floats(1, 1e6))
def test_an_interval_holds_its_share_and_stays_between_0_and_1(share, samples):
    _, low, high = wilson(share, samples)
    assert 0 <= low <= share <= high <= 1


def test_the_number_of_samples_makes_the_interval_as_narrow_as_wanted():
    for half_width in (0.02, 0.05, 0.1):
        count = samples_for(half_width)
        assert wilson(0.5, count).high - 0.5 <= half_width < wilson(0.5, count - 1).high - 0.5


def test_enough_samples_show_what_is_expected():
    count = samples_to_show(0.99)
    assert wilson(1.0, count).low >= 0.99 > wilson(1.0, count - 1).low


def test_what_was_drawn_twice_counts_as_two_samples():
    assert effective_samples([0.25] * 4, [1] * 4) == pytest.approx(4)
    assert effective_samples([0.25, 0.25, 0.5], [1, 1, 2]) == pytest.approx(4)
    assert effective_samples([0.7, 0.1, 0.1, 0.1], [1] * 4) < 2


def test_without_mistakes_what_is_seen_is_so():
    assert corrected(Interval(0.4, 0.35, 0.45), EXACT, NEVER) == pytest.approx((0.4, 0.35, 0.45))


def test_mistakes_are_taken_out_and_widen_the_interval():
    """Of 50 % warm, a tenth is seen as cold, and of the rest a tenth as warm: 50 % are seen as warm."""
    seen = wilson(0.5, 400)
    found = corrected(seen, wilson(0.9, 400), wilson(0.1, 400))
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low > (seen.high - seen.low) / 0.8
    less = corrected(wilson(0.18, 400), wilson(0.9, 400), wilson(0.1, 400))
    assert less.value == pytest.approx(0.1)
