"""What a job teaches about its addresses, and what those that come later make of it."""

from dataclasses import replace

import pytest

from cachewarmer.model import (
    Access,
    AddressReport,
    Bound,
    InHand,
    JobState,
    JobStatus,
    Learnt,
    LearntAddress,
    Lessons,
    Verdict,
    WarmJob,
    WorkerReport,
)
from cachewarmer.model.learnt import FRESH_SECONDS, MOST_LEARNT_BYTES, MOST_WINDOW
from cachewarmer.model.live import MOST_ADDRESSES

JOB = WarmJob(access=Access(addresses=("a", "b")), job_id="j1")
WARMING = JobStatus(job=JOB, state=JobState.WARMING)


def place(address="a", **values):
    return AddressReport(address=address, **values)


def worker(*places, name="w", job="j1", **values):
    return WorkerReport(worker=name, jobs=(InHand(job=job, items=1),), addresses=places, **values)


def windows(*places):
    return {one.address: one.window for one in Learnt.of([worker(*places)]).addresses}


def test_what_was_held_is_the_knee_or_a_window_that_grew_without_meeting_one():
    """A window that somebody has fixed, or with which a search begins anyway, was not found out."""
    assert windows(place(knee=40, window=50)) == {"a": 40}
    assert windows(place(window=500, canary_idle_ms=0.2)) == {"a": 500}
    assert windows(place(window=500)) == {}
    assert windows(place(window=16, canary_idle_ms=0.2)) == {}
    assert windows(place(address="", knee=40)) == {}
    assert windows(place(knee=10**15)) == {"a": MOST_WINDOW}


def test_several_workers_are_told_by_the_one_in_the_middle_and_their_number():
    rows = [worker(place(knee=knee, canary_idle_ms=knee), name=f"w{knee}") for knee in (10, 90, 40)]
    (one,) = Learnt.of([*rows, worker(place(knee=7), name="gone", ended=True)]).addresses
    assert (one.window, one.workers, one.canary_idle_ms) == (40, 3, 40)


@pytest.mark.parametrize(("workers", "each"), [(1, 30), (3, 30), (6, 15), (360, 1)])
def test_more_workers_than_held_it_begin_with_a_share(workers, each):
    """Half of it each, for as many as there were; all of them together with no more than that."""
    learnt = Learnt(addresses=(LearntAddress(address="a", window=60, workers=3),))
    assert learnt.first_windows(workers) == {"a": each}


def test_what_is_old_lets_nothing_begin_from_it():
    learnt = Learnt(addresses=(LearntAddress(address="a", window=60),), age_seconds=FRESH_SECONDS)
    assert learnt.first_windows() == {"a": 30}
    assert replace(learnt, age_seconds=FRESH_SECONDS + 1).first_windows() == {}


def test_it_is_kept_within_a_limit_however_long_the_names_are():
    """The least that fits is what bounds the job."""
    names = [chr(0x2603) * 190 + str(number) for number in range(MOST_ADDRESSES)]
    learnt = Learnt(
        verdict=Verdict(bound=Bound.LINK, address=names[0]),
        addresses=tuple(LearntAddress(address=name, window=9) for name in names),
    )
    text = learnt.to_json()
    assert text.isascii()
    assert len(text) <= MOST_LEARNT_BYTES
    assert Learnt.kept(text, 0.0).verdict.bound is Bound.LINK


def test_what_a_later_version_adds_is_passed_by():
    text = '{"bound_by": "weather", "colour": 1, "addresses": [{"address": "a", "window": 8, "bound": "rain", "depth": 2}]}'
    found = Learnt.kept(text, 1.0)
    assert found.verdict.bound is Bound.UNKNOWN
    assert found.addresses == (LearntAddress(address="a", window=8),)


@pytest.mark.parametrize("text", [None, 7, "", b"", b"\xff", "{", "null", '{"addresses": [1]}', "x" * 10**6])
def test_nonsense_is_nothing(text):
    assert Learnt.kept(text, 0.0) is None


@pytest.mark.parametrize("age", [None, "1", float("nan"), -61.0, float("-inf")])
def test_a_time_that_makes_no_sense_is_nothing(age):
    assert Learnt.kept(Learnt().to_json(), age) is None


def test_lessons_are_of_the_jobs_own_workers_and_addresses():
    """And they stay when the workers are gone; a job that is over teaches no more."""
    lessons = Lessons()
    assert lessons.learnt == Learnt()
    other = worker(place(knee=9), name="other", job="j2")
    lessons.look(WARMING, [worker(place(knee=40), place("c", knee=5), bound="threads"), other], 0.0)
    lessons.look(WARMING, [other, worker(place("b", knee=8), bound="threads")], 5.0)
    lessons.look(replace(WARMING, state=JobState.COMPLETED), [worker(place(knee=1), bound="cpu")], 9.0)
    lessons.look(WARMING, [worker(place(knee=1), ended=True)], 9.0)
    learnt = lessons.learnt
    assert {one.address: one.window for one in learnt.addresses} == {"a": 40, "b": 8}
    assert learnt.verdict.bound is Bound.THREADS
