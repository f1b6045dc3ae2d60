"""External data representation (RFC 4506): a checked reader over received bytes, and the few encoders needed."""

from __future__ import annotations

import struct

from cachewarmer.errors import LocalProtocolError, RemoteProtocolError

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")


def padded(length: int) -> int:
    """``length`` rounded up to the four bytes that every XDR item is aligned to (RFC 4506 section 3)."""
    return (length + 3) & ~3


def pack_opaque(value: bytes, most: int) -> bytes:
    """Variable-length opaque or string of at most ``most`` bytes (RFC 4506 sections 4.10, 4.11).

    Raises:
        LocalProtocolError: the value is longer.
    """
    length = len(value)
    if length > most:
        raise LocalProtocolError(f"{length} bytes where the protocol allows {most}")
    return _U32.pack(length) + value + bytes(-length % 4)


class Unpacker:
    """Reads XDR items one after the other from ``data``; owns nothing and copies only what it returns as bytes."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self.data) - self.position

    def u32(self) -> int:
        """Unsigned integer (RFC 4506 section 4.2).

        Raises:
            RemoteProtocolError: the data ends before it, as with every method here.
        """
        try:
            (value,) = _U32.unpack_from(self.data, self.position)
        except struct.error:
            raise truncated() from None
        self.position += 4
        return int(value)

    def u64(self) -> int:
        """Unsigned hyper integer (RFC 4506 section 4.5)."""
        try:
            (value,) = _U64.unpack_from(self.data, self.position)
        except struct.error:
            raise truncated() from None
        self.position += 8
        return int(value)

    def flag(self) -> bool:
        """Boolean (RFC 4506 section 4.4); also what says whether an optional item follows (section 4.19)."""
        value = self.u32()
        if value > 1:
            raise RemoteProtocolError(f"the server sent {value} for a boolean")
        return value == 1

    def fixed(self, length: int) -> bytes:
        """Fixed-length opaque of ``length`` bytes (RFC 4506 section 4.9)."""
        start, stop = self.position, self.position + length
        if start + padded(length) > len(self.data):
            raise truncated()
        self.position = start + padded(length)
        return self.data[start:stop]

    def opaque(self, most: int) -> bytes:
        """Variable-length opaque or string of at most ``most`` bytes (RFC 4506 sections 4.10, 4.11)."""
        length = self.u32()
        if length > most:
            raise RemoteProtocolError(f"the server sent {length} bytes where the protocol allows {most}")
        return self.fixed(length)

    def skip(self, length: int) -> None:
        """Passes over ``length`` bytes, which must be there."""
        if self.position + length > len(self.data):
            raise truncated()
        self.position += length


def truncated() -> RemoteProtocolError:
    """The error for a reply that ends in the middle of an item."""
    return RemoteProtocolError("the server's reply ends too early")
