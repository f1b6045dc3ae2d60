"""READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17): a scan spends most of its time in these decoders."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc.nfs3 import FATTR_BYTES, MAX_HANDLE_BYTES, MAX_NAME_BYTES, Attributes, decode_optional_attributes
from cachewarmer.rpc.xdr import Unpacker, pack_opaque, truncated

NO_VERIFIER = bytes(8)
"""The ``cookieverf3`` of the first call of a listing (RFC 1813 section 3.3.16)."""

_ENTRY_HEAD = struct.Struct(">IQI")
"""value follows, fileid, length of the name."""
_ENTRY_TAIL = struct.Struct(">QII4xI8xQ16xQQ8xIIIIII")
"""cookie, attributes follow, type, links, size, fsid, fileid, mtime (s, ns), ctime (s, ns), handle follows, its length.

This is what nearly all entries have.
"""
_TAIL_BYTES = _ENTRY_TAIL.size


REGULAR = 1
"""``NF3REG`` (RFC 1813 section 2.6)."""
_DOTS = frozenset({b".", b".."})
"""The directory itself and its parent, which servers may list."""


class ListedEntry(NamedTuple):
    """One ``entryplus3`` that has its attributes and its handle (RFC 1813 section 3.3.17)."""

    name: bytes
    kind: int
    """``ftype3`` (RFC 1813 section 2.6), or what the caller uses for it."""
    size: int
    """Bytes."""
    mtime: float
    """Unix seconds."""
    handle: bytes
    file_id: int
    """``fileid3``. For a regular file with several names, a hash of ``fsid`` and ``fileid3``, because an export may
    contain several file systems, each with its own ids.
    """
    links: int
    ctime: float
    """Unix seconds."""


E = TypeVar("E", bound=tuple[object, ...])


class BareEntry(NamedTuple):
    """One ``entryplus3`` or ``entry3`` without attributes, handle, or both."""

    place: int
    """Number of complete entries before it."""
    name: bytes
    attributes: Attributes | None
    handle: bytes
    """Empty if left out."""


class Listing(NamedTuple, Generic[E]):
    """One reply: a part of a directory, without ``.`` and ``..``."""

    entries: list[E]
    bare: list[BareEntry]
    cookie: int
    """The cookie of the last entry, after which the next part begins."""
    verifier: bytes
    """``cookieverf3``, for the call that asks for the next part."""
    eof: bool
    """Whether this is the last part."""


def encode_readdirplus(directory: bytes, cookie: int, verifier: bytes, dircount: int, maxcount: int) -> bytes:
    """``READDIRPLUS3args`` (RFC 1813 section 3.3.17).

    Args:
        directory: the file handle of the directory.
        cookie: the cookie of the last entry of the part before; 0 to begin.
        verifier: the verifier of the part before; ``NO_VERIFIER`` to begin.
        dircount: maximum number of bytes of names, cookies and file ids.
        maxcount: maximum number of bytes of the whole reply.

    Raises:
        LocalProtocolError: the handle is too long.
    """
    return (
        pack_opaque(directory, MAX_HANDLE_BYTES)
        + struct.pack(">Q", cookie)
        + verifier
        + struct.pack(">II", dircount, maxcount)
    )


def encode_readdir(directory: bytes, cookie: int, verifier: bytes, count: int) -> bytes:
    """``READDIR3args`` (RFC 1813 section 3.3.16); ``count`` is the maximum number of bytes of the reply.

    Raises:
        LocalProtocolError: the handle is too long.
    """
    return pack_opaque(directory, MAX_HANDLE_BYTES) + struct.pack(">Q", cookie) + verifier + struct.pack(">I", count)


def decode_readdirplus(reply: Unpacker, cookie: int, entry: type[E], kinds: Sequence[int] = range(8)) -> Listing[E]:
    """Decodes a ``READDIRPLUS3resok`` (RFC 1813 section 3.3.17).

    Args:
        reply: the reply, positioned after the status.
        cookie: the cookie of the call, which the listing keeps if it is empty.
        entry: a named tuple with the fields of ``ListedEntry``, for entries that have attributes and a handle.
        kinds: the ``kind`` for each ``ftype3``.

    Raises:
        RemoteProtocolError: the reply is not valid. The connection must be closed.
    """
    verifier = _verifier(reply)
    data, position = reply.data, reply.position
    size, first = len(data), position
    entries: list[E] = []
    bare: list[BareEntry] = []
    append = entries.append
    new = tuple.__new__  # a named tuple's own __new__ is a slower function in Python
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
                if has_attributes == 1 and has_handle == 1 and 0 < kind < 8 and 0 < length <= MAX_HANDLE_BYTES:
                    cookie = next_cookie
                    start = position + _TAIL_BYTES
                    position = start + ((length + 3) & ~3)
                    if name in _DOTS:
                        continue
                    if links > 1 and kind == REGULAR:
                        file_id = hash((device, file_id))
                    append(
                        new(
                            entry,
                            (
                                name,
                                kinds[kind],
                                file_size,
                                seconds + nanoseconds * 1e-9,
                                data[start : start + length],
                                file_id,
                                links,
                                changed + changed_ns * 1e-9,
                            ),
                        )
                    )
                    continue
            reply.position = position
            cookie = _decode_bare(reply, name, len(entries), bare)
            position = reply.position
    except struct.error:
        # The list ends with "no value follows" and eof, which are 8 bytes: fewer than the head of an entry.
        if not position == size > first and data[position : position + 4] != bytes(4):
            raise truncated() from None
    reply.position = position
    return Listing(entries, bare, cookie, verifier, _end(reply, came=position > first))


def _verifier(reply: Unpacker) -> bytes:
    """Reads what precedes the entries: the directory's attributes, which are not needed, and the verifier."""
    if reply.flag():
        reply.skip(FATTR_BYTES)
    return reply.fixed(8)


def _decode_bare(reply: Unpacker, name: bytes, place: int, bare: list[BareEntry]) -> int:
    """Decodes an entry that lacks attributes or a handle, from its cookie on. Returns the cookie."""
    cookie = reply.u64()
    attributes = decode_optional_attributes(reply)
    handle = reply.opaque(MAX_HANDLE_BYTES) if reply.flag() else b""
    if name not in _DOTS:
        bare.append(BareEntry(place, name, attributes, handle))
    return cookie


def decode_readdir(reply: Unpacker, cookie: int) -> Listing[Any]:
    """Decodes a ``READDIR3resok`` (RFC 1813 section 3.3.16), after the status: it contains only names.

    ``cookie`` is the cookie of the call, which the listing keeps if it is empty.

    Raises:
        RemoteProtocolError: the reply is not valid. The connection must be closed.
    """
    verifier = _verifier(reply)
    bare: list[BareEntry] = []
    first = reply.position
    while reply.left or reply.position == first:
        if not reply.flag():
            reply.position -= 4
            break
        reply.u64()
        name = reply.opaque(MAX_NAME_BYTES)
        cookie = reply.u64()
        if name not in _DOTS:
            bare.append(BareEntry(0, name, None, b""))
    return Listing([], bare, cookie, verifier, _end(reply, came=reply.position > first))


def _end(reply: Unpacker, *, came: bool) -> bool:
    """Returns eof, which follows the last entry. If a server leaves it out after an entry, the listing continues."""
    if reply.left and reply.flag():
        raise RemoteProtocolError("the server's listing is broken")
    return reply.flag() if reply.left or not came else False
