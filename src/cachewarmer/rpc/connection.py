"""One RPC connection without its socket: calls in flight by xid, bytes in, replies out.

The payload of a READ reply never becomes an object: the connection reads the header of the reply, tells the driver how
many bytes it may drop unseen (``discardable``), and reports the reply once they are gone.
"""

from __future__ import annotations

import struct

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.message import LAST_FRAGMENT, call_prefix, check_reply, encode_record
from cachewarmer.rpc.receiving import (
    U32,
    Call,
    Event,
    Fragment,
    Phase,
    ReadReply,
    Record,
    Refusal,
    Reply,
    wanted_of_read,
)
from cachewarmer.rpc.xdr import Unpacker, padded

MAX_EMPTY_FRAGMENTS = 64
"""Empty fragments are legal but pointless; a server that sends more than this many in a row is taken as malicious."""
READ_REPLY_SPACE = 24 + 400 + 4 + 4 + 4 + nfs3.FATTR_BYTES + 12
"""Maximum number of bytes of a READ reply before its payload: longest verifier, attributes, count, eof, length."""

_REPLY_HEAD = struct.Struct(">II24sI")
"""Record mark, xid, everything up to and including the status of a reply, attributes follow."""
_MARK_AND_XID = struct.Struct(">II")
_GOOD = struct.pack(">6I", 1, 0, 0, 0, 0, 0)
"""REPLY, MSG_ACCEPTED, a verifier of AUTH_NONE and its length, SUCCESS (RFC 5531 section 9), NFS3_OK."""
_ACCEPTED = _GOOD[:20]
"""The same without NFS3_OK, which the procedure adds."""
_READ_TAIL = struct.Struct(">III")
"""count, eof, length of the data (RFC 1813 section 3.3.6)."""
_HEAD_BYTES = _REPLY_HEAD.size
_new_tuple = tuple.__new__
"""Used for every READ, because a named tuple's own ``__new__`` is a slower function in Python."""


class Connection:
    """The state of one connection. After a ``RemoteProtocolError``, only ``abandon`` is useful.

    ``credential`` is a credential and a verifier, as ``message.auth_sys`` returns them. The first call has the xid
    after ``first_xid``, which should differ between connections.
    """

    def __init__(self, credential: bytes, first_xid: int = 1) -> None:
        self._credential = credential
        self._xid = first_xid & 0xFFFFFFFF
        self._calls: dict[int, Call] = {}
        self.failure: RemoteProtocolError | None = None
        """How the server violated the protocol, or None; after that, no more bytes are accepted."""
        self._prefixes: dict[tuple[int, int, int, bytes], bytes] = {}
        self._read_prefix = call_prefix(nfs3.PROGRAM, nfs3.VERSION, nfs3.READ, credential)
        self._read_layouts: dict[int, struct.Struct] = {}
        self._fragment = Fragment()
        self._record = Record()
        self._between = True
        """Whether the last record is complete and no byte of the next one has arrived."""

    @property
    def in_flight(self) -> int:
        """Number of calls that are not answered yet."""
        return len(self._calls)

    @property
    def oldest_xid(self) -> int | None:
        """The xid of the oldest call in flight; None if there is none."""
        return next(iter(self._calls), None)

    # -- calls -----------------------------------------------------------------------------------------------------

    def call(
        self,
        program: int,
        version: int,
        procedure: int,
        arguments: bytes,
        context: object,
        reply_limit: int,
        credential: bytes = b"",
    ) -> bytes:
        """Registers a call and returns the record to be sent (RFC 5531 sections 9 and 11).

        Args:
            program: the RPC program number.
            version: the version of the program.
            procedure: the procedure number.
            arguments: the encoded arguments.
            context: any object; the event that answers the call carries it.
            reply_limit: maximum length of the reply's record, in bytes without the record mark.
            credential: credential and verifier of this call; empty: those of the connection.
        """
        key = (program, version, procedure, credential)
        prefix = self._prefixes.get(key)
        if prefix is None:
            made = call_prefix(program, version, procedure, credential or self._credential)
            prefix = self._prefixes[key] = made
        xid = self._next_xid()
        self._calls[xid] = Call(context, None, reply_limit)
        return encode_record(xid, prefix, arguments)

    def call_read(self, handle: bytes, offset: int, count: int, context: object) -> bytes:
        """Does the same for READ (RFC 1813 section 3.3.6), whose payload is then discarded.

        Args:
            handle: the file handle, at most 64 bytes.
            offset: the offset in the file, in bytes.
            count: how many bytes to read.
            context: any object; the event that answers the call carries it.

        Raises:
            LocalProtocolError: the handle is too long. The connection stays usable.
        """
        length = len(handle)
        layout = self._read_layouts.get(length)
        if layout is None:
            layout = self._new_read_layout(length)
        xid = self._xid = (self._xid + 1) & 0xFFFFFFFF
        if xid in self._calls:
            xid = self._next_xid()
        self._calls[xid] = _new_tuple(Call, (context, count, READ_REPLY_SPACE + count + 3))
        return layout.pack(LAST_FRAGMENT | (layout.size - 4), xid, self._read_prefix, length, handle, offset, count)

    def _new_read_layout(self, length: int) -> struct.Struct:
        nfs3.encode_handle(bytes(length))  # raises if the handle is too long
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
        """Forgets all calls in flight, and returns their contexts, oldest first."""
        contexts = [call.context for call in self._calls.values()]
        self._calls.clear()
        return contexts

    # -- bytes in --------------------------------------------------------------------------------------------------

    @property
    def discardable(self) -> int:
        """How many of the next bytes are payload, which the driver may drop if it then calls ``discarded``."""
        record = self._record
        return min(record.payload_left, self._fragment.left) if record.phase is Phase.PAYLOAD else 0

    def discarded(self, count: int) -> list[Event]:
        """Call this when the driver has dropped ``count`` bytes, at most ``discardable``. Returns what they completed.

        Raises:
            RemoteProtocolError: the reply violates the protocol; the connection must be closed.
        """
        self._record.payload_left -= count
        self._fragment.left -= count
        events: list[Event] = []
        if not self._fragment.left:
            try:
                self._end_fragment(events)
            except RemoteProtocolError as error:
                self.failure = error
                raise
        return events

    def receive(self, buffer: bytes | bytearray, size: int) -> list[Event]:
        """Takes the first ``size`` bytes of ``buffer``, and returns the events that they complete.

        No view of the buffer is kept. If some bytes complete replies and later ones violate the protocol, the replies
        are returned, and ``failure`` is set.

        Raises:
            RemoteProtocolError: the bytes violate the protocol; the connection must be closed.
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
            # The usual case is decoded straight from the buffer: a READ reply in one fragment with an empty verifier.
            if self._between and position + _HEAD_BYTES <= size:
                mark, xid, head, has_attributes = _REPLY_HEAD.unpack_from(buffer, position)
                call = calls.get(xid)
                if (
                    head == _GOOD
                    and call is not None
                    and call[1] is not None
                    and mark & LAST_FRAGMENT
                    and has_attributes <= 1
                ):
                    tail = position + _HEAD_BYTES + (nfs3.FATTR_BYTES if has_attributes else 0)
                    if tail + 12 <= size:
                        count, eof, length = _READ_TAIL.unpack_from(buffer, tail)
                        begin = tail + 12
                        end = begin + ((length + 3) & ~3)
                        if count == length <= call[1] and eof <= 1 and end - position - 4 == mark & 0x7FFFFFFF:
                            reply = _new_tuple(ReadReply, (call[0], 0, count, eof == 1))
                            if end <= size:
                                del calls[xid]
                                events.append(reply)
                                position = end
                                continue
                            self._begin_payload(xid, reply, end - size)
                            return
            position = self._receive_slowly(buffer, position, size, events)

    def _take_whole(self, buffer: bytes | bytearray, position: int, size: int, events: list[Event]) -> int:
        """Decodes a complete one-fragment reply to a call other than READ. Returns where it ends; 0: there is none."""
        if position + 8 > size:
            return 0
        mark, xid = _MARK_AND_XID.unpack_from(buffer, position)
        call, length = self._calls.get(xid), mark & 0x7FFFFFFF
        end: int = position + 4 + length
        if (
            call is None
            or call.read_bytes is not None
            or not mark & LAST_FRAGMENT
            or not 4 <= length <= call.reply_limit
        ):
            return 0
        if end > size:
            return 0
        events.append(_decode_reply(call, bytes(buffer[position + 4 : end])))
        del self._calls[xid]
        return end

    def _begin_payload(self, xid: int, reply: ReadReply, left: int) -> None:
        """Begins to discard: the READ reply has arrived except for ``left`` bytes of its payload."""
        self._between = False
        fragment, record = self._fragment, self._record
        fragment.is_last = True
        record.enter(Phase.PAYLOAD)
        record.xid = xid
        record.reply = reply
        record.payload_left = fragment.left = left

    def _receive_slowly(self, buffer: bytes | bytearray, position: int, size: int, events: list[Event]) -> int:
        """Takes at least one byte, however the reply is fragmented. Returns the position after the bytes it took."""
        if self._between and (end := self._take_whole(buffer, position, size, events)):
            return end
        fragment, record = self._fragment, self._record
        if not fragment.left:
            stop = min(size, position + 4 - len(fragment.mark))
            fragment.mark += buffer[position:stop]
            self._between = False
            if len(fragment.mark) == 4:
                self._begin_fragment(events)
            return stop
        if record.phase is Phase.PAYLOAD:
            if not record.payload_left:
                raise RemoteProtocolError("the server's READ reply is longer than it says")
            taken = min(record.payload_left, fragment.left, size - position)
            record.payload_left -= taken
            fragment.left -= taken
        else:
            taken = min(fragment.left, size - position, record.wanted - len(record.held))
            record.held += buffer[position : position + taken]
            fragment.left -= taken
            if len(record.held) == record.wanted:
                self._look(events)
        if not fragment.left and not self._between:
            self._end_fragment(events)
        return position + taken

    def _begin_fragment(self, events: list[Event]) -> None:
        fragment, record = self._fragment, self._record
        (mark,) = U32.unpack(fragment.mark)
        fragment.mark.clear()
        fragment.left = mark & 0x7FFFFFFF
        fragment.is_last = bool(mark & LAST_FRAGMENT)
        if record.phase in (Phase.READ_HEAD, Phase.WHOLE) and record.call is not None:
            limit = record.call.reply_limit
            if len(record.held) + fragment.left > limit:
                raise RemoteProtocolError(f"the server's reply is longer than {limit} bytes")
        if fragment.left:
            fragment.empty = 0
            return
        fragment.empty += 1
        if fragment.empty > MAX_EMPTY_FRAGMENTS:
            raise RemoteProtocolError("the server sends nothing but empty fragments")
        self._end_fragment(events)

    def _end_fragment(self, events: list[Event]) -> None:
        """Ends the fragment, and with the last fragment the record."""
        if not self._fragment.is_last:
            return
        record = self._record
        if record.phase is Phase.PAYLOAD and not record.payload_left and record.reply is not None:
            events.append(record.reply)
        elif record.phase is Phase.WHOLE and record.call is not None:
            events.append(_decode_reply(record.call, bytes(record.held)))
        else:
            raise RemoteProtocolError("the server's reply ends too early")
        self._end_record()

    def _end_record(self) -> None:
        # Only now is the call answered: until its last byte has arrived, it may still be lost with the connection.
        self._record.enter(Phase.XID)
        del self._calls[self._record.xid]
        self._fragment = Fragment()
        self._record = Record()
        self._between = True

    def _look(self, events: list[Event]) -> None:
        """Decodes the held bytes once there are as many as wanted, and decides how many more are wanted."""
        record = self._record
        if record.phase is Phase.XID:
            self._on_xid(record)
        else:
            self._on_read_head(record, events)

    def _on_xid(self, record: Record) -> None:
        left = self._fragment.left
        (xid,) = U32.unpack(record.held)
        call = self._calls.get(xid)
        if call is None:
            # Without the xid: if the port is not an NFS server's, that number is a part of some other protocol.
            raise RemoteProtocolError("the server answered a call that was never made; is it an NFS server's port?")
        if left + 4 > call.reply_limit:
            raise RemoteProtocolError(f"the server's reply of {left + 4} bytes is longer than {call.reply_limit} bytes")
        record.call, record.xid = call, xid
        if call.read_bytes is None:
            record.enter(Phase.WHOLE)
            record.wanted = call.reply_limit + 1  # never reached: the last fragment ends the record
        else:
            record.enter(Phase.READ_HEAD)
            record.wanted = wanted_of_read(record.held)

    def _on_read_head(self, record: Record, events: list[Event]) -> None:
        wanted = wanted_of_read(record.held)
        if wanted > len(record.held):
            record.wanted = wanted
            return
        call, fragment = record.call, self._fragment
        assert call is not None
        assert call.read_bytes is not None
        held = Unpacker(bytes(record.held), 4)
        refused = check_reply(held)
        if refused is not None:
            self._finish_without_payload(events, Refusal(call.context, refused))
            return
        status = held.u32()
        nfs3.decode_optional_attributes(held)
        if status:
            self._finish_without_payload(events, ReadReply(call.context, status, 0, eof=False))
            return
        count, eof, length = held.u32(), held.flag(), held.u32()
        if count != length or count > call.read_bytes:
            raise RemoteProtocolError(
                f"the server answered READ of {call.read_bytes} bytes with count {count} and {length} bytes"
            )
        record.enter(Phase.PAYLOAD)
        record.payload_left = padded(length)
        record.reply = ReadReply(call.context, 0, count, eof)
        if fragment.left > record.payload_left or (fragment.is_last and fragment.left != record.payload_left):
            raise RemoteProtocolError("the server's READ reply is not as long as it says")

    def _finish_without_payload(self, events: list[Event], event: Event) -> None:
        if self._fragment.left or not self._fragment.is_last:
            raise RemoteProtocolError("the server's READ reply is longer than it says")
        events.append(event)
        self._end_record()


def _decode_reply(call: Call, record: bytes) -> Event:
    if record[4:24] == _ACCEPTED:  # nearly always
        return Reply(call.context, Unpacker(record, 24))
    results = Unpacker(record, 4)
    refused = check_reply(results)
    return Reply(call.context, results) if refused is None else Refusal(call.context, refused)
