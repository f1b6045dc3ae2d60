"""Selects which bytes of a file to read: its ends (``--head``, ``--tail``) and the ranges of a list, no byte twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import NamedTuple

from cachewarmer.model.parts import Range, ends_of


class Portion(NamedTuple):
    """The bytes of a file that are to be read."""

    ranges: list[Range]
    """(start, stop) in bytes, in order and disjoint; empty: everything that was asked for is planned already."""
    further: bool
    """Whether some bytes of the file were planned before, so that the file is counted already."""


class Portions:
    """Decides which bytes of each file to read.

    ``head`` and ``tail`` are how many bytes of its ends are wanted; 0 and 0: whole files. With ``remember``, bytes that
    were planned before are left out.
    """

    def __init__(self, head: int, tail: int, *, remember: bool) -> None:
        self._head = head
        self._tail = tail
        self._remember = remember and bool(head or tail)
        self._covered: _Covered | None = _Covered() if self._remember else None

    @property
    def remembers(self) -> bool:
        """Whether it is known which bytes of every file are planned, so that a file named again may add others."""
        return self._remember

    @property
    def active(self) -> bool:
        """Whether ``of`` may return anything but None."""
        return bool(self._head or self._tail) or self._covered is not None

    def of(self, path: bytes, size: int) -> Portion | None:
        """What to read of a file of ``size`` bytes that is named without a range; None: all of it."""
        wanted = ends_of(size, self._head, self._tail) or [(0, size)]
        if self._covered is None:
            return None if wanted == [(0, size)] else Portion(wanted, further=False)
        known = path in self._covered
        if size and (known or self._remember):
            wanted = [one for start, stop in wanted for one in self._covered.add(path, start, stop)]
        return Portion(wanted, known) if known or wanted != [(0, size)] else None

    def of_ranges(self, path: bytes, ranges: Iterable[Range]) -> Portion:
        """What to read of the ranges of a file that a list names."""
        if self._covered is None:
            self._covered = _Covered()
        known = path in self._covered
        new = sorted(one for start, stop in ranges for one in self._covered.add(path, start, stop))
        return Portion(list(_joined(new)), known)

    def close(self) -> None:
        """Deletes the temporary database, if there is one."""
        if self._covered is not None:
            self._covered.close()


class _Covered:
    """Ranges of files by digests of their paths, in a temporary database of which only the cache is in memory."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(
            "CREATE TABLE covered (path BLOB, start INTEGER, stop INTEGER, PRIMARY KEY (path, start)) WITHOUT ROWID"
        )

    def __contains__(self, path: bytes) -> bool:
        with closing(self._rows.execute("SELECT 1 FROM covered WHERE path = ? LIMIT 1", (_digest(path),))) as found:
            return found.fetchone() is not None

    def add(self, path: bytes, start: int, stop: int) -> list[Range]:
        """Adds a range; returns the parts of it that are new."""
        key = _digest(path)
        query = "SELECT start, stop FROM covered WHERE path = ? AND start <= ? AND stop >= ? ORDER BY start"
        met: Sequence[Range] = self._rows.execute(query, (key, stop, start)).fetchall()
        new, at = [], start
        for begin, end in met:
            if at < begin:
                new.append((at, begin))
            at = max(at, end)
        if at < stop:
            new.append((at, stop))
        if new:
            self._rows.executemany(
                "DELETE FROM covered WHERE path = ? AND start = ?", [(key, begin) for begin, _ in met]
            )
            joined = (key, min([start, *(begin for begin, _ in met)]), max([stop, *(end for _, end in met)]))
            self._rows.execute("INSERT INTO covered VALUES (?, ?, ?)", joined)
        return new

    def close(self) -> None:
        self._rows.close()


def _joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Merges adjacent ranges; ``ranges`` are sorted and disjoint."""
    held: Range | None = None
    for start, stop in ranges:
        if held is not None and held[1] == start:
            held = (held[0], stop)
        else:
            if held is not None:
                yield held
            held = (start, stop)
    if held is not None:
        yield held


def _digest(path: bytes) -> bytes:
    return blake2b(path, digest_size=16).digest()
