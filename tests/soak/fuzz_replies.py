"""What an NFS server sends: every decoder, and the connection that takes a stream of bytes apart.

The first byte chooses the decoder; from ``len(DECODERS)`` on it is the connection, with calls of every kind in flight,
and the bytes arrive in pieces whose length the second byte gives.
"""

import struct

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.connection import Connection
from cachewarmer.rpc.message import AUTH_NONE, LAST_FRAGMENT, REPLY
from cachewarmer.rpc.xdr import Unpacker
from tests.unit.rpc import replies

DECODERS = list(dict.fromkeys(decode for _, _, decode in replies.FIXTURES))
XIDS = range(2, 6)
READ_RESULTS = bytes(8) + struct.pack(">III", 6, 1, 6) + b"sixsix" + bytes(2)
"""READ without attributes: six bytes and eof (RFC 1813 section 3.3.6)."""


def record(xid: int, results: bytes) -> bytes:
    """An accepted reply as one fragment (RFC 5531 sections 9 and 11)."""
    return struct.pack(">7I", LAST_FRAGMENT | (24 + len(results)), xid, REPLY, 0, 0, 0, 0) + results


SEEDS = [bytes([DECODERS.index(decode)]) + results for _, results, decode in replies.FIXTURES]
SEEDS += [
    bytes([255, pieces]) + b"".join(record(xid, bytes(4) if xid % 2 else READ_RESULTS) for xid in XIDS)
    for pieces in (0, 6, 255)
]


def connection() -> Connection:
    """One with calls in flight whose xids are ``XIDS``: two READs and two others."""
    made = Connection(AUTH_NONE, XIDS[0] - 1)
    for number in XIDS:
        if not number % 2:
            made.call_read(b"handle", 0, 4096, number)
        else:
            made.call(nfs3.PROGRAM, nfs3.VERSION, nfs3.READDIRPLUS, b"", number, 65536)
    return made


def fuzz(data: bytes) -> None:
    if len(data) < 2:
        return
    if data[0] < len(DECODERS):
        try:
            DECODERS[data[0]](Unpacker(data[1:]))
        except RemoteProtocolError as error:
            assert str(error).isprintable()
        return
    receive(data[2:], data[1] + 1)


def receive(stream: bytes, piece: int) -> None:
    """Each call ends once, answered or given up; nothing is taken any more once the server broke the rules."""
    rpc = connection()
    answered: list[object] = []
    position = 0
    while position < len(stream) and rpc.failure is None:
        try:
            if drop := min(rpc.discardable, len(stream) - position):
                position += drop
                events = rpc.discarded(drop)
            else:
                some = stream[position : position + piece]
                position += len(some)
                events = rpc.receive(some, len(some))
        except RemoteProtocolError as error:
            assert rpc.failure is error
            break
        answered += [event.context for event in events]
    answered += rpc.abandon()
    assert sorted(answered, key=int) == list(XIDS)
