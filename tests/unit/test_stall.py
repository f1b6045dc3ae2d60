"""A job on one machine of which nothing moves any more, though its addresses answer probes."""

from dataclasses import replace

import pytest

from cachewarmer.manager.stall import NOTICED_SECONDS, FleetFailures, Stall
from cachewarmer.model import Access, AddressReport, InHand, JobState, JobStatus, Tally, WarmJob, WorkerReport
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


def test_items_of_a_dead_address_have_time_to_fail_by_themselves_before_the_job_does():
    seen = replace(status(7), job=WarmJob(job_id="j", access=Access(addresses=("a", "b")), each_address=True))
    stall = Stall(3.0, 0.0)
    stall.look(seen, failed(0), 0.0)
    stall.look(seen, failed(5), 3.0 + NOTICED_SECONDS - 1)
    assert not stall.over.is_set()
    stall.look(seen, failed(6), 3.0 + NOTICED_SECONDS + 1)
    assert stall.over.is_set()


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


def test_what_is_read_again_is_no_move():
    """An item that was handed back is read again up to the file that hangs."""
    stall = looked((0, status(7), 0), (50, status(0), 1), (60, status(7), 1), (LATE + 1, status(5), 2))
    assert stall.over.is_set()


def row(failures, *, job="j", address="10.0.0.1", seen_seconds=1.0, name="w"):
    return WorkerReport(
        worker=name,
        jobs=(InHand(job=job, items=1),),
        addresses=(AddressReport(address=address, failures=failures, last_failure="no reply"),),
        seen_seconds=seen_seconds,
    )


def test_failures_of_a_fleet_are_those_at_the_jobs_addresses_in_workers_that_have_its_items():
    """A worker that starts anew begins to count at nothing; one that is gone or reads for others does not count."""
    failures = FleetFailures(WarmJob(job_id="j", access=Access(addresses=("10.0.0.1", "10.0.0.2"))))
    assert failures.look([row(2), row(3, name="v")]) == Failures(5, "no reply")
    assert failures.look([row(3), row(9, name="v", job="k")]).times == 6
    assert failures.look([row(9, address="10.0.0.9"), row(9, seen_seconds=500.0)]).times == 6
    assert failures.look([row(0)]).times == 6
    assert failures.look([row(1)]).times == 7
