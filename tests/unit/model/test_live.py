"""What workers say of themselves: written small, read with suspicion, and never counted twice."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cachewarmer.errors import InvalidMessage
from cachewarmer.model import (
    Access,
    AddressReport,
    Bound,
    InHand,
    JobState,
    JobStatus,
    Tally,
    WarmJob,
    WorkerReport,
    with_in_hand,
)
from cachewarmer.model.live import (
    LOST_SECONDS,
    MOST_ADDRESSES,
    MOST_BUCKETS,
    MOST_JOBS,
    MOST_ROW_BYTES,
    SHARING_SECONDS,
)

ADDRESS = AddressReport(
    address="10.0.1.7",
    window=14,
    in_flight=13,
    knee=14,
    bound=Bound.THREADS,
    canary_idle_ms=2.4,
    canary_ms=5.5,
    calls=100,
    bytes=1 << 40,
    latency_seconds=1.5,
    latencies=((20, 60), (21, 40)),
    retries=1,
    jukebox_waits=2,
    reconnects=3,
    silent_seconds=4.5,
    problem="no answer within 60 s",
)
REPORT = WorkerReport(
    worker="node7-4711",
    host="node7",
    pid=4711,
    version="1.0",
    up_seconds=61.5,
    bound=Bound.THREADS,
    cpu_share=0.25,
    jobs=(InHand(job="j1", items=2, files=3, bytes=4, settled_files=5, settled_bytes=6),),
    addresses=(ADDRESS,),
)


def test_who_holds_items_and_was_heard_of_lately_reads_a_job():
    """Others share its bandwidth with no other worker: not with one that is idle, gone or silent."""
    assert REPORT.is_reading("j1")
    assert not REPORT.is_reading("j2")
    assert not replace(REPORT, jobs=(InHand(job="j1", settled_files=5),)).is_reading("j1")
    assert not replace(REPORT, ended=True).is_reading("j1")
    assert not replace(REPORT, seen_seconds=SHARING_SECONDS).is_reading("j1")


def test_what_is_written_is_read():
    """Every field but the age, which the broker gives."""
    assert WorkerReport.from_json(REPORT.to_json()) == REPORT
    assert WorkerReport.from_json(REPORT.to_json(), 7.5).seen_seconds == 7.5
    assert WorkerReport.from_json("{}") == WorkerReport()


def test_keys_of_a_newer_version_are_ignored():
    """At every level."""
    values = json.loads(REPORT.to_json())
    values["mood"] = {"deep": [1]}
    values["jobs"][0]["mood"] = values["addresses"][0]["mood"] = "good"
    assert WorkerReport.from_json(json.dumps(values)) == REPORT


def test_a_row_stays_small_whatever_it_holds():
    """What has the least going on is left out, and names are cut."""
    jobs = [InHand(job=f"{n:064}", items=n, files=1 << 60, bytes=1 << 60, settled_bytes=1 << 60) for n in range(500)]
    full = tuple((bucket, (1 << 60) + bucket) for bucket in range(104))
    addresses = [
        AddressReport(address=f"{n:0300}", calls=n + 1, latencies=full, problem="\x1b\udcff" * 3000) for n in range(40)
    ]
    text = WorkerReport(worker="w" * 5000, jobs=tuple(jobs), addresses=tuple(addresses)).to_json()
    assert len(text) <= MOST_ROW_BYTES
    assert text.isascii()
    read = WorkerReport.from_json(text)
    assert len(read.jobs) == MOST_JOBS // 2, "the busiest"
    assert 0 < len(read.addresses) <= MOST_ADDRESSES
    assert {one.items for one in read.jobs} == set(range(500 - len(read.jobs), 500))
    assert read.addresses[0].calls == 40
    assert read.addresses[0].problem.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"pid": -1}',
        '{"pid": "x"}',
        '{"up_seconds": -1.0}',
        '{"up_seconds": NaN}',
        '{"up_seconds": 1e99}',
        '{"ended": 1}',
        '{"worker": 7}',
        '{"worker": "a\\u0000b"}',
        '{"jobs": {}}',
        '{"jobs": [1]}',
        '{"jobs": [{"bytes": -1}]}',
        '{"jobs": [{"bytes": true}]}',
        json.dumps({"jobs": [{}] * (MOST_JOBS + 1)}),
        json.dumps({"addresses": [{}] * (MOST_ADDRESSES + 1)}),
        '{"addresses": [{"latencies": [[1]]}]}',
        '{"addresses": [{"latencies": [[1, -1]]}]}',
        '{"addresses": [{"latencies": [["1", 1]]}]}',
        json.dumps({"addresses": [{"latencies": [[MOST_BUCKETS, 1]]}]}),
        json.dumps({"addresses": [{"latencies": [[1, 1]] * (MOST_BUCKETS + 1)}]}),
        json.dumps({"worker": "x" * MOST_ROW_BYTES}),
        "[" * 20000,
        '{"a":' * 5000,
    ],
)
def test_a_row_that_makes_no_sense_is_refused(text):
    """By one kind of error, which says what is wrong."""
    with pytest.raises(InvalidMessage):
        WorkerReport.from_json(text)


def test_names_can_do_no_harm():
    """Control characters and bytes that are no text are shown as escapes."""
    read = WorkerReport.from_json('{"worker": "a\\u001b[2J\\udcff", "bound": "\\u202e"}')
    assert read.worker.isprintable()
    assert read.bound.isprintable()


def warming(*tallies, state=JobState.WARMING):
    job = WarmJob(access=Access(addresses=("a",)), warm_path="/", job_id="j1")
    return JobStatus(job=job, state=state, tallies=tallies)


def worker(name="w", seen=1.0, pid=1, job="j1", **held):
    return WorkerReport(worker=name, pid=pid, jobs=(InHand(job=job, **held),), seen_seconds=seen)


def shown(status, *workers):
    status = with_in_hand(status, workers)
    return status.total("files"), status.total("bytes")


def test_what_is_in_hand_is_shown_beyond_the_books():
    """Of every worker that is at work on the job."""
    status = warming(Tally(worker="w", items=1, files=10, bytes=1000))
    one = worker(settled_files=10, settled_bytes=1000, files=3, bytes=300, items=1)
    assert shown(status, one, worker("new", bytes=5), worker("other", job="j2", bytes=99)) == (13, 1305)
    assert status.total("bytes") == 1000, "the books are as they were"


def test_a_receipt_that_is_newer_than_the_row_is_not_counted_twice():
    """What the row has as in hand has been settled since, wholly or in part."""
    row = worker(settled_bytes=1000, settled_files=10, bytes=300, files=3)
    assert shown(warming(Tally(worker="w", items=2, files=13, bytes=1300)), row) == (13, 1300)
    assert shown(warming(Tally(worker="w", items=2, files=12, bytes=1100)), row) == (13, 1300)
    assert shown(warming(Tally(worker="w", items=9, files=99, bytes=9999)), row) == (99, 9999)


def test_books_that_began_anew_do_not_make_a_row_count_for_more_than_is_in_hand():
    """A scan that was begun again leaves its receipts behind, of which the workers still know."""
    assert shown(warming(), worker(settled_bytes=5000, bytes=300)) == (0, 300)


def test_a_worker_in_several_parts_is_compared_with_all_of_them():
    """Two processes of one name have one tally; one process may have several."""
    status = warming(Tally(worker="w", bytes=600), Tally(worker="w", bytes=400))
    rows = worker(pid=1, settled_bytes=700, bytes=50), worker(pid=2, settled_bytes=300, bytes=7)
    assert shown(status, *rows) == (0, 1057)


@pytest.mark.parametrize("seen", [LOST_SECONDS, 1e6])
def test_a_worker_that_is_gone_has_nothing_in_hand(seen):
    """Somebody else will read it."""
    assert shown(warming(), worker(seen=seen, bytes=300)) == (0, 0)


def test_a_job_that_is_over_is_in_the_books():
    """Nothing is added to it."""
    assert shown(warming(state=JobState.COMPLETED), worker(bytes=300)) == (0, 0)
