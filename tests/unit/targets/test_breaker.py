"""The breaker of one address, with the time as an argument."""

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.targets.breaker import FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS, RELAPSE_SECONDS, Breaker, Outage


def test_a_failure_opens_it_and_an_answer_closes_it_at_once():
    breaker = Breaker("cache1")
    assert breaker.outage is None
    assert breaker.failed(10.0, "refused")
    assert breaker.outage == Outage("cache1", 10.0, "refused")
    assert breaker.answered(70.0) == 60.0
    assert not breaker.is_open


def test_failures_of_calls_that_began_before_change_nothing():
    """The calls that were in flight end one after the other: the outage began with the first."""
    breaker = Breaker("cache1")
    breaker.failed(10.0, "refused")
    breaker.probe_failed(11.0, "silent")
    wait = breaker.probe_in(11.0)
    assert not breaker.failed(11.0, "lost")
    assert breaker.outage == Outage("cache1", 10.0, "silent")
    assert breaker.probe_in(11.0) == wait


def test_an_answer_without_an_outage_is_none():
    assert Breaker("cache1").answered(5.0) == 0.0


@given(st.integers(1, 40))
def test_probes_come_soon_and_then_slow_down(count):
    """The first comes at once, none later than the maximum, and none sooner after the last than the one before."""
    breaker, now = Breaker("cache1"), 0.0
    breaker.failed(now, "refused")
    waits = [breaker.probe_in(now)]
    for _ in range(count):
        now += waits[-1]
        breaker.probe_failed(now, "refused")
        waits.append(breaker.probe_in(now))
    assert waits[0] == FIRST_PROBE_SECONDS
    assert waits == sorted(waits)
    assert waits[-1] <= MAX_PROBE_SECONDS


def test_a_new_outage_is_probed_as_quickly_as_the_first():
    breaker = Breaker("cache1")
    breaker.failed(0.0, "refused")
    for second in range(10):
        breaker.probe_failed(float(second), "refused")
    breaker.answered(20.0)
    breaker.failed(30.0, "refused")
    assert breaker.probe_in(30.0) == FIRST_PROBE_SECONDS


def test_a_relapse_is_probed_ever_more_slowly():
    """It answers probes and fails at once at what it is asked for: that is no reason to ask four times a second."""
    breaker, now, waits = Breaker("cache1"), 0.0, []
    for _ in range(8):
        breaker.failed(now, "out of memory")
        waits.append(breaker.probe_in(now))
        now += waits[-1]
        breaker.answered(now)
    assert waits[:3] == [FIRST_PROBE_SECONDS, 2 * FIRST_PROBE_SECONDS, 4 * FIRST_PROBE_SECONDS]
    assert waits[-1] == MAX_PROBE_SECONDS
    assert breaker.relapsed
    assert not breaker.is_steady(now)
    breaker.failed(now + RELAPSE_SECONDS, "refused")
    assert not breaker.relapsed
