"""What a reader makes of one wrong reply: each procedure it calls, against each thing that may come instead.

A cell is a session over a scripted server that answers the first call of one procedure wrongly, or the first few. The tree is walked and
read, then walked and read once more.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from cachewarmer.config import NfsSettings
from cachewarmer.errors import CacheWarmerError, FileVanished, NfsStatusError
from cachewarmer.rpc import nfs3
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets.base import FileKind, Mount, ReadRequest, Session
from cachewarmer.targets.nfs3.session import open_nfs3
from cachewarmer.testing import Faults, Link, ScriptedServer, Trick, wire
from cachewarmer.testing.link import FaultyLink

SIZES = {b"a": 5000, b"d/b": 1, b"d/c": 70_000, b"d/e/f": 4096}
TREE = {b"a": 5000, b"d": {b"b": 1, b"c": 70_000, b"e": {b"f": 4096}}, b"link": Link(b"a")}
SETTINGS = NfsSettings(
    max_read_bytes=32768,
    reply_seconds=0.2,
    connect_seconds=2.0,
    jukebox_seconds=0.01,
    fault_limit_seconds=5.0,
    stale_limit_seconds=5.0,
    mount_seconds=5.0,
)
SECONDS = 20.0
"""A cell that takes longer hangs."""

ALWAYS = 1 << 30
"""Replies that go wrong: all."""

Spoiler = Callable[[FaultyLink, bytes], bytes]
"""(link, the right reply as a record) → what is sent instead."""

LACKING = {
    "GETATTR": Faults(list_attributes=False),
    "LOOKUP": Faults(list_handles=False),
    "READDIR": Faults(readdirplus=False),
}
"""What the server leaves out so that the procedure is called."""
PROCEDURES = ("MNT", "EXPORT", "NULL", "FSINFO", "GETATTR", "LOOKUP", "READLINK", "READDIR", "READDIRPLUS", "READ")
OPENING = ("MNT", "EXPORT", "FSINFO")
"""Called while a session is opened."""
STATUSES = (*nfs3.STATUS_NAMES, 4242)
"""Every ``nfsstat3`` (RFC 1813 section 2.6) that is an error, and one that is none of them."""
PASSING = frozenset({nfs3.STALE, nfs3.BADHANDLE, nfs3.JUKEBOX, nfs3.SERVERFAULT})
"""After these the call is made again, on any procedure with a status."""


def trick(kind: Trick) -> Spoiler:
    return lambda link, record: link._trick(kind, record)


def without_end(link: FaultyLink, record: bytes) -> bytes:
    """The record without its last word, which is the end flag of a listing."""
    del link
    return struct.pack(">I", wire.LAST | (len(record) - 8)) + record[4:-4]


def status(value: int) -> Spoiler:
    """A failure with that status and, as its procedure may have, no attributes."""

    def spoil(link, record):
        results = [struct.pack(">I", value)] if link.procedure == "GETATTR" else [struct.pack(">I", value), bytes(4)]
        return b"".join(wire.accepted(_xid(record), results))

    return spoil


def refusal(accept_status: int) -> Spoiler:
    """``accept_stat`` (RFC 5531 section 9)."""
    return lambda _, record: b"".join(wire.accepted(_xid(record), [], accept_status))


def denial(auth_status: int) -> Spoiler:
    """``auth_stat`` (RFC 5531 section 9)."""
    return lambda _, record: b"".join(wire.rejected(_xid(record), auth_status))


def _xid(record: bytes) -> int:
    return int(struct.unpack_from(">I", record, 4)[0])


class _WrongLink(FaultyLink):
    server: WrongServer
    procedure = ""

    def spoil(self, program, procedure, reply):
        if self._silent or self.transport.is_closing():
            return []
        record = b"".join(reply)
        self.procedure = (wire.MOUNT_NAMES if program == wire.MOUNT else wire.NFS_NAMES)[procedure]
        if self.procedure != self.server.procedure or self.server.spoiled == self.server.times:
            return [record]
        self.server.spoiled += 1
        return [self.server.spoiler(self, record)]


class WrongServer(ScriptedServer):
    """Spoils its first replies to ``procedure``."""

    def __init__(self, procedure: str, spoiler: Spoiler, times: int) -> None:
        super().__init__(TREE, LACKING.get(procedure, Faults()))
        self.procedure = procedure
        self.spoiler = spoiler
        self.times = times
        self.spoiled = 0

    def _connected(self):
        self.connections += 1
        link = _WrongLink(self.procedures, self._links, self.faults, lambda: True, self.connections)
        link.server = self
        return link


@dataclass
class Walk:
    """What became of every name, and what was raised."""

    read: dict[bytes, int] = field(default_factory=dict)
    failed: dict[bytes, CacheWarmerError] = field(default_factory=dict)
    raised: list[CacheWarmerError] = field(default_factory=list)
    """By listings, by the link, by the probe."""

    @property
    def errors(self) -> list[CacheWarmerError]:
        return [*self.failed.values(), *self.raised]

    @property
    def whole(self) -> bool:
        return not self.errors and self.read == SIZES


async def walk(session: Session) -> Walk:
    """Lists the tree, reads each file, asks where the link leads, and probes."""
    found = Walk()
    await _walk_into(session, found, b"", b"")
    try:
        await session.lookup(b"link/below")
    except CacheWarmerError as error:
        if "symbolic link" not in str(error):
            found.raised.append(error)
    try:
        await session.probe()
    except CacheWarmerError as error:
        found.raised.append(error)
    return found


async def _walk_into(session: Session, found: Walk, path: bytes, handle: bytes) -> None:
    requests, done = [], asyncio.Event()
    directories = []
    prefix = path + b"/" if path else b""
    try:
        async for page in session.list_directory(path, handle):
            found.failed.update((prefix + name, error) for name, error in page.errors)
            for entry in page.entries:
                whole = prefix + entry.name
                if entry.kind is FileKind.DIRECTORY:
                    directories.append((whole, entry.handle))
                elif entry.kind is FileKind.REGULAR:
                    requests.append(ReadRequest(whole, entry.handle, 0, entry.size, lambda _: done.set()))
    except CacheWarmerError as error:
        found.raised.append(error)
    for request in requests:
        done.clear()
        session.read(request)
        await done.wait()
        if request.error is None:
            found.read[request.path] = request.bytes_read
        else:
            found.failed[request.path] = request.error
    for whole, directory in directories:
        await _walk_into(session, found, whole, directory)


@dataclass
class Cell:
    """What came of the wrong replies."""

    opened: CacheWarmerError | None
    """Why the session could not be opened the first time."""
    first: Walk | None
    second: Walk
    server: WrongServer


async def run(procedure: str, spoiler: Spoiler, times: int = 1) -> Cell:
    """One cell. TimeoutError: it hangs."""
    async with asyncio.timeout(SECONDS), WrongServer(procedure, spoiler, times) as server:
        refused: CacheWarmerError | None = None
        job = make_job(parse_target(server.url()), transport="nfs")
        mount = Mount.of(job.access, job.access.addresses[0], job.warm_path)
        try:
            session = await open_nfs3(mount, SETTINGS)
        except CacheWarmerError as error:
            refused = error
            session = await open_nfs3(mount, SETTINGS)
        try:
            first = None if refused is not None else await walk(session)
            second = await walk(session)
        finally:
            await session.close()
        return Cell(refused, first, second, server)


def check(cell: Cell, procedure: str) -> None:
    """What holds in every cell: nothing but our errors, in one line; bytes once; and all is well right after."""
    assert cell.server.spoiled, f"{procedure} was never called"
    assert cell.second.whole, cell.second
    assert cell.server.complaints == []
    if cell.opened is not None:
        assert procedure in OPENING
        assert str(cell.opened).isprintable()
    if cell.first is not None:
        assert all(size == SIZES[path] for path, size in cell.first.read.items())
        assert all(str(error).isprintable() for error in cell.first.errors)
        assert len(cell.first.errors) <= 1, cell.first.errors


def check_reaching(cell: Cell, procedure: str) -> None:
    """The connection failed, not a file: no name is blamed, and nothing is lost.

    A listing, a lookup or a probe may say so: its caller asks again. Reading has no such caller.
    """
    check(cell, procedure)
    if cell.opened is not None:
        assert cell.opened.transient, cell.opened
    elif cell.first.raised and procedure != "READ":
        assert cell.first.failed == {}
        assert all(error.transient for error in cell.first.raised), cell.first
    else:
        assert cell.first.whole, cell.first


def check_status(cell: Cell, procedure: str, value: int) -> None:
    """One name, one error that carries the status; or, where that is right, a further call and no error."""
    check(cell, procedure)
    if cell.first is None:
        return
    (error,) = cell.first.errors or (None,)
    if value in PASSING:
        assert cell.first.whole, cell.first
    elif error is None:  # there is another way to ask, or the name is gone
        assert cell.first.whole or value == nfs3.NOENT, cell.first
    elif not isinstance(error, FileVanished):
        assert isinstance(error, NfsStatusError)
        assert error.status == value
