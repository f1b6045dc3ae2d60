"""What bounds the rate: the verdict from what was observed."""

import pytest

from cachewarmer.model import (
    Access,
    AddressReport,
    Bound,
    BoundTimes,
    InHand,
    JobState,
    JobStatus,
    ScanTotals,
    Verdict,
    WarmJob,
    WorkerReport,
    verdict,
)
from cachewarmer.model.bound import AddressSeen, Seen, judge, of_job

FULL = AddressSeen(
    address="a", full_share=0.9, window=16, way_idle_seconds=0.0002, way_seconds=0.0003, null_seconds=0.0005
)


def seen(address=FULL, **values):
    return Seen(**{"items": 3, "cpu_share": 0.2, "machine_share": 0.3, "addresses": (address,), **values})


def at(**values):
    return AddressSeen(**{name: getattr(FULL, name) for name in FULL.__slots__} | values)


CASES = {
    "no address answers": (seen(outage=True, items=0), Bound.OUTAGE),
    "nothing in hand": (seen(items=0), Bound.WORK),
    "a limit holds the reading back": (seen(paced_share=0.8), Bound.PACE),
    "a limit that is not reached": (seen(paced_share=0.1), Bound.WINDOW),
    "a limit, and a busy processor": (seen(paced_share=0.8, cpu_share=0.95), Bound.PACE),
    "our own core": (seen(cpu_share=0.97), Bound.CPU),
    "the whole machine, in which we have a part": (seen(machine_share=0.99, cpu_share=0.5), Bound.CPU),
    "the whole machine, by others": (seen(machine_share=0.99, cpu_share=0.05), Bound.WINDOW),
    "the network interface": (seen(interface_share=0.94), Bound.LINK),
    "an interface that is not full": (seen(interface_share=0.5), Bound.WINDOW),
    "a window that is not full": (seen(at(full_share=0.2)), Bound.WORK),
    "no address at all": (seen(addresses=()), Bound.WORK),
    "round trips to the cache": (seen(at(way_idle_seconds=0.02, way_seconds=0.0203, null_seconds=0.021)), Bound.WINDOW),
    "round trips to the origin": (seen(), Bound.WINDOW),
    "a queue on the way": (seen(at(way_seconds=0.008, null_seconds=0.009)), Bound.LINK),
    "a queue on a long way": (seen(at(way_idle_seconds=0.02, way_seconds=0.12, null_seconds=0.13)), Bound.LINK),
    "NULL waits for a thread": (seen(at(null_seconds=0.018)), Bound.THREADS),
    "the search has found the threads": (seen(at(found=Bound.THREADS)), Bound.THREADS),
    "the search has found the link": (seen(at(found=Bound.LINK)), Bound.LINK),
    "the search blames threads for what waits on the way": (
        seen(at(found=Bound.THREADS, way_seconds=0.01, null_seconds=0.01)),
        Bound.LINK,
    ),
    "nothing was felt yet": (seen(at(way_idle_seconds=0.0, way_seconds=0.0, null_seconds=0.0)), Bound.WINDOW),
    "a handshake without an idle one": (
        seen(at(way_idle_seconds=0.0, way_seconds=0.2, null_seconds=0.2)),
        Bound.WINDOW,
    ),
    "files of this machine": (seen(at(files_here=True)), Bound.DISK),
    "two of three addresses wait for threads": (
        seen(addresses=(at(null_seconds=0.02), FULL, at(null_seconds=0.02))),
        Bound.THREADS,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_is_told_from_what_is_seen(case):
    observed, bound = CASES[case]
    assert judge(observed) is bound


@pytest.mark.parametrize(
    ("bounds", "finished", "bound"),
    [
        ([], True, Bound.UNKNOWN),
        ([Bound.WINDOW, Bound.WINDOW, Bound.CPU], True, Bound.WINDOW),
        ([Bound.WINDOW, Bound.THREADS], True, Bound.THREADS),
        ([Bound.WORK, Bound.WORK, Bound.WINDOW], False, Bound.SCAN),
        ([Bound.WORK, Bound.WORK, Bound.WINDOW], True, Bound.WORK),
        ([Bound.WORK, Bound.WINDOW], False, Bound.WINDOW),
        ([Bound.WORK, Bound.UNKNOWN], False, Bound.SCAN),
        ([Bound.OUTAGE, Bound.LINK, Bound.OUTAGE], True, Bound.LINK),
        ([Bound.OUTAGE, Bound.OUTAGE], False, Bound.OUTAGE),
        ([Bound.UNKNOWN, Bound.PACE], True, Bound.PACE),
    ],
)
def test_a_job_is_bound_as_its_workers_are(bounds, finished, bound):
    """As most of them are; by the scan, where most wait for what it has yet to find."""
    assert of_job(bounds, scan_finished=finished) is bound


def row(bound, *, window=8, job="j", name="w", **address):
    place = AddressReport(address="10.0.0.1", window=window, in_flight=window, knee=6, bound=bound, **address)
    return WorkerReport(worker=name, host="h", pid=1, bound=bound, jobs=(InHand(job=job, items=1),), addresses=(place,))


def test_a_verdict_names_the_address_with_the_windows_of_all_workers():
    """Of the workers of this job alone; the slowest canary counts, for that is what somebody waits for."""
    status = JobStatus(job=WarmJob(access=Access(addresses=("10.0.0.1",)), job_id="j"), state=JobState.WARMING)
    rows = [
        row("threads", canary_idle_ms=0.3, canary_ms=4.0),
        row("threads", name="w2", canary_idle_ms=0.3, canary_ms=9.0),
        row("link", name="w3", job="other"),
        row("from a later version", name="w4"),
    ]
    found = verdict(status, rows)
    assert (found.bound, found.address, found.window, found.knee) == (Bound.THREADS, "10.0.0.1", 24, 18)
    assert (found.canary_ms, found.workers) == (9.0, 3)
    assert "nfsd" in found.raised_by
    assert verdict(status, []).bound is Bound.UNKNOWN


def test_what_held_for_longest_is_the_verdict_of_the_whole_job():
    """The start and the end, where there is little to read, count only for a job that was nothing else."""
    times = BoundTimes()
    assert times.main == Verdict()
    for now, bound in ((0, Bound.WORK), (8, Bound.WINDOW), (10, Bound.LINK), (13, Bound.WORK), (20, Bound.WORK)):
        times.add(Verdict(bound=bound, window=now), now)
    assert (times.main.bound, times.main.window) == (Bound.LINK, 10)
    short = BoundTimes()
    short.add(Verdict(bound=Bound.WORK), 0)
    assert short.main.bound is Bound.WORK


def test_a_scan_that_goes_on_is_what_idle_workers_wait_for():
    status = JobStatus(job=WarmJob(access=Access(addresses=("10.0.0.1",)), job_id="j"), state=JobState.SCANNING)
    assert verdict(status, [row(Bound.WORK)]).bound is Bound.SCAN
    done = JobStatus(job=status.job, state=JobState.WARMING, scan=ScanTotals(finished=True))
    assert verdict(done, [row(Bound.WORK)]).bound is Bound.WORK
