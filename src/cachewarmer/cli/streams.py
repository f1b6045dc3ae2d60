"""Writes to standard output and standard error, whatever they are connected to: a full disk, nothing, an old terminal.

What a command did does not depend on whether somebody could read of it: a message that can't be written is dropped,
a report that can't be written is one line on stderr.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any, TextIO

PLAIN = {"█": "#", "…": "...", "−": "-", "–": "-", "→": "->", "≤": "<=", "×": "x", "µ": "u"}
"""How characters of ours are written where the encoding of a stream has none of them."""

_closed: set[int] = set()


def prepare() -> None:
    """Makes the standard streams safe to write to. Call it once, before anything is opened."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next socket would become standard output.
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
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
    """What stands for characters that an encoding has not: plain ones for ours, an escape for those of names."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(PLAIN.get(char) or ascii(char)[1:-1] for char in found), error.end


class Tolerant:
    """A stream that drops what can't be written: a message that nobody can read must not end a job."""

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
            # What is buffered stays there, and would fail again at the end of the program.
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def show(text: str) -> bool:
    """Writes a command's result and a line end to stdout; whether it was written. If not, stderr says why."""
    if 1 in _closed:
        _complain("it is closed")
        return False
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads it has seen enough
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
    """What is buffered has nowhere to go: Python would try again at its end, and fail."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def on_terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands escape sequences."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "")
    except (OSError, ValueError):
        return False
