"""Which bytes of a file are wanted, if not all of them: half-open ranges, in order and disjoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidValue
from cachewarmer.wire import MOST_FILES, FieldReader, FileEntry

Range = tuple[int, int]
"""[start, stop) in bytes."""


class Part(NamedTuple):
    """A row of ``Ranges``: bytes of one of an item's files. A file without a row is wanted whole."""

    number: int
    """The number of the file, counted from 0."""
    start: int
    stop: int


def ends_of(size: int, head: int, tail: int) -> list[Range] | None:
    """The first ``head`` and the last ``tail`` bytes of a file of ``size`` bytes, without overlap.

    Returns None if that is the whole file, or if both are 0, which means no limit.
    """
    if not (head or tail) or head + tail >= size:
        return None
    first, last = (0, head), (size - tail, size)
    return [one for one in (first, last) if one[0] < one[1]]


def parts_of_ends(files: Sequence[FileEntry], head: int, tail: int) -> tuple[Part, ...]:
    """The rows for the first ``head`` and last ``tail`` bytes of each file; none for files that are wanted whole."""
    return tuple(
        Part(number, start, stop)
        for number, (_, size, _) in enumerate(files)
        for start, stop in ends_of(size, head, tail) or ()
    )


def ranges_of(parts: Sequence[Part]) -> dict[int, list[Range]]:
    """The wanted ranges of the files that have rows, by number of the file."""
    found: dict[int, list[Range]] = {}
    for number, start, stop in parts:
        found.setdefault(number, []).append((start, stop))
    return found


def wanted_bytes(parts: Sequence[Part], files: Sequence[FileEntry]) -> int:
    """How many bytes an item with these rows and files stands for."""
    cut = {number for number, _, _ in parts}
    whole = sum(size for number, (_, size, _) in enumerate(files) if number not in cut)
    return whole + sum(stop - start for _, start, stop in parts)


def read_parts(read: FieldReader, files: Sequence[FileEntry] | None) -> tuple[Part, ...]:
    """Reads the rows of a message that say what is wanted; none if the key is missing.

    Raises:
        InvalidValue: they are not ranges of its files, in order and without overlaps.
    """
    return read_rows(read, "Ranges", files or ())


def read_rows(read: FieldReader, key: str, files: Sequence[FileEntry]) -> tuple[Part, ...]:
    """Reads the rows under a key of a message; none if the key is missing.

    Raises:
        InvalidValue: they are not ranges of its files, in order and without overlaps.
    """
    rows = read.take(key, list, [])
    if len(rows) > MOST_FILES:
        raise InvalidValue(f"{key} holds {len(rows)} rows: at most {MOST_FILES}")
    parts = tuple(_part(key, row, files) for row in rows)
    for one, following in pairwise(parts):
        if following[:2] < (one.number, one.stop):
            raise InvalidValue(f"the rows of {key} must be in order and must not overlap")
    return parts


def _part(key: str, row: Any, files: Sequence[FileEntry]) -> Part:
    if not (isinstance(row, list) and len(row) == 3 and all(type(one) is int for one in row)):
        raise InvalidValue(f"{key} must hold [number of the file, start, stop]")
    number, start, stop = row
    if not 0 <= number < len(files) or not 0 <= start < stop <= files[number].size:
        raise InvalidValue(f"{key} names bytes beyond the end of its files")
    return Part(number, start, stop)
