"""The open sessions: one for each mount, lent to callers, limited in number, and closed when they are not used."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import field, fields, replace
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

from cachewarmer.errors import CacheWarmerError, OwnResourceError, own_resource_error
from cachewarmer.targets.base import Mount, Session
from cachewarmer.values import dataclass

T = TypeVar("T")

_Key: TypeAlias = tuple[object, ...]
_way = attrgetter(*(one.name for one in fields(Mount) if one.name != "path"))
"""Returns the values of a mount except its path, as a tuple, which is hashed faster than a mount."""


@dataclass(eq=False, slots=True)
class Opened:
    """A session that is open or being opened."""

    opening: asyncio.Task[Session]
    lent: int = 0
    """How many callers use it."""
    used_at: float = 0.0
    """When it was last given back, in seconds of the clock of ``OpenSessions``."""
    _waiting: deque[object] = field(default_factory=deque)

    async def turn(self) -> Session:
        """Waits until the session is open and returns it, to callers in the order of their calls.

        Raises whatever opening it raises.
        """
        ticket = object()
        self._waiting.append(ticket)
        try:
            session = await asyncio.shield(self.opening)
            while self._waiting[0] is not ticket:
                await asyncio.sleep(0)
            return session
        finally:
            self._waiting.remove(ticket)

    @property
    def unused(self) -> bool:
        """Whether it may be closed."""
        return not self.lent and self.opening.done()

    @property
    def session(self) -> Session | None:
        """The session; None while it is being opened, or if that failed."""
        opening = self.opening
        if not opening.done() or opening.cancelled() or opening.exception() is not None:
            return None
        return opening.result()


class OpenSessions:
    """The open sessions, at most ``most`` at the same time. ``on_close`` is called with each before it is closed."""

    def __init__(self, most: int, *, on_close: Callable[[Session], None], clock: Callable[[], float]) -> None:
        self._most = max(1, most)
        self._on_close = on_close
        self._clock = clock
        self._opened: dict[_Key, Opened] = {}
        self._returned = asyncio.Event()

    def __repr__(self) -> str:
        return f"<OpenSessions {len(self._all)}/{self._most} lent={sum(one.lent for one in self._all)}>"

    @property
    def _all(self) -> set[Opened]:
        """Each session once, even if several mounts refer to it."""
        return set(self._opened.values())

    def lent(self) -> set[Session]:
        """The sessions that are in use now."""
        return {session for one in self._all if one.lent and (session := one.session) is not None}

    # -- lending ---------------------------------------------------------------------------------------------------

    async def borrow(self, mount: Mount, opening: Callable[[], Coroutine[Any, Any, Session]], *, wait: bool) -> Session:
        """Takes the session of a mount; see ``SessionPool.borrow``. ``opening`` opens it if there is none."""
        opened = await self._find_or_open(mount, opening, wait=wait)
        opened.lent += 1
        try:
            return await opened.turn()
        except BaseException as error:
            opened.lent -= 1
            if isinstance(error, CacheWarmerError):
                self._forget(opened)
            self._returned.set()
            raise

    def give_back(self, mount: Mount) -> bool:
        """Gives back a session that was borrowed. Returns False if it had been dropped in the meantime."""
        opened = self._opened.get(_key(mount))
        if opened is not None:
            opened.lent -= 1
            opened.used_at = self._clock()
        self._returned.set()
        return opened is not None

    async def _find_or_open(
        self, mount: Mount, opening: Callable[[], Coroutine[Any, Any, Session]], *, wait: bool
    ) -> Opened:
        key = _key(mount)
        while True:
            opened = self._opened.get(key)
            if opened is not None:
                return opened
            has_room = await self._make_room() or not wait
            if key in self._opened:
                continue
            if has_room:
                opened = self._opened[key] = Opened(asyncio.create_task(opening()))
                opened.opening.add_done_callback(lambda _: self._also_known_as(mount))
                return opened
            self._returned.clear()
            await self._returned.wait()

    def _also_known_as(self, mount: Mount) -> None:
        """Lets later callers that name the export, which this mount found by its path, get the same session."""
        opened = self._opened.get(_key(mount))
        if opened is not None and (session := opened.session) is not None:
            self._opened.setdefault(_key(replace(mount, export=session.export)), opened)

    async def with_room(self, call: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of a call that needs a descriptor; if there is none, unused sessions are closed first.

        Raises:
            OwnResourceError: this process has no descriptor, memory or thread left. Also whatever ``call`` raises.
        """
        try:
            return await _naming_own(call)
        except OwnResourceError:
            if not await self.close_unused():
                raise
            return await _naming_own(call)

    # -- closing ---------------------------------------------------------------------------------------------------

    async def _make_room(self) -> bool:
        """Whether one more session may be opened, after closing the ones that were unused for longest if necessary."""
        while len(self._all) >= self._most:
            unused = [one for one in self._all if one.unused]
            if not unused:
                return False
            await self._close(min(unused, key=lambda one: one.used_at))
        return True

    async def close_unused(self, seconds: float | None = None, *, but: Sequence[Session] = ()) -> int:
        """Closes the sessions that are not in use, except ``but``; returns how many.

        With ``seconds``, only those that have not been in use for so long.
        """
        before = None if seconds is None else self._clock() - seconds
        unused = [
            one
            for one in self._all
            if one.unused and (before is None or one.used_at <= before) and one.session not in but
        ]
        for one in unused:
            await self._close(one)
        return len(unused)

    async def close_unused_of(self, sessions: Sequence[Session]) -> None:
        """Closes those of ``sessions`` that are not in use."""
        for one in [one for one in self._all if one.unused and one.session in sessions]:
            await self._close(one)

    def _forget(self, opened: Opened) -> None:
        self._opened = {key: one for key, one in self._opened.items() if one is not opened}

    async def _close(self, opened: Opened) -> None:
        self._forget(opened)
        self._returned.set()
        if (session := opened.session) is not None:
            self._on_close(session)
            await session.close()

    async def close(self) -> None:
        """Closes all sessions. Idempotent."""
        opened, self._opened = self._all, {}
        for one in opened:
            if not one.opening.done():
                one.opening.cancel()
        for result in await asyncio.gather(*(one.opening for one in opened), return_exceptions=True):
            if isinstance(result, Session):
                with contextlib.suppress(CacheWarmerError):
                    await result.close()


async def _naming_own(call: Callable[[], Awaitable[T]]) -> T:
    """Returns the result of a call; a lack of resources of this process becomes an ``OwnResourceError``."""
    try:
        return await call()
    except (OSError, MemoryError, RuntimeError) as error:
        own = own_resource_error(error, doing="opening a session")
        if own is None:
            raise
        raise own from error


def _key(mount: Mount) -> _Key:
    """The key of the session of a mount; the path matters only if the export must be found by it."""
    return (*_way(mount), "" if mount.export else mount.path)
