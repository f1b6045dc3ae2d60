"""A job on one machine of which nothing moves any more, though its addresses answer probes."""

from dataclasses import replace

import pytest

from cachewarmer.model import JobState, JobStatus, Tally, WarmJob
from cachewarmer.onemachine import NOTICED_SECONDS, Stall
from cachewarmer.targets.breaker import Failures

PATIENCE = 100.0
LATE = PATIENCE + NOTICED_SECONDS


def status(read=0, state=JobState.WARMING):
    return JobStatus(job=WarmJob(job_id="j"), state=state, tallies=(Tally(worker="w", bytes=read),))


def failed(times):
    return [Failures(0, ""), Failures(times, "10.0.0.1: no reply within 60 s" if times else "")]


def looked(*looks):
    """A stall that has looked at each (seconds, status, failures)."""
    stall = Stall(PATIENCE, 0.0)
    for seconds, seen, times in looks:
        stall.look(seen, failed(times), seconds)
    return stall


def test_reads_that_are_never_answered_end_the_job_with_the_last_failure():
    stall = looked((0, status(7), 0), (60, status(7), 1), (LATE + 1, status(7), 2))
    assert stall.over.is_set()
    assert stall.reason == f"nothing could be read or listed for {LATE + 1:.0f} s: 10.0.0.1: no reply within 60 s"


@pytest.mark.parametrize(
    "looks",
    [
        [(0, status(7), 0), (60, status(7), 1), (LATE - 1, status(7), 2)],
        [(0, status(7), 0), (LATE - 1, status(8), 1), (2 * LATE - 2, status(8), 2)],
        [(0, status(7), 3), (5 * LATE, status(7), 3)],
        [(0, status(7, JobState.PAUSED), 0), (5 * LATE, status(7, JobState.PAUSED), 9)],
    ],
    ids=["not for so long", "it has moved", "nothing has failed: the bandwidth is limited", "it is paused"],
)
def test_what_is_slow_or_paused_has_not_stalled(looks):
    assert not looked(*looks).over.is_set()


def test_a_job_that_waits_for_ever_never_stalls():
    stall = Stall(0.0, 0.0)
    stall.look(status(1), failed(0), 0.0)
    stall.look(status(1), failed(9), 1e9)
    assert not stall.over.is_set()


def test_what_the_scan_finds_is_a_move():
    stall = looked((0, status(7), 0), (60, status(7), 1))
    seen = status(7)
    stall.look(replace(seen, scan=replace(seen.scan, files=1)), failed(2), LATE + 1)
    assert not stall.over.is_set()
