"""Colours on a terminal: a few that are readable on light and dark backgrounds, or none if they are not wanted."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TextIO

from cachewarmer.cli.streams import on_terminal


class Shade(StrEnum):
    """What a colour means. The value is an SGR code of ECMA-48, for one of the eight colours that every terminal has.

    Yellow, cyan and bright colours are not used because they are hard to read on white, nor is blue, which is hard to
    read on black.
    """

    PLAIN = ""
    GOOD = "32"
    WARNING = "35"
    BAD = "1;31"


STATES = {
    "completed": Shade.GOOD,
    "completed_with_errors": Shade.BAD,
    "failed": Shade.BAD,
    "cancelled": Shade.WARNING,
    "paused": Shade.WARNING,
}
"""The colour of each state of a job."""


def wanted(stream: TextIO) -> bool:
    """Whether a stream gets colours: a terminal does, unless ``NO_COLOR`` is set or ``TERM`` is ``dumb``.

    ``FORCE_COLOR`` turns them on for other streams too, such as the log of a build. Both variables count if they are
    not empty (https://no-color.org, https://force-color.org); ``NO_COLOR`` takes precedence.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or on_terminal(stream)


def paint(text: str, shade: Shade, stream: TextIO | None = None) -> str:
    """The text in a colour, if the stream gets colours. ``stream`` is standard output by default."""
    if not shade or not text or not wanted(sys.stdout if stream is None else stream):
        return text
    return f"\x1b[{shade}m{text}\x1b[0m"


def prefixed(prefix: str, text: str, shade: Shade) -> str:
    """A line for standard error that begins with ``prefix:`` in a colour."""
    return f"{paint(f'{prefix}:', shade, sys.stderr)} {text}"
