"""The directories that a scan has found but not listed yet: a stack whose lower part may be in a temporary file.

Last in, first out keeps the stack small in any ordinary tree. The file is for the others, such as a directory with a
million subdirectories, so that memory does not grow with the tree. The directories of one parent share its path, so
that deep trees take no more memory than wide ones.
"""

from __future__ import annotations

from typing import NamedTuple

from cachewarmer.paths import join_bytes
from cachewarmer.planning.spill import Spill
from cachewarmer.values import dataclass

ENTRY_BYTES = 200
"""Approximate size of a directory's record in memory, without its name and its handle."""
MIB = 1024 * 1024


class Above(NamedTuple):
    """What all subdirectories of one directory have in common."""

    path: bytes
    """The path of their parent, below the export."""
    handles: tuple[int, ...] = ()
    """Hashes of the handles of all directories above, by which a loop is detected."""
    depth: int = 0
    """How many levels they are below the target; 0: the target itself."""


class Directory(NamedTuple):
    """A directory that is to be listed."""

    above: Above
    name: bytes
    """Its name in its parent; for the target itself, its path below the export."""
    handle: bytes = b""
    """Its file handle; empty: the path is resolved."""

    @property
    def path(self) -> bytes:
        """Its path below the export."""
        return join_bytes(self.above.path, self.name)


@dataclass(slots=True)
class Batch:
    """The unit of a scan: directories that are listed together and whose files are packed together.

    The result of a batch depends on nothing but what is in its directories, which makes a scan repeatable.
    """

    directories: list[Directory]
    session: int
    """Index of the session at which the handles are valid; −1: none."""

    @property
    def memory_bytes(self) -> int:
        """Its approximate size in memory."""
        parents = {id(one.above): len(one.above.path) + 8 * len(one.above.handles) for one in self.directories}
        own = sum(ENTRY_BYTES + len(one.name) + len(one.handle) for one in self.directories)
        return own + sum(parents.values())


class Frontier:
    """A stack of batches.

    When it takes more than ``memory_bytes``, its lower half moves to a temporary file of at most ``disk_bytes``.
    """

    def __init__(self, memory_bytes: int = 16 * MIB, disk_bytes: int = 1024 * MIB) -> None:
        self._most = memory_bytes
        self._top: list[Batch] = []
        self._bytes = 0
        self._spill = Spill(disk_bytes, "the directories that are still to be listed", "pending_disk_bytes")
        self._spilled: list[tuple[tuple[int, int], int]] = []
        self._below = 0

    def __len__(self) -> int:
        return len(self._top) + self._below

    @property
    def disk_bytes(self) -> int:
        """The size of the temporary file."""
        return self._spill.bytes

    def push(self, batch: Batch) -> None:
        """Puts a batch on top.

        Raises:
            CacheWarmerError: the temporary file would exceed ``disk_bytes``, or can't be written.
        """
        self._top.append(batch)
        self._bytes += batch.memory_bytes
        if self._bytes > self._most and len(self._top) > 1:
            half = len(self._top) // 2
            lower, self._top = self._top[:half], self._top[half:]
            place = self._spill.write([(one.directories, one.session) for one in lower])
            self._spilled.append((place, half))
            self._below += half
            self._bytes = sum(one.memory_bytes for one in self._top)

    def pop(self) -> Batch:
        """Removes the batch on top and returns it.

        Raises:
            IndexError: the stack is empty.
            CacheWarmerError: the temporary file can't be read.
        """
        if not self._top and self._spilled:
            place, count = self._spilled.pop()
            self._top = [Batch(*one) for one in self._spill.read(place)]
            self._spill.cut(place)
            self._below -= count
            self._bytes = sum(one.memory_bytes for one in self._top)
        batch = self._top.pop()
        self._bytes -= batch.memory_bytes
        return batch

    def close(self) -> None:
        """Drops all batches and deletes the temporary file."""
        self._spill.close()
        self._top, self._spilled, self._below, self._bytes = [], [], 0, 0
