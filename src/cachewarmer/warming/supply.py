"""The READ requests of one item, each made when its turn has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat

from cachewarmer.model import FileEntry, WorkItem
from cachewarmer.paths import ENCODING, ERRORS
from cachewarmer.targets.base import ReadRequest, Supply
from cachewarmer.warming.item_paths import above_of
from cachewarmer.warming.rest import Piece

MADE_AT_ONCE = 256
"""Requests that are made together: one by one they would cost a call each, all together they would leave the processor's
caches long before they are used."""
LEAST_SWEPT = 2 * MADE_AT_ONCE
"""Requests that are kept, at the least, before those that are done are looked for among them."""


class ItemSupply(Supply):
    """Makes the requests for pieces of an item's files. Each has its piece as ``context``, until it is done."""

    __slots__ = ("_above", "_files", "_kept", "_made", "_most", "_on_done", "_pieces", "_prefix", "in_order", "left")

    def __init__(
        self, item: WorkItem, pieces: Iterator[Piece], count: int, on_done: Callable[[ReadRequest], None]
    ) -> None:
        self._files: Sequence[FileEntry] = item.files or ()
        self._pieces = pieces
        self._on_done = on_done
        self._above, self._prefix = above_of(item)
        self._kept: list[ReadRequest] = []
        """Those that were taken, without some that are done, and then those of ``_made``, in their order."""
        self._made: list[ReadRequest] = []
        """Those that are made and not yet taken, the next one last."""
        self._most = LEAST_SWEPT
        self.in_order = item.in_order
        self.left = count

    def take(self) -> ReadRequest:
        if not self._made:
            self._make()
        self.left -= 1
        return self._made.pop()

    def _make(self) -> None:
        """Makes the next requests."""
        kept = self._kept
        if len(kept) >= self._most:
            kept[:] = self.pending()
            self._most = max(LEAST_SWEPT, 2 * len(kept))
        before = len(kept)
        files, prefix, above, on_done, in_order = self._files, self._prefix, self._above, self._on_done, self.in_order
        for piece in islice(self._pieces, MADE_AT_ONCE):
            number, start, stop, _ = piece
            name, _, handle = files[number]
            path = prefix + name.encode(ENCODING, ERRORS) if name else above
            kept.append(ReadRequest(path, handle, start, stop, on_done, piece, in_order))
        self._made = kept[before:]
        self._made.reverse()

    def pending(self) -> list[ReadRequest]:
        """The requests that were taken and are not done."""
        taken = len(self._kept) - len(self._made)
        return [one for one in self._kept[:taken] if one.context is not None]

    def untaken(self) -> list[Piece]:
        """The pieces for which no request was taken."""
        later = list(self._pieces)
        self._pieces = iter(later)
        return [*self._pieces_made(), *later]

    def end(self) -> list[Piece]:
        """No more requests are taken; returns the pieces for which none was."""
        pieces = [*self._pieces_made(), *self._pieces]
        del self._kept[len(self._kept) - len(self._made) :]
        self._made, self._pieces, self.left = [], iter(()), 0
        return pieces

    def _pieces_made(self) -> list[Piece]:
        return [one.context for one in reversed(self._made)]  # type: ignore[misc]

    def path_of(self, piece: Piece) -> bytes:
        """The path of a piece's file below the export."""
        name = self._files[piece.number].path
        return self._prefix + name.encode(ENCODING, ERRORS) if name else self._above


def whole_files(item: WorkItem) -> Iterator[Piece]:
    """All that is to be read of an item whose files are read whole: as ``rest.wanted``, without a call for each file."""
    sizes = [entry[1] for entry in item.files or ()]
    return map(tuple.__new__, repeat(Piece), zip(range(len(sizes)), repeat(0), sizes, repeat(True)))
