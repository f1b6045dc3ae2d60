"""The direct NFSv3 reader: one mount address, opened without a kernel mount."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from cachewarmer.config import NfsSettings
from cachewarmer.errors import (
    CacheWarmerError,
    FileError,
    MountError,
    NfsStatusError,
    RemoteProtocolError,
    ReplyTimeout,
    StaleHandle,
)
from cachewarmer.paths import printable, to_bytes
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.connection import Connection
from cachewarmer.rpc.message import MAX_GIDS, auth_sys
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import (
    DirectoryEntry,
    Felt,
    FileKind,
    Identity,
    Mount,
    Page,
    PageRequest,
    Question,
    ReadRequest,
    Session,
    SessionSnapshot,
    Supply,
)
from cachewarmer.targets.nfs3.calls import Calls
from cachewarmer.targets.nfs3.canary import NullCanary, felt_way, handshake_seconds
from cachewarmer.targets.nfs3.connection import Channel, call_once, connect
from cachewarmer.targets.nfs3.directories import Directories
from cachewarmer.targets.nfs3.entries import made_entry
from cachewarmer.targets.nfs3.listing import Lister
from cachewarmer.targets.nfs3.mount import MountClient, Mounted
from cachewarmer.targets.nfs3.schedule import MOST_JUKEBOX_SECONDS, waits_for

T = TypeVar("T")

SMALL_REPLY = 1024
"""Bytes that the answer to a small call, such as LOOKUP or GETATTR, takes of the window."""
START_SECONDS = 30.0
"""Timeout of the first answer of a server."""


async def open_nfs3(mount: Mount, settings: NfsSettings) -> Nfs3Session:
    """Mounts and connects; the session's paths are relative to its ``export``.

    Raises:
        TransportError: the address can't be reached. MountError: there is no such export, or it may not be mounted.
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
    """The mount with the user and the groups of the settings, if it does not name a user itself."""
    if mount.uid >= 0 or settings.uid is None:
        return mount
    gid = mount.gid if mount.gid >= 0 or settings.gid is None else settings.gid
    return replace(mount, uid=settings.uid, gid=gid, gids=mount.gids or settings.gids)


def _asked(question: Question, handle: bytes) -> tuple[int, bytes, Callable[[Unpacker], object]]:
    """The procedure of a question, its encoded arguments, and the decoder of its results."""
    if question is Question.ACCESS:
        return nfs3.ACCESS, nfs3.encode_access(handle), nfs3.decode_access
    if question is Question.ORIGIN:
        return nfs3.FSSTAT, nfs3.encode_handle(handle), nfs3.decode_optional_attributes
    return nfs3.GETATTR, nfs3.encode_handle(handle), nfs3.decode_getattr


def _credential(mount: Mount) -> bytes:
    uid = os.geteuid() if mount.uid < 0 else mount.uid
    gid = os.getegid() if mount.gid < 0 else mount.gid
    gids = mount.gids
    if not gids and mount.uid < 0 and mount.gid < 0:
        gids = tuple(os.getgroups()[:MAX_GIDS])
    return auth_sys(uid, gid, gids, socket.gethostname())


class Nfs3Session(Session):
    """A mount address that is read with NFSv3. Made by ``open_nfs3``."""

    def __init__(
        self, mount: Mount, settings: NfsSettings, mounted: Mounted, credential: bytes, client: MountClient
    ) -> None:
        self.address = mount.address
        self.export = mounted.export
        self._mounted = mounted
        self._settings = settings
        self._credential = credential
        self._credentials: dict[Identity, bytes] = {}
        self._client = client
        self._way_idle_seconds = 0.0
        """The shortest handshake of a connection so far; 0 if unknown."""
        self._uid = os.geteuid() if mount.uid < 0 else mount.uid
        self._calls = Calls(settings, self._connect, self._resolve_read, self.address, to_bytes(self.export))
        self.window = self._calls.window
        self._directories = Directories(
            mounted.root,
            look=self._lookup_in,
            enter=self._enter,
            check_root=lambda root: self._getattr(root, b""),
            remount=self._remount,
            stale_seconds=settings.stale_limit_seconds,
        )
        self._lister = Lister(
            settings,
            self._directories,
            mount.address,
            ask=self._ask,
            ask_once=self._calls.ask,
            look=self._lookup_in,
            getattr_=self._getattr,
            whole=self._whole,
        )
        self.limits = nfs3.FsInfo(0, 0, 0)
        """The limits of the server, from FSINFO."""
        self._closed = False

    def __repr__(self) -> str:
        return f"<Nfs3Session {self.address}:{self.export} {self._calls!r}>"

    @property
    def mounted(self) -> Mounted:
        """The address, and how it is mounted."""
        return self._mounted

    @property
    def uid(self) -> int:
        """The user id that is sent to the server."""
        return self._uid

    @property
    def read_bytes(self) -> int:
        """The length of a READ in bytes."""
        return self._calls.reads.read_bytes

    def snapshot(self) -> SessionSnapshot:
        return self._calls.snapshot()

    async def probe(self) -> float:
        """Calls NULL (RFC 1813 section 3.3.0) on a new connection; returns the seconds that both took."""
        began = time.monotonic()
        sock = await self._dial()
        try:
            seconds = self._settings.reply_seconds
            program, version, null = nfs3.PROGRAM, nfs3.VERSION, nfs3.NULL
            await call_once(
                sock, self._credential, program, version, null, b"", seconds=seconds, host=self.address, what="nfs"
            )
        finally:
            sock.close()
        return time.monotonic() - began

    def canary(self) -> NullCanary:
        return NullCanary(self._dial, self._credential, self.address, self._settings.reply_seconds)

    async def feel(self) -> Felt:
        way, null = await felt_way(self._dial, self._credential, self.address, self._settings.reply_seconds)
        return Felt(self._way_idle_seconds, way, null)

    def set_window(self, calls: int) -> None:
        self.window.calls = max(1, calls)

    def heard(self) -> object:
        return self._calls.heard()

    def interrupt(self, error: CacheWarmerError) -> None:
        self._calls.interrupt(error)

    async def start(self) -> None:
        """Connects, and asks for the limits of the server (FSINFO). Raises what ``open_nfs3`` raises."""
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
        self.limits = info
        longest = info.rtpref or info.rtmax or self._settings.max_read_bytes
        if info.rtmax:
            longest = min(longest, info.rtmax)
        self._calls.reads.read_bytes = max(1, min(self._settings.max_read_bytes, longest))
        self._lister.prefer(info.dtpref)

    def _denied(self) -> str:
        if self._mounted.privileged:
            return f"uid {self._uid} may not; try another (?uid=)"
        return f"it may want a source port below 1024 (run as root), or another uid than {self._uid} (?uid=)"

    async def _dial(self) -> socket.socket:
        """A new connection to the server's NFS service."""
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
        took = handshake_seconds(sock)
        if took:
            self._way_idle_seconds = min(took, self._way_idle_seconds or took)
        return sock

    async def _connect(self, window: Calls) -> Channel:
        sock = await self._dial()
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
        credential: bytes = b"",
    ) -> T:
        """Makes a call, retrying it while the server asks to wait or has a transient fault; returns the results.

        Raises:
            NfsStatusError: the status is not NFS3_OK. RpcRefused: the server refuses the call.
            TransportError: the address failed. RemoteProtocolError: the reply is invalid.
        """
        wait, waited = self._settings.jukebox_seconds, 0.0
        while True:
            results = await self._calls.call(procedure, arguments, reply_bytes, credential)
            status = nfs3.decode_status(results)
            if status == nfs3.OK:
                try:
                    return decode(results)
                except RemoteProtocolError as error:
                    error.fill(doing=nfs3.PROCEDURES[procedure], subject=self._whole(path), address=self.address)
                    raise
            if waited >= waits_for(status, self._settings):
                raise nfs3.status_error(status, procedure, self._whole(path), self.address)
            await asyncio.sleep(wait)
            waited += wait
            wait = min(MOST_JUKEBOX_SECONDS, 2 * wait)

    async def _lookup_in(self, directory: bytes, name: bytes, path: bytes) -> DirectoryEntry:
        """Makes a LOOKUP of a name, and a GETATTR if the answer has no attributes."""
        found = await self._ask(nfs3.LOOKUP, nfs3.encode_lookup(directory, name), nfs3.decode_lookup, path)
        attributes = found.attributes or await self._getattr(found.handle, path)
        return made_entry(name, attributes, found.handle)

    async def _getattr(self, handle: bytes, path: bytes) -> nfs3.Attributes:
        return await self._ask(nfs3.GETATTR, nfs3.encode_handle(handle), nfs3.decode_getattr, path)

    def _whole(self, path: bytes) -> bytes:
        """A path of this session from the root of the server, for errors."""
        return to_bytes(self.export).rstrip(b"/") + b"/" + path

    # -- paths -----------------------------------------------------------------------------------------------------

    async def lookup(self, path: bytes) -> DirectoryEntry:
        path = path.strip(b"/")
        if path:
            return await self._directories.entry(path)
        return await self._directories.retried(self._root_entry)

    async def _root_entry(self) -> DirectoryEntry:
        root = self._directories.root
        return made_entry(b"", await self._getattr(root, b""), root)

    async def _enter(self, entry: DirectoryEntry, path: bytes) -> None:
        """Raises ``FileError`` or ``NfsStatusError`` if an entry is not a directory; links are not followed."""
        if entry.kind is FileKind.LINK:
            raw = await self._ask(nfs3.READLINK, nfs3.encode_handle(entry.handle), nfs3.decode_readlink, path)
            raise FileError(
                f"it is a symbolic link to {printable(raw)}",
                doing="LOOKUP",
                subject=self._whole(path),
                address=self.address,
                advice="use the path that it points to",
            )
        if entry.kind is not FileKind.DIRECTORY:
            raise nfs3.status_error(nfs3.NOTDIR, nfs3.LOOKUP, self._whole(path), self.address)

    async def _remount(self) -> bytes:
        """Mounts the export again and returns its handle; after a failover, the ports may have changed too."""
        self._mounted = await self._client.mount_again(self.export)
        return self._mounted.root

    async def _resolve_read(self, path: bytes, known_bad: bool) -> bytes:
        """The handle of a file to be read. ``known_bad``: its last one is stale, so that its parent's may be too."""
        if known_bad:
            self._directories.forget(path.rpartition(b"/")[0])
        return (await self.lookup(path)).handle

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:
        async def read(known: bytes) -> bytes:
            found = known or (await self.lookup(path)).handle
            return await self._ask(nfs3.READLINK, nfs3.encode_handle(found), nfs3.decode_readlink, path)

        try:
            return await read(handle)
        except StaleHandle:
            return await read(b"")

    async def ask(
        self, question: Question, path: bytes, handle: bytes = b"", identity: Identity | None = None
    ) -> float | None:
        known = handle or (await self.lookup(path)).handle
        credential = b"" if identity is None else self._credential_of(identity)
        procedure, arguments, decode = _asked(question, known)
        began = time.monotonic()
        await self._ask(procedure, arguments, decode, path, credential=credential)
        return time.monotonic() - began

    async def allowed(self, path: bytes, handle: bytes = b"", identity: Identity | None = None) -> int:
        """What a user may do with a file: the bits that ACCESS grants (RFC 1813 section 3.3.4)."""
        known = handle or (await self.lookup(path)).handle
        credential = b"" if identity is None else self._credential_of(identity)
        return await self._ask(nfs3.ACCESS, nfs3.encode_access(known), nfs3.decode_access, path, credential=credential)

    def _credential_of(self, identity: Identity) -> bytes:
        made = self._credentials.get(identity)
        if made is None:
            made = auth_sys(identity.uid, identity.gid, identity.gids, socket.gethostname())
            self._credentials[identity] = made
        return made

    async def exports(self) -> Sequence[str]:
        return await self._client.exports() or ()

    async def mount_refusal(self, export: str) -> str:
        """Why an export can't be mounted; empty: it can. See ``MountClient.refusal``."""
        return await self._client.refusal(export)

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        return await self._lister.page(path.strip(b"/"), handle, cookie)

    def ask_page(self, request: PageRequest) -> bool:
        return self._lister.ask_page(request)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> None:
        self._calls.read(request)

    def read_all(self, supply: Supply) -> None:
        self._calls.read_all(supply)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._directories.close()
        await self._calls.close()
        try:
            await self._client.unmount(self.export)
        except CacheWarmerError:
            return  # nothing depends on mountd's list of mounts
