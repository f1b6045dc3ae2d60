"""Formats sizes, counts and durations for people."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes, with a binary unit."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} PiB"


def counted(count: int, noun: str) -> str:
    """A number of things, in words, such as files or directories."""
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


def milliseconds(seconds: float) -> str:
    """Seconds as a number of milliseconds, without the unit, in about three digits."""
    value = 1000 * seconds
    return f"{value:,.{0 if value >= 100 else 1 if value >= 1 else 2}f}"
