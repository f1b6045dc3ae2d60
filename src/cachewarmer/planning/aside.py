"""Files that a scan plans only at its end, because the tree may hold them under other names too.

Which name of a file comes first depends on the order of the server's answers, and a scan that is done twice must
publish the same items. So files with several hard links, and files that a symbolic link leads to, are set aside and
divided into parts by file id. At the end, part by part, each file is planned under the smallest of its paths, and its
other names are counted as left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from cachewarmer.planning.spill import Spill

PARTS = 64
"""Number of parts. Not a setting, because it decides which files share an item."""
RECORD_BYTES = 250
"""Approximate size of a file's record in memory, without its path and its handle."""
MIB = 1024 * 1024


class LinkedFile(NamedTuple):
    """A file that was set aside."""

    file_id: int
    """Identifies the file together with ``size``; 0: unknown, and only its path identifies it."""
    size: int
    path: bytes
    """Below the export."""
    links: int
    """Number of its hard links."""
    session: int
    """Index of the session at which the handle is valid."""
    handle: bytes
    times: bytes = b""
    """mtime and ctime, packed as in work items."""


class Aside:
    """The files set aside, in parts.

    When they take more than ``memory_bytes``, they move to a temporary file of at most ``disk_bytes``.
    """

    def __init__(self, memory_bytes: int = 16 * MIB, disk_bytes: int = 1024 * MIB) -> None:
        self._most = memory_bytes
        self._parts: list[list[LinkedFile]] = [[] for _ in range(PARTS)]
        self._bytes = 0
        self._spill = Spill(disk_bytes, "files with several links", "pending_disk_bytes")
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(PARTS)]

    def add(self, file: LinkedFile) -> None:
        """Sets a file aside.

        Raises:
            CacheWarmerError: the temporary file would exceed ``disk_bytes``, or can't be written.
        """
        self._parts[(file.file_id or len(file.path)) % PARTS].append(file)
        self._bytes += RECORD_BYTES + len(file.path) + len(file.handle)
        if self._bytes > self._most:
            for part, places in zip(self._parts, self._places, strict=True):
                if part:
                    places.append(self._spill.write([tuple(one) for one in part]))
                    part.clear()
            self._bytes = 0

    def take(self) -> Iterator[tuple[list[LinkedFile], int]]:
        """Yields the files to read and the number of names left out, part by part; the files are sorted by path.

        Raises:
            CacheWarmerError: the temporary file can't be read.
        """
        for part, places in zip(self._parts, self._places, strict=True):
            files = [LinkedFile(*one) for place in places for one in self._spill.read(place)] + part
            part.clear()
            yield _once(files)
        self.close()

    def close(self) -> None:
        """Deletes the temporary file."""
        self._spill.close()


def _once(files: list[LinkedFile]) -> tuple[list[LinkedFile], int]:
    """Returns each file once, sorted by path, and the number of names left out.

    A server that shows more names with one id than the file has links uses that id for several files: then each name
    counts as a file of its own.
    """
    kept: list[LinkedFile] = []
    for _, group in groupby(sorted(files), key=lambda one: one[:2] if one.file_id else one[:3]):
        same = {one.path: one for one in reversed(list(group))}  # by path: two links may lead to one
        smallest = min(same.values(), key=lambda one: one.path)
        believed = len(same) <= max(1, smallest.links)
        kept.extend([smallest] if believed else same.values())
    kept.sort(key=lambda one: one.path)
    return kept, len(files) - len(kept)
