"""Writes to standard output and standard error, whatever they are connected to: a full disk, nothing, an old terminal.

A command does its work whether or not its output can be written: a message that can't be written is dropped, and if a
report can't be written, one line on stderr says so.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any, TextIO

PLAIN = {"█": "#", "…": "...", "−": "-", "–": "-", "→": "->", "≤": "<=", "×": "x", "µ": "u"}
"""How our own characters are written if the encoding of a stream does not contain them."""

_closed: set[int] = set()


def prepare() -> None:
    """Makes the standard streams safe to write to. Call it once, before anything is opened."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise, the next file or socket to be opened would become standard output.
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is this one
            _closed.add(descriptor)
    codecs.register_error("cachewarmer", _replace)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # it lives as long as the program
            setattr(sys, name, stream)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="cachewarmer")
    if not isinstance(sys.stderr, Tolerant):
        sys.stderr = Tolerant(sys.stderr)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replaces characters that an encoding does not contain: our own with plain ones, others with escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or ascii(char)[1:-1] for char in found), error.end


class Tolerant:
    """A stream that drops what can't be written, because a message that nobody can read must not end a job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # full, gone, or closed
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            # What is buffered would stay there, and fail again at the end of the program.
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show(text: str) -> bool:
    """Writes a command's result and a line end to stdout. Returns whether that worked; if not, stderr says why.

    A pipe whose reader has closed it counts as success.
    """
    if 1 in _closed:
        _complain("it is closed")
        return False
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        _drop_stdout()
    except (OSError, ValueError) as error:
        _drop_stdout()
        _complain(getattr(error, "strerror", None) or str(error))
        return False
    return True


def note(text: str) -> None:
    """Writes a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def _complain(why: str) -> None:
    note(f"cachewarmer: the result could not be written to standard output: {why}")


def _drop_stdout() -> None:
    """Drops what is buffered: else Python would try to write it again at its end, and fail."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def on_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands escape sequences."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "")
    except (OSError, ValueError):
        return False
