"""One RPC connection without its socket: calls in flight by xid, bytes in, replies out.

The payload of READ never becomes an object: the connection reads the header of the reply, says how many bytes the
driver may drop unseen (``discardable``), and reports the reply once they are gone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from cachewarmer.errors import RemoteProtocolError, RpcRefused
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.message import LAST_FRAGMENT, call_prefix, check_reply, encode_record
from cachewarmer.rpc.xdr import Unpacker, padded

MAX_EMPTY_FRAGMENTS = 64
"""Empty fragments are legal and pointless; a server that sends more than this in a row means no good."""
READ_REPLY_SPACE = 24 + 400 + 4 + 4 + 4 + nfs3.FATTR_BYTES + 12
"""Most bytes of a READ reply before its payload: the longest verifier, attributes, count, eof, length."""

_MARK = struct.Struct(">I")
_REPLY_HEAD = struct.Struct(">9I")
"""Mark, xid, mtype, reply_stat, verifier flavour, its length (0), accept_stat, nfsstat3, attributes follow."""
_READ_TAIL = struct.Struct(">III")
"""count, eof, length of the data (RFC 1813 section 3.3.6)."""
_HEAD_BYTES = _REPLY_HEAD.size


class ReadReply(NamedTuple):
    """READ was answered and its payload is gone."""

    context: object
    """What the call was made with."""
    status: int
    length: int
    """Bytes of payload."""
    eof: bool


class Reply(NamedTuple):
    """Any other call was answered: ``results`` stands at the results of the procedure."""

    context: object
    results: Unpacker


class Refusal(NamedTuple):
    """The server refused a call; others go on."""

    context: object
    error: RpcRefused


Event: TypeAlias = ReadReply | Reply | Refusal


class _Call(NamedTuple):
    context: object
    read_bytes: int
    """What READ asked for; −1: not a READ."""
    reply_limit: int
    """Most bytes of the reply's record."""


class Connection:
    """The state of one connection. After ``RemoteProtocolError`` it is of no use but for ``abandon``.

    ``credential`` is as ``message.auth_sys`` gives it. ``first_xid`` lets xids differ between connections.
    """

    def __init__(self, credential: bytes, first_xid: int = 1) -> None:
        self._credential = credential
        self._xid = first_xid & 0xFFFFFFFF
        self._calls: dict[int, _Call] = {}
        self.failure: RemoteProtocolError | None = None
        """What the server did against the rules; after that no byte is taken any more."""
        self._prefixes: dict[tuple[int, int, int], bytes] = {}
        self._read_prefix = call_prefix(nfs3.PROGRAM, nfs3.VERSION, nfs3.READ, credential)
        self._read_layouts: dict[int, struct.Struct] = {}
        # What follows describes the record being received.
        self._mark = bytearray()
        self._left = 0
        self._last = True
        self._fresh = True
        self._empty_fragments = 0
        self._held = bytearray()
        self._want = 4
        self._call: _Call | None = None
        self._answering = -1
        self._payload = -1
        self._read_reply: ReadReply | None = None

    @property
    def in_flight(self) -> int:
        """Calls not yet answered."""
        return len(self._calls)

    @property
    def oldest_xid(self) -> int | None:
        """Of the calls in flight, the one made first."""
        return next(iter(self._calls), None)

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(
        self, program: int, version: int, procedure: int, arguments: bytes, context: object, reply_limit: int
    ) -> bytes:
        """Takes note of a call; returns the record to be sent. ``reply_limit`` is in bytes."""
        key = (program, version, procedure)
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = self._prefixes[key] = call_prefix(program, version, procedure, self._credential)
        xid = self._next_xid()
        self._calls[xid] = _Call(context, -1, reply_limit)
        return encode_record(xid, prefix, arguments)

    def call_read(self, handle: bytes, offset: int, count: int, context: object) -> bytes:
        """The same for READ (RFC 1813 section 3.3.6), whose payload is then discarded."""
        length = len(handle)
        layout = self._read_layouts.get(length)
        if layout is None:
            layout = self._new_read_layout(length)
        xid = self._xid = (self._xid + 1) & 0xFFFFFFFF
        if xid in self._calls:
            xid = self._next_xid()
        self._calls[xid] = _Call(context, count, READ_REPLY_SPACE + count + 3)
        return layout.pack(LAST_FRAGMENT | (layout.size - 4), xid, self._read_prefix, length, handle, offset, count)

    def _new_read_layout(self, length: int) -> struct.Struct:
        nfs3.encode_handle(bytes(length))  # raises where the handle is too long
        layout = struct.Struct(f">II{len(self._read_prefix)}sI{length}s{-length % 4}xQI")
        self._read_layouts[length] = layout
        return layout

    def _next_xid(self) -> int:
        xid = (self._xid + 1) & 0xFFFFFFFF
        while xid in self._calls:
            xid = (xid + 1) & 0xFFFFFFFF
        self._xid = xid
        return xid

    def abandon(self) -> list[object]:
        """The contexts of all calls in flight, oldest first; they are forgotten."""
        contexts = [call.context for call in self._calls.values()]
        self._calls.clear()
        return contexts

    # -- bytes in --------------------------------------------------------------------------------------------------

    @property
    def discardable(self) -> int:
        """How many of the next bytes are payload: the driver may drop them and call ``discarded``."""
        return min(self._payload, self._left) if self._payload > 0 else 0

    def discarded(self, count: int) -> list[Event]:
        """The driver dropped ``count`` bytes, at most ``discardable``; returns the replies that ended with them."""
        self._payload -= count
        self._left -= count
        events: list[Event] = []
        if not self._left:
            try:
                self._end_fragment(events)
            except RemoteProtocolError as error:
                self.failure = error
                raise
        return events

    def receive(self, buffer: bytes | bytearray, size: int) -> list[Event]:
        """Takes the first ``size`` bytes of ``buffer``, of which it keeps no view; returns what they completed.

        Where some bytes complete replies and later ones are against the rules, it returns the replies; ``failure``
        then says the rest.

        Raises:
            RemoteProtocolError: they are against the rules; the connection must be closed.
        """
        if self.failure is not None:
            raise self.failure
        events: list[Event] = []
        try:
            self._receive(buffer, size, events)
        except RemoteProtocolError as error:
            self.failure = error
            if not events:
                raise
        return events

    def _receive(self, buffer: bytes | bytearray, size: int, events: list[Event]) -> None:
        position = 0
        calls = self._calls
        while position < size:
            # The usual case, straight from the buffer: a READ reply in one fragment with an empty verifier.
            if self._fresh and position + _HEAD_BYTES <= size:
                mark, xid, kind, replied, _, verifier, accepted, status, has_attributes = _REPLY_HEAD.unpack_from(
                    buffer, position
                )
                call = calls.get(xid)
                if (
                    call is not None
                    and call[1] >= 0
                    and kind == 1
                    and not (replied or verifier or accepted or status)
                    and mark & LAST_FRAGMENT
                    and has_attributes <= 1
                ):
                    tail = position + _HEAD_BYTES + (nfs3.FATTR_BYTES if has_attributes else 0)
                    if tail + 12 <= size:
                        count, eof, length = _READ_TAIL.unpack_from(buffer, tail)
                        begin = tail + 12
                        end = begin + ((length + 3) & ~3)
                        if count == length <= call[1] and eof <= 1 and end - position - 4 == mark & 0x7FFFFFFF:
                            reply = ReadReply(call[0], 0, count, eof == 1)
                            if end <= size:
                                del calls[xid]
                                events.append(reply)
                                position = end
                                continue
                            self._answering = xid
                            self._fresh = False
                            self._last = True
                            self._payload = self._left = end - size
                            self._read_reply = reply
                            return
            position = self._receive_slowly(buffer, position, size, events)

    def _receive_slowly(self, buffer: bytes | bytearray, position: int, size: int, events: list[Event]) -> int:
        """Takes at least one byte, whatever the fragments look like; returns where it stopped."""
        if not self._left:
            stop = min(size, position + 4 - len(self._mark))
            self._mark += buffer[position:stop]
            self._fresh = False
            if len(self._mark) == 4:
                self._begin_fragment(events)
            return stop
        if self._payload > 0:
            taken = min(self._payload, self._left, size - position)
            self._payload -= taken
        elif self._payload == 0:
            raise RemoteProtocolError("the server's READ reply is longer than it says")
        else:
            taken = min(self._left, size - position, self._want - len(self._held))
            self._held += buffer[position : position + taken]
        self._left -= taken
        if self._payload < 0 and len(self._held) == self._want:
            self._look(events)
        if not self._left and not self._fresh:
            self._end_fragment(events)
        return position + taken

    def _begin_fragment(self, events: list[Event]) -> None:
        (mark,) = _MARK.unpack(self._mark)
        self._mark.clear()
        self._left = mark & 0x7FFFFFFF
        self._last = bool(mark & LAST_FRAGMENT)
        if self._call is not None and self._payload < 0 and len(self._held) + self._left > self._call.reply_limit:
            raise RemoteProtocolError(f"the server's reply is longer than {self._call.reply_limit} bytes")
        if self._left:
            self._empty_fragments = 0
            return
        self._empty_fragments += 1
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            raise RemoteProtocolError("the server sends nothing but empty fragments")
        self._end_fragment(events)

    def _end_fragment(self, events: list[Event]) -> None:
        """The fragment is over; with the last one the record is."""
        if not self._last:
            return
        if self._payload == 0 and self._read_reply is not None:
            events.append(self._read_reply)
        elif self._call is not None and self._call.read_bytes < 0 and len(self._held) >= 4:
            events.append(_decode_reply(self._call, bytes(self._held)))
        else:
            raise RemoteProtocolError("the server's reply ends too early")
        self._begin_record()

    def _begin_record(self) -> None:
        # Only now is the call answered: until its last byte is here it may still be lost with the connection.
        del self._calls[self._answering]
        self._answering = -1
        self._fresh = True
        self._left = 0
        self._empty_fragments = 0
        self._held = bytearray()
        self._want = 4
        self._call = None
        self._payload = -1
        self._read_reply = None

    def _look(self, events: list[Event]) -> None:
        """As many bytes are held as were wanted: decides what they are and how many more are."""
        if self._call is None:
            (xid,) = _MARK.unpack(self._held)
            call = self._calls.get(xid)
            if call is None:
                raise RemoteProtocolError(f"the server answered a call that was never made (xid {xid:#x})")
            self._call = call
            self._answering = xid
            if self._left + 4 > call.reply_limit:
                raise RemoteProtocolError(
                    f"the server's reply of {self._left + 4} bytes is longer than {call.reply_limit} bytes"
                )
            self._want = 8 if call.read_bytes >= 0 else call.reply_limit + 1
            if self._want == 8:
                self._want = _wanted_of_read(self._held)
            return
        wanted = _wanted_of_read(self._held)
        if wanted > len(self._held):
            self._want = wanted
            return
        held = Unpacker(bytes(self._held), 4)
        refused = check_reply(held)
        if refused is not None:
            self._finish_without_payload(events, Refusal(self._call.context, refused))
            return
        status = held.u32()
        nfs3.decode_optional_attributes(held)
        if status:
            self._finish_without_payload(events, ReadReply(self._call.context, status, 0, False))
            return
        count, eof, length = held.u32(), held.flag(), held.u32()
        if count != length or count > self._call.read_bytes:
            raise RemoteProtocolError(
                f"the server answered READ of {self._call.read_bytes} bytes with count {count} and {length} bytes"
            )
        self._payload = padded(length)
        if self._left > self._payload or (self._last and self._left != self._payload):
            raise RemoteProtocolError("the server's READ reply is not as long as it says")
        self._read_reply = ReadReply(self._call.context, 0, count, eof)

    def _finish_without_payload(self, events: list[Event], event: Event) -> None:
        if self._left or not self._last:
            raise RemoteProtocolError("the server's READ reply is longer than it says")
        events.append(event)
        self._begin_record()


def _decode_reply(call: _Call, record: bytes) -> Event:
    results = Unpacker(record, 4)
    refused = check_reply(results)
    return Reply(call.context, results) if refused is None else Refusal(call.context, refused)


def _wanted_of_read(held: bytes | bytearray) -> int:
    """How many bytes of a READ reply must be held to know all up to its payload; no more than are surely sent."""

    def at(position: int) -> int:
        return int(_MARK.unpack_from(held, position)[0])

    size = len(held)
    if size < 12:
        return 12
    if at(8) != 0:  # denied: reject_stat, then low and high, or auth_stat
        if size < 16:
            return 16
        return 24 if at(12) == 0 else 20
    if size < 20:
        return 20
    verifier = at(16)
    if verifier > 400:
        raise RemoteProtocolError(f"the server sent a verifier of {verifier} bytes")
    accepted = 20 + padded(verifier)
    if size < accepted + 4:
        return accepted + 4
    if at(accepted) != 0:
        return accepted + (12 if at(accepted) == 2 else 4)
    status = accepted + 4
    if size < status + 8:
        return status + 8
    if at(status + 4) > 1:
        raise RemoteProtocolError("the server sent no boolean before the attributes")
    end = status + 8 + (nfs3.FATTR_BYTES if at(status + 4) else 0)
    return end if at(status) else end + 12
