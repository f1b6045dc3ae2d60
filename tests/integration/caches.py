"""A counter at the door of an origin, and caches before it that really keep what they have read."""

from __future__ import annotations

import asyncio
import contextlib
import struct

from cachewarmer.testing import wire
from cachewarmer.testing.proxy import CountingProxy

MARK = struct.Struct(">I")


class Bytes(CountingProxy):
    """Notes which bytes of which file are asked for, in the order in which that comes."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.asked = []

    def _called(self, head, reads):
        super()._called(head, reads)
        if (key := read_of(head)) is not None:
            self.asked.append(key)

    def ranges(self):
        """Of each file by its handle, what was asked for, as disjoint ranges."""
        found = {}
        for handle, offset, count in self.asked:
            found.setdefault(handle, []).append((offset, offset + count))
        return {handle: sorted(ranges) for handle, ranges in found.items()}


def read_of(record):
    """The handle, offset and count of a READ; None: it is another call."""
    with contextlib.suppress(wire.BadCallError):
        call = wire.read_call(record)
        if call.program == wire.NFS and wire.NFS_NAMES.get(call.procedure) == "READ":
            return call.arguments.opaque(wire.MOST_HANDLE_BYTES), *call.arguments.numbers("QI")
    return None


class KeepingCache:
    """Answers a READ that it had before, or that one of ``peers`` had, from its memory; all else goes to the origin."""

    def __init__(self, origin_port, host, port=0):
        self._origin_port = origin_port
        self.host = host
        self.port = port
        self.peers = []
        self.kept = {}
        """Replies without their xid, by handle, offset and count."""
        self.fetched = 0
        """Bytes that READs at the origin asked for."""
        self._server = None
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        """As if its machine had gone. Idempotent."""
        self._server.close()
        self.kept.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        asked = {}
        answers, behind = await asyncio.open_connection("127.0.0.1", self._origin_port)
        pumps = [asyncio.create_task(self._ask(reader, behind, writer, asked))]
        pumps.append(asyncio.create_task(self._answer(answers, writer, asked)))
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.close()
            behind.close()

    async def _ask(self, reader, behind, writer, asked):
        while True:
            record = await one_record(reader)
            key = read_of(record)
            found = next((one.kept[key] for one in (self, *self.peers) if key in one.kept), None)
            if found is not None:
                self.kept[key] = found
                writer.write(MARK.pack(wire.LAST | (4 + len(found))) + record[:4] + found)
                await writer.drain()
                continue
            if key is not None:
                asked[record[:4]] = key
                self.fetched += key[2]
                await asyncio.sleep(0.001)  # the origin is far
            behind.write(MARK.pack(wire.LAST | len(record)) + record)
            await behind.drain()

    async def _answer(self, answers, writer, asked):
        while True:
            record = await one_record(answers)
            if (key := asked.pop(record[:4], None)) is not None:
                self.kept[key] = record[4:]
            writer.write(MARK.pack(wire.LAST | len(record)) + record)
            await writer.drain()


async def one_record(reader):
    """The next record, of one fragment, without its mark."""
    (mark,) = MARK.unpack(await reader.readexactly(4))
    return await reader.readexactly(mark & ~wire.LAST)
