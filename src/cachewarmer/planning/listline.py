"""The lines of a list, as they are written and as they are stored.

A written line is a path, a range of a file (path, start and length in bytes, separated by tabs), or a sequence of
frames (see ``frames``).

A stored line is the path itself; for a range it is ``//``, a tab, the start, a tab, the length, a tab, and the path.
For a name that no readable file belongs to it is ``//``, a tab, ``!``, a tab, the reason, a tab, and the name. No
stored path begins with ``//`` and a tab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.paths import to_text
from cachewarmer.planning.frames import frame_paths
from cachewarmer.planning.pathmap import UNMAPPED, PathMap
from cachewarmer.values import dataclass

MOST_PATH_BYTES = 8 * 1024
MOST_BYTES = (1 << 63) - 1
"""The largest offset at which a range may end; no file is larger."""
_MARK = b"//\t"
_MOST_DIGITS = 19


class Named(NamedTuple):
    """What a stored line names."""

    path: bytes
    start: int = -1
    stop: int = -1
    """``start`` and ``stop`` are the range in bytes; −1: the whole file, or a directory."""
    problem: str = ""
    """Why the path can't be read, as far as the maker of the list found out; empty: it may be read."""


@dataclass(frozen=True, slots=True)
class ListForm:
    """How a list is written. ``plain``: each entry is a path, never a range or a sequence, as in a list with NULs."""

    plain: bool = False
    path_map: PathMap = UNMAPPED

    def stored(self, line: bytes) -> Iterable[bytes]:
        """The stored lines for one written line: one, none for an empty line, or one for each frame of a sequence.

        Raises:
            UsageError: the line is invalid.
        """
        if not self.plain:
            line = line.removesuffix(b"\r")
        if not line:
            return ()
        if self.plain:
            return (self._path(line),)
        if line.count(b"\t") >= 2:
            return (self._range(line),)
        frames = frame_paths(line) if b"#" in line or b"%" in line else None
        if frames is not None:
            return self._frames(frames)
        if b"\t" in line:
            raise UsageError(
                "a line with one tab is neither a path nor a range",
                subject=line,
                advice="write path, start and length with tabs between them; with -0 a tab is part of a name",
            )
        return (self._path(line),)

    def ranged(self, path: bytes, start: int, length: int) -> bytes:
        """The stored line for a range that a program names; ``start`` and ``length`` in bytes.

        Raises:
            UsageError: the range is invalid.
        """
        return self._range(b"%b\t%d\t%d" % (path, start, length))

    def _frames(self, paths: Iterator[bytes]) -> Iterator[bytes]:
        return (self._path(path) for path in paths)

    def _path(self, path: bytes) -> bytes:
        mapped = self.path_map(path) if self.path_map.rules else path
        if len(mapped) > MOST_PATH_BYTES:
            raise UsageError(f"the list of files holds a path of more than {MOST_PATH_BYTES} bytes")
        return mapped[1:] if mapped.startswith(_MARK) else mapped

    def _range(self, line: bytes) -> bytes:
        path, start, length = line.rsplit(b"\t", 2)
        try:
            first, count = _number(start), _number(length)
            if not count or first + count > MOST_BYTES:
                raise ValueError
            if not path:
                raise UsageError("a range without a path", subject=line)
        except ValueError:
            raise UsageError(
                "not a range of bytes",
                subject=line,
                advice="write path, start and length with tabs between them: whole numbers of bytes below 2^63, and a "
                "length of at least 1; with -0 a tab is part of a name",
            ) from None
        return b"%b%d\t%d\t%b" % (_MARK, first, count, self._path(path))


def _number(text: bytes) -> int:
    text = text.strip(b" ")
    if not text.isdigit() or len(text) > _MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def unknown(path: bytes, reason: bytes) -> bytes:
    """The stored line for a name that no readable file belongs to, with the reason."""
    return b"%b!\t%b\t%b" % (_MARK, reason.replace(b"\t", b" ")[:200], path[:MOST_PATH_BYTES])


def named(line: bytes) -> Named:
    """What a stored line names.

    Raises:
        CacheWarmerError: the line holds an invalid range, which this program never stores.
    """
    if not line.startswith(_MARK):
        return Named(line)
    parts = line[len(_MARK) :].split(b"\t", 2)
    if parts[0] == b"!" and len(parts) == 3:
        return Named(parts[2], problem=to_text(parts[1]) or "it can't be read")
    try:
        start, length, path = _number(parts[0]), _number(parts[1]), parts[2]
    except (IndexError, ValueError):
        raise CacheWarmerError("the stored list holds a range that can't be read") from None
    if not length or start + length > MOST_BYTES:
        raise CacheWarmerError("the stored list holds a range that can't be read")
    return Named(path, start, start + length)
