"""The window of one mount address: which call goes next, on which connection, and what its answer means.

READs have no Future and no coroutine of their own: a request waits in a deque, its calls come back through the
connection's events, and its ``on_done`` is called. Other calls give a Future.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from cachewarmer.config import NfsSettings
from cachewarmer.errors import CacheWarmerError, ConnectionLost, FileError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.connection import Event, ReadReply, Refusal, Reply
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import ReadRequest
from cachewarmer.targets.nfs3.channels import Channels, address_failed
from cachewarmer.targets.nfs3.connection import Channel
from cachewarmer.targets.nfs3.requests import PendingCall, Reading

REPLY_SLACK_BYTES = 64 * 1024
"""How much longer than what was asked for a reply other than READ's may be, before the server counts as broken."""
REFILL_SECONDS = 0.005
"""The window is filled again when half empty, or when this long has passed: a slow server is not to wait for us."""
MOST_JUKEBOX_SECONDS = 30.0
STALE_RETRIES = 2
EMPTY_REPLIES = 3
"""READ replies in a row that neither bring a byte nor say eof, after which the file counts as failed."""


class CallWindow:
    """Calls in flight and waiting for one address, over several connections that it keeps up by itself.

    ``connect`` makes a connected channel with the two callbacks. ``resolve`` gives the handle at a path anew.
    """

    def __init__(
        self,
        settings: NfsSettings,
        connect: Callable[[CallWindow], Awaitable[Channel]],
        resolve: Callable[[bytes, bool], Awaitable[bytes]],
        address: str,
        export: bytes,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._connect = connect
        self._resolve = resolve
        self._address = address
        self._above = export.rstrip(b"/") + b"/"
        self.window_calls = max(1, settings.window_calls)
        self.window_bytes = settings.window_bytes
        self.read_bytes = settings.max_read_bytes
        """Length of a READ; lowered to what FSINFO allows."""
        self.calls: Counter[str] = Counter()
        self.in_flight = 0
        self.unfinished = 0
        """READ requests not yet done."""
        self._bytes = 0
        self._meta_in_flight = 0
        self._meta: deque[PendingCall] = deque()
        self._fresh: deque[Reading] = deque()
        self._ready: deque[Reading] = deque()
        self._open: deque[Reading] = deque()
        self._aside: set[Reading] = set()
        self._done: list[ReadRequest] = []
        self._channels = Channels(
            settings,
            address,
            connect=self._connected,
            wanted=self._wanted_connections,
            on_ready=self._wake,
            on_given_up=self._fail_everything,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_due = False
        self._pumped = 0.0
        self._bytes_full = False
        self._closed = False

    def __repr__(self) -> str:
        return (
            f"<CallWindow {self._address} in_flight={self.in_flight}/{self.window_calls} "
            f"unfinished={self.unfinished} {self._channels!r}>"
        )

    # -- asking ----------------------------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> None:
        self.unfinished += 1
        self._fresh.append(Reading(request))
        self._wake()

    def call(self, procedure: int, arguments: bytes, reply_bytes: int) -> asyncio.Future[Unpacker]:
        """Queues a call; its Future gives the results, or the ``RpcRefused`` or ``TransportError`` it ended with."""
        future: asyncio.Future[Unpacker] = self._loop.create_future()
        if self._closed:
            future.set_exception(self._closing())
            return future
        self._meta.append(PendingCall(procedure, arguments, reply_bytes, future))
        self._wake()
        return future

    def _closing(self) -> ConnectionLost:
        return ConnectionLost("the session is closed", address=self._address)

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    @property
    def _has_work(self) -> bool:
        return bool(self._meta or self._fresh or self._ready or self._open)

    def _pump(self) -> None:
        """Fills the window: listing calls first, at most half of it while READs wait; then READs."""
        self._pump_due = False
        if self._closed:
            self._fail_everything(self._closing())
            return
        channels = self._channels.open
        if len(channels) < self._wanted_connections():
            if self._has_work or self.unfinished:
                self._channels.keep()
            if not channels:
                self._finish_done()
                return
        now = self._pumped = self._loop.time()
        self._send_meta(now)
        self._send_reads(now)
        for channel in list(channels):
            if channel.out:
                channel.flush()
        self._finish_done()

    def _send_meta(self, now: float) -> None:
        reads_wait = self._fresh or self._ready or self._open
        most = max(1, self.window_calls // 2) if reads_wait else self.window_calls
        while self._meta and self.in_flight < self.window_calls and self._meta_in_flight < most:
            call = self._meta.popleft()
            if call.future.done():
                continue
            channel = self._channel(now)
            channel.out.append(
                channel.rpc.call(
                    nfs3.PROGRAM,
                    nfs3.VERSION,
                    call.procedure,
                    call.arguments,
                    call,
                    call.reply_bytes + REPLY_SLACK_BYTES,
                )
            )
            channel.in_flight += 1
            self.calls[nfs3.PROCEDURES[call.procedure]] += 1
            self.in_flight += 1
            self._meta_in_flight += 1
            self._bytes += call.reply_bytes

    def _channel(self, now: float) -> Channel:
        """The connection with the fewest calls in flight."""
        channels = self._channels.open
        channel = channels[0] if len(channels) == 1 else min(channels, key=_load)
        if not channel.in_flight:
            channel.heard = now
        return channel

    def _send_reads(self, now: float) -> None:
        fresh, ready, begun = self._fresh, self._ready, self._open
        most, window, window_bytes = self.read_bytes, self.window_calls, self.window_bytes
        sent = 0
        channel: Channel | None = None
        share = max(1, window // len(self._channels.open))
        self._bytes_full = False
        while self.in_flight < window:
            if self._bytes >= window_bytes:
                self._bytes_full = True
                break
            # Files first: one READ each of as many files as there are; several of one file where files are few.
            if ready:
                reading = ready.popleft()
                if reading.in_flight or reading.waiting:
                    continue
            elif fresh:
                reading = fresh.popleft()
            elif begun:
                reading = begun.popleft()
                reading.listed = False
                if reading.waiting:
                    continue
            else:
                break
            request = reading.request
            if reading.error is not None:
                self._settle(reading, now)
                continue
            if not request.handle and request.start < request.stop:
                self._set_aside(reading, self._resolve_handle(reading, known_bad=False))
                continue
            piece = reading.take(most)
            if piece is None:
                self._settle(reading, now)
                continue
            offset, length = piece
            if channel is None or channel.in_flight >= share:
                channel = self._channel(now)
            if not channel.in_flight:
                channel.heard = now
            channel.out.append(channel.rpc.call_read(request.handle, offset, length, (reading, offset, length)))
            channel.in_flight += 1
            self.in_flight += 1
            self._bytes += length
            sent += 1
            if not request.calls:
                reading.began = now
            request.calls += 1
            reading.in_flight += 1
            if reading.next < request.stop and not reading.listed:
                reading.listed = True
                begun.append(reading)
        self.calls["READ"] += sent

    def _settle(self, reading: Reading, now: float) -> None:
        """Ends a reading that has nothing in flight and nothing left to ask for."""
        if reading.in_flight or reading.waiting or reading.unasked or reading.began < 0:
            return
        request = reading.request
        request.error = reading.error
        if request.calls:
            request.seconds = now - reading.began
        reading.began = -1.0
        self._done.append(request)

    def _finish_done(self) -> None:
        done, self._done = self._done, []
        self.unfinished -= len(done)
        for request in done:
            try:
                request.on_done(request)
            except Exception as error:
                self._loop.call_exception_handler({"message": "on_done failed", "exception": error})

    # -- answers ---------------------------------------------------------------------------------------------------

    def on_events(self, channel: Channel, events: Sequence[Event]) -> None:
        """What a connection received; called by the connection."""
        now = channel.heard
        self._channels.answered()
        done = self._done
        channel.in_flight -= len(events)
        self.in_flight -= len(events)
        for event in events:
            context = event.context
            if type(context) is PendingCall:
                self._meta_in_flight -= 1
                self._bytes -= context.reply_bytes
                if not context.future.done():
                    if type(event) is Reply:
                        context.future.set_result(event.results)
                    elif type(event) is Refusal:
                        context.future.set_exception(event.error)
                continue
            reading, offset, length = cast("tuple[Reading, int, int]", context)
            reading.in_flight -= 1
            self._bytes -= length
            request = reading.request
            if type(event) is ReadReply and event.status == 0:
                count = event.length
                request.bytes_read += count
                if (
                    count == length
                    and offset + length >= request.stop
                    and not (reading.in_flight or reading.redo or reading.waiting or reading.error)
                ):
                    request.seconds = now - reading.began
                    reading.began = -1.0
                    done.append(request)
                    continue
                reading.jukebox_since = reading.jukebox_wait = 0.0  # what was away is there: the next wait is another
                if event.eof:
                    reading.end = min(reading.end, offset + count)
                elif count < length:
                    reading.redo.append((offset + count, length - count))
                    reading.empty = 0 if count else reading.empty + 1
                    if reading.empty > EMPTY_REPLIES:
                        reading.error = reading.error or FileError(
                            f"the server gives no byte at {offset}, and no end of file",
                            doing="READ",
                            subject=self._above + request.path,
                            address=self._address,
                        )
            elif type(event) is Refusal:
                reading.error = reading.error or event.error
            elif type(event) is ReadReply:
                self._on_status(reading, event.status, offset, length, now)
            if not (reading.in_flight or reading.waiting):
                if reading.unasked:
                    self._ready.append(reading)
                else:
                    self._settle(reading, now)
        self._finish_done()
        if self._has_work:
            half = self.window_calls // 2
            if (
                self.in_flight <= half
                or (self._bytes_full and self._bytes <= self.window_bytes // 2)
                or now - self._pumped > REFILL_SECONDS
            ):
                self._pump()

    def _on_status(self, reading: Reading, status: int, offset: int, length: int, now: float) -> None:
        """A READ answered with something other than NFS3_OK."""
        error = nfs3.status_error(status, nfs3.READ, self._above + reading.request.path, self._address)
        if reading.error is not None:
            return
        if status == nfs3.JUKEBOX:
            reading.redo.append((offset, length))
            if reading.waiting:
                return
            reading.jukebox_since = reading.jukebox_since or now
            if now - reading.jukebox_since < self._settings.jukebox_limit_seconds:
                wait = min(MOST_JUKEBOX_SECONDS, 2 * reading.jukebox_wait or self._settings.jukebox_seconds)
                reading.jukebox_wait = wait
                reading.waiting = True
                self._aside.add(reading)
                self._loop.call_later(wait, self._take_back, reading)
                return
        elif status in (nfs3.STALE, nfs3.BADHANDLE):
            reading.redo.append((offset, length))
            if reading.waiting:
                return
            if reading.resolved < STALE_RETRIES:
                self._set_aside(reading, self._resolve_handle(reading, known_bad=True))
                return
        reading.error = error

    def _set_aside(self, reading: Reading, work: Awaitable[None]) -> None:
        reading.waiting = True
        self._aside.add(reading)
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve_handle(self, reading: Reading, *, known_bad: bool) -> None:
        reading.resolved += 1
        try:
            reading.request.handle = await self._resolve(reading.request.path, known_bad)
        except CacheWarmerError as error:
            reading.error = error
        except asyncio.CancelledError:
            reading.error = self._closing()
        self._take_back(reading)

    def _take_back(self, reading: Reading) -> None:
        """A reading that was set aside goes on."""
        if reading not in self._aside:
            return
        self._aside.discard(reading)
        reading.waiting = False
        if not reading.in_flight:
            self._ready.append(reading)
            self._wake()

    # -- connections -----------------------------------------------------------------------------------------------

    async def _connected(self) -> Channel:
        return await self._connect(self)

    def _wanted_connections(self) -> int:
        return self._settings.connections if self.unfinished else 1

    def on_lost(self, channel: Channel, error: CacheWarmerError) -> None:
        """A connection ended; what was in flight on it goes back to the queues, to be asked again elsewhere."""
        if channel not in self._channels.open:
            return
        contexts = channel.rpc.abandon()
        self.in_flight -= len(contexts)
        most = self._channels.most_failures
        failure = address_failed(error, self._address)
        for context in reversed(contexts):
            if type(context) is PendingCall:
                self._meta_in_flight -= 1
                self._bytes -= context.reply_bytes
                context.lost += 1
                if context.lost < most:
                    self._meta.appendleft(context)
                elif not context.future.done():
                    context.future.set_exception(failure)
                continue
            reading, offset, length = cast("tuple[Reading, int, int]", context)
            self._bytes -= length
            reading.in_flight -= 1
            reading.redo.insert(0, (offset, length))
            reading.lost += 1
            if reading.lost >= most * max(1, len(contexts)):
                reading.error = failure
            if not (reading.in_flight or reading.waiting):
                self._ready.append(reading)
        self._channels.failed(channel, failure, in_flight=len(contexts))
        if self._has_work or self.unfinished:
            self._channels.keep()
            self._wake()

    def _fail_everything(self, error: CacheWarmerError) -> None:
        """Ends all that waits; nothing is in flight."""
        meta, self._meta = self._meta, deque()
        for call in meta:
            if not call.future.done():
                call.future.set_exception(error)
        readings = {*self._fresh, *self._ready, *self._open, *self._aside}
        for waiting in (self._fresh, self._ready, self._open, self._aside):
            waiting.clear()
        now = self._loop.time()
        for reading in readings:
            reading.waiting = False
            if reading.began >= 0:
                reading.error = reading.error or error
                self._settle(reading, now)
        self._finish_done()

    def heard(self) -> object:
        """See ``Session.heard``."""
        if not (self.in_flight or self._has_work):
            return object()
        return max((channel.heard for channel in self._channels.open), default=0.0)

    def interrupt(self, error: CacheWarmerError) -> None:
        """See ``Session.interrupt``."""
        for channel in list(self._channels.open):
            channel.fail(error)
        self._fail_everything(error)

    async def close(self) -> None:
        """Ends everything; idempotent."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        error = self._closing()
        await self._channels.close(error)
        self._fail_everything(error)


def _load(channel: Channel) -> int:
    return channel.in_flight
