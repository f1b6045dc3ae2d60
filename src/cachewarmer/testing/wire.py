"""The server's side of RPC, MOUNT3 and NFS3: calls from bytes, replies to bytes.

Written from the RFCs and shares no decoder with ``cachewarmer.rpc``: two readings of the same text that must agree.
It is stricter than a real server: padding that is not zero and bytes that are left over are complained about.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

NFS, MOUNT = 100003, 100005
NFS_NAMES = dict(
    enumerate(
        "NULL GETATTR SETATTR LOOKUP ACCESS READLINK READ WRITE CREATE MKDIR SYMLINK MKNOD REMOVE RMDIR RENAME LINK "
        "READDIR READDIRPLUS FSSTAT FSINFO PATHCONF COMMIT".split()
    )
)
"""NFS procedures by number (RFC 1813 section 3)."""
MOUNT_NAMES = dict(enumerate("MOUNT_NULL MNT DUMP UMNT UMNTALL EXPORT".split()))
"""MOUNT procedures by number (RFC 1813 section 5.2), NULL renamed so that counts do not mix."""
MOST_CALL_BYTES = 1 << 16
"""No call that a reader makes comes near this."""
MOST_HANDLE_BYTES = 64

REGULAR, DIRECTORY, BLOCK, CHARACTER, LINK, SOCKET, FIFO = range(1, 8)
"""``ftype3`` (RFC 1813 section 2.5)."""
OK, NOENT, IO, ACCES, NOTDIR, ISDIR, INVAL = 0, 2, 5, 13, 20, 21, 22
STALE, BADHANDLE, BAD_COOKIE, NOTSUPP, TOOSMALL, JUKEBOX = 70, 10001, 10003, 10004, 10005, 10008
"""``nfsstat3`` (RFC 1813 section 2.6)."""
PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS = 1, 2, 3, 4
"""``accept_stat`` (RFC 5531 section 9)."""
AUTH_TOOWEAK = 5

CALL_HEAD = struct.Struct(">8I")
"""xid, CALL, RPC version, program, version, procedure, flavour of the credential, its length (RFC 5531 section 9)."""
REPLY_HEAD = struct.Struct(">7I")
"""Mark, xid, REPLY, MSG_ACCEPTED, flavour of the verifier, its length, accept_stat: 24 bytes after the mark."""
FATTR = struct.Struct(">5I2Q2I2Q6I")
"""type, mode, nlink, uid, gid, size, used, rdev ×2, fsid, fileid, atime, mtime, ctime (RFC 1813 section 2.5)."""
_U32 = struct.Struct(">I")
ABSENT = bytes(4)
"""An optional item that is not there (RFC 4506 section 4.19)."""
PRESENT = _U32.pack(1)
LAST = 0x80000000


class BadCallError(Exception):
    """The client sent something that isn't a call of these protocols."""


class Call(NamedTuple):
    """One call, up to its arguments."""

    xid: int
    program: int
    version: int
    procedure: int
    uid: int
    """Of an AUTH_SYS credential; −1: the caller did not say."""
    arguments: Arguments


class Arguments:
    """Reads XDR items (RFC 4506) off a call; ``end`` makes sure that nothing is left."""

    __slots__ = ("_position", "_record")

    def __init__(self, record: bytes, position: int) -> None:
        self._record = record
        self._position = position

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Big-endian integers: ``I`` of 4 bytes, ``Q`` of 8."""
        layout = ">" + layout
        return struct.unpack(layout, self.raw(struct.calcsize(layout)))

    def raw(self, length: int) -> bytes:
        """Fixed-length opaque whose length is a multiple of four."""
        start = self._position
        self._position = start + length
        if self._position > len(self._record):
            raise BadCallError(f"the call ends {self._position - len(self._record)} bytes too early")
        return self._record[start : self._position]

    def opaque(self, most: int) -> bytes:
        """Variable-length opaque."""
        (length,) = self.numbers("I")
        if length > most:
            raise BadCallError(f"{length} bytes where {most} are allowed")
        value = self.raw(length)
        if self.raw(-length % 4).strip(b"\0"):
            raise BadCallError("padding that is not zero")
        return value

    def end(self) -> None:
        """Nothing may follow."""
        left = len(self._record) - self._position
        if left:
            raise BadCallError(f"{left} bytes too many")


def read_call(record: bytes) -> Call:
    """Decodes a ``call_body`` with an AUTH_NONE or AUTH_SYS credential (RFC 5531 sections 9 and appendix A).

    Raises:
        BadCallError: it isn't one.
    """
    if len(record) < CALL_HEAD.size:
        raise BadCallError(f"a record of {len(record)} bytes is not a call")
    xid, kind, rpc_version, program, version, procedure, flavour, length = CALL_HEAD.unpack_from(record)
    if kind != 0 or rpc_version != 2 or length > 400:
        raise BadCallError(f"no call: mtype {kind}, RPC version {rpc_version}, credential of {length} bytes")
    arguments = Arguments(record, CALL_HEAD.size - 4)
    credential = arguments.opaque(400)
    if arguments.numbers("II") != (0, 0):
        raise BadCallError("the verifier of a call must be empty")
    if flavour == 0:
        if credential:
            raise BadCallError("AUTH_NONE with a body")
        uid = -1
    elif flavour == 1:
        body = Arguments(credential, 0)
        body.numbers("I")
        body.opaque(255)
        uid, _, count = body.numbers("III")
        if count > 16:
            raise BadCallError(f"AUTH_SYS with {count} groups")
        body.numbers("I" * count)
        body.end()
    else:
        raise BadCallError(f"credential of flavour {flavour}")
    return Call(xid, program, version, procedure, uid, arguments)


def opaque(value: bytes) -> bytes:
    """Variable-length opaque (RFC 4506 section 4.10)."""
    return _U32.pack(len(value)) + value + bytes(-len(value) % 4)


def number(value: int) -> bytes:
    """Unsigned integer."""
    return _U32.pack(value)


def accepted(xid: int, results: Sequence[bytes | memoryview], accept_status: int = 0) -> list[bytes | memoryview]:
    """A reply as one record of one fragment, in parts to be sent one after the other."""
    length = 24 + sum(map(len, results))
    return [REPLY_HEAD.pack(LAST | length, xid, 1, 0, 0, 0, accept_status), *results]


def rejected(xid: int, auth_status: int) -> list[bytes | memoryview]:
    """A reply of MSG_DENIED, AUTH_ERROR."""
    return [struct.pack(">6I", LAST | 20, xid, 1, 1, 1, auth_status)]
