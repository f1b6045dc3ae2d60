"""The sessions of one process: one for each mount, lent to callers, shared, and limited in number.

A process has one pool, created where the program is put together, and everything that lists or reads uses it. So each
address has one window, and what one stage finds out about an address is known to all. Its parts: ``opened`` keeps the
sessions, ``reach`` knows which addresses answer, ``lookout`` probes them, and ``windows`` decides how many calls each
may have in flight.

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
"""Number of addresses with learnt windows above which all are forgotten: few of them are still in use."""


class SessionSource(Protocol):
    """An object that provides the session of a mount: a pool, or a scope of one."""

    async def session(self, mount: Mount) -> Session:
        """The session of a mount. Raises ``CacheWarmerError`` if it can't be opened."""


class SessionPool:
    """The sessions of one process; see the module.

    Args:
        settings: the settings of the process.
        opener: opens a session; ``cachewarmer.targets.open_session`` except in tests.
        announce: whether outages are logged; of several processes of one job, only one logs them.
        check: raises ``NotAllowed`` if a mount may not be opened (``policy.check_of``); None: all may be.
        clock: returns seconds.
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
        """The current settings: their window is the one that was last set with ``set_window``."""
        return replace(self._settings, nfs=self._windows.nfs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- what is up (see ``reach``) --------------------------------------------------------------------------------

    def failed(self, place: Mount | Session, error: TransportError, doing: str = "") -> None:
        """Records that an address could not be reached or did not answer: it is down until a probe is answered.

        ``doing`` names what was being done, for the report.
        """
        self._addresses.failed(self._addresses.find(place), error, doing)

    def failures(self) -> Failures:
        """How often an address could not be reached or did not answer, probes aside, and the last problem."""
        return self._addresses.failures

    def reads_answered(self, place: Mount | Session) -> int:
        """The number of READ calls that an address has answered."""
        return self._addresses.find(place).answered

    def usable(self, place: Mount | Session) -> bool:
        """Whether an address may be used now."""
        return not self._addresses.find(place).breaker.is_open

    async def wait_until_up(self, places: Sequence[Place], seconds: float | None = None) -> Place:
        """Returns the first of several addresses that is up; waits while all are down, as a hard mount would.

        ``seconds`` is how long all of them may be down at the same time; None: as long as the settings say; 0: forever.

        Raises:
            TransportError: none has answered for so long; the error names an address and its problem.
        """
        return await self._addresses.wait_until_up(places, seconds)

    def down_seconds(self, place: Mount | Session) -> float:
        """Seconds since an address stopped answering; 0: it answers."""
        return self._addresses.down_seconds(self._addresses.find(place))

    def outages(self) -> tuple[Outage, ...]:
        """The addresses that are down now."""
        return self._addresses.outages()

    def reports(self) -> tuple[AddressReport, ...]:
        """A report on each address: counts since this process began, and what is in flight now."""
        return self._addresses.reports(lambda line: self._windows.most([line]))

    @property
    def reaches_nothing(self) -> bool:
        """Whether every address that this process knows is down, so that it should take no work."""
        return self._addresses.reaches_nothing

    async def reach(self, mounts: Sequence[Mount]) -> float:
        """Probes the addresses of a job; returns for how many seconds none of them has answered, 0 if one does."""
        return await self._addresses.ask([self._addresses.line(mount) for mount in mounts if self._may_open(mount)])

    def _may_open(self, mount: Mount) -> bool:
        try:
            self.check(mount)
        except NotAllowed:
            return False
        return True

    def problems(self, mounts: Sequence[Mount]) -> list[str]:
        """For each of these addresses that is down, why it can't be reached, in one line."""
        lines = (self._addresses.line(mount) for mount in mounts)
        return [str(line.problem()) for line in lines if line.breaker.is_open]

    @property
    def reads_by_path(self) -> bool:
        """Whether files must be read by path, because a handle in a job may stand for a file that is not allowed."""
        return self._check is not None and bool(self._settings.targets.allow_exports)

    def check(self, mount: Mount) -> None:
        """Raises ``NotAllowed`` if the settings do not permit reading this mount."""
        if self._check is not None:
            self._check(mount)

    # -- sessions --------------------------------------------------------------------------------------------------

    async def session(self, mount: Mount) -> Session:
        """The session of a mount, kept open until the pool is closed. A long-running caller uses a ``scope`` instead.

        Raises:
            CacheWarmerError: the address or the export can't be opened.
        """
        return await self._scope.session(mount)

    def scope(self) -> PoolScope:
        """An async context manager that provides sessions, and gives all of them back at its end."""
        return PoolScope(self)

    @asynccontextmanager
    async def lend(self, mount: Mount) -> AsyncIterator[Session]:
        """Lends the session of a mount for the body of a ``with``; waits while the limit of sessions is in use.

        Raises:
            TransportError: the address is down, or could not be reached now. CacheWarmerError: it can't be opened.
        """
        session = await self.borrow(mount, wait=True)
        try:
            yield session
        finally:
            self.give_back(mount)

    async def borrow(self, mount: Mount, *, wait: bool) -> Session:
        """Takes the session of a mount, to be given back with ``give_back``. Concurrent callers share one session.

        ``wait`` says whether to wait for another session to be given back if the limit is reached; a caller that holds
        several sessions must not wait.

        Raises:
            NotAllowed: the mount may not be opened.
            TransportError: the address is down, or could not be reached now. CacheWarmerError: it can't be opened.
        """
        self.check(mount)
        line = self._addresses.line(mount)
        if line.breaker.is_open:
            raise line.problem()
        session = await self._sessions.borrow(mount, lambda: self._open(mount, line), wait=wait)
        self._windows.share(line)
        return session

    def give_back(self, mount: Mount) -> None:
        """Gives back a session that was borrowed."""
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
        """The largest window of an address in use, in calls; it determines how much is claimed and read ahead."""
        return self._windows.most([line for line in self._addresses.lines if line.sessions])

    @property
    def window_bytes(self) -> int:
        """The largest window of a session in use, in bytes, which also determines how much is claimed; 0: none."""
        used = (session.window.bytes for sessions in self.in_use().values() for session in sessions)
        return max(used, default=0)

    def windows(self, addresses: Collection[str]) -> dict[str, int]:
        """The window in calls of each of these addresses that is up."""
        known = {line.mount.address: line for line in self._addresses.lines if line.mount.address in addresses}
        usable = [one for one in addresses if one not in known or not known[one].breaker.is_open]
        return {address: self._windows.calls(known.get(address)) for address in usable}

    def set_window(self, calls: int) -> None:
        """Sets how many calls this process may have in flight at each address."""
        self._windows.limit(calls, self._addresses.lines)

    def begin_with(self, calls: int) -> None:
        """Sets the window with which each address begins, for a caller that is going to ``steer`` it."""
        self._windows.begin_with(calls)

    def learn(self, windows: Mapping[str, int]) -> None:
        """Records windows, by address, that others have found and that steering should try first."""
        if len(self._learnt) > MOST_LEARNT:
            self._learnt.clear()
        self._learnt.update(windows)

    def learnt(self, address: str) -> int:
        """The window that steering should try first at an address; 0: none is known."""
        return self._learnt.get(address, 0)

    def in_use(self) -> dict[Line, list[Session]]:
        """The addresses that are read or listed now, with their sessions in use."""
        lent = self._sessions.lent()
        used = {line: [one for one in line.sessions if one in lent] for line in self._addresses.lines}
        return {line: sessions for line, sessions in used.items() if sessions}

    def steer(self, line: Line, calls: int) -> None:
        """Sets how many calls this process may have in flight at one address."""
        self._windows.steer(line, calls)


class PoolScope:
    """The sessions of one caller; see ``SessionPool.scope``."""

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
            if mount in self._taken:  # taken by another coroutine in the meantime
                self._pool.give_back(mount)
            self._taken[mount] = known
        return known
