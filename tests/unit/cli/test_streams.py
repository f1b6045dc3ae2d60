"""Standard streams that are full, closed, old or gone."""

import io
import os
import subprocess
import sys

import pytest

from cachewarmer.cli import streams


def python(code, **more):
    """Runs code that may close its own streams."""
    return subprocess.run(
        [sys.executable, "-c", "from cachewarmer.cli import streams\n" + code], capture_output=True, **more
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_what_an_encoding_has_not_is_written_in_its_place(encoding):
    """Our own signs as plain ones, characters of names as escapes; what the encoding has stays as it is."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    streams.codecs.register_error("cachewarmer", streams._replace)
    stream.reconfigure(errors="cachewarmer")
    stream.write("1… 🎬 x")
    stream.flush()
    assert raw.getvalue() == rb"1... \U0001f3ac x"


@pytest.mark.parametrize(
    ("stream", "said"), [("/dev/full", b"No space left on device"), ("closed", b"it is closed")], ids=["full", "closed"]
)
def test_a_result_that_can_not_be_written_is_one_line_and_no_other_exit_code(stream, said):
    """The program goes on, and Python's own flush at its end does not fail again."""
    how = "os.close(1)" if stream == "closed" else f"os.dup2(os.open({stream!r}, os.O_WRONLY), 1)"
    done = python(f"import os\n{how}\nstreams.prepare()\nraise SystemExit(0 if streams.show('x') else 7)")
    assert done.returncode == 7
    assert said in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_has_seen_enough_is_no_error():
    """As with ``| head``: nothing is said, and the exit code is that of what was done."""
    ours, theirs = os.pipe()
    os.close(ours)
    code = "streams.prepare()\nraise SystemExit(0 if streams.show('x' * 100_000) else 1)"
    done = subprocess.run(
        [sys.executable, "-c", "from cachewarmer.cli import streams\n" + code], stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_messages_that_nobody_can_read_end_nothing():
    """Standard error is full: notes, log lines and tracebacks are dropped."""
    code = (
        "import logging, os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 2)\nstreams.prepare()\n"
        "streams.note('x' * 100_000)\nlogging.raiseExceptions = False\nlogging.warning('x')\n"
        "sys.stderr.write('y')\nsys.stderr.flush()\nprint('done')"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_closed_standard_stream_is_never_somebody_elses_file():
    """The next file that is opened gets a number of its own: nothing is printed into a socket."""
    code = "import os\nos.close(0)\nos.close(2)\nstreams.prepare()\nprint(os.open('/', os.O_RDONLY) > 2)"
    assert python(code).stdout == b"True\n"


@pytest.mark.parametrize(("term", "expected"), [("xterm", True), ("dumb", False), ("", False)])
def test_an_old_terminal_is_treated_as_a_file(monkeypatch, term, expected):
    """It would show escape sequences as text."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", term)
    assert streams.on_terminal(Terminal()) is expected
    assert not streams.on_terminal(io.StringIO())
