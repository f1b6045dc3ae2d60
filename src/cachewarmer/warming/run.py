"""The reading of one work item: what was requested, what was received, and what must be requested again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence

from cachewarmer.errors import CacheWarmerError, FileError, TransportError
from cachewarmer.model import WorkItem
from cachewarmer.model.came import NOTHING_CAME, Came
from cachewarmer.model.parts import ranges_of
from cachewarmer.targets.base import ReadRequest, Session, Window
from cachewarmer.warming.item_paths import path_of, paths_of
from cachewarmer.warming.outcome import ItemOutcome
from cachewarmer.warming.pace import Pace
from cachewarmer.warming.rest import Piece, pieces_of, rest, wanted, what_came
from cachewarmer.warming.supply import ItemSupply, whole_files

LOOK_AGAIN_SECONDS = (0.5, 1.0, 2.0)
"""Waits before a file that ended early is looked up again. Servers keep sizes in memory for some seconds: one that a file
lost just now is still told, though READ knows better."""
PACE_SECONDS = 1.0
"""A pace may change: what waits for its turn looks again after this time."""


class ItemRun:
    """The reading of one item, in as many passes as it takes.

    A pass gives all that is missing to one session and waits for it. What failed with the address (``TransportError``)
    is missing afterwards and is all that the next pass asks for, at whichever address.
    """

    def __init__(self, pace: Pace | None = None, look_again: Sequence[float] = LOOK_AGAIN_SECONDS) -> None:
        self.pace = pace
        self._look_again_seconds = look_again
        self.outcome = ItemOutcome()
        self.outstanding = 0
        """Requests given to the session and not yet done."""
        self.begun = False
        """Whether its files are known and were given to a session."""
        self.aborting = asyncio.Event()
        self.unreached: TransportError | None = None
        """What the address failed with in the last pass."""
        self.unreached_path: bytes | None = None
        """The last path that it failed for."""
        self._requests: list[ReadRequest] = []
        """What was asked for at a pace …"""
        self._supply: ItemSupply | None = None
        """… and what all else of a pass is asked for by."""
        self._missing: list[Piece] | None = None
        self._missed: dict[int, TransportError] = {}
        """What the address last failed with, for each file that it failed for."""
        self._short: dict[int, int] = {}
        """Files that ended before their size, and where."""
        self._idle = asyncio.Event()
        self._asking = False
        self._in_order = False
        self._window: Window | None = None
        """Of the session that reads all that is missing; None: nothing is read, or one by one."""
        self._held_back = False
        self._left: list[Piece] = []
        """What was being asked for when the reading was aborted."""
        self._later: list[Piece] = []
        """What waits until one piece has been read by itself."""

    @property
    def aborted(self) -> bool:
        """Whether the reading is to end without a result."""
        return self.aborting.is_set()

    def abort(self) -> None:
        """Ends the reading soon: no further call is made for it."""
        self.aborting.set()
        self._left += self._end_supply()
        for request in self._pending():
            self._left.append(request.context)  # type: ignore[arg-type]
            request.stop = request.start

    def hold_back(self) -> None:
        """Its pace has become slower: what the session has not asked for yet is missing, to be asked for at that pace.

        What is on its way may be asked for again, where a session can't say how far it is; no byte is counted twice.
        """
        if self._window is None or self._missing is None:
            return
        later = self._end_supply()
        self._missing += later
        self._held_back = self._held_back or bool(later)
        for request in self._pending():
            piece: Piece = request.context  # type: ignore[assignment]
            asked = request.bytes_read + self._window.bytes_in_flight if request.calls else 0
            end = request.start + asked
            if end < request.stop:
                self._missing.append(Piece(piece.number, end, request.stop, piece.last))
                request.context = Piece(piece.number, request.start, end, last=False)
                request.stop = end
                self._held_back = True

    @property
    def progress(self) -> tuple[int, int]:
        """A value that changes whenever something was read or found out."""
        return self.outcome.calls, self.outcome.files

    def mark(self) -> object:
        """A value that changes whenever a byte comes or something is found out; None: no answer is being waited for.

        A request that waits for its turn behind others waits for no answer yet.
        """
        if self._asking:
            return None
        asked = [one.bytes_read for one in self._pending() if one.calls and not one.put_off]
        return (self.outcome.calls, self.outcome.files, sum(asked)) if asked else None

    def leave(self, error: TransportError) -> None:
        """Waits no longer for what has been asked for: it is missing, as after a failure of the address."""
        for request in self._pending():
            piece, request.context = request.context, None
            request.stop, request.on_done = request.start, _ignore
            self._miss(piece, error, request.path)  # type: ignore[arg-type]
            self.outstanding -= 1
        if self._supply is not None:
            for one in self._end_supply():
                self._miss(one, error, self._supply.path_of(one))
        self._idle.set()

    def _miss(self, piece: Piece, error: TransportError, path: bytes) -> None:
        self.unreached, self.unreached_path = error, path
        self._missed[piece.number] = error
        if self._missing is not None:
            self._missing.append(piece)

    # -- a pass ----------------------------------------------------------------------------------------------------

    async def read(self, session: Session, item: WorkItem) -> None:
        """Reads what is missing through ``session``; afterwards ``unreached`` says whether its address failed.

        A file that ended before the size in the item is looked up again: one that has changed is read to its new size,
        one that has not is a failed file.
        """
        self._in_order = item.in_order
        while True:
            self._held_back, self._window = False, session.window
            await self._pass(session, item, self._pieces(item))
            self._window = None
            if self.unreached is not None or self.aborted:
                return
            if self._held_back:
                continue
            if not self._short:
                return
            await self._look_again(session, item)
            if self.unreached is not None:
                return

    async def read_each(self, session: Session, item: WorkItem, most: int = 0) -> None:
        """Reads what is missing, piece by piece: where one ends the connection, it takes no other with it.

        ``most``: after so many in a row that are not answered the others are not asked for; 0: all are.
        """
        pieces, in_a_row = list(self._pieces(item)), 0
        failure: TransportError | None = None
        for number, piece in enumerate(pieces):
            self._later = pieces[number + 1 :]
            if (most and in_a_row == most) or self.aborted:
                self._missing = [*pieces[number:], *(self._missing or ())]
                break
            await self._pass(session, item, iter([piece]))
            in_a_row = 0 if self.unreached is None else in_a_row + 1
            failure = self.unreached or failure
        self.unreached, self._later = failure, []

    def _pieces(self, item: WorkItem) -> Iterator[Piece]:
        if self._missing is not None:
            missing, self._missing = self._missing, []
            yield from missing
            return
        self._missing = []
        if not item.came or item.ledger:  # a ledger tells of each file how it was read
            yield from wanted(item)
            return
        self.outcome.calls += item.came.calls
        for piece, left in rest(item):
            self.outcome.bytes += piece.stop - piece.start - sum(one.stop - one.start for one in left)
            self.outcome.files += piece.last and not left
            yield from left

    async def _pass(self, session: Session, item: WorkItem, pieces: Iterator[Piece]) -> None:
        if self.aborted:
            return
        if item.ledger:
            from cachewarmer.warming.notes import Notes

            self.outcome.notes = self.outcome.notes or Notes(len(item.files or ()))
            self.outcome.notes.here = session.address
        self._requests, self._supply, self.unreached = [], None, None
        self._idle.clear()
        self.outstanding = 1
        self.begun = self._asking = True
        if self.pace is not None and self.pace.bytes_per_second:
            await self._ask_paced(session, item, pieces, self.pace)
        else:
            self._ask_all(session, item, pieces)
        self.outstanding -= 1
        self._asking = False
        if self.outstanding:
            await self._idle.wait()
        # Each request holds this run: together they would wait for the garbage collector.
        self._requests, self._supply = [], None

    def _ask_all(self, session: Session, item: WorkItem, pieces: Iterator[Piece]) -> None:
        """Hands the session all that is missing; it takes the requests as its window has room for them."""
        if self._missing is None and item.start < 0 and not item.parts and not item.came:  # as nearly always
            self._missing = []
            count, pieces = len(item.files or ()), whole_files(item)
        else:
            listed = list(pieces)
            count, pieces = len(listed), iter(listed)
        self.outstanding += count
        self._supply = ItemSupply(item, pieces, count, self._done)
        session.read_all(self._supply)

    def _end_supply(self) -> list[Piece]:
        """The pieces that the session has not taken; it takes them no more."""
        left = self._supply.end() if self._supply is not None else []
        self.outstanding -= len(left)
        if not self.outstanding:
            self._idle.set()
        return left

    async def _ask_paced(self, session: Session, item: WorkItem, pieces: Iterator[Piece], pace: Pace) -> None:
        files, below = item.files or (), paths_of(item)
        for piece in pieces:
            name, _, handle = files[piece.number]
            await self._ask_in_parts(session, below(name), handle, piece, pace)
            if self.aborted:
                self._later = list(pieces)
                return

    async def _ask_in_parts(self, session: Session, path: bytes, handle: bytes, piece: Piece, pace: Pace) -> None:
        start = piece.start
        while start < piece.stop and not self.aborted and piece.number not in self._short:
            stop = min(piece.stop, start + pace.piece_bytes)
            place = pace.take(stop - start, time.monotonic())
            while (wait := pace.wait(place, time.monotonic())) and not self.aborted:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.aborting.wait(), min(wait, PACE_SECONDS))
            last = piece.last and stop == piece.stop
            self._ask(session, path, handle, Piece(piece.number, start, stop, last))
            start = stop
        if piece.start == piece.stop:
            self._ask(session, path, handle, piece)
        elif self.aborted:
            self._left.append(piece._replace(start=start))
        elif piece.number in self._short and start < piece.stop and piece.last:
            self.outcome.files += 1  # it needs no more reading, unless it has changed

    def _ask(self, session: Session, path: bytes, handle: bytes, piece: Piece) -> None:
        request = ReadRequest(path, handle, piece.start, piece.stop, self._done, piece, self._in_order)
        self._requests.append(request)
        self.outstanding += 1
        session.read(request)

    def _done(self, request: ReadRequest) -> None:
        piece: Piece = request.context  # type: ignore[assignment]
        request.context = None  # it is done
        self.outstanding -= 1
        if not self.outstanding:
            self._idle.set()
        error = request.error
        if error is not None and isinstance(error, TransportError):
            self._interrupted(request, piece, error)
            return
        wanted, read = request.stop - request.start, request.bytes_read
        if read != wanted or error is not None:
            read = min(read, wanted)  # it may have asked for more before it was held back
            if error is not None:
                self.outcome.problems[piece[0]] = error
            elif read < wanted:
                end = request.start + read
                self._short[piece[0]] = min(end, self._short.get(piece[0], end))
        outcome = self.outcome
        outcome.bytes += read
        outcome.calls += request.calls
        if outcome.notes is not None:
            outcome.notes.add(piece[0], read, request.seconds)
        if piece[3]:
            outcome.files += 1
        if request.seconds > outcome.fast_seconds and error is None:
            outcome.add_slow(request)

    def _interrupted(self, request: ReadRequest, piece: Piece, error: TransportError) -> None:
        """The address failed. What had come until then is kept: only the rest is missing."""
        stop = request.stop
        if request.left is None:
            left = [(request.start, stop)]
        else:  # it may have been held back meanwhile
            left = [(start, min(end, stop)) for start, end in request.left if start < stop]
        read = stop - request.start - sum(end - start for start, end in left)
        if read > 0:
            self.outcome.bytes += read
            self.outcome.calls += request.calls
            if self.outcome.notes is not None:
                self.outcome.notes.add(piece.number, read, request.seconds)
        for start, end in left:
            self._miss(Piece(piece.number, start, end, piece.last and end == stop), error, request.path)
        if not left:
            self._miss(piece._replace(start=stop, stop=stop), error, request.path)

    async def _look_again(self, session: Session, item: WorkItem) -> None:
        """Asks for the size of files that ended early, and finds out what is left to read of them, or that they failed."""
        for seconds in (0.0, *self._look_again_seconds):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.aborting.wait(), seconds)
            if self.aborted:
                return
            await self._look(session, item)
            if not self._short or self.unreached is not None:
                return
        short, self._short = self._short, {}
        for index, end in short.items():
            self.outcome.problems[index] = FileError(
                f"the file ends after {end:,} of its {self._size(item, index):,} bytes"
            )

    async def _look(self, session: Session, item: WorkItem) -> None:
        """Asks for their size once; what has not changed, or could not be asked for, is still short afterwards."""
        short, self._short = self._short, {}
        for index, end in short.items():
            if index in self.outcome.problems:
                continue
            try:
                size = (await session.lookup(path_of(item, (item.files or ())[index].path))).size
            except TransportError as error:
                self.unreached = error
                self._short[index] = end
            except CacheWarmerError as error:
                self.outcome.problems[index] = error
            else:
                if size == self._size(item, index):
                    self._short[index] = end
                else:
                    self._resize(item, index, end, size)

    def _size(self, item: WorkItem, index: int) -> int:
        """As it was last told."""
        return self.outcome.sizes.get(index, (item.files or ())[index].size)

    def _resize(self, item: WorkItem, index: int, end: int, size: int) -> None:
        """A file that ended at ``end`` has ``size`` bytes now."""
        # Of a file in several ranges, the range that holds its new end counts it.
        if index not in self.outcome.sizes and not item.further and (item.start < 0 or item.start <= size < item.stop):
            self.outcome.changed += 1
        self.outcome.sizes[index] = size
        wanted = ranges_of(item.parts).get(index) or [(0, size if item.start < 0 else item.stop)]
        left = [(max(end, start), min(size, stop)) for start, stop in wanted if max(end, start) < min(size, stop)]
        if left and self._missing is not None:
            self.outcome.files -= 1
            self._missing += pieces_of(index, left)

    def missing(self, item: WorkItem) -> set[bytes]:
        """The paths of files that are still to be read."""
        files = item.files or ()
        return {path_of(item, files[piece.number].path) for piece in self._missing or ()}

    def read_already(self, item: WorkItem) -> bytes | None:
        """The path of a file that was read and has some bytes; None: there is none."""
        open_ = {piece.number for piece in self._missing or ()} | set(self.outcome.problems) | set(self._short)
        if self._missing is None:
            return None
        sizes = ((number, size) for number, (_, size, _) in enumerate(item.files or ()))
        read = next((number for number, size in sizes if size and number not in open_), None)
        return None if read is None else path_of(item, (item.files or ())[read].path)

    def fail_missing(self, item: WorkItem, error: CacheWarmerError) -> None:
        """Whatever is still to be read has failed: with its own error, or with what of ``error`` is not about a file."""
        neutral = error.of_no_file()
        if self._missing is None:
            self._missing = list(self._pieces(item))
        numbers = {piece.number for piece in self._missing} | set(self._short)
        for number in numbers:
            self.outcome.problems.setdefault(number, self._missed.get(number, neutral))
        self._short = {}

    def _pending(self) -> list[ReadRequest]:
        """What was asked for and is not done; each has its piece as ``context``."""
        supplied = self._supply.pending() if self._supply is not None else []
        return [*supplied, *(one for one in self._requests if one.context is not None)]

    def came(self, item: WorkItem) -> Came:
        """What has come of an item that is handed back. Of what was being asked for when it was aborted, nothing is told.

        An item that names no files, and one whose ledger would have to tell when and where each file was read, is read
        anew.
        """
        if item.files is None or item.ledger:
            return NOTHING_CAME
        if self._missing is None or self._asking:
            return item.came
        pending: list[Piece] = [one.context for one in self._pending()]  # type: ignore[misc]
        untaken = self._supply.untaken() if self._supply is not None else []
        left = [*self._missing, *self._left, *self._later, *pending, *untaken]
        return what_came(item, left, {*self.outcome.problems, *self._short, *self.outcome.sizes}, self.outcome.calls)


def _ignore(request: ReadRequest) -> None:
    """What comes of a request that nobody waits for any more."""
