"""Decides which READ is next, and interprets replies. Pure: no loop, no socket; ``now`` is an argument.

The owner sends what ``take`` returns, passes in what comes back (``answered``, ``lost``), and then does what is left to
do: for requests that are ``done``, readings whose handle must be resolved (``unresolved``), and readings that the
server has asked to wait (``waits``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

from cachewarmer.config import NfsSettings
from cachewarmer.errors import CacheWarmerError, FileError, TransportError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.receiving import Event, ReadReply, Refusal
from cachewarmer.targets.base import ReadRequest, Supply, Window
from cachewarmer.targets.latency import LatencyHistogram, bucket
from cachewarmer.targets.nfs3.requests import Reading, Single

MOST_JUKEBOX_SECONDS = 30.0
FIRST_STALE_SECONDS, MOST_STALE_SECONDS = 0.1, 2.0
"""Wait between READs of a file whose new handle is stale again; it doubles from the first value to the second."""
EMPTY_REPLIES = 3
"""Maximum number of READ replies in a row with neither data nor eof; after more, the file counts as failed."""


Sent: TypeAlias = tuple[Reading | None, ReadRequest, int, int, float]
"""The context of a READ in flight: its reading, request, offset, length, and when it was sent. It is a plain tuple,
because there is one for every READ. Without a reading, this READ is the first of its request, and covers all of it."""


class Unresolved(NamedTuple):
    """A reading without a usable handle."""

    reading: Reading
    known_bad: bool
    """Whether its handle is known to be stale, so that those of the directories above may be too."""
    wait_seconds: float = 0.0
    """Wait before the handle is resolved."""


class Wait(NamedTuple):
    """A reading that the server asked to come back later."""

    reading: Reading
    seconds: float


def waits_for(status: int, settings: NfsSettings) -> float:
    """For how many seconds a call with this status is retried (RFC 1813 section 2.6); 0: it is not."""
    if status == nfs3.JUKEBOX:
        return settings.jukebox_limit_seconds
    return settings.fault_limit_seconds if status == nfs3.SERVERFAULT else 0.0


class ReadSchedule:
    """The READ requests of one address. ``above`` is put before their paths in errors."""

    def __init__(self, settings: NfsSettings, window: Window, address: str, above: bytes) -> None:
        self._settings = settings
        self._address = address
        self._above = above
        self.window = window
        self.read_bytes = settings.max_read_bytes
        """The length of a READ in bytes; lowered to what the server allows (FSINFO)."""
        self._taken = 0
        """The number of requests that were taken from their supplies and are not done yet."""
        self.sent = 0
        """The number of READ calls that ``take`` has returned."""
        self.retries = 0
        self.jukebox_waits = 0
        self.bytes = 0
        """Bytes of payload received."""
        self.latencies = LatencyHistogram()
        self.bytes_full = False
        """Whether the last ``take`` ended because the window is full of bytes."""
        self.done: list[ReadRequest] = []
        self.unresolved: list[Unresolved] = []
        self.waits: list[Wait] = []
        self._fresh: deque[Supply] = deque()
        """Supplies whose requests have not begun."""
        self._ready: deque[Reading] = deque()
        self._begun: deque[Reading] = deque()
        self._aside: set[Reading] = set()
        self._resolving = 0
        self._in_order = False
        """Whether there was a supply whose order counts, so that all of a request is sent before the next one."""

    def __repr__(self) -> str:
        return f"<ReadSchedule {self._address} unfinished={self.unfinished} aside={len(self._aside)}>"

    @property
    def unfinished(self) -> int:
        """The number of requests that are not done yet."""
        return self._taken + sum(supply.left for supply in self._fresh)

    @property
    def is_busy(self) -> bool:
        """Whether there are requests that are not done yet."""
        return bool(self._taken or self._fresh)

    @property
    def has_work(self) -> bool:
        """Whether a READ could be sent now, if the window had room."""
        return bool(self._fresh or self._ready or self._begun)

    def add(self, request: ReadRequest) -> None:
        """Adds a request."""
        self.add_all(Single(request))

    def add_all(self, supply: Supply) -> None:
        """Adds a supply, whose requests come after all that were added before."""
        if supply.in_order:
            self._in_order = True
        self._fresh.append(supply)

    # -- what goes next --------------------------------------------------------------------------------------------

    def take(self, now: float) -> list[Sent]:
        """The READs to send now, as many as the window has room for; from here on they count as in flight."""
        pieces: list[Sent] = []
        window = self.window
        room, free = window.calls - window.in_flight, window.bytes - window.bytes_in_flight
        most = self.read_bytes
        self.bytes_full = False
        # Handles are resolved shortly before they are used, because a server may keep few of them.
        while len(pieces) < room and self._resolving < window.calls:
            if free <= 0:
                self.bytes_full = True
                break
            if self._fresh and not (self._ready or self._in_order):
                free = self._take_whole(pieces, room, free, now)
                continue
            reading = self._next()
            if reading is None:
                break
            request = reading.request
            if not request.handle and reading.error is None and request.start < request.stop:
                self._set_aside(reading)
                self._resolve(reading, known_bad=False)
                continue
            piece = reading.take(most) if reading.error is None else None
            if piece is None:
                self._settle(reading, now)
                continue
            offset, length = piece
            pieces.append((reading, request, offset, length, now))
            free -= length
            if not request.calls:
                reading.began = now
            request.calls += 1
            reading.in_flight += 1
            if reading.next < request.stop:
                self._keep_begun(reading)
        window.in_flight += len(pieces)
        window.bytes_in_flight = window.bytes - free
        self.sent += len(pieces)
        return pieces

    def _take_whole(self, pieces: list[Sent], room: int, free: int, now: float) -> int:
        """Takes requests that need a single READ, as most do, without a ``Reading``; returns what is left of ``free``.

        ``free`` are the bytes that the window has room for. It ends at another request, which ``_next`` returns.
        """
        fresh, most, append = self._fresh, self.read_bytes, pieces.append
        while fresh:
            supply = fresh[0]
            while supply.left:
                if free <= 0 or len(pieces) >= room:
                    return free
                request = supply.take()
                self._taken += 1
                length = request.stop - request.start
                if not (request.handle and 0 < length <= most):
                    self._ready.append(Reading(request))
                    return free
                request.calls = 1
                append((None, request, request.start, length, now))
                free -= length
            fresh.popleft()
        return free

    def _keep_begun(self, reading: Reading) -> None:
        """Keeps a reading that is not requested to its end; its next READ comes after others, unless order counts."""
        if not reading.listed:
            reading.listed = True
            keep = self._begun.appendleft if reading.request.in_order else self._begun.append
            keep(reading)

    def _next(self) -> Reading | None:
        """The reading of the next READ: first one READ for each file; if there are few files, several for each."""
        ready, begun = self._ready, self._begun
        if self._in_order and begun and begun[0].request.in_order and not begun[0].waiting:
            reading = begun.popleft()
            reading.listed = False
            return reading
        while ready:
            reading = ready.popleft()
            if not (reading.in_flight or reading.waiting):
                return reading
        if (fresh := self._take_fresh()) is not None:
            return fresh
        while begun:
            reading = begun.popleft()
            reading.listed = False
            if not reading.waiting:
                return reading
        return None

    def _take_fresh(self) -> Reading | None:
        """The next request that has not begun; None: there is none."""
        fresh = self._fresh
        while fresh:
            supply = fresh[0]
            if supply.left:
                request = supply.take()
                self._taken += 1
                if not supply.left:
                    fresh.popleft()
                return Reading(request)
            fresh.popleft()  # it was ended in the meantime
        return None

    # -- what came back --------------------------------------------------------------------------------------------

    def answered(self, events: Sequence[Event], now: float) -> list[Event]:
        """Takes the answers to READs out of ``events``; returns the others."""
        others: list[Event] = []
        done = self.done
        freed = calls = together = received = 0
        counts, last, place, waited = self.latencies.counts, -1.0, 0, 0.0
        for event in events:
            context = event[0]
            if type(context) is not tuple:
                others.append(event)
                continue
            reading, request, offset, length, sent_at = context
            freed += length
            if sent_at != last:  # calls are sent many at a time
                counts[place] += together
                waited += together * (now - last)
                calls += together
                last, place, together = sent_at, bucket(now - sent_at), 0
            together += 1
            if reading is None and type(event) is ReadReply and event[1] == 0 and event[2] == length:
                received += length
                request.bytes_read = length
                request.seconds = now - sent_at
                done.append(request)
                continue
            received += self._take_in(reading or Reading.asked(request, sent_at), event, offset, length, now)
        counts[place] += together
        waited += together * (now - last)
        self.window.in_flight -= calls + together
        self.window.bytes_in_flight -= freed
        self.bytes += received
        self.latencies.seconds += waited
        return others

    def _take_in(self, reading: Reading, event: Event, offset: int, length: int, now: float) -> int:
        """Takes an answer to one of several READs of a request, or an incomplete one; returns its bytes of payload."""
        received = 0
        reading.in_flight -= 1
        if type(event) is ReadReply and event[1] == 0:
            request, received = reading.request, event[2]
            request.bytes_read += received
            if (
                received == length
                and offset + length >= request.stop
                and not (reading.in_flight or reading.redo or reading.waiting or reading.error)
            ):
                request.seconds = now - reading.began
                reading.began = -1.0
                self.done.append(request)
                return received
            self._on_bytes(reading, offset, length, event)
        elif type(event) is Refusal:
            reading.error = reading.error or event.error
        else:
            self._on_status(reading, cast("ReadReply", event).status, offset, length, now)
        self._go_on(reading, now)
        return received

    def _on_bytes(self, reading: Reading, offset: int, length: int, reply: ReadReply) -> None:
        """Takes a reply with NFS3_OK that does not complete its request."""
        count = reply.length
        # The server has the data again, so that a later wait starts from the beginning.
        reading.jukebox_since = reading.jukebox_wait = reading.stale_since = reading.stale_wait = 0.0
        if reply.eof:
            reading.end = min(reading.end, offset + count)
        elif count < length:
            reading.redo.append((offset + count, length - count))
            reading.empty = 0 if count else reading.empty + 1
            if reading.empty > EMPTY_REPLIES:
                reading.error = reading.error or FileError(
                    f"the server returns no data at offset {offset}, and no end of file",
                    doing="READ",
                    subject=self._above + reading.request.path,
                    address=self._address,
                )

    def _on_status(self, reading: Reading, status: int, offset: int, length: int, now: float) -> None:
        """Takes a reply with a status other than NFS3_OK."""
        if reading.error is not None:
            return
        limit = waits_for(status, self._settings)
        if limit or status in (nfs3.STALE, nfs3.BADHANDLE):
            reading.redo.append((offset, length))
            if reading.waiting:
                return
            if self._wait(reading, limit, now) if limit else self._stale(reading, now):
                return
        reading.error = nfs3.status_error(status, nfs3.READ, self._above + reading.request.path, self._address)

    def _wait(self, reading: Reading, limit: float, now: float) -> bool:
        """Sets a reading aside, because the server asks to wait or has a transient fault; False: that took too long."""
        reading.jukebox_since = reading.jukebox_since or now
        if now - reading.jukebox_since >= limit:
            return False
        wait = min(MOST_JUKEBOX_SECONDS, 2 * reading.jukebox_wait or self._settings.jukebox_seconds)
        reading.jukebox_wait = wait
        self.jukebox_waits += 1
        reading.request.put_off = True
        self._set_aside(reading)
        self.waits.append(Wait(reading, wait))
        return True

    def _stale(self, reading: Reading, now: float) -> bool:
        """Sets a reading aside to resolve its stale handle, at once, then after growing waits; False: too long."""
        reading.stale_since = reading.stale_since or now
        if now - reading.stale_since >= self._settings.stale_limit_seconds:
            return False
        self._set_aside(reading)
        self._resolve(reading, known_bad=True, wait_seconds=reading.stale_wait)
        reading.stale_wait = min(MOST_STALE_SECONDS, 2 * reading.stale_wait or FIRST_STALE_SECONDS)
        return True

    def _resolve(self, reading: Reading, *, known_bad: bool, wait_seconds: float = 0.0) -> None:
        self._resolving += 1
        self.unresolved.append(Unresolved(reading, known_bad, wait_seconds))

    def resolved(self, reading: Reading, error: CacheWarmerError | None) -> bool:
        """Takes the result of resolving a reading's handle; returns whether there is something to send now."""
        self._resolving -= 1
        return self.take_back(reading, error)

    def lost(self, sent: Sequence[Sent], failure: CacheWarmerError, most_losses: int) -> None:
        """Takes READs whose connection ended, oldest first: they are sent again, unless lost ``most_losses`` times."""
        for owner, request, offset, length, sent_at in reversed(sent):
            reading = owner or Reading.asked(request, sent_at)
            reading.in_flight -= 1
            reading.redo.insert(0, (offset, length))
            reading.lost += 1
            if reading.lost >= most_losses:
                reading.error = failure
            if not (reading.in_flight or reading.waiting):
                self._ready.append(reading)
        self.window.in_flight -= len(sent)
        self.window.bytes_in_flight -= sum(length for _, _, _, length, _ in sent)
        self.retries += len(sent)

    def _go_on(self, reading: Reading, now: float) -> None:
        if not (reading.in_flight or reading.waiting):
            if reading.unasked:
                self._ready.append(reading)
            else:
                self._settle(reading, now)

    def _settle(self, reading: Reading, now: float) -> None:
        """Ends a reading that has nothing in flight and nothing left to request."""
        if reading.in_flight or reading.waiting or reading.unasked or reading.began < 0:
            return
        request = reading.request
        request.error = reading.error
        if request.calls and isinstance(reading.error, TransportError):
            request.left = reading.left()
        if request.calls:
            request.seconds = now - reading.began
        reading.began = -1.0
        self.done.append(request)

    # -- set aside -------------------------------------------------------------------------------------------------

    def _set_aside(self, reading: Reading) -> None:
        reading.waiting = True
        self._aside.add(reading)

    def take_back(self, reading: Reading, error: CacheWarmerError | None = None) -> bool:
        """Continues a reading that was set aside, or ends it with ``error``; returns whether something can be sent."""
        if reading not in self._aside:
            return False
        self._aside.discard(reading)
        reading.waiting = reading.request.put_off = False
        reading.error = error or reading.error
        if reading.in_flight:
            return False
        self._ready.append(reading)
        return True

    def end_all(self, error: CacheWarmerError, now: float) -> None:
        """Ends everything that waits with ``error``, while nothing is in flight."""
        readings = {*self._ready, *self._begun, *self._aside, *iter(self._take_fresh, None)}
        for waiting in (self._ready, self._begun, self._aside):
            waiting.clear()
        self._resolving -= len(self.unresolved)
        self.unresolved.clear()
        self.waits.clear()
        for reading in readings:
            reading.waiting = False
            if reading.began >= 0:
                reading.error = reading.error or error
                self._settle(reading, now)

    def collect(self) -> list[ReadRequest]:
        """The requests that are done since the last call."""
        done, self.done = self.done, []
        self._taken -= len(done)
        return done
