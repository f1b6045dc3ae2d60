"""The progress line, and the lines of the report, fit the terminal."""

import fcntl
import io
import os
import re
import struct
import termios
from dataclasses import replace

import pytest

from cachewarmer.amounts import counted
from cachewarmer.cli import colours
from cachewarmer.cli.bar import BESIDE, EIGHTHS, LEAST, MOST, characters, columns_of, filled, length
from cachewarmer.cli.managers import unseen
from cachewarmer.cli.outcome import interrupted_line
from cachewarmer.cli.progress import Part, Progress, drawn, fitting, joined, share_done
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


def fit(parts, columns):
    return joined(fitting(parts, columns))


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


def test_one_of_something_is_not_many():
    """In reports and on the progress line."""
    assert [counted(number, "file") for number in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]
    assert counted(1, "directory") == "1 directory"
    assert counted(2, "directory") == "2 directories"


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


# -- the bar -----------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """A stream that says it is a terminal, of an encoding."""

    def __init__(self, encoding="utf-8", terminal=True):
        super().__init__()
        self.shown_as = encoding
        self.terminal = terminal

    @property
    def encoding(self):
        return self.shown_as

    def isatty(self):
        return self.terminal


@pytest.fixture
def plain_terminal(monkeypatch):
    """A terminal whose environment says nothing of colours."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


PARTS = Progress(quiet=True).parts(STATUS, 12_345_678, 3 << 46, rate_of((0.0, 0, 0), (10.0, 12_345_678, 3 << 46)))


@pytest.mark.parametrize("share", [None, 0.0, 0.374, 0.999, 1.0])
@pytest.mark.parametrize("columns", [10, 20, 30, 50, 74, 79, 80, 100, 140, 200])
def test_the_line_fits_whatever_the_width(columns, share, plain_terminal):
    """Without the codes of colours; how much is done stays on the narrowest, and the failures."""
    shown = re.sub("\x1b\\[[0-9;]*m", "", drawn(PARTS, share, columns, plain_terminal))
    assert len(shown) <= columns
    if columns >= 20:
        assert "1,234 failed" in shown
        assert share is None or f"{int(100 * share)} %" in shown
    assert ("[" in shown) == (share is not None and length(columns) > 0)


def test_the_bar_grows_by_eighths_and_is_full_only_at_the_end():
    """However little is missing."""
    of = EIGHTHS + "█"
    grown = [filled(step / 80, 10, of) for step in range(81)]
    assert len(set(grown)) == 81
    assert grown[0] == ""
    assert grown[4] == "▌"
    assert grown[80] == "█" * 10
    assert filled(1 - 1e-9, 10, of) == "█" * 9 + "▉"
    assert filled(0.999, 10, "#") == "#" * 9
    assert filled(7.0, 10, "#") == "#" * 10
    assert filled(-1.0, 10, "#") == ""


def test_a_bar_takes_a_third_of_what_is_over():
    """A short one is none, and a long one would not tell more."""
    assert length(BESIDE + 3 * LEAST - 1) == 0
    assert length(BESIDE + 3 * LEAST) == LEAST
    assert length(1000) == MOST


@pytest.mark.parametrize(
    ("encoding", "term", "of"),
    [
        ("utf-8", "xterm", EIGHTHS + "█"),
        ("utf-8", "linux", "█"),
        ("latin-1", "xterm", "#"),
        ("ascii", "linux", "#"),
        ("no such", "xterm", "#"),
        (None, "xterm", "#"),
    ],
)
def test_a_terminal_without_block_characters_gets_others(encoding, term, of, monkeypatch):
    """By its encoding; the console of Linux has only one of them."""
    monkeypatch.setenv("TERM", term)
    assert characters(Terminal(encoding)) == of


def test_how_much_is_done_counts_files_and_bytes():
    """Not known before the scan is done; small files move it, and a large one does; nothing is all of nothing."""

    def share(scan, files, read):
        return share_done(replace(STATUS, scan=scan), files, read)

    assert share(ScanTotals(files=100, bytes=100), 50, 50) is None
    assert share(ScanTotals(finished=True), 0, 0) == 1.0
    small, large = ScanTotals(files=100, bytes=100, finished=True), ScanTotals(files=1, bytes=1 << 40, finished=True)
    assert share(small, 50, 50) == 0.5
    assert share(small, 0, 0) == 0.0
    assert share(small, 100, 100) == share(small, 101, 200) == 1.0
    assert 0.49 < share(large, 0, 1 << 39) < 0.5
    assert share(ScanTotals(files=100, finished=True), 25, 0) == 0.25


def test_the_width_is_that_of_the_terminal_now():
    """It is asked for each time, so that one that was resized is known; what is no terminal has 80."""
    main, other = os.openpty()
    with open(other, "w", encoding="utf-8") as stream:
        for columns in (33, 120):
            fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            assert columns_of(stream) == columns
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        assert columns_of(stream) == 80
    os.close(main)
    assert columns_of(io.StringIO()) == 80


# -- colours -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": ""}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
    ],
)
def test_colours_are_for_terminals_and_those_who_want_them(environment, terminal, wanted, monkeypatch, plain_terminal):
    """NO_COLOR is stronger than FORCE_COLOR; empty ones do not count."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    plain_terminal.terminal = terminal
    assert colours.wanted(plain_terminal) == wanted
    painted = colours.paint("text", colours.Shade.BAD, plain_terminal)
    assert painted == ("\x1b[1;31mtext\x1b[0m" if wanted else "text")
    assert colours.paint("text", colours.Shade.PLAIN, plain_terminal) == "text"


def test_what_failed_and_who_does_not_answer_stand_out(plain_terminal):
    """In the line as it is drawn."""
    parts = [Part(2, "5 files"), Part(9, "3 failed", colours.Shade.BAD), Part(10, "x", colours.Shade.WARNING)]
    assert drawn(parts, None, 60, plain_terminal) == "5 files, \x1b[1;31m3 failed\x1b[0m, \x1b[35mx\x1b[0m"
