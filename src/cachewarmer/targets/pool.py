"""The sessions of one process: one for each mount, lent out, shared, and bounded in number.

There is one pool in a process, made where the program is put together, and everything that lists or reads goes through
it: so the window of an address is one window, and what one stage finds out about an address (``reach``) holds for all.

How a stage uses it::

    async with pool.scope() as scope:                 # or: async with pool.lend(mount) as session
        sessions = [await scope.session(mount) for mount in mounts]
        while True:
            session = await pool.wait_until_up(sessions)        # at once while one of them is up
            try:
                page = await session.list_page(path, handle)
                break
            except TransportError as error:
                pool.failed(session, error)                     # an outage begins; the loop goes on elsewhere, or later
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError, NotAllowed, OwnResourceError, ReplyTimeout, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import AddressReport
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.breaker import Failures, Outage
from cachewarmer.targets.policy import Check, Opener
from cachewarmer.targets.reach import Addresses, Line, Place

log = logging.getLogger(__name__)


LOOK_SECONDS = 5.0
"""Between two looks at an address in use. One that has sent nothing since the last look is probed: a server that accepts
calls and never answers would otherwise be noticed only by the reply timeout of many calls."""
PROBE_SECONDS = 10.0
"""A probe without an answer for this long has failed."""


class SessionSource(Protocol):
    """Whatever gives the session of a mount: a pool, or a scope of one."""

    async def session(self, mount: Mount) -> Session:
        """Raises ``CacheWarmerError`` where it can't be opened."""


@dataclass(eq=False, slots=True)
class _Opened:
    """One session, opened or being opened."""

    opening: asyncio.Task[Session]
    lent: int = 0
    used_at: float = 0.0
    heard: object = None
    """What the session had received at the last look."""

    @property
    def unused(self) -> bool:
        return not self.lent and self.opening.done()


class SessionPool:
    """See the module. ``opener`` is ``cachewarmer.targets.open_session`` except in tests.

    ``check`` says whether a mount may be opened at all (``policy.check_of``). ``announce`` off keeps outages out of the log: of several processes of one job, one tells of them.
    """

    def __init__(
        self,
        settings: Settings,
        opener: Opener,
        *,
        announce: bool = True,
        check: Check | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._opener = opener
        self._check = check
        self._clock = clock
        self._opened: dict[Mount, _Opened] = {}
        self._addresses = Addresses(
            settings.lease.patience_seconds,
            probe=self._probe,
            forget=self._close_all_of,
            announce=announce,
            clock=clock,
        )
        self._last_failure = ""
        self._returned = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._scope = PoolScope(self)

    def __repr__(self) -> str:
        lent = sum(one.lent for one in self._sessions)
        return f"<SessionPool sessions={len(self._sessions)} lent={lent} down={len(self.outages())}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- what is up (see ``reach``) --------------------------------------------------------------------------------

    def failed(self, place: Mount | Session, error: TransportError, doing: str = "") -> None:
        """An address could not be reached, or did not answer: it counts as down until a probe is answered."""
        self._addresses.failed(self._addresses.find(place), error)
        self._last_failure = f"{doing}: {error}" if doing else str(error)

    def failures(self) -> Failures:
        """How often what was asked of an address failed with it, and how it did the last time."""
        return Failures(self._addresses.failures, self._last_failure)

    def usable(self, place: Mount | Session) -> bool:
        """Whether an address may be used now."""
        return not self._addresses.find(place).breaker.is_open

    async def wait_until_up(self, places: Sequence[Place], seconds: float | None = None) -> Place:
        """The first of several addresses that is up; waits while all of them are down, as a hard mount would.

        ``seconds``: how long all of them may have been down together; None: the patience of the settings, 0: for ever.

        Raises:
            TransportError: none has answered for so long; names an address and its problem.
        """
        return await self._addresses.wait_until_up(places, seconds)

    def outages(self) -> tuple[Outage, ...]:
        """The addresses that are down now: for showing how it goes."""
        return self._addresses.outages()

    def reports(self) -> tuple[AddressReport, ...]:
        """How each address does: counts since this process began, and what is in flight now."""
        return self._addresses.reports(self._window)

    @property
    def reaches_nothing(self) -> bool:
        """Whether every address that this process knows of is down: it had better take no work."""
        return self._addresses.reaches_nothing

    async def reach(self, mounts: Sequence[Mount]) -> float:
        """Asks the addresses of a job whether they answer, and says for how many seconds none of them has; 0: one does."""
        return await self._addresses.ask([self._addresses.line(mount) for mount in mounts if self._may_open(mount)])

    def _may_open(self, mount: Mount) -> bool:
        try:
            self.check(mount)
        except NotAllowed:
            return False
        return True

    def problems(self, mounts: Sequence[Mount]) -> list[str]:
        """Why each of these addresses that is down can't be reached, each in one line."""
        lines = (self._addresses.line(mount) for mount in mounts)
        return [str(line.problem()) for line in lines if line.breaker.is_open]

    @property
    def reads_by_path(self) -> bool:
        """Whether files are to be found by their paths, because jobs may name only some: a handle may stand for any."""
        return self._check is not None and bool(self.settings.targets.allow_exports)

    def check(self, mount: Mount) -> None:
        """Raises ``NotAllowed`` where the settings do not let this be read."""
        if self._check is not None:
            self._check(mount)

    # -- sessions --------------------------------------------------------------------------------------------------

    async def session(self, mount: Mount) -> Session:
        """The session for a mount, kept open until the pool closes. What runs for long takes a ``scope`` instead.

        Raises:
            CacheWarmerError: the address or the export can't be opened.
        """
        return await self._scope.session(mount)

    def scope(self) -> PoolScope:
        """Sessions to use for some time: an async context manager; all that it gave out is returned at its end."""
        return PoolScope(self)

    @asynccontextmanager
    async def lend(self, mount: Mount) -> AsyncIterator[Session]:
        """The session for a mount, for the length of a ``with``. Waits while as many as are allowed are in use.

        Raises:
            TransportError: the address is down, or could not be reached now. CacheWarmerError: it can't be opened.
        """
        session = await self.borrow(mount, wait=True)
        try:
            yield session
        finally:
            self.give_back(mount)

    async def borrow(self, mount: Mount, *, wait: bool) -> Session:
        """Takes a session to be given back with ``give_back``; callers that ask at the same time share one opening.

        ``wait``: for another to be returned where the limit is reached. One who holds several must not wait.
        """
        self.check(mount)
        line = self._addresses.line(mount)
        if line.breaker.is_open:
            raise line.problem()
        opened = await self._find_or_open(mount, line, wait=wait)
        opened.lent += 1
        try:
            session = await asyncio.shield(opened.opening)
        except BaseException as error:
            opened.lent -= 1
            if isinstance(error, CacheWarmerError):
                self._forget(opened)
            self._returned.set()
            raise
        self._share_window(line)
        return session

    def give_back(self, mount: Mount) -> None:
        """Returns what ``borrow`` gave."""
        opened = self._opened.get(_key(mount))
        if opened is not None:
            opened.lent -= 1
            opened.used_at = self._clock()
            self._share_window(self._addresses.line(mount))
        self._returned.set()

    async def _find_or_open(self, mount: Mount, line: Line, *, wait: bool) -> _Opened:
        key = _key(mount)
        while True:
            opened = self._opened.get(key)
            if opened is not None:
                return opened
            has_room = await self._make_room() or not wait
            if key in self._opened:
                continue
            if has_room:
                opened = self._opened[key] = _Opened(asyncio.create_task(self._open(mount, line)))
                opened.opening.add_done_callback(lambda opening: self._also_known_as(mount, opening))
                return opened
            self._returned.clear()
            await self._returned.wait()

    def _also_known_as(self, mount: Mount, opening: asyncio.Task[Session]) -> None:
        """Whoever asks for the export that was found from the server's list gets the same session."""
        opened = self._opened.get(_key(mount))
        if opened is None or opening.cancelled() or opening.exception() is not None:
            return
        self._opened.setdefault(replace(mount, path="", export=opening.result().export), opened)

    async def _open(self, mount: Mount, line: Line) -> Session:
        line.mount = mount
        try:
            try:
                session = await self._opener(mount, self.settings)
            except OwnResourceError:
                if not await self._close_all_unused():
                    raise
                session = await self._opener(mount, self.settings)
        except TransportError as error:
            self._addresses.failed(line, error)
            raise
        self._addresses.add(line, session)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after())
        return session

    # -- the window ------------------------------------------------------------------------------------------------

    @property
    def window_calls(self) -> int:
        """The largest window of an address in use: what is claimed and read ahead goes by it."""
        return max((self._window(line) for line in self._addresses.lines if line.sessions), default=self._window(None))

    def _window(self, line: Line | None) -> int:
        nfs = self.settings.nfs
        return min((line.window_calls if line is not None else 0) or nfs.window_calls, nfs.most_calls)

    def set_window(self, calls: int) -> None:
        """Changes how many calls this process may have in flight at each address."""
        calls = max(1, calls)
        nfs = self.settings.nfs
        nfs = replace(nfs, window_max_calls=calls) if nfs.window_auto else replace(nfs, window_calls=calls)
        self.settings = replace(self.settings, nfs=nfs)
        for line in self._addresses.lines:
            self._share_window(line)

    def begin_with(self, calls: int) -> None:
        """Lets each address begin with a window that whoever calls this is going to ``steer``."""
        nfs = self.settings.nfs
        self.settings = replace(self.settings, nfs=replace(nfs, window_calls=min(calls, nfs.window_max_calls)))

    def in_use(self) -> dict[Line, list[Session]]:
        """The addresses that are read or listed at present, and their sessions."""
        lent = {one.opening.result() for one in self._sessions if one.lent and _is_open(one)}
        used = {line: [one for one in line.sessions if one in lent] for line in self._addresses.lines}
        return {line: sessions for line, sessions in used.items() if sessions}

    def steer(self, line: Line, calls: int) -> None:
        """Changes how many calls this process may have in flight at one address."""
        if calls != line.window_calls:
            line.window_calls = calls
            self._share_window(line)

    def _share_window(self, line: Line) -> None:
        """One window an address: where several sessions of it are in use (other exports, other uids), each has a part."""
        calls = self._window(line)
        if len(line.sessions) == 1:
            line.sessions[0].set_window(calls)
            return
        in_use = {one.opening.result() for one in self._sessions if one.lent and _is_open(one)}
        lent = [session for session in line.sessions if session in in_use]
        for number, session in enumerate(lent):
            session.set_window(max(1, (calls + number) // len(lent)))

    # -- closing ---------------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> set[_Opened]:
        """Each once, whatever mounts it is known by."""
        return set(self._opened.values())

    async def _make_room(self) -> bool:
        """Whether one more session may be opened; closes the one that was unused for longest, if it must."""
        while len(self._sessions) >= max(1, self.settings.nfs.sessions):
            unused = [one for one in self._sessions if one.unused]
            if not unused:
                return False
            await self._close(min(unused, key=lambda one: one.used_at))
        return True

    async def _close_unused(self, seconds: float) -> None:
        """Closes sessions that nobody has used for so long."""
        before = self._clock() - seconds
        unused = [one for one in self._sessions if one.unused and one.used_at <= before and not self._is_down(one)]
        for one in unused:
            await self._close(one)

    async def _close_all_unused(self) -> int:
        """Closes all sessions that nobody uses, for what they hold of this process's descriptors; how many."""
        unused = [one for one in self._sessions if one.unused]
        for one in unused:
            await self._close(one)
        return len(unused)

    def _is_down(self, opened: _Opened) -> bool:
        """Whether the address of a session is down: the session serves to probe it."""
        return _is_open(opened) and self._addresses.find(opened.opening.result()).breaker.is_open

    async def _close_all_of(self, line: Line) -> None:
        for one in self._sessions:
            if one.unused and _is_open(one) and one.opening.result() in line.sessions:
                await self._close(one)

    def _forget(self, opened: _Opened) -> None:
        self._opened = {key: one for key, one in self._opened.items() if one is not opened}

    async def _close(self, opened: _Opened) -> None:
        self._forget(opened)
        self._returned.set()
        if _is_open(opened):
            session = opened.opening.result()
            self._addresses.drop(session)
            await session.close()

    # -- looking after them ----------------------------------------------------------------------------------------

    async def _probe(self, line: Line) -> None:
        """Asks an address whether it answers: by one call of a session, or by opening one where there is none.

        Raises:
            TransportError: it does not. Any other answer, a refusal too, is one.
        """
        try:
            try:
                await self._probe_once(line)
            except OwnResourceError:
                if not await self._close_all_unused():
                    raise
                await self._probe_once(line)
        except TransportError:
            raise
        except CacheWarmerError as error:
            log.debug("%s answers: %s", line.breaker.address, error)

    async def _probe_once(self, line: Line) -> None:
        if not line.sessions:
            session = await self._opener(line.mount, self.settings)
            await session.close()
            return
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await line.sessions[0].probe()
        except TimeoutError as error:
            raise ReplyTimeout(f"no answer within {PROBE_SECONDS:g} s") from error

    async def _look_after(self) -> None:
        """Notices addresses that have fallen silent, and closes sessions that are not used any more."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._addresses.settle()
            await self._close_unused(self.settings.nfs.idle_seconds)
            await asyncio.gather(*(self._look_at(line) for line in self._addresses.lines))

    async def _look_at(self, line: Line) -> None:
        lent = {one.opening.result(): one for one in self._sessions if one.lent and _is_open(one)}
        silent: list[Session] = []
        for session in line.sessions:
            if session in lent:
                heard, lent[session].heard = lent[session].heard, session.heard()
                if heard == lent[session].heard:
                    silent.append(session)
        if silent and not line.breaker.is_open:
            try:
                await self._probe(line)
            except TransportError as error:
                if any(session.heard() != lent[session].heard for session in line.sessions if session in lent):
                    return  # it answers others: slow it may be, but it is not away
                self._addresses.failed(line, error)
            else:
                return
        for session in silent:
            session.interrupt(line.problem())

    async def close(self) -> None:
        """Closes all sessions. Idempotent."""
        await self._addresses.close()
        if self._looking is not None:
            await end_tasks(self._looking)
        opened, self._opened = self._sessions, {}
        for one in opened:
            if not one.opening.done():
                one.opening.cancel()
        for result in await asyncio.gather(*(one.opening for one in opened), return_exceptions=True):
            if isinstance(result, Session):
                with contextlib.suppress(CacheWarmerError):
                    await result.close()


class PoolScope:
    """See ``SessionPool.scope``."""

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool
        self._taken: dict[Mount, Session] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        taken, self._taken = self._taken, {}
        for mount in taken:
            self._pool.give_back(mount)

    async def session(self, mount: Mount) -> Session:
        """The session for a mount; see ``SessionPool.session``."""
        known = self._taken.get(mount)
        if known is None:
            known = await self._pool.borrow(mount, wait=False)
            if mount in self._taken:  # taken by another coroutine meanwhile
                self._pool.give_back(mount)
            self._taken[mount] = known
        return known


def _key(mount: Mount) -> Mount:
    """The session that a mount is read through: its path matters only where the export must be found by it."""
    return replace(mount, path="") if mount.export else mount


def _is_open(opened: _Opened) -> bool:
    opening = opened.opening
    return opening.done() and not opening.cancelled() and opening.exception() is None
