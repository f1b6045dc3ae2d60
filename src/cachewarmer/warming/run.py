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
"""Waits before a file that ended early is looked up again. Servers cache sizes for some seconds, so they may still
report the old size of a file that was truncated, though READ finds its end.
"""
PACE_SECONDS = 1.0
"""Maximum time that a request waits for its turn before it asks again, because the pace may have changed."""


class ItemRun:
    """The reading of one item, in as many passes as necessary.

    A pass requests all missing pieces from one session and waits for them. Pieces that failed with the address
    (``TransportError``) are missing afterwards, and only they are requested by the next pass, at whichever address.
    """

    def __init__(self, pace: Pace | None = None, look_again: Sequence[float] = LOOK_AGAIN_SECONDS) -> None:
        self.pace = pace
        self._look_again_seconds = look_again
        self.outcome = ItemOutcome()
        self.outstanding = 0
        """Requests that were given to the session and are not done yet."""
        self.begun = False
        """Whether the files of the item are known and a pass has begun."""
        self.aborting = asyncio.Event()
        self.unreached: TransportError | None = None
        """The error with which the address failed in the last pass; None: it did not fail."""
        self.unreached_path: bytes | None = None
        """The last path for which it failed."""
        self._requests: list[ReadRequest] = []
        """The requests of a pass that is made at a pace."""
        self._supply: ItemSupply | None = None
        """The supply of the requests of any other pass; None: there is no such pass."""
        self._missing: list[Piece] | None = None
        self._missed: dict[int, TransportError] = {}
        """The last error of an address for each file that failed with it, by number."""
        self._short: dict[int, int] = {}
        """Offsets in bytes at which files ended before their size, by number."""
        self._idle = asyncio.Event()
        self._asking = False
        self._in_order = False
        self._window: Window | None = None
        """The window of the session that reads all missing pieces; None: nothing is read, or one piece at a time."""
        self._held_back = False
        self._left: list[Piece] = []
        """The pieces that had been requested when the reading was aborted."""
        self._later: list[Piece] = []
        """The pieces that wait while others are read one at a time, or that an abort left at a pace."""

    @property
    def aborted(self) -> bool:
        """Whether the reading is to end without a result."""
        return self.aborting.is_set()

    def abort(self) -> None:
        """Ends the reading soon: no further calls are made for it."""
        self.aborting.set()
        self._left += self._end_supply()
        for request in self._pending():
            self._left.append(request.context)  # type: ignore[arg-type]
            request.stop = request.start

    def hold_back(self) -> None:
        """Takes back what the session has not requested yet, because the pace has become slower.

        It is missing then, and is requested at the new pace. Bytes in flight may be requested again if a session can't
        tell how far it is, but no byte is counted twice.
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
        """A value that changes whenever a request is done or a file is settled."""
        return self.outcome.calls, self.outcome.files

    def mark(self) -> object:
        """A value that changes whenever bytes arrive or a file is settled; None: no answer is outstanding.

        A request that waits for its turn behind others has no answer outstanding.
        """
        if self._asking:
            return None
        asked = [one.bytes_read for one in self._pending() if one.calls and not one.put_off]
        return (self.outcome.calls, self.outcome.files, sum(asked)) if asked else None

    def leave(self, error: TransportError) -> None:
        """Gives up all requests: their pieces are missing, as after a failure of the address with ``error``."""
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
        """Reads the missing pieces through ``session``; afterwards ``unreached`` says whether its address failed.

        A file that ended before the size in the item is looked up again: if its size has changed, it is read up to the
        new size; otherwise the file has failed.
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
        """Reads the missing pieces one at a time, so that one that breaks the connection does not affect the others.

        After ``most`` pieces in a row that were not answered, the others are not requested; 0: there is no limit.
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
        if not item.came or item.ledger:  # a ledger records how each file was read
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
        # Each request refers to this run: the cycle would wait for the garbage collector.
        self._requests, self._supply = [], None

    def _ask_all(self, session: Session, item: WorkItem, pieces: Iterator[Piece]) -> None:
        """Hands the session all missing pieces; it takes the requests when its window has room."""
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
        """Ends the supply; returns the pieces whose requests the session has not taken."""
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
        """Handles a failure of the address: the bytes received before it are kept, and only the rest is missing."""
        stop = request.stop
        if request.left is None:
            left = [(request.start, stop)]
        else:  # it may have been held back in the meantime
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
        """Looks up files that ended early, several times; those whose sizes have not changed by then have failed."""
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
        """Looks up their sizes once; files that have not changed, or whose address failed, stay in ``_short``."""
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
        """The size in bytes that was last reported."""
        return self.outcome.sizes.get(index, (item.files or ())[index].size)

    def _resize(self, item: WorkItem, index: int, end: int, size: int) -> None:
        """Records that a file which ended at ``end`` has ``size`` bytes now."""
        # A file in several ranges is counted by the range that holds its new end.
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
        """Records that all files still to be read have failed, each with its own error or else with ``error``.

        ``error`` is used without the file that it names.
        """
        neutral = error.of_no_file()
        if self._missing is None:
            self._missing = list(self._pieces(item))
        numbers = {piece.number for piece in self._missing} | set(self._short)
        for number in numbers:
            self.outcome.problems.setdefault(number, self._missed.get(number, neutral))
        self._short = {}

    def _pending(self) -> list[ReadRequest]:
        """The requests that are not done yet; each has its piece as ``context``."""
        supplied = self._supply.pending() if self._supply is not None else []
        return [*supplied, *(one for one in self._requests if one.context is not None)]

    def came(self, item: WorkItem) -> Came:
        """What has been read of an item that is handed back, so that its next reader can skip it.

        Of a request that was in progress when the reading was aborted, nothing counts as read. An item that names no
        files is read again from the beginning, and so is one with a ledger, which records where and when each file was
        read.
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
    """Ignores the result of a request that was given up."""
