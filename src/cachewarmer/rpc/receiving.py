"""What is being received on a connection, by name: fragments, the reply of a record, and how much of it is needed."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple, TypeAlias

from cachewarmer.errors import RemoteProtocolError, RpcRefused
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.xdr import Unpacker, padded

U32 = struct.Struct(">I")


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
    """The server refused a call; others continue."""

    context: object
    error: RpcRefused


Event: TypeAlias = ReadReply | Reply | Refusal


class Call(NamedTuple):
    """A call in flight."""

    context: object
    """The caller's own."""
    read_bytes: int | None
    """What READ asked for; None: not a READ."""
    reply_limit: int
    """Most bytes of the reply's record."""


class Phase(Enum):
    """What is being received of a reply."""

    XID = "xid"
    READ_HEAD = "read head"
    """For READ: everything before the payload."""
    PAYLOAD = "payload"
    """For READ: bytes that are dropped."""
    WHOLE = "whole"
    """Any other reply: kept until its last byte is here."""


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.XID: frozenset({Phase.READ_HEAD, Phase.WHOLE, Phase.PAYLOAD}),
    Phase.READ_HEAD: frozenset({Phase.PAYLOAD, Phase.XID}),
    Phase.PAYLOAD: frozenset({Phase.XID}),
    Phase.WHOLE: frozenset({Phase.XID}),
}
"""The whole state machine. From the xid straight to the payload: the head of a READ reply came in one piece."""


class Fragment:
    """The fragment being received (record marking, RFC 5531 section 11)."""

    __slots__ = ("empty", "is_last", "left", "mark")

    def __init__(self) -> None:
        self.mark = bytearray()
        """The bytes of its mark that are here, until all four are."""
        self.left = 0
        """Bytes of it that have not come yet."""
        self.is_last = True
        self.empty = 0
        """Empty fragments in a row."""


class Record:
    """The reply being received."""

    __slots__ = ("call", "held", "payload_left", "phase", "reply", "wanted", "xid")

    def __init__(self) -> None:
        self.phase = Phase.XID
        self.held = bytearray()
        self.wanted = 4
        """As many bytes must be held before there is something to decide."""
        self.xid = 0
        self.call: Call | None = None
        """The call that it answers, once the xid is here."""
        self.payload_left = 0
        self.reply: ReadReply | None = None
        """What is reported once the payload is gone."""

    def enter(self, phase: Phase) -> None:
        assert phase in NEXT[self.phase], (self.phase, phase)
        self.phase = phase


def wanted_of_read(held: bytes | bytearray) -> int:
    """How many bytes of a READ reply must be held to know all up to its payload; no more than are surely sent."""

    def at(position: int) -> int:
        return int(U32.unpack_from(held, position)[0])

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
