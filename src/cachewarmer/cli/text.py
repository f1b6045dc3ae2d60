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
"""Moves the cursor to the start of its line, and clears everything from there on. So nothing remains of a line that was
wrapped because the terminal became narrower, as the cursor is then at the start of that line.
"""


def bandwidth(found: Bandwidth) -> str:
    """A bandwidth limit in words, with its times of day."""
    said: list[str] = []
    for part in found.text(lambda rate: f"at most {size(rate)}/s" if rate else "no limit").split(","):
        hours, _, rate = part.rpartition("=")
        said.append(f"{rate} {hours}" if hours else f"otherwise {rate}" if said else rate)
    return ", ".join(said)


def columns() -> int:
    """Characters in a line of standard output: as on the terminal, or else enough for paths of ordinary length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 240


def problem_line(path: str, error: str, most: int) -> str:
    """A path and what is wrong with it, in at most ``most`` characters, unless that is too few for both."""
    room = max(20, most - 2)
    for_path = max(room - len(error), room // 2)
    shown = shorten(path, for_path)
    return f"{shown}: {shorten(error, room - len(shown))}"


def shorten(path: str, most: int) -> str:
    """A path in printable form, with its middle cut out if it is longer than ``most`` characters."""
    clean = printable(path)
    if len(clean) <= most:
        return clean
    most = max(3, most)
    return clean[: most // 2 - 1] + "…" + clean[-(most - most // 2) :]
