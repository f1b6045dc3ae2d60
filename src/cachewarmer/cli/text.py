"""Formats numbers and names for people."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from cachewarmer.amounts import size
from cachewarmer.paths import printable

if TYPE_CHECKING:
    from cachewarmer.model import Bandwidth

CLEAR_LINE = "\r\x1b[J"
"""Takes a terminal back to the start of its line, which is then empty, as is all below: of a line that was wrapped when the
terminal became narrower, the cursor standing at its start, nothing is left."""


def bandwidth(found: Bandwidth) -> str:
    """The bandwidth of a job, and its times of day."""
    said: list[str] = []
    for part in found.text(lambda rate: f"at most {size(rate)}/s" if rate else "no limit").split(","):
        hours, _, rate = part.rpartition("=")
        said.append(f"{rate} {hours}" if hours else f"otherwise {rate}" if said else rate)
    return ", ".join(said)


def columns() -> int:
    """Characters in a line of standard output: the terminal's, or enough for any path of ordinary length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 240


def problem_line(path: str, error: str, most: int) -> str:
    """A path and what is wrong with it, in at most ``most`` characters where that leaves room for both."""
    room = max(20, most - 2)
    for_path = max(room - len(error), room // 2)
    shown = shorten(path, for_path)
    return f"{shown}: {shorten(error, room - len(shown))}"


def shorten(path: str, most: int) -> str:
    """A printable path of at most ``most`` characters, cut in the middle."""
    clean = printable(path)
    if len(clean) <= most:
        return clean
    most = max(3, most)
    return clean[: most // 2 - 1] + "…" + clean[-(most - most // 2) :]
