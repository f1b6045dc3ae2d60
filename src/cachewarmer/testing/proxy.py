"""A TCP proxy before a real NFS server that counts what passes: calls by procedure, bytes READ asks for and gets.

It can be slow on purpose: a delay in each direction, and a limit of bytes a second towards the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from cachewarmer.testing import wire

_MARK = struct.Struct(">I")
_HEAD_BYTES = 1200
"""Enough of a record to see all that is looked at: call header, credential, handle and READ's numbers."""
_PIECE = 1 << 16


class _Records:
    """Follows the record marks of a stream; ``seen`` gets the first bytes of every record once they are there."""

    def __init__(self, seen: Callable[[bytes], None]) -> None:
        self._seen = seen
        self._mark = b""
        self._left = 0
        self._last = True
        self._head = b""

    def feed(self, received: bytes) -> None:
        position = 0
        while position < len(received):
            if not self._left:
                taken = received[position : position + 4 - len(self._mark)]
                self._mark += taken
                position += len(taken)
                if len(self._mark) < 4:
                    return
                (mark,) = _MARK.unpack(self._mark)
                self._mark, self._left, self._last = b"", mark & ~wire.LAST, bool(mark & wire.LAST)
            piece = min(self._left, len(received) - position)
            wanted = min(piece, _HEAD_BYTES - len(self._head))
            if wanted > 0:
                self._head += received[position : position + wanted]
            position += piece
            self._left -= piece
            if not self._left and self._last:
                head, self._head = self._head, b""
                self._seen(head)


class CountingProxy:
    """Listens on loopback in front of ``host``:``port`` as long as its ``async with`` block runs.

    Mount ports and NFS ports need a proxy each. ``delay_seconds`` is one way; ``bytes_per_second`` 0 is no limit, and
    is shared by all connections. ``listen_port`` 0 is any that is free; ``port`` then says which.
    """

    def __init__(
        self, host: str, port: int, *, delay_seconds: float = 0.0, bytes_per_second: int = 0, listen_port: int = 0
    ) -> None:
        self._behind = (host, port)
        self.delay_seconds = delay_seconds
        self.bytes_per_second = bytes_per_second
        self.port = listen_port
        self.calls: Counter[str] = Counter()
        """Calls that passed, by procedure."""
        self.read_asked = 0
        """Bytes that READ calls asked for."""
        self.read_answered = 0
        """Bytes of payload in the replies."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._free_at = 0.0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        reads: set[int] = set()
        behind: asyncio.StreamWriter | None = None
        try:
            answers, behind = await asyncio.open_connection(*self._behind)
            calls = _Records(lambda head: self._called(head, reads))
            replies = _Records(lambda head: self._answered(head, reads))
            pumps = [
                asyncio.ensure_future(self._pump(reader, behind, calls, limited=False)),
                asyncio.ensure_future(self._pump(answers, writer, replies, limited=True)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server behind is gone, or the proxy ends: the client sees its connection end
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.close()
                    with contextlib.suppress(OSError):
                        await one.wait_closed()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, records: _Records, *, limited: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(4096)

        async def deliver() -> None:
            while True:
                due, piece = await late.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                sink.write(piece)
                await sink.drain()
                if not piece:
                    return

        delivering = asyncio.ensure_future(deliver())
        try:
            while piece := await source.read(_PIECE):
                records.feed(piece)
                due = loop.time() + self.delay_seconds
                if limited and self.bytes_per_second:
                    self._free_at = max(self._free_at, loop.time()) + len(piece) / self.bytes_per_second
                    due = self._free_at + self.delay_seconds
                await late.put((due, piece))
            await late.put((0.0, b""))
            await delivering
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    def _called(self, head: bytes, reads: set[int]) -> None:
        try:
            call = wire.read_call(head)
            names = wire.NFS_NAMES if call.program == wire.NFS else wire.MOUNT_NAMES
            name = names.get(call.procedure, "?")
            self.calls[name] += 1
            if name == "READ":
                call.arguments.opaque(wire.MOST_HANDLE_BYTES)
                self.read_asked += call.arguments.numbers("QI")[1]
                reads.add(call.xid)
        except wire.BadCallError:
            self.calls["?"] += 1

    def _answered(self, head: bytes, reads: set[int]) -> None:
        if len(head) < 4:
            return
        (xid,) = _MARK.unpack_from(head)
        if xid not in reads:
            return
        reads.discard(xid)
        try:
            reply = wire.Arguments(head, 4)
            kind, denied, _ = reply.numbers("III")
            reply.opaque(400)
            accepted, status, attributes = reply.numbers("III")
            if (kind, denied, accepted, status) == (1, 0, 0, 0):
                reply.raw(wire.FATTR.size if attributes else 0)
                self.read_answered += reply.numbers("I")[0]
        except wire.BadCallError:
            return
