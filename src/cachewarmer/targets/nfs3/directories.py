"""Finds file handles by path: looks them up from the root, remembers directories, and recovers from stale handles.

A failover or a restart of the cache makes all handles stale, including the root's. Then MNT is called again, once for
all callers that wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cachewarmer.errors import FileVanished, MountError, NfsStatusError, StaleHandle
from cachewarmer.eventloop import end_tasks
from cachewarmer.rpc import nfs3
from cachewarmer.targets.base import DirectoryEntry

log = logging.getLogger(__name__)

T = TypeVar("T")

REMEMBERED = 4096
"""Maximum number of directories whose handles are remembered."""
FIRST_STALE_SECONDS, MOST_STALE_SECONDS = 0.1, 2.0
"""Wait between tries while even new handles are stale; it doubles from the first value to the second."""

Look = Callable[[bytes, bytes, bytes], Awaitable[DirectoryEntry]]
"""(handle of a directory, name, whole path) → the entry."""


class Directories:
    """The handles of one session.

    Args:
        root: the handle of the root of the export.
        look: makes a LOOKUP.
        enter: raises ``CacheWarmerError`` if an entry is not a directory that may be entered.
        check_root: raises ``StaleHandle`` if the handle of the root is stale.
        remount: mounts the export again, and returns the handle of its root.
        stale_seconds: how long stale handles are retried.
        clock: returns seconds.
    """

    def __init__(
        self,
        root: bytes,
        *,
        look: Look,
        enter: Callable[[DirectoryEntry, bytes], Awaitable[None]],
        check_root: Callable[[bytes], Awaitable[object]],
        remount: Callable[[], Awaitable[bytes]],
        stale_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self._look = look
        self._enter = enter
        self._check_root = check_root
        self._remount = remount
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._looking: dict[bytes, asyncio.Task[bytes]] = {}
        self._generation = 0
        """A number that is increased whenever all handles are dropped."""
        self._renewing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Directories known={len(self._known)} generation={self._generation}>"

    async def retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of ``attempt``, which is retried with new handles while handles are stale.

        Raises:
            StaleHandle: handles have been stale for ``stale_seconds``. Also whatever ``attempt`` raises.
        """
        deadline, wait = self._clock() + self._stale_seconds, 0.0
        while True:
            generation = self._generation
            try:
                return await attempt()
            except StaleHandle:
                if self._clock() >= deadline:
                    raise
                await asyncio.sleep(wait)
                await self._renew(generation)
                wait = min(MOST_STALE_SECONDS, max(FIRST_STALE_SECONDS, 2 * wait))

    async def entry(self, path: bytes) -> DirectoryEntry:
        """The entry at a path that is not the root.

        Raises:
            FileVanished: nothing is there.
        """
        parent, _, name = path.rpartition(b"/")

        async def attempt() -> DirectoryEntry:
            return await self._look(await self._handle(parent), name, path)

        try:
            return await self.retried(attempt)
        except NfsStatusError as error:
            if error.status in (nfs3.NOENT, nfs3.NOTDIR):
                raise FileVanished.like(error) from error
            raise

    async def handle(self, path: bytes) -> bytes:
        """The handle of a directory. Raises what ``entry`` and ``enter`` raise."""
        return await self.retried(lambda: self._handle(path))

    async def _handle(self, path: bytes) -> bytes:
        if not path:
            return self.root
        known = self._known.get(path)
        if known is not None:
            self._known.move_to_end(path)
            return known
        looking = self._looking.get(path)
        if looking is None:  # other callers wait for the same LOOKUP
            looking = self._looking[path] = asyncio.ensure_future(self._look_up(path))
            looking.add_done_callback(lambda _: self._looking.pop(path, None))
        return await asyncio.shield(looking)

    async def _look_up(self, path: bytes) -> bytes:
        generation = self._generation
        parent, _, name = path.rpartition(b"/")
        entry = await self._look(await self._handle(parent), name, path)
        await self._enter(entry, path)
        if generation == self._generation:
            self.remember(path, entry.handle)
        return entry.handle

    def remember(self, path: bytes, handle: bytes) -> None:
        """Remembers the handle of a directory."""
        if not path:
            return
        self._known[path] = handle
        self._known.move_to_end(path)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def known(self, path: bytes) -> bytes:
        """The remembered handle of a directory; empty: it is not known."""
        return self._known.get(path, b"") if path else self.root

    def forget(self, path: bytes) -> None:
        """Forgets the handle of a directory, which may be stale."""
        self._known.pop(path, None)

    async def _renew(self, generation: int) -> None:
        """Drops all handles, and mounts again if the root is stale too, unless that was done since ``generation``."""
        if generation != self._generation:
            return
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._start_anew())
        await asyncio.shield(self._renewing)

    async def _start_anew(self) -> None:
        self._known.clear()
        try:
            await self._check_root(self.root)
        except StaleHandle:
            try:
                self.root = await self._remount()
            except MountError as error:
                # A server that has just come back may not export everything yet.
                log.info("mounting again: %s", error)
            else:
                log.info("the file handles of this mount had become stale: mounted again")
        self._generation += 1

    async def close(self) -> None:
        """Cancels the look-ups in progress."""
        tasks = [*self._looking.values(), *([self._renewing] if self._renewing else [])]
        await end_tasks(*tasks)
