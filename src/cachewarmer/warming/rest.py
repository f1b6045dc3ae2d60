"""Which byte ranges of an item's files are wanted, which have been read, and which are left. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from cachewarmer.model import WorkItem
from cachewarmer.model.came import Came, numbers_in, ranges_in, without
from cachewarmer.model.parts import Part, Range, ranges_of


class Piece(NamedTuple):
    """A byte range of one of an item's files that is still to be read."""

    number: int
    """The number of the file in the item."""
    start: int
    stop: int
    """``start`` and ``stop`` are offsets in bytes."""
    last: bool
    """Whether the file needs no more reading after this piece."""


def pieces_of(number: int, ranges: Sequence[Range]) -> list[Piece]:
    """The pieces for the ranges that are wanted of a file."""
    return [Piece(number, start, stop, last=(start, stop) == ranges[-1]) for start, stop in ranges]


def wanted(item: WorkItem) -> Iterator[Piece]:
    """All pieces of an item, file by file, whether they were read or not."""
    cut = ranges_of(item.parts) if item.parts else {}
    for index, (_, size, _) in enumerate(item.files or ()):
        if index in cut:
            yield from pieces_of(index, cut[index])
        else:
            start, stop = (0, size) if item.start < 0 else (min(item.start, size), min(item.stop, size))
            yield Piece(index, start, stop, last=True)


def rest(item: WorkItem) -> Iterator[tuple[Piece, list[Piece]]]:
    """Each piece of an item, with the pieces left of it after what was read before (``WorkItem.came``)."""
    whole, partly = set(numbers_in(item.came.files)), ranges_of(item.came.ranges)
    for piece in wanted(item):
        if piece.number in whole:
            yield piece, []
            continue
        left = without((piece.start, piece.stop), partly.get(piece.number, ()))
        yield (
            piece,
            [piece._replace(start=start, stop=stop, last=piece.last and stop == left[-1][1]) for start, stop in left],
        )


def what_came(item: WorkItem, left: Iterable[Piece], unknown: Collection[int], calls: int) -> Came:
    """What has been read of an item: all but the pieces ``left``, and the files ``unknown``, given by number."""
    gaps: dict[int, list[Range]] = {}
    for piece in left:
        gaps.setdefault(piece.number, []).append((piece.start, piece.stop))
    whole: list[int] = []
    partly: list[Part] = []
    for number, pieces in groupby(wanted(item), key=lambda piece: piece.number):
        if number in unknown:
            continue
        if number not in gaps:
            whole.append(number)
            continue
        for piece in pieces:
            if piece.start < piece.stop:
                came = without((piece.start, piece.stop), gaps[number])
                partly += [Part(number, start, stop) for start, stop in came]
    return Came(ranges_in(whole), tuple(partly), calls)
