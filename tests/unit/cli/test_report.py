"""The text of a report."""

from cachewarmer.cli.report import job_lines
from cachewarmer.model import JobState, JobStatus, Report, ScanTotals, Tally, WarmJob


def lines(*, tally, scan, **job):
    status = JobStatus(
        job=WarmJob(warm_path="/p", **job),
        state=JobState.COMPLETED,
        scan=ScanTotals(finished=True, **scan),
        tallies=(tally,),
    )
    return "\n".join(job_lines(Report.of_job(status)))


def test_a_job_that_reads_no_file_says_what_it_has_seen():
    """Not that there are no files, nor how fast it read them."""
    said = lines(tally=Tally(worker="w"), scan={"files": 1400, "directories": 1}, metadata_only=True)
    assert "metadata of 1,400 files in 1 directory" in said
    assert "files/s" not in said


def test_a_job_that_found_nothing_says_so():
    said = lines(tally=Tally(worker="w"), scan={"directories": 2})
    assert "0 files, 0 B in 2 directories" in said
    assert "files/s" not in said


def test_a_single_file_in_part_is_one_file():
    scan = {"files": 1, "directories": 0, "partial_files": 1, "left_out_bytes": 2048}
    said = lines(tally=Tally(worker="w", files=1, bytes=10), scan=scan)
    assert "1 file only in part (2.0 KiB not wanted)" in said
    assert "files/s" in said
