"""The calls to one mount address: sends them over connections that it maintains, and delivers the replies.

``schedule`` decides which READ goes next. READs have neither a Future nor a coroutine of their own: a request waits
there, the replies to its calls come as events of the connection, and its ``on_done`` is called. Other calls return a
Future.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from cachewarmer.config import NfsSettings
from cachewarmer.errors import CacheWarmerError, ConnectionLost
from cachewarmer.eventloop import exact_clock
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.receiving import Event, Refusal, Reply
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import ReadRequest, SessionSnapshot, Supply, Window
from cachewarmer.targets.nfs3.channels import Channels, address_failed
from cachewarmer.targets.nfs3.connection import Channel
from cachewarmer.targets.nfs3.requests import Asker, PendingCall, Reading
from cachewarmer.targets.nfs3.schedule import ReadSchedule, Sent, Unresolved

REPLY_SLACK_BYTES = 64 * 1024
"""How much longer than requested a reply to a call other than READ may be, before the server counts as broken."""
REFILL_SECONDS = 0.001
"""The window is refilled when it is half empty, when a connection has no call left in flight, or after this time: so calls
are sent many at a time, and yet a slow server never waits for us."""


class Calls:
    """The calls in flight and waiting for one address.

    ``connect`` returns a connected channel that calls ``on_events`` and ``on_lost``. ``resolve`` returns the handle at
    a path, given whether the last one was bad.
    """

    def __init__(
        self,
        settings: NfsSettings,
        connect: Callable[[Calls], Awaitable[Channel]],
        resolve: Callable[[bytes, bool], Awaitable[bytes]],
        address: str,
        export: bytes,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = exact_clock(self._loop)
        self._settings = settings
        self._connect = connect
        self._resolve = resolve
        self._address = address
        self.window = Window(calls=max(1, settings.window_calls), bytes=settings.window_bytes)
        self.reads = ReadSchedule(settings, self.window, address, export.rstrip(b"/") + b"/")
        self._counts: Counter[str] = Counter()
        self._meta_in_flight = 0
        self._meta: deque[PendingCall] = deque()
        self._retries = 0
        self._replies = 0
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
        self._refill_due = False
        self._closed = False

    def __repr__(self) -> str:
        window = self.window
        return f"<Calls {self._address} in_flight={window.in_flight}/{window.calls} {self.reads!r} {self._channels!r}>"

    def snapshot(self) -> SessionSnapshot:
        """See ``Session.snapshot``."""
        reads = self.reads
        return SessionSnapshot(
            calls={**self._counts, "READ": reads.sent},
            window_calls=self.window.calls,
            in_flight=self.window.in_flight,
            waiting=reads.unfinished,
            bytes=reads.bytes,
            retries=self._retries + reads.retries,
            jukebox_waits=reads.jukebox_waits,
            reconnects=self._channels.reconnects,
            latencies=reads.latencies.copy(),
            others_in_flight=self._meta_in_flight,
        )

    # -- asking ----------------------------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> None:
        self.reads.add(request)
        self._wake()

    def read_all(self, supply: Supply) -> None:
        self.reads.add_all(supply)
        self._wake()

    def call(
        self, procedure: int, arguments: bytes, reply_bytes: int, credential: bytes = b""
    ) -> asyncio.Future[Unpacker]:
        """Queues a call; its Future has the results, or the ``RpcRefused`` or ``TransportError`` with which it ended.

        ``reply_bytes`` is the expected size of the reply, which counts in the window. ``credential`` is that of the
        call; empty: the one of the session.
        """
        future: asyncio.Future[Unpacker] = self._loop.create_future()
        self.ask(procedure, arguments, reply_bytes, future, credential)
        return future

    def ask(self, procedure: int, arguments: bytes, reply_bytes: int, asker: Asker, credential: bytes = b"") -> None:
        """Queues a call as ``call`` does, for an ``asker`` that is not a Future."""
        if self._closed:
            asker.set_exception(self._closing())
            return
        self._meta.append(PendingCall(procedure, arguments, reply_bytes, asker, credential))
        self._wake()

    def _closing(self) -> ConnectionLost:
        return ConnectionLost("the session is closed", address=self._address)

    def _wake(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    @property
    def _has_work(self) -> bool:
        return bool(self._meta) or self.reads.has_work

    def _pump(self) -> None:
        """Fills the window: listing calls first, at most half of it while READs wait; then READs."""
        self._pump_due = False
        if self._closed:
            self._fail_everything(self._closing())
            return
        channels = self._channels.open
        if len(channels) < self._wanted_connections():
            if self._has_work or self.reads.is_busy:
                self._channels.keep()
            if not channels:
                self._follow_up()
                return
        now = self._pumped = self._clock()
        self._send_meta(now)
        self._send_reads(now)
        for channel in list(channels):
            if channel.out:
                channel.flush()
        self._follow_up()

    def _send_meta(self, now: float) -> None:
        window = self.window
        most = max(1, window.calls // 2) if self.reads.has_work else window.calls
        while self._meta and window.in_flight < window.calls and self._meta_in_flight < most:
            call = self._meta.popleft()
            if call.asker.done():
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
                    call.credential,
                )
            )
            channel.in_flight += 1
            self._counts[nfs3.PROCEDURES[call.procedure]] += 1
            self._meta_in_flight += 1
            window.in_flight += 1
            window.bytes_in_flight += call.reply_bytes

    def _channel(self, now: float) -> Channel:
        """The connection with the fewest calls in flight."""
        channels = self._channels.open
        channel = channels[0] if len(channels) == 1 else min(channels, key=_load)
        if not channel.in_flight:
            channel.heard = now
        return channel

    def _send_reads(self, now: float) -> None:
        share = max(1, self.window.calls // len(self._channels.open))
        channel: Channel | None = None
        for sent in self.reads.take(now):
            if channel is None or channel.in_flight >= share:
                channel = self._channel(now)
            if not channel.in_flight:
                channel.heard = now
            _, request, offset, length, _ = sent
            channel.out.append(channel.rpc.call_read(request.handle, offset, length, sent))
            channel.in_flight += 1

    def _follow_up(self) -> None:
        """Does what the schedule leaves to do: calls ``on_done``, resolves handles, and starts waits."""
        reads = self.reads
        while reads.unresolved:
            self._start_resolving(reads.unresolved.pop())
        while reads.waits:
            reading, seconds = reads.waits.pop()
            self._loop.call_later(seconds, self._take_back, reading)
        for request in reads.collect() if reads.done else ():
            try:
                request.on_done(request)
            except Exception as error:
                self._loop.call_exception_handler({"message": "on_done failed", "exception": error})

    # -- answers ---------------------------------------------------------------------------------------------------

    def on_events(self, channel: Channel, events: Sequence[Event]) -> None:
        """Takes what a connection has received. Called by the connection."""
        now = channel.heard
        self._channels.answered()
        self._replies += len(events)
        channel.in_flight -= len(events)
        for event in self.reads.answered(events, now):
            self._on_answer(event)
        self._follow_up()
        if self._has_work:
            window = self.window
            if (
                window.in_flight <= window.calls // 2
                or not channel.in_flight
                or (self.reads.bytes_full and window.bytes_in_flight <= window.bytes // 2)
                or now - self._pumped > REFILL_SECONDS
            ):
                self._pump()
            else:
                self._refill_later()

    def _refill_later(self) -> None:
        if not self._refill_due:
            self._refill_due = True
            self._loop.call_later(REFILL_SECONDS, self._refill)

    def _refill(self) -> None:
        """Fills what is free of the window, though no answer comes that would be the occasion."""
        self._refill_due = False
        if not self._has_work or self.window.in_flight >= self.window.calls:
            return
        if self._clock() - self._pumped < REFILL_SECONDS / 2:  # it was filled since, and some of it is free again
            self._refill_later()
        else:
            self._pump()

    def _on_answer(self, event: Event) -> None:
        """Takes the answer to a call other than READ."""
        call = event.context
        assert isinstance(call, PendingCall)
        self._forget(call)
        if call.asker.done():
            return
        if isinstance(event, Reply):
            call.asker.set_result(event.results)
        elif isinstance(event, Refusal):
            call.asker.set_exception(event.error)

    def _forget(self, call: PendingCall) -> None:
        """Records that a call is no longer in flight."""
        self._meta_in_flight -= 1
        self.window.in_flight -= 1
        self.window.bytes_in_flight -= call.reply_bytes

    # -- readings set aside ----------------------------------------------------------------------------------------

    def _start_resolving(self, unresolved: Unresolved) -> None:
        task = asyncio.ensure_future(self._resolve_handle(unresolved))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve_handle(self, unresolved: Unresolved) -> None:
        reading, known_bad, seconds = unresolved
        failure: CacheWarmerError | None = None
        try:
            await asyncio.sleep(seconds)
            reading.request.handle = await self._resolve(reading.request.path, known_bad)
        except CacheWarmerError as error:
            failure = error
        except asyncio.CancelledError:
            failure = self._closing()
        if self.reads.resolved(reading, failure):
            self._wake()

    def _take_back(self, reading: Reading) -> None:
        """Continues a reading that the server had asked to wait."""
        if self.reads.take_back(reading):
            self._wake()

    # -- connections -----------------------------------------------------------------------------------------------

    async def _connected(self) -> Channel:
        return await self._connect(self)

    def _wanted_connections(self) -> int:
        return self._settings.connections if self.reads.is_busy else 1

    def on_lost(self, channel: Channel, error: CacheWarmerError) -> None:
        """Takes the end of a connection: its calls in flight go back to the queues, to be made on another one."""
        if channel not in self._channels.open:
            return
        contexts = channel.rpc.abandon()
        most = self._channels.most_failures
        failure = address_failed(error, self._address)
        for call in reversed([one for one in contexts if isinstance(one, PendingCall)]):
            self._forget(call)
            call.lost += 1
            if call.lost < most:
                self._retries += 1
                self._meta.appendleft(call)
            elif not call.asker.done():
                call.asker.set_exception(failure)
        sent = [cast("Sent", one) for one in contexts if isinstance(one, tuple)]
        self.reads.lost(sent, failure, most * max(1, len(contexts)))
        self._channels.failed(channel, failure, in_flight=len(contexts))
        if self._has_work or self.reads.is_busy:
            self._channels.keep()
            self._wake()

    def _fail_everything(self, error: CacheWarmerError) -> None:
        """Ends everything that waits, while nothing is in flight."""
        meta, self._meta = self._meta, deque()
        for call in meta:
            if not call.asker.done():
                call.asker.set_exception(error)
        self.reads.end_all(error, self._clock())
        self._follow_up()

    def heard(self) -> object:
        """See ``Session.heard``."""
        if not (self.window.in_flight or self._has_work):
            return object()
        return self._replies

    def interrupt(self, error: CacheWarmerError) -> None:
        """See ``Session.interrupt``."""
        for channel in list(self._channels.open):
            channel.fail(error)
        self._fail_everything(error)

    async def close(self) -> None:
        """Ends everything. Idempotent."""
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
