"""The table of jobs: which are shown, what each line says, and which job a user means."""

import pytest

from cachewarmer.cli.jobtable import HEADER, Picked, meant, table
from cachewarmer.errors import UnknownJob
from cachewarmer.model import Access, InHand, JobState, JobStatus, ScanTotals, Tally, WarmJob, WorkerReport

NOW = 1_000_000.0


def a_job(job_id, name="", state=JobState.WARMING, age=100.0, **more):
    job = WarmJob(access=Access(addresses=("a",), export="/e"), job_id=job_id, name=name)
    return JobStatus(job=job, state=state, submitted_at=NOW - age, started_at=NOW - age, **more)


SCAN = ScanTotals(files=10, bytes=300 << 20, finished=True)
JOBS = [a_job("abc1", "shot", age=300), a_job("abd2", "take", age=200), a_job("x3", "take", JobState.COMPLETED)]


def test_a_line_has_age_rate_eta_and_workers():
    """100 MiB are booked and 100 MiB more in hand, in 100 s: 2 MiB/s, and 50 s for the rest."""
    status = a_job("j1", "shot42", scan=SCAN, tallies=(Tally(worker="w", files=1, bytes=100 << 20),))
    held = InHand(job="j1", items=1, files=1, bytes=100 << 20, settled_files=1, settled_bytes=100 << 20)
    header, line = table([status], [WorkerReport(worker="w", jobs=(held,), seen_seconds=2.0)], NOW)
    assert header.split() == list(HEADER)
    said = [cell.strip() for cell in line.split("  ") if cell.strip()]
    assert said == [
        "j1",
        "warming",
        "1 min 40 s",
        "2 of 10 files, 200.0 MiB of 300.0 MiB",
        "2.0 MiB/s",
        "50.0 s",
        "1 (seen 2.0 s ago)",
        "shot42",
    ]


def test_a_failed_job_says_why_below_its_line():
    lines = table([a_job("j1", state=JobState.FAILED, reason="the export\x1b is gone")], [], NOW)
    assert len(lines) == 3
    assert "is gone" in lines[2]
    assert "\x1b" not in lines[2]


def test_jobs_are_picked_by_state_by_time_and_the_newest_of_them():
    def ids(**picked):
        return [one.job.job_id for one in Picked(**picked).of(JOBS, NOW)]

    assert ids() == ["abc1", "abd2", "x3"]
    assert ids(state="warming") == ["abc1", "abd2"]
    assert ids(since_seconds=250) == ["abd2", "x3"]
    assert ids(state="warming", limit=1) == ["abd2"]


@pytest.mark.parametrize(("text", "job_id"), [("x3", "x3"), ("abc", "abc1"), ("x", "x3"), ("shot", "abc1")])
def test_a_job_is_meant_by_its_id_its_beginning_or_its_name(text, job_id):
    assert meant(text, JOBS) == job_id


@pytest.mark.parametrize(
    ("text", "said"), [("ab", "2 jobs: abc1, abd2"), ("take", "2 jobs: abd2, x3"), ("q", "no job")]
)
def test_who_means_several_jobs_or_none_is_told(text, said):
    with pytest.raises(UnknownJob, match=said):
        meant(text, JOBS)
