"""How a command ends: its report, its warnings and its exit code."""

import json
from dataclasses import replace

import pytest

from cachewarmer.cli.options.general import Output
from cachewarmer.cli.outcome import finish, finish_scan, nothing_wanted
from cachewarmer.errors import Failure
from cachewarmer.model import Access, JobState, JobStatus, Report, ScanTotals, Tally, Wanted, WarmJob

JOB = WarmJob(job_id="j7", access=Access(addresses=("cache1",)), warm_path="/p")
SCAN = ScanTotals(directories=1, files=2, bytes=30, finished=True)
DONE = JobStatus(job=JOB, state=JobState.COMPLETED, scan=SCAN, tallies=(Tally(worker="w", items=1, files=2, bytes=30),))


def in_state(state, **more):
    return JobStatus(job=JOB, state=state, scan=SCAN, **more)


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([JobState.COMPLETED], 0),
        ([JobState.FAILED], 1),
        ([JobState.COMPLETED_WITH_ERRORS], 3),
        ([JobState.CANCELLED], 4),
        ([JobState.WARMING], 130),
        ([JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS, JobState.CANCELLED], 4),
        ([JobState.FAILED, JobState.CANCELLED, JobState.COMPLETED_WITH_ERRORS], 1),
        ([JobState.FAILED, JobState.PAUSED], 130),
    ],
)
def test_the_exit_code_is_that_of_the_worst_job(states, code):
    """As the documentation lists them."""
    assert finish([in_state(state) for state in states], Output(quiet=True)) == code


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SCANNING, JobState.WARMING, JobState.PAUSED])
def test_a_job_that_goes_on_is_no_failure_to_status(state):
    assert finish([in_state(state)], Output(quiet=True), unfinished=0) == 0


def test_quiet_shows_only_why_a_job_failed(capsys):
    """On stderr, in one line that names the target once."""
    failure = Failure(problem="connection refused", doing="mounting", subject="/p", address="cache1", advice="start it")
    code = finish([DONE, in_state(JobState.FAILED, reason=failure.dump())], Output(quiet=True))
    output = capsys.readouterr()
    assert (code, output.out) == (1, "")
    assert output.err == "cachewarmer: cache1:/p: mounting: connection refused; start it\n"


FILTERED = WarmJob(job_id="j7", access=Access(addresses=("cache1",)), wanted=Wanted(include=("*.exr",)))
NOTHING = ScanTotals(directories=3, excluded_files=501, finished=True)


@pytest.mark.parametrize("allow_empty", [False, True])
@pytest.mark.parametrize("command", ["warm", "scan"])
def test_filters_that_nothing_passes_are_said_and_incomplete(command, allow_empty, capsys):
    """Mostly a pattern is wrong; who expects it says so."""
    output = Output(json=True)
    if command == "warm":
        status = JobStatus(job=FILTERED, state=JobState.COMPLETED, scan=NOTHING)
        code = finish([status], output, allow_empty=allow_empty)
    else:
        report = Report.of_scan(JOB, NOTHING, [], 1.0)
        code = finish_scan([report], [FILTERED], output, interrupted=False, allow_empty=allow_empty)
    assert code == (0 if allow_empty else 3)
    (said,) = json.loads(capsys.readouterr().out)["warnings"]
    assert said.startswith("0 of 501 files passed the filters")
    assert ("--allow-empty" in said) is not allow_empty


LISTED = WarmJob(job_id="j8", access=Access(addresses=("cache1",)), has_file_list=True)


@pytest.mark.parametrize(
    ("job", "scan", "said"),
    [
        (LISTED, {}, "the list names no file"),
        (LISTED, {"directories": 1}, "the list names no file"),
        (replace(LISTED, wanted=FILTERED.wanted), {}, "the list names no file"),
        (replace(LISTED, wanted=FILTERED.wanted), {"excluded_files": 2}, "0 of 2 files passed the filters"),
        (LISTED, {"files": 1}, ""),
        (LISTED, {"failed_files": 1}, ""),
        (LISTED, {"failed_directories": 1}, ""),
        (JOB, {"directories": 1}, ""),
    ],
)
def test_a_list_that_names_nothing_is_said(job, scan, said):
    """Most likely what should have written it has failed."""
    report = Report.of_scan(JOB, ScanTotals(finished=True, **scan), [], 1.0)
    assert nothing_wanted(report, job) == said
    if said:
        status = JobStatus(job=job, state=JobState.COMPLETED, scan=ScanTotals(finished=True, **scan))
        assert finish([status], Output(quiet=True)) == 3
        assert finish([status], Output(quiet=True), allow_empty=True) == 0


def test_an_empty_tree_without_filters_is_warm():
    status = JobStatus(job=JOB, state=JobState.COMPLETED, scan=ScanTotals(directories=1, finished=True))
    assert finish([status], Output(quiet=True)) == 0


@pytest.mark.parametrize("more", [{"failed_files": 1}, {"failed_directories": 1}])
def test_a_scan_that_could_not_see_all_is_incomplete(more):
    report = Report.of_scan(JOB, ScanTotals(files=1, finished=True, **more), [], 1.0)
    assert finish_scan([report], [JOB], Output(quiet=True), interrupted=False, allow_empty=False) == 3
    assert finish_scan([report], [JOB], Output(quiet=True), interrupted=True, allow_empty=False) == 130


def test_warnings_and_all_counts_are_shown_in_text_and_json(capsys):
    """Each where there is some; the JSON always has the key."""
    scan = ScanTotals(
        directories=1,
        files=2,
        failed_directories=5,
        duplicates=1,
        hardlinks=6,
        warnings=("read through 1 of 2 addresses",),
        finished=True,
    )
    tally = Tally(worker="w", items=1, files=2, changed_files=8)
    status = JobStatus(job=JOB, state=JobState.COMPLETED_WITH_ERRORS, scan=scan, tallies=(tally,))
    assert finish([status], Output()) == 3
    text = capsys.readouterr().out
    for said in (
        "5 directories not listed",
        "7 left out as duplicates",
        "8 changed since the scan",
        "1 of 2 addresses",
    ):
        assert said in text
    finish([status], Output(json=True))
    document = json.loads(capsys.readouterr().out)
    assert (document["failed_directories"], document["duplicates"], document["changed_files"]) == (5, 7, 8)
    assert document["warnings"] == ["read through 1 of 2 addresses"]


def test_reports_of_several_jobs_add_up(capsys):
    """Under the same keys, with each report beside them and the worst state."""
    finish([DONE, in_state(JobState.CANCELLED)], Output(json=True))
    document = json.loads(capsys.readouterr().out)
    assert (document["files"], document["scanned_files"], document["state"]) == (2, 4, "cancelled")
    assert [one["job"] for one in document["jobs"]] == ["j7", "j7"]


KEYS = (
    "job state files bytes directories failed_files vanished_files excluded_files skipped_files seconds files_per_second "
    "bytes_per_second errors workers"
).split()
SCAN_KEYS = "files bytes directories excluded_files largest_files histogram".split()


def test_the_keys_that_scripts_rely_on_are_there():
    """Whatever else is added beside them."""
    assert set(KEYS) <= set(Report.of_job(DONE).document())
    assert set(SCAN_KEYS) <= set(Report.of_scan(JOB, SCAN, [(9, "/a")], 1.0).document())
    assert Report.of_scan(JOB, SCAN, [(9, "/a")], 1.0).document()["largest_files"] == [{"path": "/a", "bytes": 9}]
