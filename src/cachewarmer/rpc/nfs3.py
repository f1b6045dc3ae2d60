"""NFS version 3 (RFC 1813): encodes arguments and decodes results. READ and listings have modules of their own.

The encoders raise ``LocalProtocolError`` if a handle or a name is too long, and the decoders ``RemoteProtocolError`` if
the bytes are not what they should be. After the latter, the connection must be closed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from cachewarmer.errors import NfsStatusError, RemoteProtocolError, StaleHandle
from cachewarmer.rpc.xdr import Unpacker, pack_opaque

PROGRAM = 100003
VERSION = 3
PORT = 2049
NULL, GETATTR, LOOKUP, ACCESS, READLINK, READ, READDIR, READDIRPLUS, FSSTAT, FSINFO = 0, 1, 3, 4, 5, 6, 16, 17, 18, 19
PROCEDURES = {
    NULL: "NULL",
    GETATTR: "GETATTR",
    LOOKUP: "LOOKUP",
    ACCESS: "ACCESS",
    READLINK: "READLINK",
    READ: "READ",
    READDIR: "READDIR",
    READDIRPLUS: "READDIRPLUS",
    FSSTAT: "FSSTAT",
    FSINFO: "FSINFO",
}
MAX_HANDLE_BYTES = 64
"""NFS3_FHSIZE (RFC 1813 section 2.4)."""
MAX_NAME_BYTES = 65535
"""The protocol sets no limit; no server allows more than a few hundred bytes."""
MAX_LINK_BYTES = 65535
FATTR_BYTES = 84
"""``fattr3`` has a fixed length (RFC 1813 section 2.6)."""

OK, PERM, NOENT, IO, ACCES, NOTDIR, ISDIR, INVAL = 0, 1, 2, 5, 13, 20, 21, 22
STALE, BADHANDLE, BAD_COOKIE, NOTSUPP, TOOSMALL, SERVERFAULT, JUKEBOX = 70, 10001, 10003, 10004, 10005, 10006, 10008
STATUS_NAMES = {
    1: "not owner (NFS3ERR_PERM)",
    2: "no such file or directory (NFS3ERR_NOENT)",
    5: "I/O error at the server (NFS3ERR_IO)",
    6: "no such device (NFS3ERR_NXIO)",
    13: "permission denied (NFS3ERR_ACCES)",
    17: "file exists (NFS3ERR_EXIST)",
    18: "cross-device link (NFS3ERR_XDEV)",
    19: "no such device (NFS3ERR_NODEV)",
    20: "not a directory (NFS3ERR_NOTDIR)",
    21: "is a directory (NFS3ERR_ISDIR)",
    22: "invalid argument (NFS3ERR_INVAL)",
    27: "file too large (NFS3ERR_FBIG)",
    28: "no space left (NFS3ERR_NOSPC)",
    30: "read-only file system (NFS3ERR_ROFS)",
    31: "too many links (NFS3ERR_MLINK)",
    63: "name too long (NFS3ERR_NAMETOOLONG)",
    66: "directory not empty (NFS3ERR_NOTEMPTY)",
    69: "quota exceeded (NFS3ERR_DQUOT)",
    70: "stale file handle (NFS3ERR_STALE)",
    71: "too many levels of remote in path (NFS3ERR_REMOTE)",
    10001: "bad file handle (NFS3ERR_BADHANDLE)",
    10002: "not in sync (NFS3ERR_NOT_SYNC)",
    10003: "stale directory cookie (NFS3ERR_BAD_COOKIE)",
    10004: "not supported (NFS3ERR_NOTSUPP)",
    10005: "buffer too small (NFS3ERR_TOOSMALL)",
    10006: "failure at the server (NFS3ERR_SERVERFAULT)",
    10007: "bad type (NFS3ERR_BADTYPE)",
    10008: "the server asks to wait (NFS3ERR_JUKEBOX)",
}
"""``nfsstat3`` (RFC 1813 section 2.6)."""

ACCESS_READ, ACCESS_LOOKUP, ACCESS_MODIFY, ACCESS_EXTEND, ACCESS_DELETE, ACCESS_EXECUTE = 1, 2, 4, 8, 16, 32
"""What ACCESS asks about (RFC 1813 section 3.3.4)."""
ACCESS_ALL = 63
"""All of these, as clients usually ask: a cache keeps only the answer to exactly what was asked."""

_FATTR = struct.Struct(">I4xI8xQ16xQQ8xIIII")


class Attributes(NamedTuple):
    """The parts of ``fattr3`` (RFC 1813 section 2.6) that warming needs."""

    kind: int
    """``ftype3``: 1 regular, 2 directory, 3 block, 4 character, 5 link, 6 socket, 7 FIFO."""
    size: int
    """Bytes."""
    mtime: float
    """Unix seconds."""
    file_id: int
    """``fileid``: the same for all names of a file; unique within its file system."""
    links: int
    """``nlink``: number of names that the file has."""
    device: int
    """``fsid``: the same for all files of one of the server's file systems."""
    ctime: float = 0.0
    """Unix seconds."""


class Lookup(NamedTuple):
    """What LOOKUP found (RFC 1813 section 3.3.3)."""

    handle: bytes
    attributes: Attributes | None


class FsInfo(NamedTuple):
    """The sizes that FSINFO reports, in bytes (RFC 1813 section 3.3.19)."""

    rtmax: int
    rtpref: int
    dtpref: int


def status_error(status: int, procedure: int, path: bytes, address: str = "") -> NfsStatusError:
    """The exception for a status other than NFS3_OK; ``procedure`` is one of ``PROCEDURES``."""
    kind = StaleHandle if status in (STALE, BADHANDLE) else NfsStatusError
    return kind(status, PROCEDURES[procedure], path, STATUS_NAMES.get(status, ""), address=address)


def encode_handle(handle: bytes) -> bytes:
    """An ``nfs_fh3``: the argument of GETATTR, READLINK and FSINFO."""
    return pack_opaque(handle, MAX_HANDLE_BYTES)


def encode_lookup(directory: bytes, name: bytes) -> bytes:
    """``LOOKUP3args`` (RFC 1813 section 3.3.3)."""
    return pack_opaque(directory, MAX_HANDLE_BYTES) + pack_opaque(name, MAX_NAME_BYTES)


def encode_access(handle: bytes, wanted: int = ACCESS_ALL) -> bytes:
    """``ACCESS3args`` (RFC 1813 section 3.3.4); ``wanted`` is a sum of the ``ACCESS_`` bits."""
    return pack_opaque(handle, MAX_HANDLE_BYTES) + struct.pack(">I", wanted)


def decode_attributes(reply: Unpacker) -> Attributes:
    """Decodes a ``fattr3`` (RFC 1813 section 2.6).

    Raises:
        RemoteProtocolError: the data ends too early, or the file type is unknown.
    """
    start = reply.position
    reply.skip(FATTR_BYTES)
    kind, links, size, device, file_id, seconds, nanoseconds, changed, changed_ns = _FATTR.unpack_from(
        reply.data, start
    )
    if not 1 <= kind <= 7:
        raise RemoteProtocolError(f"the server sent file type {kind}")
    return Attributes(kind, size, seconds + nanoseconds * 1e-9, file_id, links, device, changed + changed_ns * 1e-9)


def decode_optional_attributes(reply: Unpacker) -> Attributes | None:
    """Decodes a ``post_op_attr`` (RFC 1813 section 2.6); None if the attributes are left out, as by some caches."""
    return decode_attributes(reply) if reply.flag() else None


def decode_status(reply: Unpacker) -> int:
    """``nfsstat3`` (RFC 1813 section 2.6), with which the result of every procedure except NULL begins."""
    return reply.u32()


def decode_getattr(reply: Unpacker) -> Attributes:
    """``GETATTR3resok`` (RFC 1813 section 3.3.1), after the status."""
    return decode_attributes(reply)


def decode_lookup(reply: Unpacker) -> Lookup:
    """``LOOKUP3resok`` (RFC 1813 section 3.3.3), after the status."""
    handle = reply.opaque(MAX_HANDLE_BYTES)
    return Lookup(handle, decode_optional_attributes(reply))


def decode_readlink(reply: Unpacker) -> bytes:
    """``READLINK3resok`` (RFC 1813 section 3.3.5), after the status: the path that the link contains."""
    decode_optional_attributes(reply)
    return reply.opaque(MAX_LINK_BYTES)


def decode_access(reply: Unpacker) -> int:
    """``ACCESS3resok`` (RFC 1813 section 3.3.4), after the status: the sum of the ``ACCESS_`` bits that are allowed."""
    decode_optional_attributes(reply)
    return reply.u32()


def decode_fsinfo(reply: Unpacker) -> FsInfo:
    """``FSINFO3resok`` (RFC 1813 section 3.3.19), after the status."""
    decode_optional_attributes(reply)
    rtmax, rtpref, _, _, _, _, dtpref = (reply.u32() for _ in range(7))
    return FsInfo(rtmax, rtpref, dtpref)
