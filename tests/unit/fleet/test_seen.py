"""How a fleet's workers ended, on paper."""

import pytest

from cachewarmer.errors import FleetError
from cachewarmer.fleet.seen import WorkersSeen


@pytest.fixture
def seen():
    seen = WorkersSeen()
    for name in ("a", "b", "c"):
        seen.started(name, 100.0)
    return seen


def test_only_what_went_away_before_its_time_is_an_eviction(seen):
    seen.give_up(["b"])
    seen.ended("a", 900.0, "evicted")
    seen.ended("b", 900.0, "evicted")
    seen.ended("c", 900.0, "ended")
    assert [one.end for one in seen.times()] == ["evicted", "deleted", "ended"]
    assert seen.evicted == 1
    assert not seen.running()


def test_a_worker_that_is_seen_again_keeps_its_start(seen):
    assert seen.started("a", 500.0).started_at == 100.0
    assert len(seen.times()) == 3


def test_no_worker_ended_before_it_started(seen):
    seen.ended("a", 50.0, "ended")
    assert seen.times()[0].seconds(1000.0) == 0.0


def test_a_worker_that_failed_at_once_is_complained_of_once(seen):
    seen.ended("a", 101.0, "failed", "with exit code 2: its log says why")
    with pytest.raises(FleetError, match="worker a ended at once with exit code 2: its log says why"):
        seen.complain()
    seen.complain()


def test_no_complaint_of_one_that_failed_late_was_given_up_or_belongs_to_a_fleet_that_is_gone(seen):
    seen.give_up(["b"])
    seen.ended("a", 100_000.0, "failed", "late")
    seen.ended("b", 101.0, "failed", "given up")
    seen.complain()
    seen.ended("c", 101.0, "failed", "gone")
    seen.forget_complaint()
    seen.complain()
