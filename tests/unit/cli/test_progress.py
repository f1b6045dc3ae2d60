"""The progress line, and the lines of the report, fit the terminal."""

import pytest

from cachewarmer.cli.managers import unseen
from cachewarmer.cli.outcome import interrupted_line
from cachewarmer.cli.progress import Progress, fit
from cachewarmer.cli.text import problem_line, shorten
from cachewarmer.errors import NfsStatusError
from cachewarmer.model import Access, JobState, JobStatus, PathError, ScanTotals, Tally, WarmJob
from cachewarmer.rates import Rates
from cachewarmer.targets.breaker import Outage

SCAN = ScanTotals(directories=1_234_567, files=98_765_432, bytes=7 << 46, failed_files=1_234, finished=True)
STATUS = JobStatus(
    job=WarmJob(access=Access(addresses=("a",))),
    state=JobState.WARMING,
    scan=SCAN,
    tallies=(Tally(worker="w", files=12_345_678, bytes=3 << 46),),
)


def rate_of(*counts):
    rates = Rates()
    return [rates.add(*one) for one in counts][-1]


def line(status, columns):
    progress = Progress(quiet=True)
    rate = rate_of((0.0, 11_345_678, (3 << 46) - (11 << 30)), (10.0, 12_345_678, 3 << 46))
    return fit(progress.parts(status, 12_345_678, 3 << 46, rate), columns)


def test_with_room_everything_is_shown():
    """Files, bytes, both rates, what is left and for how long, failures."""
    assert line(STATUS, 200) == (
        "12,345,678 files, 192.0 TiB, 100,000 files/s, 1.1 GiB/s, 86,419,754 files left, 256.0 TiB left, "
        "ETA 66 h 11 min, 1,234 failed"
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
    rate = rate_of((0.0, 500, 5000), (10.0, 100, 1000))
    shown = fit(progress.parts(STATUS, 100, 1000, rate), 200)
    assert "0 files/s, 0 B/s" in shown
    assert "-" not in shown
    assert "ETA" not in shown


def test_an_interrupted_user_is_told_why_the_report_shows_less():
    """The report counts whole items; what was shown of others is read again."""
    job = WarmJob(job_id="j7", access=Access(addresses=("a",)))
    status = JobStatus(job=job, state=JobState.WARMING, tallies=(Tally(worker="w", files=2000),))
    assert interrupted_line(status, 2720) == (
        "interrupted; 720 files of unfinished items will be read again; resume with: cachewarmer warm --resume j7"
    )
    assert interrupted_line(status, 2000) == "interrupted; resume with: cachewarmer warm --resume j7"


def test_an_estimate_of_years_is_not_shown():
    """It says only that hardly anything was read in the last seconds, as in an outage."""
    progress = Progress(quiet=True)
    rate = rate_of((0.0, 100, 1000), (10.0, 101, 1100))
    assert "ETA" not in fit(progress.parts(STATUS, 101, 1100, rate), 200)


def test_an_address_that_does_not_answer_is_shown_instead_of_an_estimate(monkeypatch):
    """With how long it has been silent; it is never what is cut off."""
    monkeypatch.setattr("cachewarmer.cli.progress.time.monotonic", lambda: 110.0)
    progress = Progress(quiet=True)
    rate = rate_of((0.0, 11_345_678, 0), (10.0, 12_345_678, 3 << 46))
    progress.outages([Outage("cache1", 100.0, "connection refused")])
    for columns in (200, 40):
        shown = fit(progress.parts(STATUS, 12_345_678, 3 << 46, rate), columns)
        assert "cache1: no answer for 10 s" in shown
        assert "ETA" not in shown
    progress.outages([])
    assert "no answer" not in fit(progress.parts(STATUS, 12_345_678, 3 << 46, rate), 200)


def test_a_warning_is_said_once_and_stays_on_the_line(capsys):
    """Until it does not hold any more; then it may be said again."""
    progress = Progress()
    for text in ("no manager", "no manager", "", "no manager"):
        progress.warn(text)
    assert capsys.readouterr().err.count("no manager") == 2
    rate = rate_of((0.0, 0, 0))
    assert "no manager" in [part.text for part in progress.parts(STATUS, 0, 0, rate)]


@pytest.mark.parametrize(
    ("state", "seen", "submitted", "warned"),
    [
        (JobState.QUEUED, None, 1000.0, "0"),
        (JobState.QUEUED, None, 960.0, "40.0 s"),
        (JobState.QUEUED, 20.0, 0.0, "0"),
        (JobState.WARMING, 90.0, 0.0, "1 min 30 s"),
        (JobState.WARMING, None, 0.0, "0"),
        (JobState.PAUSED, 90.0, 0.0, "0"),
        (JobState.COMPLETED, 90.0, 0.0, "0"),
    ],
)
def test_a_job_that_no_manager_looks_after_is_warned_of(state, seen, submitted, warned):
    """After half a minute; not one that needs none, nor one that was taken by a manager that leaves no trace."""
    status = JobStatus(job=STATUS.job, state=state, submitted_at=submitted)
    said = unseen(seen, status, 1000.0)
    assert said == ("" if warned == "0" else f"no manager has been seen for {warned}")
