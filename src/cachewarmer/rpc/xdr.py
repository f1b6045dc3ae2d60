"""External Data Representation (RFC 4506): a checked reader over received bytes, and the few encoders needed."""

from __future__ import annotations

import struct

from cachewarmer.errors import LocalProtocolError, RemoteProtocolError

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")


def padded(length: int) -> int:
    """``length`` rounded up to a multiple of the four bytes that every XDR item is aligned to (RFC 4506 section 3)."""
    return (length + 3) & ~3


def pack_opaque(value: bytes, most: int) -> bytes:
    """Encodes a variable-length opaque or string of at most ``most`` bytes (RFC 4506 sections 4.10 and 4.11).

    Raises:
        LocalProtocolError: the value is longer.
    """
    length = len(value)
    if length > most:
        raise LocalProtocolError(f"{length} bytes where the protocol allows {most}")
    return _U32.pack(length) + value + bytes(-length % 4)


class Unpacker:
    """Reads XDR items from ``data`` one after the other, and copies only what it returns as bytes.

    All methods that read raise ``RemoteProtocolError`` if the data ends too early or is not what it should be.
    """

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data = data
        self.position = position

    @property
    def left(self) -> int:
        """Number of bytes that are not read yet."""
        return len(self.data) - self.position

    def u32(self) -> int:
        """Reads an unsigned integer (RFC 4506 section 4.2).

        Raises:
            RemoteProtocolError: the data ends too early.
        """
        try:
            (value,) = _U32.unpack_from(self.data, self.position)
        except struct.error:
            raise truncated() from None
        self.position += 4
        return int(value)

    def u64(self) -> int:
        """Reads an unsigned hyper integer (RFC 4506 section 4.5).

        Raises:
            RemoteProtocolError: the data ends too early.
        """
        try:
            (value,) = _U64.unpack_from(self.data, self.position)
        except struct.error:
            raise truncated() from None
        self.position += 8
        return int(value)

    def flag(self) -> bool:
        """Reads a boolean (RFC 4506 section 4.4), which also tells whether optional data follows (section 4.19).

        Raises:
            RemoteProtocolError: it is neither 0 nor 1, or the data ends too early.
        """
        value = self.u32()
        if value > 1:
            raise RemoteProtocolError(f"the server sent {value} for a boolean")
        return value == 1

    def fixed(self, length: int) -> bytes:
        """Reads a fixed-length opaque of ``length`` bytes, and skips its padding (RFC 4506 section 4.9).

        Raises:
            RemoteProtocolError: the data ends too early.
        """
        start, stop = self.position, self.position + length
        if start + padded(length) > len(self.data):
            raise truncated()
        self.position = start + padded(length)
        return self.data[start:stop]

    def opaque(self, most: int) -> bytes:
        """Reads a variable-length opaque or string of at most ``most`` bytes (RFC 4506 sections 4.10 and 4.11).

        Raises:
            RemoteProtocolError: it is longer, or the data ends too early.
        """
        length = self.u32()
        if length > most:
            raise RemoteProtocolError(f"the server sent {length} bytes where the protocol allows {most}")
        return self.fixed(length)

    def skip(self, length: int) -> None:
        """Skips ``length`` bytes.

        Raises:
            RemoteProtocolError: the data ends too early.
        """
        if self.position + length > len(self.data):
            raise truncated()
        self.position += length


def truncated() -> RemoteProtocolError:
    """The error for a reply that ends in the middle of an item."""
    return RemoteProtocolError("the server's reply ends too early")
