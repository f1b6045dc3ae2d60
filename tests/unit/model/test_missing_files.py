"""A job whose receipts say less than its scan counted."""

from __future__ import annotations

import pytest

from cachewarmer.model import JobState, JobStatus, PathError, ScanTotals, Tally, WarmJob


def ended(scanned, poisoned_files=0, **counts):
    """The status of a job of two items that are settled."""
    return JobStatus(
        job=WarmJob(job_id="j"),
        state=JobState.WARMING,
        scan=ScanTotals(items=2, files=scanned, finished=True),
        tallies=(Tally(worker="w", items=2, **counts),),
        poisoned_files=poisoned_files,
    ).settled()


@pytest.mark.parametrize("counts", [{"files": 6}, {"files": 5, "vanished_files": 1}, {"files": 4, "skipped_files": 2}])
def test_a_job_that_accounts_for_each_file_is_completed(counts):
    """Read, vanished or left out: whoever looks knows what became of it."""
    status = ended(6, **counts)
    assert (status.state, status.all_warnings) == (JobState.COMPLETED, ())


def test_files_of_which_nobody_knows_are_errors():
    """The state says so, and a warning says how many."""
    status = ended(6, files=3, vanished_files=1)
    assert (status.state, status.missing_files) == (JobState.COMPLETED_WITH_ERRORS, 2)
    assert "2 files" in status.all_warnings[0]


def test_a_range_that_failed_is_an_error_though_its_file_counts_as_read():
    """The range that counts the file was read; the error of a later one says that not all of it is warm."""
    status = ended(6, files=6, errors=(PathError("/big", "broken"),))
    assert (status.state, status.failed_files, status.missing_files) == (JobState.COMPLETED_WITH_ERRORS, 0, 0)


def test_files_in_poison_are_not_missing():
    """They count as failed."""
    status = ended(6, files=4, poisoned_files=2)
    assert (status.missing_files, status.failed_files) == (0, 2)


def test_nothing_is_missing_before_all_is_settled():
    """What has no receipt yet may still get one."""
    status = JobStatus(
        job=WarmJob(job_id="j"), state=JobState.WARMING, scan=ScanTotals(items=2, files=6, finished=True)
    )
    assert status.missing_files == 0
