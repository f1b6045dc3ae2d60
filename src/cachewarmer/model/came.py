"""How much of an item had been read when it was handed back: its message says so, and only the rest is read next.

Nothing counts before the item is settled: then one receipt covers all of it. A program that does not know these keys
reads the whole item, and its receipt says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidValue
from cachewarmer.model.parts import Part, Range, read_rows
from cachewarmer.wire import MOST_FILES, FieldReader, FileEntry

MOST_CALLS = 1 << 40
"""More than any item takes; sums of such numbers still fit into what brokers store."""


class Came(NamedTuple):
    """What has been read of an item's files. An instance is true if that is anything."""

    files: tuple[Range, ...] = ()
    """Numbers, from 0, of the files of which all that is wanted was read: half-open ranges, in order and disjoint."""
    ranges: tuple[Part, ...] = ()
    """Bytes that were read of other files, in order and disjoint."""
    calls: int = 0
    """Number of calls that this took."""

    def __bool__(self) -> bool:
        return bool(self.files or self.ranges)

    def json(self) -> dict[str, Any]:
        """The keys for the item's message; none if nothing was read."""
        values = {"CameFiles": self.files, "CameRanges": self.ranges, "CameCalls": self.calls}
        return {key: value for key, value in values.items() if value} if self else {}


NOTHING_CAME = Came()


def read_came(read: FieldReader, files: Sequence[FileEntry]) -> Came:
    """Reads from a message what has been read of the item, whose files are ``files``.

    Raises:
        InvalidValue: the message names files or bytes that the item does not have, or some of them twice.
    """
    rows = read.take("CameFiles", list, [])
    if len(rows) > MOST_FILES:
        raise InvalidValue(f"CameFiles holds {len(rows)} rows: at most {MOST_FILES}")
    at, whole = 0, []
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and all(type(one) is int for one in row)):  # noqa: PLR2004
            raise InvalidValue("CameFiles must hold [first file, file after the last]")
        if not at <= row[0] < row[1] <= len(files):
            raise InvalidValue("CameFiles must name files of the item, in order")
        at = row[1]
        whole.append((row[0], row[1]))
    return Came(tuple(whole), read_rows(read, "CameRanges", files), read.number("CameCalls", most=MOST_CALLS))


def numbers_in(ranges: Iterable[Range]) -> Iterator[int]:
    """The numbers in half-open ranges."""
    for start, stop in ranges:
        yield from range(start, stop)


def ranges_in(numbers: Iterable[int]) -> tuple[Range, ...]:
    """Ascending numbers as half-open ranges."""
    found: list[Range] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return tuple(found)


def without(wanted: Range, others: Iterable[Range]) -> list[Range]:
    """The parts of a range that lie in none of the others, in order. An empty range is returned as it is."""
    at, stop = wanted
    if at == stop:
        return [wanted]
    found: list[Range] = []
    for first, last in sorted(others):
        if at < min(first, stop):
            found.append((at, min(first, stop)))
        at = max(at, last)
    return [*found, (at, stop)] if at < stop else found
