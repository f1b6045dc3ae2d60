"""The names that a listing has returned so far, to detect repetitions. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Protocol, TypeVar

PLAIN_NAMES = 1 << 15
"""Maximum number of names in a set; a larger set would take too much memory."""
TABLE_BYTES = 1 << 22
"""Size of the table for the first test in a larger directory: one bit for each value of a part of the hash. If the bit
is 0, the name is new."""
RUNS_OF_A_KIND = 8
"""Number of sorted runs of about the same length that are merged into one."""


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> bytes: ...


T = TypeVar("T", bound=Named)


class SeenNames:
    """The names of one directory as 64-bit hashes: about 8 bytes a name, plus about 6 MiB for a large directory.

    The hash is Python's own, with a new key for each process (SipHash), so that no server can make two names collide.
    """

    def __init__(self) -> None:
        self.count = 0
        self._recent: set[int] = set()
        self._table = bytearray()
        self._runs: list[array[int]] = []

    def __repr__(self) -> str:
        return f"<SeenNames {self.count}>"

    def fresh(self, entries: Sequence[T]) -> Sequence[T]:
        """Adds the names of entries; returns those whose names are new, or the same sequence if all are."""
        hashes = [hash(entry.name) for entry in entries]
        page = set(hashes)
        if len(page) == len(hashes) and not self._table and self._recent.isdisjoint(page):
            self._recent |= page
            self.count += len(page)
            self._spill()
            return entries
        if len(page) == len(hashes) and self._table and self._all_new(hashes):
            self._mark(hashes)
            self._recent |= page
            self.count += len(page)
            self._spill()
            return entries
        new = [entry for entry, value in zip(entries, hashes, strict=True) if self._add(value)]
        self._spill()
        return entries if len(new) == len(entries) else new

    def _all_new(self, hashes: Sequence[int]) -> bool:
        """Whether none of the hashes is known. It is fast, because the table proves nearly all of them new."""
        table, last = self._table, TABLE_BYTES - 1
        suspects = [value for value in hashes if table[value >> 3 & last] >> (value & 7) & 1]
        return not any(self._has(value) for value in suspects)

    def _mark(self, hashes: Iterable[int]) -> None:
        table, last = self._table, TABLE_BYTES - 1
        for value in hashes:
            table[value >> 3 & last] |= 1 << (value & 7)

    def _has(self, value: int) -> bool:
        return value in self._recent or any(_holds(run, value) for run in self._runs)

    def _add(self, value: int) -> bool:
        """Adds a hash; returns whether it is new."""
        if self._table:
            place, bit = value >> 3 & TABLE_BYTES - 1, 1 << (value & 7)
            if self._table[place] & bit:
                if self._has(value):
                    return False
            else:
                self._table[place] |= bit
        elif value in self._recent:
            return False
        self._recent.add(value)
        self.count += 1
        return True

    def _spill(self) -> None:
        """Packs recent hashes into a sorted run, and merges runs of similar length, so that there are never many."""
        if len(self._recent) < PLAIN_NAMES:
            return
        if not self._table:
            self._table = bytearray(TABLE_BYTES)
            self._mark(self._recent)
        self._runs.append(array("q", sorted(self._recent)))
        self._recent = set()
        while len(self._runs) >= RUNS_OF_A_KIND:
            last = self._runs[-RUNS_OF_A_KIND:]
            if len(last[0]) > 2 * len(last[-1]):
                break
            self._runs[-RUNS_OF_A_KIND:] = [array("q", merge(*last))]


def _holds(run: array[int], value: int) -> bool:
    place = bisect_left(run, value)
    return place < len(run) and run[place] == value
