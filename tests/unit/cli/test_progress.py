"""The progress line, and the lines of the report, fit the terminal."""

import pytest

from cachewarmer.cli.progress import Progress, fit
from cachewarmer.cli.text import problem_line, shorten
from cachewarmer.cli.warm import interrupted_line
from cachewarmer.errors import NfsStatusError
from cachewarmer.model import JobState, JobStatus, PathError, ScanTotals, Tally, WarmJob

SCAN = ScanTotals(directories=1_234_567, files=98_765_432, bytes=7 << 50, failed_files=1_234, finished=True)
STATUS = JobStatus(
    job=WarmJob(mount_addresses=("a",)),
    state=JobState.WARMING,
    scan=SCAN,
    tallies=(Tally(worker="w", files=12_345_678, bytes=3 << 50),),
)


def line(status, columns):
    progress = Progress(quiet=True)
    progress._past.append((0.0, 11_345_678, (3 << 50) - (11 << 30)))
    progress._past.append((10.0, 12_345_678, 3 << 50))
    return fit(progress.parts(status, 12_345_678, 3 << 50), columns)


def test_with_room_everything_is_shown():
    """Files, bytes, both rates, what is left and for how long, failures."""
    assert line(STATUS, 200) == (
        "12,345,678 files, 3.0 PiB, 100,000 files/s, 1.1 GiB/s, 86,419,754 files left, 4.0 PiB left, "
        "ETA 1059 h 10 min, 1,234 failed"
    )


@pytest.mark.parametrize("columns", [40, 60, 79])
def test_what_matters_most_stays_where_the_terminal_is_narrow(columns):
    """Failures and how far it is are never what is cut off."""
    shown = line(STATUS, columns)
    assert len(shown) <= columns
    assert "12,345,678 files" in shown
    assert "1,234 failed" in shown
    if columns > 60:
        assert "ETA" in shown


def test_a_failed_path_is_named_once():
    """An error keeps its path apart from its problem, so a line that names the path does not repeat it."""
    error = NfsStatusError(13, "READ", b"/e/caf\xe9", "permission denied", address="fd00::7")
    failed = PathError.of("/e/caf\udce9", error)
    assert problem_line(failed.path, failed.error, 80) == "/e/caf\\xe9: fd00::7: READ: permission denied"
    elsewhere = PathError.of("/e/a/b", NfsStatusError(5, "LOOKUP", b"/e/a", "I/O error"))
    assert problem_line(elsewhere.path, elsewhere.error, 80) == "/e/a/b: LOOKUP /e/a: I/O error"


@pytest.mark.parametrize("most", [40, 80, 120])
def test_a_long_path_and_a_long_reason_share_the_line(most):
    """Both are shortened in the middle, and nothing that acts on a terminal is left in them."""
    made = problem_line("/" + "p\x1b" * 200, "because " * 50, most)
    assert len(made) <= most
    assert "\x1b" not in made
    assert "…" in made.partition(": ")[0]


@pytest.mark.parametrize("most", range(3, 12))
def test_shortening_keeps_to_its_limit(most):
    """However short it is."""
    assert len(shorten("/a/b/c/d/e/f", most)) == min(most, 12)


def test_counts_that_fall_give_no_negative_rate():
    """An item that was given back is read again: what was shown of it is not, until then."""
    progress = Progress(quiet=True)
    progress._past.append((0.0, 500, 5000))
    progress._past.append((10.0, 100, 1000))
    shown = fit(progress.parts(STATUS, 100, 1000), 200)
    assert "0 files/s, 0 B/s" in shown
    assert "-" not in shown
    assert "ETA" not in shown


def test_an_interrupted_user_is_told_why_the_report_shows_less():
    """The report counts whole items; what was shown of others is read again."""
    job = WarmJob(job_id="j7", mount_addresses=("a",))
    status = JobStatus(job=job, state=JobState.WARMING, tallies=(Tally(worker="w", files=2000),))
    assert interrupted_line(status, 2720) == (
        "interrupted; 720 files of unfinished items will be read again; go on with: cachewarmer warm --resume j7"
    )
    assert interrupted_line(status, 2000) == "interrupted; go on with: cachewarmer warm --resume j7"
