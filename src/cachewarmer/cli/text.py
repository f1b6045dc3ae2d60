"""Numbers and names as people read them."""

from __future__ import annotations


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


def shorten(path: str, most: int) -> str:
    """A printable path of at most ``most`` characters, cut in the middle."""
    clean = printable(path)
    if len(clean) <= most:
        return clean
    return clean[: most // 2 - 1] + "…" + clean[-(most - most // 2) :]
