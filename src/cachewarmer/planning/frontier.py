"""The directories a scan has found and not yet listed: a stack whose lower part lies in a temporary file.

Last in, first out keeps it small in any ordinary tree; a directory with a million subdirectories is what the file is
for, so that memory does not grow with the tree.
"""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import dataclass
from typing import IO, NamedTuple


class Directory(NamedTuple):
    """A directory that is to be listed."""

    path: bytes
    """Below the export."""
    handle: bytes = b""
    """Empty: resolve the path."""
    above: tuple[int, ...] = ()
    """Fingerprints of the handles of the directories it was found below, by which a loop is noticed."""


@dataclass(slots=True)
class Batch:
    """Directories that are listed together and whose files are packed together: the unit that makes a scan
    repeatable, since what comes of a batch depends on nothing but what is in its directories.
    """

    directories: list[Directory]
    session: int
    """Index of the session that the handles are good for; −1: none."""


class Frontier:
    """A stack of batches; holds at most about ``most_batches`` of them in memory."""

    def __init__(self, most_batches: int = 1024) -> None:
        self._most = most_batches
        self._top: list[Batch] = []
        self._file: IO[bytes] | None = None
        self._spilled: list[int] = []

    def __len__(self) -> int:
        return len(self._top) + len(self._spilled) * (self._most // 2)

    def push(self, batch: Batch) -> None:
        self._top.append(batch)
        if len(self._top) <= self._most:
            return
        half = self._most // 2
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="cachewarmer-frontier-")  # noqa: SIM115  # lives as long as the stack
        self._spilled.append(self._file.seek(0, 2))
        pickle.dump([(one.directories, one.session) for one in self._top[:half]], self._file, protocol=5)
        del self._top[:half]

    def pop(self) -> Batch:
        """Raises ``IndexError`` when there is none left."""
        if not self._top and self._spilled and self._file is not None:
            offset = self._spilled.pop()
            self._file.seek(offset)
            self._top = [Batch(*one) for one in pickle.load(self._file)]  # noqa: S301  # our own unlinked file
            self._file.truncate(offset)
        return self._top.pop()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
