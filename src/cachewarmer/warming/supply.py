"""The READ requests of one item, each made when its turn has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

from cachewarmer.model import FileEntry, WorkItem
from cachewarmer.paths import ENCODING, ERRORS
from cachewarmer.targets.base import ReadRequest, Supply
from cachewarmer.warming.item_paths import above_of
from cachewarmer.warming.rest import Piece

LEAST_SWEPT = 256
"""Requests that are kept, at the least, before those that are done are looked for among them."""


class ItemSupply(Supply):
    """Makes the requests for pieces of an item's files. Each has its piece as ``context``, until it is done."""

    __slots__ = ("_above", "_files", "_most", "_on_done", "_pieces", "_prefix", "_taken", "in_order", "left")

    def __init__(
        self, item: WorkItem, pieces: Iterator[Piece], count: int, on_done: Callable[[ReadRequest], None]
    ) -> None:
        self._files: Sequence[FileEntry] = item.files or ()
        self._pieces = pieces
        self._on_done = on_done
        self._above, self._prefix = above_of(item)
        self._taken: list[ReadRequest] = []
        self._most = LEAST_SWEPT
        self.in_order = item.in_order
        self.left = count

    def take(self) -> ReadRequest:
        self.left -= 1
        piece = next(self._pieces)
        number, start, stop, _ = piece
        name, _, handle = self._files[number]
        path = self._prefix + name.encode(ENCODING, ERRORS) if name else self._above
        request = ReadRequest(path, handle, start, stop, self._on_done, piece, self.in_order)
        taken = self._taken
        if len(taken) >= self._most:
            taken[:] = self.pending()
            self._most = max(LEAST_SWEPT, 2 * len(taken))
        taken.append(request)
        return request

    def pending(self) -> list[ReadRequest]:
        """The requests that were taken and are not done."""
        return [one for one in self._taken if one.context is not None]

    def untaken(self) -> list[Piece]:
        """The pieces for which no request was taken."""
        pieces = list(self._pieces)
        self._pieces = iter(pieces)
        return pieces

    def end(self) -> list[Piece]:
        """No more requests are taken; returns the pieces for which none was."""
        pieces, self._pieces, self.left = list(self._pieces), iter(()), 0
        return pieces

    def path_of(self, piece: Piece) -> bytes:
        """The path of a piece's file below the export."""
        name = self._files[piece.number].path
        return self._prefix + name.encode(ENCODING, ERRORS) if name else self._above


def whole_files(item: WorkItem) -> Iterator[Piece]:
    """All that is to be read of an item whose files are read whole: as ``rest.wanted``, without a call for each file."""
    sizes = [entry[1] for entry in item.files or ()]
    return map(tuple.__new__, repeat(Piece), zip(range(len(sizes)), repeat(0), sizes, repeat(True)))
