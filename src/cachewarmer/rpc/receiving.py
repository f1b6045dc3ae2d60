"""The state of what is being received on a connection: the fragment, the reply, and how much of it is needed next."""

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
    """A READ was answered, and its payload has been discarded."""

    context: object
    """The object that the call was made with."""
    status: int
    """``nfsstat3`` (RFC 1813 section 2.6)."""
    length: int
    """Bytes of payload."""
    eof: bool


class Reply(NamedTuple):
    """Any other call was answered: ``results`` is positioned at the results of the procedure."""

    context: object
    results: Unpacker


class Refusal(NamedTuple):
    """The server refused a call; other calls continue."""

    context: object
    error: RpcRefused


Event: TypeAlias = ReadReply | Reply | Refusal


class Call(NamedTuple):
    """A call in flight."""

    context: object
    """The caller's own object, which comes back with the reply."""
    read_bytes: int | None
    """Number of bytes that a READ asked for; None: not a READ."""
    reply_limit: int
    """Maximum length of the reply's record, in bytes."""


class Phase(Enum):
    """Which part of a reply is being received."""

    XID = "xid"
    READ_HEAD = "read head"
    """For READ: everything before the payload."""
    PAYLOAD = "payload"
    """For READ: bytes that are discarded."""
    WHOLE = "whole"
    """Any other reply: kept until its last byte has arrived."""


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.XID: frozenset({Phase.READ_HEAD, Phase.WHOLE, Phase.PAYLOAD}),
    Phase.READ_HEAD: frozenset({Phase.PAYLOAD, Phase.XID}),
    Phase.PAYLOAD: frozenset({Phase.XID}),
    Phase.WHOLE: frozenset({Phase.XID}),
}
"""The whole state machine. From the xid straight to the payload: the head of a READ reply arrived in one piece."""


class Fragment:
    """The fragment being received (record marking, RFC 5531 section 11)."""

    __slots__ = ("empty", "is_last", "left", "mark")

    def __init__(self) -> None:
        self.mark = bytearray()
        """The bytes of its mark that have arrived, until all four have."""
        self.left = 0
        """Number of its bytes that have not arrived yet."""
        self.is_last = True
        self.empty = 0
        """Number of empty fragments in a row."""


class Record:
    """The reply being received."""

    __slots__ = ("call", "held", "payload_left", "phase", "reply", "wanted", "xid")

    def __init__(self) -> None:
        self.phase = Phase.XID
        self.held = bytearray()
        self.wanted = 4
        """How many bytes must be held before the next step can be decided."""
        self.xid = 0
        self.call: Call | None = None
        """The call that it answers; None until the xid has arrived."""
        self.payload_left = 0
        """Number of payload bytes that have not been discarded yet, with padding."""
        self.reply: ReadReply | None = None
        """The event to report once the payload has been discarded."""

    def enter(self, phase: Phase) -> None:
        """Moves to the next phase, which ``NEXT`` must allow."""
        assert phase in NEXT[self.phase], (self.phase, phase)
        self.phase = phase


def wanted_of_read(held: bytes | bytearray) -> int:
    """How many bytes of a READ reply must be held to decode the next part of what precedes its payload.

    This is never more than the server is certain to send (RFC 5531 section 9, RFC 1813 section 3.3.6). ``held`` begins
    with the xid. If the result is at most ``len(held)``, all that precedes the payload is there.

    Raises:
        RemoteProtocolError: the verifier is too long, or a boolean is neither 0 nor 1.
    """

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
