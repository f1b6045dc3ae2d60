"""The READ requests of one item, made shortly before they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat

from cachewarmer.model import FileEntry, WorkItem
from cachewarmer.paths import ENCODING, ERRORS
from cachewarmer.targets.base import ReadRequest, Supply
from cachewarmer.warming.item_paths import above_of
from cachewarmer.warming.rest import Piece

MADE_AT_ONCE = 256
"""Requests that are made together. One at a time, each would cost a function call; all at once, they would have left
the processor's caches before they are used.
"""
LEAST_SWEPT = 2 * MADE_AT_ONCE
"""Minimum number of requests that are kept before those that are done are removed."""


class ItemSupply(Supply):
    """Makes the requests for ``count`` pieces of an item's files.

    ``on_done`` is called with each request when it is done. Its ``context`` is its piece until then.
    """

    __slots__ = ("_above", "_files", "_kept", "_made", "_most", "_on_done", "_pieces", "_prefix", "in_order", "left")

    def __init__(
        self, item: WorkItem, pieces: Iterator[Piece], count: int, on_done: Callable[[ReadRequest], None]
    ) -> None:
        self._files: Sequence[FileEntry] = item.files or ()
        self._pieces = pieces
        self._on_done = on_done
        self._above, self._prefix = above_of(item)
        self._kept: list[ReadRequest] = []
        """The requests that were taken, without some that are done, followed by those of ``_made`` in order."""
        self._made: list[ReadRequest] = []
        """The requests that are made but not taken yet, the next one last."""
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
        """The requests that were taken and are not done yet."""
        taken = len(self._kept) - len(self._made)
        return [one for one in self._kept[:taken] if one.context is not None]

    def untaken(self) -> list[Piece]:
        """The pieces whose requests were not taken yet."""
        later = list(self._pieces)
        self._pieces = iter(later)
        return [*self._pieces_made(), *later]

    def end(self) -> list[Piece]:
        """Ends the supply: no more requests can be taken. Returns the pieces whose requests were not taken."""
        pieces = [*self._pieces_made(), *self._pieces]
        del self._kept[len(self._kept) - len(self._made) :]
        self._made, self._pieces, self.left = [], iter(()), 0
        return pieces

    def _pieces_made(self) -> list[Piece]:
        return [one.context for one in reversed(self._made)]  # type: ignore[misc]

    def path_of(self, piece: Piece) -> bytes:
        """The path below the export of the file of a piece."""
        name = self._files[piece.number].path
        return self._prefix + name.encode(ENCODING, ERRORS) if name else self._above


def whole_files(item: WorkItem) -> Iterator[Piece]:
    """``rest.wanted`` for an item whose files are read whole, without a function call for each file."""
    sizes = [entry[1] for entry in item.files or ()]
    return map(tuple.__new__, repeat(Piece), zip(range(len(sizes)), repeat(0), sizes, repeat(True)))
