"""Numbers and names as people read them."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from cachewarmer.paths import printable

if TYPE_CHECKING:
    from cachewarmer.model import Bandwidth

CLEAR_LINE = "\r\x1b[J"
"""Takes a terminal back to the start of its line, which is then empty, as is all below: of a line that was wrapped when the
terminal became narrower, the cursor standing at its start, nothing is left."""


def size(count: float) -> str:
    """Bytes, with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def bandwidth(found: Bandwidth) -> str:
    """What a job may take."""
    if not found.hours:
        return f"at most {size(found.rate)}/s" if found.rate else "no limit"
    parts = found.text(lambda rate: f"{size(rate)}/s" if rate else "no limit").split(",")
    return "at most " + ", ".join(part.removeprefix("=").replace("=", " ") for part in parts)


def counted(count: int, noun: str) -> str:
    """So many of something, such as files or directories."""
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def span(seconds: float) -> str:
    """A length of time in few characters, in its two largest units."""
    whole = round(seconds)
    for unit, length, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length}{unit}{rest:02d}{below}" if rest else f"{whole // length}{unit}"
    return f"{whole}s"


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
