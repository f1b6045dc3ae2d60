"""The text of a report."""

from cachewarmer.cli.report import job_lines
from cachewarmer.model import TOO_SHORT, Bound, JobState, JobStatus, Report, ScanTotals, Tally, Verdict, WarmJob


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


def test_a_job_that_was_over_at_once_says_that_its_bound_is_not_known():
    """In text as in JSON; one that went on for longer, or read nothing, does not."""

    def report(seconds, files=9):
        status = JobStatus(
            job=WarmJob(warm_path="/p"),
            state=JobState.COMPLETED,
            tallies=(Tally(worker="w", files=files),),
            started_at=1.0,
            finished_at=1.0 + seconds,
        )
        return Report.of_job(status)

    assert "  too short to tell what bounded the rate" in job_lines(report(2.0))
    assert report(2.0).document()["bound_by"] == TOO_SHORT
    for other in (report(60.0), report(2.0, files=0)):
        assert not any("too short" in line for line in job_lines(other))
        assert other.document()["bound_by"] == ""


def test_advice_about_the_window_is_for_one_who_has_fixed_it():
    """A window that is searched for has a canary: it needs no --window auto."""
    assert "--window auto" in Verdict(bound=Bound.WINDOW, window=16).raised_by
    searched = Verdict(bound=Bound.WINDOW, window=16, canary_idle_ms=0.1).raised_by
    assert "--window auto" not in searched
    assert "--max-window" in searched
