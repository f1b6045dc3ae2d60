"""A progress bar, and the width of its terminal. Pure, except for querying that width."""

from __future__ import annotations

import os
from typing import TextIO

MOST, LEAST = 30, 8
"""Maximum and minimum length of a bar in characters, without its ends."""
BESIDE = 50
"""Columns that are reserved for the text next to the bar. The bar gets a third of the rest."""
EIGHTHS = "▏▎▍▌▋▊▉"
"""The last character of a bar, by eighths (Unicode block elements)."""
UNKNOWN_COLUMNS = 80


def columns_of(stream: TextIO) -> int:
    """The current width of a stream's terminal."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or UNKNOWN_COLUMNS
    except (OSError, ValueError):
        return UNKNOWN_COLUMNS


def length(columns: int) -> int:
    """The length of the bar on a terminal with this many columns; 0 if there is no room."""
    room = min(MOST, (columns - BESIDE) // 3)
    return room if room >= LEAST else 0


def characters(stream: TextIO) -> str:
    """The characters for a bar that a stream can show, the full one last: the block and its eighths, or only ``#``."""
    # The fonts of the Linux console have 512 characters, of these only the full block.
    known = "█" if os.environ.get("TERM") == "linux" else EIGHTHS + "█"
    try:
        known.encode(stream.encoding or "ascii")
    except (UnicodeError, LookupError):
        return "#"
    return known


def filled(share: float, columns: int, of: str) -> str:
    """The filled part of a bar of this many columns, made of the characters in ``of``, the full one last.

    ``share`` is from 0 to 1. The bar is full only if everything is done.
    """
    steps = len(of)
    done = int(min(1.0, max(0.0, share)) * columns * steps)
    whole, rest = divmod(done, steps)
    return of[-1] * whole + (of[rest - 1] if rest else "")
