"""Numbers and names as people read them."""

from __future__ import annotations

import re
import shutil
import sys

CLEAR_LINE = "\r\x1b[K"
"""Takes a terminal back to the start of a line that is then empty."""


def printable(text: str) -> str:
    """A text with all that could act on a terminal escaped: control characters, and bytes that are no UTF-8."""
    return "".join(
        char
        if char.isprintable()
        else f"\\x{ord(char) - 0xDC00:02x}"
        if 0xDC80 <= ord(char) <= 0xDCFF
        else ascii(char)[1:-1]
        for char in text
    )


def size(count: float) -> str:
    """Bytes, with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def columns() -> int:
    """Characters in a line of standard output: the terminal's, or enough for any path of ordinary length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 240


def problem_line(path: str, error: str, most: int) -> str:
    """A path and what is wrong with it, in at most ``most`` characters where that leaves room for both."""
    said = re.sub(r" \S*" + re.escape(path) + r"(?![^\s:])", "", error, count=1)
    room = max(20, most - 2)
    for_path = max(room - len(said), room // 2)
    shown = shorten(path, for_path)
    return f"{shown}: {shorten(said, room - len(shown))}"


def shorten(path: str, most: int) -> str:
    """A printable path of at most ``most`` characters, cut in the middle."""
    clean = printable(path)
    if len(clean) <= most:
        return clean
    most = max(3, most)
    return clean[: most // 2 - 1] + "…" + clean[-(most - most // 2) :]
