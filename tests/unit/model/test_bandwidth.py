"""A job's bandwidth, and what it is at each minute of the day."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage, UsageError
from cachewarmer.model import Bandwidth, Hours, WarmJob
from cachewarmer.model.bandwidth import DAY_MINUTES, bytes_per_second
from cachewarmer.target import parse_bandwidth

rates = st.integers(0, 1 << 62)


@st.composite
def bandwidths(draw):
    """Any, with hours that do not overlap."""
    edges = sorted(draw(st.sets(st.integers(0, DAY_MINUTES - 1), max_size=12)))
    hours = [Hours(start, stop, draw(rates)) for start, stop in itertools.pairwise(edges) if draw(st.booleans())]
    if len(edges) > 1 and draw(st.booleans()):
        hours.append(Hours(edges[-1], edges[0], draw(rates)))  # over midnight
    return Bandwidth(draw(rates), tuple(draw(st.permutations(hours))))


@given(bandwidths())
def test_what_is_written_is_read(bandwidth):
    assert Bandwidth.parse(bandwidth.text(), bytes_per_second) == bandwidth
    job = WarmJob.from_json('{"WarmTargetMountAddresses":["a"]}')
    job = WarmJob(access=job.access, **bandwidth.fields)
    assert WarmJob.from_json(job.to_json()).bandwidth.rates == (
        bandwidth.rates if bandwidth.hours else [bandwidth.rate]
    )


@given(bandwidths(), st.integers(0, DAY_MINUTES - 1))
def test_each_minute_has_the_rate_of_its_hours_or_the_rest_of_the_day(bandwidth, minute):
    covering = [one for one in bandwidth.hours if minute in {at for span in one.minutes() for at in span}]
    assert len(covering) <= 1
    assert bandwidth.at(minute) == (covering[0].rate if covering else bandwidth.rate)


@given(bandwidths())
def test_a_program_that_knows_no_hours_keeps_to_the_lowest_rate(bandwidth):
    limits = [rate for rate in bandwidth.rates if rate]
    assert bandwidth.fields["max_bandwidth"] == min(limits, default=0)


@pytest.mark.parametrize(
    ("text", "at_7", "at_8", "at_20"),
    [
        ("200M", 200 << 20, 200 << 20, 200 << 20),
        ("none", 0, 0, 0),
        ("08:00-20:00=200Mbit,=2Gbit", 250_000_000, 25_000_000, 250_000_000),
        ("08:00-20:00=200Mbit", 0, 25_000_000, 0),
        ("20:00-8:00=none, =80Mbit", 0, 10_000_000, 0),
        ("00:00-24:00=8Mbit", 1_000_000, 1_000_000, 1_000_000),
        ("=8Mbit", 1_000_000, 1_000_000, 1_000_000),
        ("07:00-08:00=8Mbit,20:00-24:00=16Mbit,=24Mbit", 1_000_000, 3_000_000, 2_000_000),
    ],
)
def test_rates_by_the_hour_as_people_write_them(text, at_7, at_8, at_20):
    bandwidth = parse_bandwidth(text)
    assert [bandwidth.at(60 * hour) for hour in (7, 8, 20)] == [at_7, at_8, at_20]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "08:00-20:00",
        "8-20=200M",
        "08:00-20:00=",
        "08:00-20:00=200M,=1G,=2G",
        "08:00-20:00=200M,19:59-21:00=1G",
        "20:00-08:00=200M,07:00-09:00=1G",
        "25:00-26:00=1M",
        "08:60-09:00=1M",
        "24:01-09:00=1M",
        "08:00-20:00=200M,,=1G",
        ",".join(["=1M"] * 100),
    ],
)
def test_what_is_no_bandwidth_is_refused_in_one_line(text):
    with pytest.raises(UsageError) as caught:
        parse_bandwidth(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hours", ["fast", "08:00-20:00=200M", "08:00-20:00=-1", "08:00-20:00=" + "9" * 40, "=1,=2"])
def test_a_message_with_hours_that_make_no_sense_is_refused(hours):
    """In messages rates are numbers."""
    with pytest.raises(InvalidMessage):
        WarmJob.from_json(f'{{"WarmTargetMountAddresses":["a"],"MaxBandwidthHours":"{hours}"}}')
