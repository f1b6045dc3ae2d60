"""The directories a scan has found and not yet listed: a stack whose lower part lies in a temporary file.

Last in, first out keeps it small in any ordinary tree; a directory with a million subdirectories is what the file is
for, so that memory does not grow with the tree. Directories share what they have in common, which is the path of their
parent, so that deep trees cost no more than wide ones.
"""

from __future__ import annotations

from typing import NamedTuple

from cachewarmer.paths import join_bytes
from cachewarmer.planning.spill import Spill
from cachewarmer.values import dataclass

ENTRY_BYTES = 200
"""About what a directory costs in memory beside its name and its handle."""
MIB = 1024 * 1024


class Above(NamedTuple):
    """What the directories in one directory have in common."""

    path: bytes
    """The path of their parent, below the export."""
    handles: tuple[int, ...] = ()
    """Fingerprints of the handles of all the directories above, by which a loop is noticed."""
    depth: int = 0
    """How many directories there are between them and the target."""


class Directory(NamedTuple):
    """A directory that is to be listed."""

    above: Above
    name: bytes
    """In its parent; of the target itself, its path."""
    handle: bytes = b""
    """Empty: resolve the path."""

    @property
    def path(self) -> bytes:
        """Below the export."""
        return join_bytes(self.above.path, self.name)


@dataclass(slots=True)
class Batch:
    """Directories that are listed together and whose files are packed together: the unit that makes a scan
    repeatable, since the result of a batch depends on nothing but what is in its directories.
    """

    directories: list[Directory]
    session: int
    """Index of the session that the handles are good for; −1: none."""

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory."""
        parents = {id(one.above): len(one.above.path) + 8 * len(one.above.handles) for one in self.directories}
        own = sum(ENTRY_BYTES + len(one.name) + len(one.handle) for one in self.directories)
        return own + sum(parents.values())


class Frontier:
    """A stack of batches. Above ``memory_bytes``, its lower half moves to a file of at most ``disk_bytes``."""

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
        """What lies in the file."""
        return self._spill.bytes

    def push(self, batch: Batch) -> None:
        """Puts a batch on top.

        Raises:
            CacheWarmerError: the file would exceed its budget, or can't be written.
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
        """Takes the batch that is on top. Raises ``IndexError`` when there is none left."""
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
        """Forgets everything."""
        self._spill.close()
        self._top, self._spilled, self._below, self._bytes = [], [], 0, 0
