"""READDIRPLUS and READDIR (RFC 1813 sections 3.3.16 and 3.3.17): the decoders that a scan spends its time in."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc.nfs3 import FATTR_BYTES, MAX_HANDLE_BYTES, MAX_NAME_BYTES, Attributes, decode_optional_attributes
from cachewarmer.rpc.xdr import Unpacker, pack_opaque, truncated

NO_VERIFIER = bytes(8)
"""``cookieverf3`` of a listing that begins."""

_ENTRY_HEAD = struct.Struct(">IQI")
"""value follows, fileid, length of the name."""
_ENTRY_TAIL = struct.Struct(">QII4xI8xQ16xQQ8xIIIIII")
"""cookie, attributes follow, type, size, mtime (s, ns), ctime (s, ns), handle follows, its length: what nearly all entries have."""
_TAIL_BYTES = _ENTRY_TAIL.size


class ListedEntry(NamedTuple):
    """One ``entryplus3``; attributes and handle are what the server chose to add."""

    name: bytes
    attributes: Attributes | None
    handle: bytes
    """Empty: the server gave none."""


class Listing(NamedTuple):
    """One reply: a part of a directory."""

    entries: list[ListedEntry]
    cookie: int
    """The cookie of the last entry, where the next part begins."""
    verifier: bytes
    eof: bool


def encode_readdirplus(directory: bytes, cookie: int, verifier: bytes, dircount: int, maxcount: int) -> bytes:
    """``READDIRPLUS3args``; both counts in bytes: of names and cookies, and of the whole reply."""
    return (
        pack_opaque(directory, MAX_HANDLE_BYTES)
        + struct.pack(">Q", cookie)
        + verifier
        + struct.pack(">II", dircount, maxcount)
    )


def encode_readdir(directory: bytes, cookie: int, verifier: bytes, count: int) -> bytes:
    """``READDIR3args``; ``count`` is the most bytes of the reply."""
    return pack_opaque(directory, MAX_HANDLE_BYTES) + struct.pack(">Q", cookie) + verifier + struct.pack(">I", count)


def decode_readdirplus(reply: Unpacker, cookie: int = 0) -> Listing:
    """``READDIRPLUS3resok``, after the status. ``cookie`` is the one that was asked with.

    Raises:
        RemoteProtocolError: it isn't one, as of ``decode_readdir``.
    """
    if reply.flag():
        reply.skip(FATTR_BYTES)  # the directory's own, which nobody asks for
    verifier = reply.fixed(8)
    data, position = reply.data, reply.position
    size = len(data)
    entries: list[ListedEntry] = []
    append = entries.append
    new = tuple.__new__  # a named tuple's own __new__ is a function of Python
    head, tail = _ENTRY_HEAD.unpack_from, _ENTRY_TAIL.unpack_from
    try:
        while True:
            follows, _, length = head(data, position)
            if follows != 1:
                break
            start = position + 16
            if length > MAX_NAME_BYTES:
                raise RemoteProtocolError(f"the server sent a name of {length} bytes")
            name = data[start : start + length]
            position = start + ((length + 3) & ~3)
            if position + _TAIL_BYTES <= size:
                (
                    next_cookie,
                    has_attributes,
                    kind,
                    links,
                    file_size,
                    device,
                    file_id,
                    seconds,
                    nanoseconds,
                    changed,
                    changed_ns,
                    has_handle,
                    length,
                ) = tail(data, position)
                if has_attributes == 1 and has_handle == 1 and 0 < kind < 8 and length <= MAX_HANDLE_BYTES:
                    cookie = next_cookie
                    start = position + _TAIL_BYTES
                    append(
                        new(
                            ListedEntry,
                            (
                                name,
                                new(
                                    Attributes,
                                    (
                                        kind,
                                        file_size,
                                        seconds + nanoseconds * 1e-9,
                                        file_id,
                                        links,
                                        device,
                                        changed + changed_ns * 1e-9,
                                    ),
                                ),
                                data[start : start + length],
                            ),
                        )
                    )
                    position = start + ((length + 3) & ~3)
                    continue
            reply.position = position
            cookie = reply.u64()
            attributes = decode_optional_attributes(reply)
            append(ListedEntry(name, attributes, reply.opaque(MAX_HANDLE_BYTES) if reply.flag() else b""))
            position = reply.position
    except struct.error:
        # The list ends with "no value follows" and eof: 8 bytes, fewer than the head of an entry.
        if not (position == size and entries) and data[position : position + 4] != bytes(4):
            raise truncated() from None
    reply.position = position
    return _end(reply, entries, cookie, verifier)


def decode_readdir(reply: Unpacker, cookie: int = 0) -> Listing:
    """``READDIR3resok``, after the status: names alone."""
    decode_optional_attributes(reply)
    verifier = reply.fixed(8)
    entries: list[ListedEntry] = []
    while reply.left or not entries:
        if not reply.flag():
            reply.position -= 4
            break
        reply.u64()
        name = reply.opaque(MAX_NAME_BYTES)
        cookie = reply.u64()
        entries.append(ListedEntry(name, None, b""))
    return _end(reply, entries, cookie, verifier)


def _end(reply: Unpacker, entries: list[ListedEntry], cookie: int, verifier: bytes) -> Listing:
    """What follows the last entry. Where a server leaves it out, there is more: entries that came whole count."""
    if reply.left and reply.flag():
        raise RemoteProtocolError("the server's listing is broken")
    eof = reply.flag() if reply.left or not entries else False
    return Listing(entries, cookie, verifier, eof)
