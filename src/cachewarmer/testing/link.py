"""One connection to a scripted server: bytes to records, replies to bytes, and what goes wrong between."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from typing import cast

from cachewarmer.testing import wire
from cachewarmer.testing.faults import Faults, Trick
from cachewarmer.testing.procedures import Parts, Procedures

_MARK = struct.Struct(">I")
_JOIN_BYTES = 1 << 18
"""Replies are sent together up to this size."""
_READ, _READDIR, _READDIRPLUS = 6, 16, 17


class Link(asyncio.Protocol):
    """A connection to a server that does nothing wrong on it: fast."""

    def __init__(self, procedures: Procedures, links: set[Link]) -> None:
        self.procedures = procedures
        self._links = links
        self._held = b""
        self._record = b""
        self._privileged = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=4 << 20)
        peer = transport.get_extra_info("peername")
        self._privileged = bool(peer) and peer[1] < 1024
        self._links.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio names it
        self._links.discard(self)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        held = self._held + data if self._held else data
        position, size = 0, len(held)
        out: Parts = []
        waiting = 0
        while position + 4 <= size:
            (mark,) = _MARK.unpack_from(held, position)
            length = mark & ~wire.LAST
            if len(self._record) + length > wire.MOST_CALL_BYTES:
                self.procedures.complaints.append(f"a call of {len(self._record) + length} bytes")
                self.transport.abort()
                return
            if position + 4 + length > size:
                break
            record = self._record + held[position + 4 : position + 4 + length]
            position += 4 + length
            if not mark & wire.LAST:
                self._record = record
                continue
            self._record = b""
            try:
                program, procedure, reply = self.procedures.answer(record, privileged=self._privileged)
            except wire.BadCallError:
                self.transport.abort()
                return
            reply = self.spoil(program, procedure, reply)
            out += reply
            waiting += sum(map(len, reply))
            if waiting > _JOIN_BYTES:
                self.send(out)
                out, waiting = [], 0
        self._held = held[position:]
        if out:
            self.send(out)

    def spoil(self, program: int, procedure: int, reply: Parts) -> Parts:
        """What is sent in place of a reply: here the reply itself."""
        del program, procedure
        return reply

    def send(self, parts: Parts) -> None:
        """Sends at once."""
        self.transport.write(b"".join(parts))


class FaultyLink(Link):
    """A connection whose replies are delayed, cut up or replaced as the script says."""

    def __init__(
        self, procedures: Procedures, links: set[Link], faults: Faults, may_trick: Callable[[], bool], seed: int
    ) -> None:
        super().__init__(procedures, links)
        self._faults = faults
        self._may_trick = may_trick
        self._random = random.Random(seed)
        self._replies = 0
        self._silent = False
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._program = wire.MOUNT if faults.trick_program == "mount" else wire.NFS

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._writer is not None:
            self._writer.cancel()

    def spoil(self, program: int, procedure: int, reply: Parts) -> Parts:
        if not reply or self._silent or self.transport.is_closing():
            return []
        record = b"".join(reply)
        faults = self._faults
        if program == self._program and faults.trick is not None:
            self._replies += 1
            if self._replies == faults.trick_after + 1 and self._may_trick():
                return [self._trick(faults.trick, record)]
        if faults.fragments:
            record = self._fragmented(record)
        delays = {_READ: faults.read_delay, _READDIR: faults.list_delay, _READDIRPLUS: faults.list_delay}
        if program == wire.NFS and (delay := delays.get(procedure)):
            asyncio.get_running_loop().call_later(delay, lambda: self.send([record]))
            return []
        return [record]

    def _trick(self, trick: Trick, record: bytes) -> bytes:
        (mark, xid) = struct.unpack_from(">II", record)
        if trick is Trick.DROP or trick is Trick.DROP_INSIDE:
            self._silent = True
            asyncio.get_running_loop().call_soon(self.transport.close)
            return record[: self._random.randrange(1, len(record))] if trick is Trick.DROP_INSIDE else b""
        if trick is Trick.SILENCE:
            self._silent = True
            return b""
        if trick is Trick.GARBAGE:
            return self._random.randbytes(4096)
        if trick is Trick.HUGE_RECORD:
            return _MARK.pack(0xFFFFFFFF) + record[4:]
        if trick is Trick.WRONG_XID:
            return record[:4] + _MARK.pack(xid ^ 0x5A5A5A5A) + record[8:]
        if trick is Trick.CALL:
            return record[:8] + bytes(4) + record[12:]
        if trick is Trick.TWICE:
            return record + record
        if trick is Trick.EMPTY_FRAGMENTS:
            return bytes(4 * 4096)
        assert trick is Trick.TRUNCATED
        length = max(4, (mark & ~wire.LAST) // 8 * 4)
        return _MARK.pack(wire.LAST | length) + record[4 : 4 + length]

    def _fragmented(self, record: bytes) -> bytes:
        body, pieces = record[4:], []
        position = 0
        while position < len(body):
            length = self._random.choice((0, 1, 2, 3, 5, 24, 97, 1000, 4096))
            piece = body[position : position + length]
            position += len(piece)
            last = wire.LAST if position == len(body) else 0
            pieces.append(_MARK.pack(last | len(piece)) + piece)
        return b"".join(pieces)

    def send(self, parts: Parts) -> None:
        if self.transport.is_closing():
            return
        if not self._faults.small_writes:
            super().send(parts)
            return
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_pieces())
        self._unsent.put_nowait(b"".join(parts))

    async def _write_pieces(self) -> None:
        while True:
            record = await self._unsent.get()
            position = 0
            while position < len(record):
                length = self._random.choice((1, 3, 4, 7, 60, 500, 1461, 9000))
                self.transport.write(record[position : position + length])
                position += length
                # The client gets a turn: it sees this piece alone.
                await asyncio.sleep(0)
