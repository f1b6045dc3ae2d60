"""Paths of any bytes, as text, and as they are shown. Pure; imports nothing of the package.

Inside the program a path is ``bytes`` where it comes from a server, and ``str`` where it travels in messages and records:
decoded as UTF-8 with ``surrogateescape``, so that a byte that isn't UTF-8 becomes one lone surrogate and comes back as
the same byte. Nothing of that kind may reach a terminal or a log: ``printable`` writes it as an escape.
"""

from __future__ import annotations

ENCODING, ERRORS = "utf-8", "surrogateescape"


def to_text(raw: bytes) -> str:
    """The text of a path; every byte survives."""
    return raw.decode(ENCODING, ERRORS)


def to_bytes(text: str) -> bytes:
    """The bytes of a path that ``to_text`` made.

    Raises:
        UnicodeEncodeError: the text holds a character that no path can hold (a surrogate that stands for no byte).
    """
    return text.encode(ENCODING, ERRORS)


def printable(path: bytes | str) -> str:
    r"""What people are shown: control characters, and bytes that aren't UTF-8, as escapes: ``\xff``."""
    text = to_text(path) if isinstance(path, bytes) else path
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return ascii(char)[1:-1]


def parts(path: str) -> list[str]:
    """The components of a path: no empty ones, no ``.``."""
    return [part for part in path.split("/") if part not in ("", ".")]


def join(*paths: str) -> str:
    """One path with one leading slash and single slashes, of all the components of ``paths`` in order."""
    return "/" + "/".join(part for path in paths for part in path.split("/") if part)


def join_bytes(directory: bytes, name: bytes) -> bytes:
    """``name`` below ``directory``; either may be empty."""
    return directory + b"/" + name if directory and name else directory or name


def holds(directory: str, path: str) -> bool:
    """Whether ``path`` is ``directory`` or lies below it; both absolute."""
    directory = directory.rstrip("/")
    return path == (directory or "/") or path.startswith(directory + "/")


def below(directory: str, path: str) -> str:
    """``path`` as seen from ``directory``, with a leading slash; unchanged where it doesn't lie there."""
    return (path[len(directory.rstrip("/")) :] or "/") if holds(directory, path) else path


def climbs(path: str) -> bool:
    """Whether a path has a component ``..``, and so could lead out of the directory it is meant to be below."""
    return ".." in path and ".." in path.split("/")
