"""The table of jobs, and which job somebody means."""

import pytest

from cachewarmer.amounts import span
from cachewarmer.broker.find import find_job
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.cli.jobs_table import cut, redrawn, table, worker_lines
from cachewarmer.errors import Failure, UnknownJob, UsageError
from cachewarmer.model import (
    Access,
    AddressReport,
    InHand,
    JobState,
    JobStatus,
    PathError,
    ScanTotals,
    Tally,
    WarmJob,
    WorkerReport,
)
from cachewarmer.rates import Rate, Rates, average

NOW = 10_000.0


def job(job_id="j1", name="", **more):
    access = Access(addresses=("cache1",), export="/projects")
    return JobStatus(job=WarmJob(job_id=job_id, name=name, access=access), **more)


def going_on(**more):
    scan = ScanTotals(files=1000, bytes=1 << 30, finished=True)
    tallies = (Tally(worker="w1", files=100, bytes=100 << 20),)
    values = {
        "state": JobState.WARMING,
        "scan": scan,
        "tallies": tallies,
        "submitted_at": NOW - 90,
        "started_at": NOW - 60,
    }
    return job(**{**values, **more})


def worker(**more):
    held = InHand(job="j1", items=2, files=50, bytes=50 << 20, settled_files=100, settled_bytes=100 << 20)
    return WorkerReport(**{"worker": "w1", "host": "node7", "jobs": (held,), "seen_seconds": 2.0, **more})


def rows(statuses, workers=()):
    return table(statuses, workers, NOW, lambda status: average(status, NOW)).split("\n")


def test_a_job_that_goes_on_has_its_age_rate_rest_and_workers():
    """What is read of unfinished items counts: 150 MiB in 60 s, 874 MiB to go."""
    header, row = rows([going_on(job_id="j1", name="nightly")], [worker()])
    assert header.split() == ["JOB", "STATE", "AGE", "FILES", "BYTES", "RATE", "ETA", "WORKERS", "NAME"]
    assert row.split() == "j1 warming 1m30s 150 of 1,000 150.0 MiB of 1.0 GiB 2.5 MiB/s 5m50s 1, 2s ago nightly".split()


def test_a_job_whose_workers_are_gone_says_when_one_was_seen():
    _, row = rows([going_on()], [worker(seen_seconds=75.0)])
    assert "0, last seen 1m15s ago" in row
    assert "100 of 1,000" in row, "what a lost worker had in hand is not counted"


def test_the_reason_stands_below_what_failed():
    """In one line each, whatever is in it; names can't move the cursor."""
    failed = job(
        "j2", state=JobState.FAILED, reason=Failure(problem="no answer for 15 minutes", address="cache1").dump()
    )
    errors = (PathError("/a\x1b[2J", "NFS3ERR_ACCES"),)
    partly = going_on(
        job_id="j3",
        state=JobState.COMPLETED_WITH_ERRORS,
        tallies=(Tally(worker="w", files=9, failed_files=3, errors=errors),),
    )
    lines = rows([failed, partly])
    assert len(lines) == 5
    assert "no answer for 15 minutes" in lines[2]
    assert "3 files failed, the first: /a" in lines[4]
    assert "NFS3ERR_ACCES" in lines[4]
    assert "\x1b" not in "\n".join(lines)


def test_failed_files_without_a_sample_are_counted():
    _, _, why = rows([going_on(state=JobState.COMPLETED_WITH_ERRORS, poisoned_files=7)])
    assert why.strip() == "7 files failed"


@pytest.mark.parametrize("columns", [20, 60, 70, 80, 100, 120, 200])
def test_a_narrow_terminal_gets_fewer_columns(columns, monkeypatch):
    """What matters least goes first; which job, its state and its name stay. No row is wrapped where there is room for those."""
    monkeypatch.setattr("cachewarmer.cli.jobs_table.columns", lambda: columns)
    header, first, *_ = rows([going_on(job_id="j" + "0" * 16, name="n" * 300), going_on()], [worker()])
    known = ["JOB", "STATE", "AGE", "FILES", "BYTES", "RATE", "ETA", "WORKERS", "NAME"]
    shown = header.split()
    assert [name for name in known if name in shown] == shown
    assert {"JOB", "STATE", "NAME"} <= set(shown)
    assert len(first) <= max(columns, 17 + 7 + 20 + 4)
    assert (shown == known) == (columns >= 120)
    assert len(shown) > 3 or columns < 70


def test_a_table_that_is_longer_than_the_terminal_says_so():
    """Else its first rows would be gone, and it could not be drawn over."""
    assert cut("a\nb\nc", 3) == "a\nb\nc"
    assert cut("a\nb\nc\nd", 3) == "a\nb\n… 2 more lines; --limit and --state show fewer jobs"


def test_there_may_be_no_job():
    assert table([], [], NOW, lambda _: Rate()) == "no jobs"


def test_workers_of_a_job_are_told_with_what_holds_them():
    address = AddressReport(address="cache1", window=16, in_flight=12, silent_seconds=20.0, problem="refused")
    lines = worker_lines(
        going_on(), [worker(bound="threads", addresses=(address,)), worker(worker="w2", seen_seconds=99)]
    )
    assert lines == [
        "  workers:",
        "    w1 on node7: seen 2s ago, 2 items in hand, 12 of 16 calls in flight, bound by the cache's threads",
        "      cache1: no answer for 20s: refused",
        "    w2 on node7: LOST, last seen 1m39s ago",
    ]
    assert worker_lines(going_on(state=JobState.COMPLETED), [worker()]) == []


def test_a_table_is_drawn_over_the_last_one():
    """As many lines up as that had, and nothing of it left."""
    assert redrawn("", "a\nb") == "\x1b[Ka\n\x1b[Kb\x1b[J"
    assert redrawn("a\nb", "c") == "\x1b[2F\x1b[Kc\x1b[J"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.6, "1m"),
        (61, "1m01s"),
        (3600, "1h"),
        (3 * 3600 + 299, "3h04m"),
        (90_000, "1d01h"),
        (86_400 * 9, "9d"),
    ],
)
def test_spans_are_short(seconds, text):
    assert span(seconds) == text


def test_rates_are_of_the_last_ten_seconds():
    rates = Rates()
    assert rates.add(0, 0, 0) == Rate()
    assert rates.add(5, 50, 500) == Rate(10, 100)
    for second in range(6, 30):
        rate = rates.add(second, 50, 500)
    assert rate == Rate(0, 0)


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.COMPLETED, JobState.CANCELLED])
def test_nothing_is_estimated_for_a_job_that_does_not_go_on(state):
    fast = Rate(10, 1 << 20)
    assert fast.seconds_left(going_on()) == 1024 - 100
    assert fast.seconds_left(going_on(state=state)) == 0
    assert fast.seconds_left(going_on(scan=ScanTotals(files=1000, bytes=1 << 30))) == 0


async def test_a_job_is_found_by_its_id_its_beginning_or_its_name(tmp_path):
    """The newest of a name; an id before a name; a beginning that several have names them."""
    broker = SqliteBroker(str(tmp_path / "b.db"))
    async with broker:
        for place, (job_id, name) in enumerate(
            [("jaa1", "nightly"), ("jaa2", "nightly"), ("jbb1", "jaa1"), ("jcc", "jaa")]
        ):
            access = Access(addresses=("a",))
            await broker.submit(WarmJob(job_id=job_id, name=name, access=access, submitted_at=100.0 + place))
        assert await find_job(broker, "jaa1") == "jaa1"
        assert await find_job(broker, "jb") == "jbb1"
        assert await find_job(broker, "nightly") == "jaa2"
        assert await find_job(broker, "jaa") == "jcc"
        with pytest.raises(UsageError, match="2 jobs have an id that begins with ja: jaa2, jaa1"):
            await find_job(broker, "ja")
        with pytest.raises(UnknownJob, match="nobody"):
            await find_job(broker, "nobody")
