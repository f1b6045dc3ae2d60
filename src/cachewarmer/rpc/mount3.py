"""The MOUNT protocol, version 3 (RFC 1813 appendix I): how a client gets its first file handle."""

from __future__ import annotations

from typing import NamedTuple

from cachewarmer.errors import RemoteProtocolError
from cachewarmer.rpc.xdr import Unpacker, pack_opaque

PROGRAM = 100005
VERSION = 3
NULL, MNT, UMNT, EXPORT = 0, 1, 3, 5
MAX_PATH_BYTES = 1024
"""MNTPATHLEN (RFC 1813 section 5.1.4)."""
MAX_NAME_BYTES = 255
"""MNTNAMLEN (RFC 1813 section 5.1.4)."""
MAX_HANDLE_BYTES = 64
"""FHSIZE3 (RFC 1813 section 5.1.4)."""
MAX_EXPORTS = 65536
MAX_FLAVORS = 256
AUTH_SYS_FLAVOR = 1
OK, ACCESS_DENIED = 0, 13

STATUS_NAMES = {
    0: "MNT3_OK",
    1: "MNT3ERR_PERM: not owner",
    2: "MNT3ERR_NOENT: no such directory",
    5: "MNT3ERR_IO: I/O error",
    13: "MNT3ERR_ACCES: permission denied",
    20: "MNT3ERR_NOTDIR: not a directory",
    22: "MNT3ERR_INVAL: invalid argument",
    63: "MNT3ERR_NAMETOOLONG: name too long",
    10004: "MNT3ERR_NOTSUPP: not supported",
    10006: "MNT3ERR_SERVERFAULT: failure at the server",
}
"""``mountstat3`` (RFC 1813 section 5.1.5)."""


class MountReply(NamedTuple):
    """The reply to MNT. The handle is empty unless the status is ``OK``."""

    status: int
    handle: bytes
    flavors: tuple[int, ...]
    """Security flavours that the export accepts; may be empty."""


class Export(NamedTuple):
    """One entry of the export list."""

    path: bytes
    groups: tuple[bytes, ...]
    """Who may mount it, as the server writes it; empty: everyone."""


def encode_path(path: bytes) -> bytes:
    """A ``dirpath``: the argument of MNT and UMNT (RFC 1813 sections 5.2.1 and 5.2.3).

    Raises:
        LocalProtocolError: the path is longer than 1024 bytes.
    """
    return pack_opaque(path, MAX_PATH_BYTES)


def decode_mnt(reply: Unpacker) -> MountReply:
    """Decodes a ``mountres3`` (RFC 1813 section 5.2.1).

    Raises:
        RemoteProtocolError: it is not valid.
    """
    status = reply.u32()
    if status != OK:
        return MountReply(status, b"", ())
    handle = reply.opaque(MAX_HANDLE_BYTES)
    count = reply.u32()
    if count > MAX_FLAVORS:
        raise RemoteProtocolError(f"the server lists {count} security flavours")
    return MountReply(status, handle, tuple(reply.u32() for _ in range(count)))


def decode_exports(reply: Unpacker) -> list[Export]:
    """Decodes an ``exports`` list (RFC 1813 section 5.2.5).

    Raises:
        RemoteProtocolError: it is not valid, or longer than any real list.
    """
    exports: list[Export] = []
    while reply.flag():
        path = reply.opaque(MAX_PATH_BYTES)
        groups: list[bytes] = []
        while reply.flag():
            groups.append(reply.opaque(MAX_NAME_BYTES))
        exports.append(Export(path, tuple(groups)))
        if len(exports) > MAX_EXPORTS:
            raise RemoteProtocolError("the server's export list does not end")
    return exports
