"""The sessions of one process: one for each mount, lent out, shared, and bounded in number.

There is one pool in a process, made where the program is put together, and everything that lists or reads goes through
it: so the window of an address is one window, and what one stage finds out about an address holds for all. Its parts:
``opened`` keeps the sessions, ``reach`` knows which addresses answer, ``lookout`` probes them, ``windows`` says how many
calls each may have in flight.

How a stage uses it::

    async with pool.scope() as scope:                 # or: async with pool.lend(mount) as session
        sessions = [await scope.session(mount) for mount in mounts]
        while True:
            session = await pool.wait_until_up(sessions)        # at once while one of them is up
            try:
                page = await session.list_page(path, handle)
                break
            except TransportError as error:
                pool.failed(session, error)                     # an outage begins; the loop continues elsewhere, or later
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Protocol, Self

from cachewarmer.config import Settings
from cachewarmer.errors import NotAllowed, TransportError
from cachewarmer.model import AddressReport
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.breaker import Failures, Outage
from cachewarmer.targets.lookout import Lookout
from cachewarmer.targets.opened import OpenSessions
from cachewarmer.targets.policy import Check, Opener
from cachewarmer.targets.reach import Addresses, Line, Place
from cachewarmer.targets.windows import Windows

MOST_LEARNT = 1000
"""Addresses of which others have learnt something: of what is more, little is wanted any more."""


class SessionSource(Protocol):
    """Whatever gives the session of a mount: a pool, or a scope of one."""

    async def session(self, mount: Mount) -> Session:
        """Raises ``CacheWarmerError`` where it can't be opened."""


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
        self._settings = settings
        self._opener = opener
        self._check = check
        self._sessions = OpenSessions(
            settings.nfs.sessions,
            on_close=lambda session: self._addresses.drop(session),  # noqa: PLW0108  # it is made after this
            clock=clock,
        )
        self._addresses = Addresses(
            settings.lease.patience_seconds,
            probe=lambda line: self._lookout.probe(line),  # noqa: PLW0108  # likewise
            forget=lambda line: self._sessions.close_unused_of(line.sessions),
            announce=announce,
            clock=clock,
        )
        self._lookout = Lookout(self._addresses, self._sessions, self._open_now, settings.nfs.idle_seconds)
        self._windows = Windows(settings.nfs, self._sessions.lent)
        self._learnt: dict[str, int] = {}
        self._scope = PoolScope(self)

    def __repr__(self) -> str:
        return f"<SessionPool {self._sessions!r} down={len(self.outages())}>"

    @property
    def settings(self) -> Settings:
        """The settings as they stand: the window in them follows ``set_window``."""
        return replace(self._settings, nfs=self._windows.nfs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- what is up (see ``reach``) --------------------------------------------------------------------------------

    def failed(self, place: Mount | Session, error: TransportError, doing: str = "") -> None:
        """An address could not be reached, or did not answer: it counts as down until a probe is answered."""
        self._addresses.failed(self._addresses.find(place), error, doing)

    def failures(self) -> Failures:
        """How often what was asked of an address failed with it, and how it did the last time."""
        return self._addresses.failures

    def reads_answered(self, place: Mount | Session) -> int:
        """READ calls that an address has answered."""
        return self._addresses.find(place).answered

    def usable(self, place: Mount | Session) -> bool:
        """Whether an address may be used now."""
        return not self._addresses.find(place).breaker.is_open

    async def wait_until_up(self, places: Sequence[Place], seconds: float | None = None) -> Place:
        """The first of several addresses that is up; waits while all of them are down, as a hard mount would.

        ``seconds``: how long all of them may have been down together; None: the patience of the settings, 0: forever.

        Raises:
            TransportError: none has answered for so long; names an address and its problem.
        """
        return await self._addresses.wait_until_up(places, seconds)

    def down_seconds(self, place: Mount | Session) -> float:
        """Time since an address stopped answering; 0: it answers."""
        return self._addresses.down_seconds(self._addresses.find(place))

    def outages(self) -> tuple[Outage, ...]:
        """The addresses that are down now: for showing how it goes."""
        return self._addresses.outages()

    def reports(self) -> tuple[AddressReport, ...]:
        """How each address does: counts since this process began, and what is in flight now."""
        return self._addresses.reports(lambda line: self._windows.most([line]))

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
        return self._check is not None and bool(self._settings.targets.allow_exports)

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
        session = await self._sessions.borrow(mount, lambda: self._open(mount, line), wait=wait)
        self._windows.share(line)
        return session

    def give_back(self, mount: Mount) -> None:
        """Returns what ``borrow`` gave."""
        if self._sessions.give_back(mount):
            self._windows.share(self._addresses.line(mount))

    async def _open(self, mount: Mount, line: Line) -> Session:
        line.mount = mount
        try:
            session = await self._sessions.with_room(lambda: self._open_now(mount))
        except TransportError as error:
            self._addresses.failed(line, error)
            raise
        self._addresses.add(line, session)
        self._lookout.begin()
        return session

    async def _open_now(self, mount: Mount) -> Session:
        return await self._opener(mount, self.settings)

    async def close(self) -> None:
        """Closes all sessions. Idempotent."""
        await self._addresses.close()
        await self._lookout.close()
        await self._sessions.close()

    # -- the window (see ``windows``) ------------------------------------------------------------------------------

    @property
    def window_calls(self) -> int:
        """The largest window of an address in use: what is claimed and read ahead goes by it."""
        return self._windows.most([line for line in self._addresses.lines if line.sessions])

    @property
    def window_bytes(self) -> int:
        """The most bytes that a session in use asks for at the same time; what is claimed goes by it as well."""
        used = (session.window.bytes for sessions in self.in_use().values() for session in sessions)
        return max(used, default=0)

    def windows(self, addresses: Collection[str]) -> dict[str, int]:
        """The window of each of these addresses that may be used now."""
        known = {line.mount.address: line for line in self._addresses.lines if line.mount.address in addresses}
        usable = [one for one in addresses if one not in known or not known[one].breaker.is_open]
        return {address: self._windows.calls(known.get(address)) for address in usable}

    def set_window(self, calls: int) -> None:
        """Changes how many calls this process may have in flight at each address."""
        self._windows.limit(calls, self._addresses.lines)

    def begin_with(self, calls: int) -> None:
        """Lets each address begin with a window that whoever calls this is going to ``steer``."""
        self._windows.begin_with(calls)

    def learn(self, windows: Mapping[str, int]) -> None:
        """Takes, by address, the windows that are worth to be tried first by whoever steers, as others have found."""
        if len(self._learnt) > MOST_LEARNT:
            self._learnt.clear()
        self._learnt.update(windows)

    def learnt(self, address: str) -> int:
        """The window that is worth to be tried first at an address; 0: none is known."""
        return self._learnt.get(address, 0)

    def in_use(self) -> dict[Line, list[Session]]:
        """The addresses that are read or listed at present, and their sessions."""
        lent = self._sessions.lent()
        used = {line: [one for one in line.sessions if one in lent] for line in self._addresses.lines}
        return {line: sessions for line, sessions in used.items() if sessions}

    def steer(self, line: Line, calls: int) -> None:
        """Changes how many calls this process may have in flight at one address."""
        self._windows.steer(line, calls)


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
