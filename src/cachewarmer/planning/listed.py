"""Resolves the lines of a list (``--files-from``): which path each names, and which are duplicates."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError, FileVanished, TransportError
from cachewarmer.model.parts import Range
from cachewarmer.paths import to_bytes
from cachewarmer.planning import listline
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.seen import Seen
from cachewarmer.targets.base import DirectoryEntry


class ListPaths:
    """Turns the lines of a list into paths below the export.

    A line is relative to the target (``root``, a path below the export), or absolute: with or without the path of the
    export at its beginning.
    """

    def __init__(self, export: str, root: bytes) -> None:
        self._root = root
        self._inner = b"/" + root if root else b""
        above = b"/" + to_bytes(export.strip("/")) if export != "/" else b""
        self._known = (above + self._inner, self._inner)

    def path(self, line: bytes) -> bytes:
        """The path below the export, with single slashes and no ``.``.

        Raises:
            CacheWarmerError: the line is not below the target, or holds ``..``.
        """
        rest = line
        if line.startswith(b"/"):
            for known in self._known:
                if line == known or line.startswith(known + b"/"):
                    rest = line[len(known) :]
                    break
            else:
                raise CacheWarmerError("it is not below the target")
        parts = [part for part in rest.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise CacheWarmerError("a path can't hold ..")
        return b"/".join([self._root, *parts] if self._root else parts)


class Named:
    """The paths that a list has named so far, kept as digests.

    Whether a path is a duplicate depends on nothing but the lines before it, so a scan that is done twice leaves out
    the same paths.
    """

    def __init__(self, passed_over: frozenset[bytes]) -> None:
        self._files = Seen()
        self._directories = Seen()
        self._passed_over = passed_over
        """Names of directories that the walk does not enter: what they hold is read only if a line names it."""

    def add(self, path: bytes, *, directory: bool) -> bool:
        """Adds a path that a line names. Returns False if the path, or a directory above it, was named before."""
        if path in self._files or path in self._directories or self._below_named(path):
            return False
        return (self._directories if directory else self._files).add(path)

    def __call__(self, path: bytes) -> bool:
        """Whether a line has named exactly this path, which the walk then leaves out."""
        return path in self._files or path in self._directories

    def covers(self, path: bytes) -> bool:
        """Whether a line has named this path, or a directory above it."""
        return self(path) or self._below_named(path)

    def _below_named(self, path: bytes) -> bool:
        if not len(self._directories):
            return False
        end = path.rfind(b"/")
        while end > 0:
            if path[end + 1 :].partition(b"/")[0] in self._passed_over:
                return False
            if path[:end] in self._directories:
                return True
            end = path.rfind(b"/", 0, end)
        return bool(path) and path.partition(b"/")[0] not in self._passed_over and b"" in self._directories


class LookedUp(NamedTuple):
    """The outcome of one line of a list, or of several that name ranges of one file."""

    path: bytes
    """Below the export."""
    entry: DirectoryEntry | None
    """None: the path could not be looked up; the failure has been counted."""
    ranges: list[Range]
    """The (start, stop) that the lines name, in bytes; empty: the whole file, or a directory."""


async def look_up(
    line: bytes, paths: ListPaths, lookup: Callable[[bytes], Awaitable[DirectoryEntry]], counter: ScanCounter
) -> LookedUp:
    """Looks up what a stored line names; an invalid line or a failed look-up is counted in ``counter``.

    Raises:
        TransportError: the address failed.
    """
    path = line.lstrip(b"/")
    try:
        written, start, stop, problem = listline.named(line)
        path = written.lstrip(b"/")
        if problem:
            counter.add_unknown(written, problem)
            return LookedUp(path, None, [])
        path = paths.path(written)
        return LookedUp(path, await lookup(path), [(start, stop)] if start >= 0 else [])
    except TransportError:
        raise
    except FileVanished:
        counter.add_error(path, "there is no such file")
    except CacheWarmerError as error:
        counter.add_error(path, error)
    return LookedUp(path, None, [])


def joined_ranges(found: Iterable[LookedUp]) -> Iterator[LookedUp]:
    """Merges the outcomes of consecutive lines that name ranges of the same file."""
    held: LookedUp | None = None
    for one in found:
        if held is not None and held.path == one.path and held.ranges and one.ranges:
            held.ranges.extend(one.ranges)
            continue
        if held is not None:
            yield held
        held = one._replace(ranges=list(one.ranges))
    if held is not None:
        yield held
