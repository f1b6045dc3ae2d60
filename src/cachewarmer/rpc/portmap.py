"""Finds the port of a program with version 2 of the portmapper, or for IPv6 with version 4 of rpcbind (RFC 1833)."""

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
"""Maximum number of mappings that are taken from one reply."""
GETADDR = 3
"""RPCBPROC_GETADDR (RFC 1833 section 2.2.1)."""
_TCP = 6
"""IPPROTO_TCP."""


def encode_getport(program: int, version: int) -> bytes:
    """The argument of GETPORT: a ``mapping`` that asks for a TCP port (RFC 1833 section 3.1)."""
    return struct.pack(">IIII", program, version, _TCP, 0)


def decode_getport(reply: Unpacker) -> int:
    """Decodes the result of GETPORT: the port, or 0 if the program is not registered (RFC 1833 section 3.2).

    Raises:
        RemoteProtocolError: it is not a port.
    """
    port = reply.u32()
    if port > 0xFFFF:
        raise RemoteProtocolError(f"the portmapper answered with port {port}")
    return port


class Mapping(NamedTuple):
    """A registered program (RFC 1833 section 3.1)."""

    program: int
    version: int
    protocol: int
    """6: TCP; 17: UDP."""
    port: int


def decode_dump(reply: Unpacker) -> list[Mapping]:
    """Decodes a ``pmaplist`` (RFC 1833 section 3.1), up to ``MOST_MAPPINGS`` entries.

    Raises:
        RemoteProtocolError: it is truncated.
    """
    found: list[Mapping] = []
    while len(found) < MOST_MAPPINGS and reply.u32():
        found.append(Mapping(reply.u32(), reply.u32(), reply.u32(), reply.u32()))
    return found


def encode_getaddr(program: int, version: int, netid: str = "tcp6") -> bytes:
    """The argument of GETADDR: an ``rpcb`` without address and owner (RFC 1833 section 2.1)."""
    return (
        struct.pack(">II", program, version)
        + pack_opaque(netid.encode(), 16)
        + pack_opaque(b"", 0)
        + pack_opaque(b"", 0)
    )


def decode_getaddr(reply: Unpacker) -> int:
    """Decodes the result of GETADDR: the port, or 0 if the program is not registered.

    A universal address ends with two decimal numbers after dots, the high and the low byte of the port (RFC 5665
    section 5.2.3).

    Raises:
        RemoteProtocolError: it is not a universal address.
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
