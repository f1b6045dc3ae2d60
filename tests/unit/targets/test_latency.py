"""Histograms of latencies: cheap, mergeable, exact to a quarter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.targets.latency import BUCKETS, LatencyHistogram, bucket, upper_bound


def test_buckets_grow_with_time_and_hold_any_time():
    """Also a clock that steps back, and times beyond the last bucket."""
    places = [bucket(2.0**power) for power in range(-30, 20)]
    assert places == sorted(places)
    assert (bucket(-1.0), bucket(0.0), bucket(1e9)) == (0, 0, BUCKETS - 1)


@given(st.floats(1e-4, 200))
def test_a_time_is_below_the_end_of_its_bucket_and_not_far_below(seconds):
    end = upper_bound(bucket(seconds))
    assert seconds <= end <= 1.3 * seconds


@given(st.lists(st.floats(0, 300), max_size=30), st.lists(st.floats(0, 300), max_size=30))
def test_merging_is_adding_all_to_one(first, second):
    one, two, both = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for seconds in first:
        one.add(seconds)
        both.add(seconds)
    for seconds in second:
        two.add(seconds)
        both.add(seconds)
    merged = one.merge(two)
    assert merged.counts == both.counts
    assert merged.seconds == pytest.approx(both.seconds)


def test_quantiles_of_two_modes():
    """Nine warm reads and one cold one."""
    histogram = LatencyHistogram()
    histogram.add(0.0003, 9)
    histogram.add(0.020)
    assert histogram.quantile(0.5) == pytest.approx(0.0003, rel=0.3)
    assert histogram.quantile(0.99) == pytest.approx(0.020, rel=0.3)
    assert LatencyHistogram().quantile(0.5) == 0.0
