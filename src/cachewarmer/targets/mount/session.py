"""The kernel mount, for what the direct reader does not support (NFSv4 only, Kerberos), or if the site requires it.

Reads use the local target with O_DIRECT, so that the page cache of this client never answers. The export is unmounted
while nothing uses it, and mounted again when something does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from dataclasses import replace

from cachewarmer.config import MountSettings, NfsSettings, Settings
from cachewarmer.errors import CacheWarmerError, ConnectionLost, MountError, TransportError, own_resource_error
from cachewarmer.targets.base import (
    DirectoryEntry,
    Identity,
    Mount,
    Page,
    Question,
    ReadRequest,
    Session,
    SessionSnapshot,
    Window,
)
from cachewarmer.targets.local.session import LocalSession
from cachewarmer.targets.mount import table
from cachewarmer.targets.mount.share import SharedMount

log = logging.getLogger(__name__)


async def open_mounted(mount: Mount, settings: Settings) -> MountedSession:
    """Mounts an export, or uses an existing mount. The paths of the session are relative to its ``export``.

    Raises:
        MountError: this process may not mount, or the server refuses. TransportError: the server does not answer.
        ConfigError: an option is invalid.
    """
    problem = table.why_not()
    if problem:
        raise MountError(problem, address=mount.address)
    if mount.uid >= 0 and mount.uid != os.geteuid():
        log.warning("%s: a kernel mount reads as uid %d, not as %d", mount.address, os.geteuid(), mount.uid)
    if not mount.export:
        mount = replace(mount, export=await _find_export(mount, settings.nfs, settings.mount))
    session = MountedSession(mount, settings)
    try:
        await session.start()
    except BaseException:
        await session.close()
        raise
    return session


async def _find_export(mount: Mount, settings: NfsSettings, kernel: MountSettings) -> str:
    """The export that holds the path, from the server's export list; without mountd, the root of an NFSv4 server."""
    if kernel.vers.startswith("4"):
        return "/"
    from cachewarmer.rpc.message import auth_sys  # noqa: PLC0415
    from cachewarmer.targets.nfs3.mount import MountClient  # noqa: PLC0415 -- only where no export was named

    try:
        client = MountClient(mount, settings, auth_sys(os.geteuid(), os.getegid(), (), ""))
        return (await client.mount()).export
    except CacheWarmerError as error:
        log.info("%s: no export list (%s): mounting the root of NFSv4", mount.address, error)
        return "/"


class MountedSession(Session):
    """A mount address that is read through a kernel mount. Made by ``open_mounted``."""

    exact_seconds = True

    def __init__(self, mount: Mount, settings: Settings) -> None:
        self.address = mount.address
        self.export = mount.export
        local = settings.local
        self.window = Window(calls=local.threads, bytes=local.threads * local.read_bytes)
        self._before = SessionSnapshot(calls={}, window_calls=local.threads, in_flight=0, waiting=0, bytes=0)
        """The counts of earlier mounts of this session."""
        self._mount = mount
        self._settings = settings
        self._inner: LocalSession | None = None
        self._shared: SharedMount | None = None
        self._opening: asyncio.Task[LocalSession] | None = None
        self._waiting: list[ReadRequest] = []
        self._awaited = 0
        self._used = time.monotonic()
        self._idle: asyncio.TimerHandle | None = None
        self._releasing: asyncio.Future[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<MountedSession {self.address} queued={self.snapshot().waiting} {self._shared!r}>"

    async def start(self) -> None:
        """Mounts the export. Raises what ``open_mounted`` raises."""
        await self._session()

    async def _session(self) -> LocalSession:
        """The local session at the mount point; mounts the export again if it was unmounted."""
        if self._closed:
            raise ConnectionLost("the session is closed", address=self.address)
        self._used = time.monotonic()
        if self._inner is not None:
            return self._inner
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> LocalSession:
        try:
            if self._releasing is not None:
                await self._releasing
            shared = SharedMount(self._mount, self._settings.mount)
            await shared.acquire()
            try:
                inner = await LocalSession.open(shared.path, self._settings.local, self.address)
            except BaseException as error:
                await asyncio.to_thread(shared.release, hung=isinstance(error, TransportError))
                raise
            inner.window = self.window
            self._shared, self._inner = shared, inner
            self._used = time.monotonic()
            self._watch()
            return inner
        finally:
            self._opening = None

    def _watch(self) -> None:
        """Unmounts the export if it has not been used for ``idle_seconds``."""
        self._idle = None
        if self._closed or self._inner is None:
            return
        now = time.monotonic()
        if self.snapshot().waiting or self._awaited:
            self._used = now
        left = self._used + self._settings.mount.idle_seconds - now
        if left > 0:
            self._idle = asyncio.get_running_loop().call_later(left, self._watch)
            return
        self._releasing = asyncio.ensure_future(self._release())

    async def _release(self) -> None:
        self._before = self.snapshot()
        inner, self._inner = self._inner, None
        shared, self._shared = self._shared, None
        hung = inner is not None and inner.stuck_threads > 0
        if inner is not None:
            await inner.close()
        if shared is not None:
            await asyncio.to_thread(shared.release, hung=hung)

    async def lookup(self, path: bytes) -> DirectoryEntry:
        inner = await self._session()
        self._awaited += 1
        try:
            return await inner.lookup(path)
        finally:
            self._awaited -= 1

    async def ask(
        self, question: Question, path: bytes, handle: bytes = b"", identity: Identity | None = None
    ) -> float | None:
        inner = await self._session()
        self._awaited += 1
        try:
            return await inner.ask(question, path, handle, identity)
        finally:
            self._awaited -= 1

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        inner = await self._session()
        self._awaited += 1
        try:
            return await inner.list_page(path, handle, cookie)
        finally:
            self._awaited -= 1

    def read(self, request: ReadRequest) -> None:
        self._used = time.monotonic()
        if self._inner is not None:
            self._inner.read(request)
            return
        self._waiting.append(request)
        if len(self._waiting) == 1:
            opening = asyncio.ensure_future(self._session())
            opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[LocalSession]) -> None:
        waiting, self._waiting = self._waiting, []
        error = (
            ConnectionLost("the session was closed", address=self.address)
            if opening.cancelled()
            else opening.exception()
        )
        for request in waiting:
            if error is None:
                opening.result().read(request)
                continue
            if isinstance(error, CacheWarmerError):
                request.error = error
            else:
                request.error = own_resource_error(error, address=self.address) or ConnectionLost(
                    str(error), address=self.address
                )
                request.error.__cause__ = error
            request.on_done(request)

    def snapshot(self) -> SessionSnapshot:
        inner, waiting = self._inner, len(self._waiting)
        if inner is None:
            return replace(self._before, window_calls=self.window.calls, in_flight=0, waiting=waiting)
        now = inner.snapshot()
        self.window.in_flight = now.in_flight
        before = self._before
        return replace(
            now,
            calls=Counter(now.calls) + Counter(before.calls),
            waiting=now.waiting + waiting,
            bytes=now.bytes + before.bytes,
            latencies=now.latencies.merge(before.latencies),
        )

    async def close(self) -> None:
        self._closed = True
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        opening = self._opening
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        if self._releasing is not None:
            await asyncio.gather(self._releasing, return_exceptions=True)
        await self._release()
