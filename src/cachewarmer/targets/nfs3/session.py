"""The direct NFSv3 reader: one mount address, opened without a kernel mount."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from cachewarmer.config import NfsSettings
from cachewarmer.errors import (
    CacheWarmerError,
    FileError,
    FileVanished,
    MountError,
    NfsStatusError,
    RemoteProtocolError,
    ReplyTimeout,
    StaleHandle,
    TransportError,
)
from cachewarmer.paths import printable, to_bytes
from cachewarmer.rpc import nfs3, nfs3_listing
from cachewarmer.rpc.connection import Connection
from cachewarmer.rpc.message import MAX_GIDS, auth_sys
from cachewarmer.rpc.nfs3_listing import NO_VERIFIER, ListedEntry, Listing
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import (
    DirectoryEntry,
    EntryError,
    FileKind,
    Mount,
    Page,
    ReadRequest,
    Session,
    SessionSnapshot,
)
from cachewarmer.targets.nfs3.calls import Calls
from cachewarmer.targets.nfs3.connection import Channel, call_once, connect
from cachewarmer.targets.nfs3.mount import MountClient, Mounted
from cachewarmer.targets.nfs3.schedule import MOST_JUKEBOX_SECONDS, STALE_RETRIES

T = TypeVar("T")

KINDS = (
    FileKind.SPECIAL,
    FileKind.REGULAR,
    FileKind.DIRECTORY,
    FileKind.SPECIAL,
    FileKind.SPECIAL,
    FileKind.LINK,
    FileKind.SPECIAL,
    FileKind.SPECIAL,
)
"""``FileKind`` of each ``ftype3`` (RFC 1813 section 2.5)."""
SMALL_REPLY = 1024
"""Bytes that an answer to LOOKUP, GETATTR or FSINFO is booked with."""
LEAST_LISTING, FIRST_LISTING, MOST_LISTING = 64 * 1024, 128 * 1024, 1024 * 1024
"""Bytes asked for in one listing call. A scan holds the first parts of many directories at the same time, and most
directories end with it: the first part is small, those that follow are as large as the server likes (``dtpref``)."""
LOOKED_UP_TOGETHER = 256
"""Entries of one part of a directory that are asked about at the same time: each is a coroutine, and costs memory."""
START_SECONDS = 30.0
"""A server that takes longer for its first answer is told of, rather than waited for."""
DIRECTORY_HANDLES = 4096
"""Directories whose handles are remembered for resolving paths."""


class ListingChanged(NfsStatusError):
    """NFS3ERR_BAD_COOKIE: the directory changed so that the listing can't go on; it can be made again."""

    transient = True


class ListCookie(NamedTuple):
    """Where a listing goes on, and what is needed to notice that it goes in circles (Brent's algorithm)."""

    cookie: int
    verifier: bytes
    seen: int
    steps: int
    lap: int


async def open_nfs3(mount: Mount, settings: NfsSettings) -> Nfs3Session:
    """Mounts and connects; the session's paths are relative to its ``export``.

    Raises:
        TransportError: the address can't be reached. MountError: the export is not there, or not for us.
        CacheWarmerError: the server refuses NFS calls.
    """
    mount = with_ids(mount, settings)
    credential = _credential(mount)
    client = MountClient(mount, settings, credential)
    mounted = await client.mount()
    session = Nfs3Session(mount, settings, mounted, credential, client)
    try:
        await session.start()
    except BaseException:
        await session.close()
        raise
    return session


def with_ids(mount: Mount, settings: NfsSettings) -> Mount:
    """The mount with the user and the groups of the settings, where it names no user itself."""
    if mount.uid >= 0 or settings.uid is None:
        return mount
    gid = mount.gid if mount.gid >= 0 or settings.gid is None else settings.gid
    return replace(mount, uid=settings.uid, gid=gid, gids=mount.gids or settings.gids)


def _credential(mount: Mount) -> bytes:
    uid = os.geteuid() if mount.uid < 0 else mount.uid
    gid = os.getegid() if mount.gid < 0 else mount.gid
    gids = mount.gids
    if not gids and mount.uid < 0 and mount.gid < 0:
        gids = tuple(os.getgroups()[:MAX_GIDS])
    return auth_sys(uid, gid, gids, socket.gethostname())


class Nfs3Session(Session):
    """One mount address over NFSv3. Made by ``open_nfs3``."""

    def __init__(
        self, mount: Mount, settings: NfsSettings, mounted: Mounted, credential: bytes, client: MountClient
    ) -> None:
        self.address = mount.address
        self.export = mounted.export
        self._mounted = mounted
        self._settings = settings
        self._credential = credential
        self._client = client
        self._uid = os.geteuid() if mount.uid < 0 else mount.uid
        self._calls = Calls(settings, self._connect, self._resolve_read, self.address, to_bytes(self.export))
        self.window = self._calls.window
        self._directories: dict[bytes, bytes] = {b"": mounted.root}
        self._plus = True
        self._list_bytes = LEAST_LISTING
        self._closed = False

    def __repr__(self) -> str:
        return f"<Nfs3Session {self.address}:{self.export} {self._calls!r}>"

    def snapshot(self) -> SessionSnapshot:
        return self._calls.snapshot()

    async def probe(self) -> float:
        """NULL (RFC 1813 section 3.3.0) on a connection of its own."""
        mounted, settings = self._mounted, self._settings
        began = time.monotonic()
        sock, _ = await connect(
            self.address,
            mounted.family,
            mounted.address,
            mounted.nfs_port,
            seconds=settings.connect_seconds,
            privileged=settings.privileged_port,
            what="nfs",
        )
        try:
            seconds = settings.reply_seconds
            program, version, null = nfs3.PROGRAM, nfs3.VERSION, nfs3.NULL
            await call_once(
                sock, self._credential, program, version, null, b"", seconds=seconds, host=self.address, what="nfs"
            )
        finally:
            sock.close()
        return time.monotonic() - began

    def set_window(self, calls: int) -> None:
        self.window.calls = max(1, calls)

    def heard(self) -> object:
        return self._calls.heard()

    def interrupt(self, error: CacheWarmerError) -> None:
        self._calls.interrupt(error)

    async def start(self) -> None:
        """Connects and asks for the server's limits (FSINFO)."""
        root = self._mounted.root
        try:
            async with asyncio.timeout(START_SECONDS):
                info = await self._ask(nfs3.FSINFO, nfs3.encode_handle(root), nfs3.decode_fsinfo, b"")
        except TimeoutError as error:
            raise ReplyTimeout(
                f"mounted, but FSINFO is not answered within {START_SECONDS:g} s",
                subject=to_bytes(self.export),
                address=self.address,
            ) from error
        except NfsStatusError as error:
            if error.status not in (nfs3.PERM, nfs3.ACCES):
                raise
            raise MountError(
                "mounted, but NFS calls are denied",
                subject=to_bytes(self.export),
                address=self.address,
                advice=self._denied(),
            ) from error
        longest = info.rtpref or info.rtmax or self._settings.max_read_bytes
        if info.rtmax:
            longest = min(longest, info.rtmax)
        self._calls.reads.read_bytes = max(1, min(self._settings.max_read_bytes, longest))
        self._list_bytes = max(LEAST_LISTING, min(MOST_LISTING, info.dtpref))

    def _denied(self) -> str:
        if self._mounted.privileged:
            return f"uid {self._uid} may not; try another (?uid=)"
        return f"it may want a source port below 1024 (run as root), or another uid than {self._uid} (?uid=)"

    async def _connect(self, window: Calls) -> Channel:
        mounted, settings = self._mounted, self._settings
        sock, _ = await connect(
            self.address,
            mounted.family,
            mounted.address,
            mounted.nfs_port,
            seconds=settings.connect_seconds,
            privileged=settings.privileged_port,
            what="nfs",
        )
        rpc = Connection(self._credential, random.getrandbits(32))
        return Channel(sock, rpc, window.on_events, window.on_lost)

    # -- calls -----------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        procedure: int,
        arguments: bytes,
        decode: Callable[[Unpacker], T],
        path: bytes,
        reply_bytes: int = SMALL_REPLY,
    ) -> T:
        """One call, tried again while the server asks to wait (NFS3ERR_JUKEBOX).

        Raises:
            NfsStatusError, RpcRefused, TransportError, RemoteProtocolError
        """
        wait, waited = self._settings.jukebox_seconds, 0.0
        while True:
            results = await self._calls.call(procedure, arguments, reply_bytes)
            status = nfs3.decode_status(results)
            if status == nfs3.OK:
                try:
                    return decode(results)
                except RemoteProtocolError as error:
                    error.fill(doing=nfs3.PROCEDURES[procedure], subject=self._whole(path), address=self.address)
                    raise
            if status != nfs3.JUKEBOX or waited >= self._settings.jukebox_limit_seconds:
                raise nfs3.status_error(status, procedure, self._whole(path), self.address)
            await asyncio.sleep(wait)
            waited += wait
            wait = min(MOST_JUKEBOX_SECONDS, 2 * wait)

    async def _lookup_in(self, directory: bytes, name: bytes, path: bytes) -> DirectoryEntry:
        """LOOKUP of one name, and GETATTR where the answer brings no attributes."""
        found = await self._ask(nfs3.LOOKUP, nfs3.encode_lookup(directory, name), nfs3.decode_lookup, path)
        attributes = found.attributes or await self._getattr(found.handle, path)
        return _entry(name, attributes, found.handle)

    async def _getattr(self, handle: bytes, path: bytes) -> nfs3.Attributes:
        return await self._ask(nfs3.GETATTR, nfs3.encode_handle(handle), nfs3.decode_getattr, path)

    def _whole(self, path: bytes) -> bytes:
        """A path of this session as the server's other clients know it, for errors."""
        return to_bytes(self.export).rstrip(b"/") + b"/" + path

    # -- paths -----------------------------------------------------------------------------------------------------

    async def lookup(self, path: bytes) -> DirectoryEntry:
        path = path.strip(b"/")
        for attempt in range(STALE_RETRIES + 1):
            try:
                return await self._walk(path)
            except StaleHandle:
                self._forget_directories()
                if attempt == STALE_RETRIES:
                    raise
            except NfsStatusError as error:
                if error.status in (nfs3.NOENT, nfs3.NOTDIR):
                    raise FileVanished.like(error) from error
                raise
        raise AssertionError("unreachable")

    async def _walk(self, path: bytes) -> DirectoryEntry:
        if not path:
            attributes = await self._getattr(self._mounted.root, path)
            return _entry(b"", attributes, self._mounted.root)
        parent, _, name = path.rpartition(b"/")
        return await self._lookup_in(await self._directory(parent), name, path)

    async def _directory(self, path: bytes) -> bytes:
        """The handle of a directory, remembered or looked up from the root on."""
        known = self._directories.get(path)
        if known is not None:
            return known
        parent, _, name = path.rpartition(b"/")
        entry = await self._lookup_in(await self._directory(parent), name, path)
        if entry.kind is FileKind.LINK:
            raw = await self._ask(nfs3.READLINK, nfs3.encode_handle(entry.handle), nfs3.decode_readlink, path)
            raise FileError(
                f"it is a symbolic link to {printable(raw)}",
                doing="LOOKUP",
                subject=self._whole(path),
                address=self.address,
                advice="name the path that it leads to",
            )
        if entry.kind is not FileKind.DIRECTORY:
            raise nfs3.status_error(nfs3.NOTDIR, nfs3.LOOKUP, self._whole(path), self.address)
        self._remember(path, entry.handle)
        return entry.handle

    def _remember(self, path: bytes, handle: bytes) -> None:
        if len(self._directories) >= DIRECTORY_HANDLES:
            self._forget_directories()
        self._directories[path] = handle

    def _forget_directories(self) -> None:
        self._directories = {b"": self._mounted.root}

    async def _resolve_read(self, path: bytes, known_bad: bool) -> bytes:
        """The handle of a file to be read; ``known_bad``: the one there was is stale, and so may its parents be."""
        if known_bad:
            self._directories.pop(path.rpartition(b"/")[0], None)
            self._directories[b""] = self._mounted.root
        return (await self.lookup(path)).handle

    # -- listing ---------------------------------------------------------------------------------------------------

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        path = path.strip(b"/")
        at = cookie if isinstance(cookie, ListCookie) else ListCookie(0, NO_VERIFIER, -1, 0, 1)
        directory = handle
        for attempt in range(STALE_RETRIES + 1):
            try:
                directory = directory or await self._listed_directory(path)
                listing = await self._list(directory, path, at)
                break
            except StaleHandle:
                if attempt == STALE_RETRIES:
                    raise
                self._forget_directories()
                directory = b""
            except NfsStatusError as error:
                if error.status == nfs3.NOENT:
                    raise FileVanished.like(error) from error
                raise
        else:
            raise AssertionError("unreachable")
        self._remember(path, directory)
        entries, errors = await self._complete(directory, path, listing.entries)
        return Page(entries, errors, None if listing.eof else self._next(at, listing, path))

    async def _listed_directory(self, path: bytes) -> bytes:
        """The handle of a directory that is to be listed; a link at its very end is not followed either."""
        return self._directories.get(path) or await self._directory(path)

    async def _list(self, directory: bytes, path: bytes, at: ListCookie) -> Listing:
        """One READDIRPLUS, or READDIR where the server has no other."""
        size, verifier = (self._list_bytes if at.cookie else min(FIRST_LISTING, self._list_bytes)), at.verifier
        while True:
            try:
                if self._plus:
                    return await self._ask(
                        nfs3.READDIRPLUS,
                        nfs3_listing.encode_readdirplus(directory, at.cookie, verifier, size, size),
                        lambda reply: nfs3_listing.decode_readdirplus(reply, at.cookie),
                        path,
                        size,
                    )
                return await self._ask(
                    nfs3.READDIR,
                    nfs3_listing.encode_readdir(directory, at.cookie, verifier, size),
                    lambda reply: nfs3_listing.decode_readdir(reply, at.cookie),
                    path,
                    size,
                )
            except NfsStatusError as error:
                if error.status == nfs3.NOTSUPP and self._plus:
                    self._plus = False
                elif error.status == nfs3.TOOSMALL and size < MOST_LISTING:
                    size *= 2
                elif error.status == nfs3.BAD_COOKIE and verifier != NO_VERIFIER:
                    # Most servers change the verifier with the directory and still know their cookies.
                    verifier = NO_VERIFIER
                elif error.status == nfs3.BAD_COOKIE:
                    raise ListingChanged(
                        error.status, error.procedure, error.path, error.name, address=error.address
                    ) from error
                else:
                    raise

    def _next(self, at: ListCookie, listing: Listing, path: bytes) -> ListCookie:
        cookie = listing.cookie
        if not listing.entries or cookie in (at.cookie, at.seen):
            raise RemoteProtocolError(
                "the server lists the same part of the directory for ever",
                doing="READDIRPLUS" if self._plus else "READDIR",
                subject=self._whole(path),
                address=self.address,
            )
        if at.steps == at.lap:
            return ListCookie(cookie, listing.verifier, at.cookie, 1, at.lap * 2)
        return ListCookie(cookie, listing.verifier, at.seen, at.steps + 1, at.lap)

    async def _complete(
        self, directory: bytes, path: bytes, listed: Sequence[ListedEntry]
    ) -> tuple[list[DirectoryEntry], list[EntryError]]:
        """Entries with all they need: what the server left out is asked for, all at once."""
        entries: list[DirectoryEntry | None] = []
        errors: list[EntryError] = []
        missing: list[tuple[int, ListedEntry]] = []
        for one in listed:
            name, attributes, handle = one
            if name in (b".", b".."):
                continue
            if not name or b"/" in name or b"\0" in name:
                errors.append(EntryError(name, FileError(f"the server lists {name!r}, which is not a file name")))
                continue
            if attributes is not None and (
                handle or KINDS[attributes.kind] not in (FileKind.REGULAR, FileKind.DIRECTORY)
            ):
                entries.append(_entry(name, attributes, handle))
                continue
            missing.append((len(entries), one))
            entries.append(None)
        prefix = path + b"/" if path else b""
        for start in range(0, len(missing), LOOKED_UP_TOGETHER):
            some = missing[start : start + LOOKED_UP_TOGETHER]
            looks = (self._look_at(directory, one.name, one.handle, prefix + one.name) for _, one in some)
            answers = await asyncio.gather(*looks, return_exceptions=True)
            for (place, (name, _, _)), found in zip(some, answers, strict=True):
                if isinstance(found, DirectoryEntry):
                    entries[place] = found
                elif isinstance(found, (TransportError, RemoteProtocolError)) or not isinstance(
                    found, CacheWarmerError
                ):
                    raise found
                elif not (isinstance(found, NfsStatusError) and found.status == nfs3.NOENT):
                    errors.append(EntryError(name, found))
        return [entry for entry in entries if entry is not None], errors

    async def _look_at(self, directory: bytes, name: bytes, handle: bytes, path: bytes) -> DirectoryEntry:
        if not handle:
            return await self._lookup_in(directory, name, path)
        attributes = await self._getattr(handle, path)
        return _entry(name, attributes, handle)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> None:
        self._calls.read(request)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._calls.close()
        try:
            await self._client.unmount(self.export)
        except CacheWarmerError:
            return  # mountd's list of who has mounted what is advice; nothing depends on it


def _entry(name: bytes, attributes: nfs3.Attributes, handle: bytes) -> DirectoryEntry:
    kind, size, mtime, file_id, links = attributes
    return DirectoryEntry(name, KINDS[kind], size, mtime, handle, file_id, links)
