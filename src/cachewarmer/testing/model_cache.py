"""A model of a read-through cache before a real NFS server: what it has not seen yet takes the time of an origin.

It keeps to what a knfsd re-export was measured to do: a block's first READ goes to the origin, the first ACCESS of each
user to each file does, READLINK's first does, and FSSTAT always does. All the rest is answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from cachewarmer.testing import wire

_MARK = struct.Struct(">I")
_PIECE = 1 << 18


class ModelCache:
    """Listens on loopback before the NFS port of a server as long as its ``async with`` block runs.

    ``origin_seconds`` is what a call to the origin takes longer; it may be changed at any time. ``listen_port`` 0 is any
    that is free; ``port`` then says which. ``peers``, which may be changed at any time, are caches from which it takes
    what they have received already, instead of from the origin. Not ``keeps_attributes``: also the first GETATTR of each
    file goes to the origin; else listings have left them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        origin_seconds: float = 0.02,
        block_bytes: int = 64 * 1024,
        listen_host: str = "127.0.0.1",
        listen_port: int = 0,
        peers: Sequence[ModelCache] = (),
        keeps_attributes: bool = True,
    ) -> None:
        self._behind = (host, port)
        self.origin_seconds = origin_seconds
        self._block_bytes = block_bytes
        self.host = listen_host
        self.port = listen_port
        self.peers = peers
        self._kept = () if keeps_attributes else ("GETATTR",)
        self.calls: Counter[str] = Counter()
        """Calls that came, by procedure."""
        self.origin_calls: Counter[str] = Counter()
        """Of these, those that went to the origin."""
        self.origin_bytes = 0
        """What READs at the origin asked for, block by block."""
        self.peer_bytes = 0
        """What was taken from a peer, block by block."""
        self.held: dict[tuple[bytes, ...], float] = {}
        """What the cache knows, and since when, by the loop's clock: it may still be on its way."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<ModelCache port={self.port} held={len(self.held)}>"

    def forget(self) -> None:
        """Makes it cold."""
        self.held.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every connection, and listens no more. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        behind: asyncio.StreamWriter | None = None
        try:
            answers, behind = await asyncio.open_connection(*self._behind)
            pumps = [
                asyncio.ensure_future(self._ask(reader, behind)),
                asyncio.ensure_future(self._answer(answers, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server behind is gone, or the cache ends: the client sees its connection end
        finally:
            for one in (writer, behind):
                if one is not None:
                    one.close()
                    with contextlib.suppress(OSError):
                        await one.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, behind: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                mark = await reader.readexactly(4)
                record = mark + await reader.readexactly(_MARK.unpack(mark)[0] & ~wire.LAST)
            except asyncio.IncompleteReadError:
                return
            wait = self.origin_seconds if self._goes_to_origin(record[4:]) else 0.0
            if wait:
                loop.call_later(wait, self._pass_on, behind, record)
            else:
                behind.write(record)

    @staticmethod
    def _pass_on(behind: asyncio.StreamWriter, record: bytes) -> None:
        if not behind.is_closing():
            behind.write(record)

    @staticmethod
    async def _answer(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await answers.read(_PIECE):
            writer.write(piece)
            await writer.drain()

    def _goes_to_origin(self, record: bytes) -> bool:
        try:
            call = wire.read_call(record)
            name = wire.NFS_NAMES.get(call.procedure, "?")
            self.calls[name] += 1
            missing = self._missing(name, call)
        except (wire.BadCallError, struct.error):
            return False
        if missing:
            self.origin_calls[name] += 1
        return missing

    def _missing(self, name: str, call: wire.Call) -> bool:
        """Whether the cache lacks something for a call; it has it afterwards."""
        if name == "FSSTAT":
            return True
        if name not in ("READ", "ACCESS", "READLINK", *self._kept):
            return False
        handle = call.arguments.opaque(wire.MOST_HANDLE_BYTES)
        keys: set[tuple[bytes, ...]]
        if name == "READ":
            offset, length = call.arguments.numbers("QI")
            blocks = range(offset // self._block_bytes, -(-(offset + length) // self._block_bytes))
            keys = {(b"READ", handle, b"%d" % block) for block in blocks}
        elif name == "ACCESS":
            keys = {(b"ACCESS", handle, b"%d" % call.uid)}
        else:
            keys = {(name.encode(), handle)}
        lacks = keys - self.held.keys()
        now = asyncio.get_running_loop().time()
        at_peers = {key for key in lacks if any(peer.has(key, now) for peer in self.peers)}
        self.held.update(dict.fromkeys(at_peers, now) | dict.fromkeys(lacks - at_peers, now + self.origin_seconds))
        if name == "READ":
            self.origin_bytes += len(lacks - at_peers) * self._block_bytes
            self.peer_bytes += len(at_peers) * self._block_bytes
        return lacks > at_peers

    def has(self, key: tuple[bytes, ...], now: float) -> bool:
        """Whether the cache is there and has received this by now."""
        return self._server is not None and self.held.get(key, math.inf) <= now
