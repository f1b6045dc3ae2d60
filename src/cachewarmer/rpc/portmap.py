"""Finds the port of a program: with the portmapper, version 2, or rpcbind, version 4, for IPv6 (RFC 1833)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc.xdr import Unpacker, pack_opaque

PORT = 111
PROGRAM = 100000
PORTMAP_VERSION = 2
RPCBIND_VERSION = 4
GETPORT = 3
"""PMAPPROC_GETPORT (RFC 1833 section 3.2)."""
DUMP = 4
"""PMAPPROC_DUMP (RFC 1833 section 3.2)."""
MOST_MAPPINGS = 1000
GETADDR = 3
"""RPCBPROC_GETADDR (RFC 1833 section 2.2.1)."""
_TCP = 6


def encode_getport(program: int, version: int) -> bytes:
    """A ``mapping`` that asks for a TCP port (RFC 1833 section 3.1)."""
    return struct.pack(">IIII", program, version, _TCP, 0)


def decode_getport(reply: Unpacker) -> int:
    """The port; 0: not registered.

    Raises:
        RemoteProtocolError: it isn't a port.
    """
    port = reply.u32()
    if port > 0xFFFF:
        raise RemoteProtocolError(f"the portmapper answered with port {port}")
    return port


class Mapping(NamedTuple):
    """A program that is registered (RFC 1833 section 3.1)."""

    program: int
    version: int
    protocol: int
    """6: TCP; 17: UDP."""
    port: int


def decode_dump(reply: Unpacker) -> list[Mapping]:
    """A ``pmaplist`` (RFC 1833 section 3.1), at most ``MOST_MAPPINGS`` of it.

    Raises:
        RemoteProtocolError: it is cut short.
    """
    found: list[Mapping] = []
    while len(found) < MOST_MAPPINGS and reply.u32():
        found.append(Mapping(reply.u32(), reply.u32(), reply.u32(), reply.u32()))
    return found


def encode_getaddr(program: int, version: int, netid: str = "tcp6") -> bytes:
    """An ``rpcb`` (RFC 1833 section 2.1)."""
    return (
        struct.pack(">II", program, version)
        + pack_opaque(netid.encode(), 16)
        + pack_opaque(b"", 0)
        + pack_opaque(b"", 0)
    )


def decode_getaddr(reply: Unpacker) -> int:
    """The port of a universal address, whose last two dotted parts are its high and low byte; 0: not registered.

    Raises:
        RemoteProtocolError: it isn't a universal address.
    """
    address = reply.opaque(1024)
    if not address:
        return 0
    try:
        _, high, low = address.decode("ascii").rsplit(".", 2)
        port = int(high) * 256 + int(low)
    except ValueError:
        raise RemoteProtocolError(f"rpcbind answered with address {address!r}") from None
    if not 0 <= port <= 0xFFFF:
        raise RemoteProtocolError(f"rpcbind answered with address {address!r}")
    return port
