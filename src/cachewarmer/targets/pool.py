"""The sessions of one process, and what is known about the addresses behind them.

There is one pool in a process, made where the program is put together, and everything that lists or reads goes through
it. It keeps one session for each mount, lends it out, closes sessions that nobody uses, and holds their number below a
limit. It has one breaker for each address (see ``breaker``), shared by listing and reading: whoever meets a
``TransportError`` tells the pool (``failed``), uses another address meanwhile (``usable``), or waits (``wait_until_up``).

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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError, OwnResourceError, ReplyTimeout, TransportError, one_line
from cachewarmer.eventloop import end_tasks
from cachewarmer.outage import OutageLog
from cachewarmer.paths import to_text
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.breaker import Breaker, Outage

log = logging.getLogger(__name__)

Opener = Callable[[Mount, Settings], Awaitable[Session]]
Place = TypeVar("Place", Mount, Session)
"""How a caller names an address: by what opens it, or by a session of it."""

LOOK_SECONDS = 5.0
"""Between two looks at an address in use. One that has sent nothing since the last look is probed: a server that accepts
calls and never answers would otherwise be noticed only by the reply timeout of many calls."""
PROBE_SECONDS = 10.0
"""A probe without an answer for this long has failed."""
FORGET_SECONDS = 300.0
"""An address that is down and that nobody has wanted to use for this long is forgotten, and not probed any more."""


class SessionSource(Protocol):
    """Whatever gives the session of a mount: a pool, or a scope of one."""

    async def session(self, mount: Mount) -> Session:
        """Raises ``CacheWarmerError`` where it can't be opened."""


class Endpoint(NamedTuple):
    """What one breaker stands for: the mounts of one address that are reached in the same way."""

    address: str
    transport: str
    nfs_port: int
    mount_port: int


@dataclass(eq=False, slots=True)
class _Opened:
    """One session, opened or being opened."""

    opening: asyncio.Task[Session]
    lent: int = 0
    used_at: float = 0.0


@dataclass(eq=False)
class _Line:
    """An address: its breaker, its sessions, and the tasks that look after it."""

    breaker: Breaker
    log: OutageLog
    up: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: dict[Mount, Session] = field(default_factory=dict)
    mount: Mount | None = None
    """A mount to open for a probe where there is no session."""
    probing: asyncio.Task[None] | None = None
    heard: dict[Session, object] = field(default_factory=dict)
    """What each session had received at the last look."""
    waiting: int = 0
    """Callers that wait for the address."""
    wanted_at: float = 0.0
    """When somebody last wanted to use it."""


class SessionPool:
    """See the module. ``opener`` is ``cachewarmer.targets.open_session`` except in tests.

    ``announce`` off keeps outages out of the log: of several processes of one job, one tells of them.
    """

    def __init__(
        self,
        settings: Settings,
        opener: Opener,
        *,
        announce: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._opener = opener
        self._announce = announce
        self._clock = clock
        self._opened: dict[Mount, _Opened] = {}
        self._lines: dict[Endpoint, _Line] = {}
        self._line_of: WeakKeyDictionary[Session, _Line] = WeakKeyDictionary()
        self._returned = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._scope = PoolScope(self)

    def __repr__(self) -> str:
        lent = sum(one.lent for one in self._opened.values())
        return f"<SessionPool sessions={len(self._opened)} lent={lent} down={len(self.outages())}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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
        key, line = _key(mount), self._line(mount)
        if line.breaker.is_open:
            raise self._problem(line)
        opened = self._opened.get(key)
        while opened is None:
            if await self._make_room() or not wait:
                opened = self._opened.get(key)
                if opened is None:
                    opened = _Opened(asyncio.create_task(self._open(mount, line)))
                    self._opened[key] = opened
            else:
                self._returned.clear()
                await self._returned.wait()
                opened = self._opened.get(key)
        opened.lent += 1
        try:
            session = await asyncio.shield(opened.opening)
            if opened.lent == 1:
                self._share_window(line)
            return session
        except BaseException as error:
            opened.lent -= 1
            if isinstance(error, CacheWarmerError) and self._opened.get(key) is opened:
                del self._opened[key]
            self._returned.set()
            raise

    def give_back(self, mount: Mount) -> None:
        """Returns what ``borrow`` gave."""
        opened = self._opened.get(_key(mount))
        if opened is not None:
            opened.lent -= 1
            opened.used_at = self._clock()
            if not opened.lent:
                self._share_window(self._line(mount))
        self._returned.set()

    def set_window(self, calls: int) -> None:
        """Changes how many calls this process may have in flight at each address."""
        nfs = replace(self.settings.nfs, window_calls=max(1, calls))
        self.settings = replace(self.settings, nfs=nfs)
        for line in self._lines.values():
            self._share_window(line)

    def _share_window(self, line: _Line) -> None:
        """One window an address: where several sessions of it are in use (other exports, other uids), each has a part."""
        lent = [session for key, session in line.sessions.items() if self._opened[key].lent]
        for number, session in enumerate(lent):
            session.set_window(max(1, (self.settings.nfs.window_calls + number) // len(lent)))

    async def _open(self, mount: Mount, line: _Line) -> Session:
        line.mount = mount
        try:
            try:
                session = await self._opener(mount, self.settings)
            except OwnResourceError:
                if not await self._close_unused(0.0):
                    raise
                session = await self._opener(mount, self.settings)
        except TransportError as error:
            self._fail(line, error)
            raise
        line.sessions[_key(mount)] = session
        self._line_of[session] = line
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after())
        return session

    async def _make_room(self) -> bool:
        """Whether one more session may be opened; closes the one that was unused for longest, if it must."""
        while len(self._opened) >= max(1, self.settings.nfs.sessions):
            unused = [(one.used_at, key) for key, one in self._opened.items() if not one.lent and one.opening.done()]
            if not unused:
                return False
            await self._close(min(unused, key=lambda one: one[0])[1])
        return True

    async def _close_unused(self, seconds: float) -> int:
        """Closes sessions that nobody has used for so long; how many."""
        before = self._clock() - seconds
        keys = [
            key for key, one in self._opened.items() if not one.lent and one.opening.done() and one.used_at <= before
        ]
        for key in keys:
            await self._close(key)
        return len(keys)

    async def _close(self, key: Mount) -> None:
        opened = self._opened.pop(key)
        self._returned.set()
        if opened.opening.cancelled() or opened.opening.exception() is not None:
            return
        session = opened.opening.result()
        line = self._line_of[session]
        line.sessions.pop(key, None)
        line.heard.pop(session, None)
        await session.close()

    # -- what is up ------------------------------------------------------------------------------------------------

    def failed(self, place: Mount | Session, error: TransportError) -> None:
        """An address could not be reached, or did not answer: it counts as down until a probe is answered."""
        self._fail(self._find(place), error)

    def usable(self, place: Mount | Session) -> bool:
        """Whether an address may be used now."""
        return not self._find(place).breaker.is_open

    async def wait_until_up(self, places: Sequence[Place], seconds: float | None = None) -> Place:
        """The first of several addresses that is up; waits while all of them are down, as a hard mount would.

        ``seconds``: how long all of them may have been down together; None: the patience of the settings, 0: for ever.

        Raises:
            TransportError: none has answered for so long; names an address and its problem.
        """
        patience = self.settings.lease.patience_seconds if seconds is None else seconds
        lines = [self._find(place) for place in places]
        while True:
            for place, line in zip(places, lines, strict=True):
                if not line.breaker.is_open:
                    return place
            outages = [line.breaker.outage for line in lines]
            down_since = max(one.since for one in outages if one is not None)
            left = down_since + patience - self._clock() if patience else None
            if left is not None and left <= 0:
                raise self._problem(max(lines, key=lambda line: line.breaker.address), patience)
            waits = [asyncio.ensure_future(line.up.wait()) for line in lines]
            for line in lines:
                line.waiting += 1
            try:
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for line in lines:
                    line.waiting -= 1
                    line.wanted_at = self._clock()
                await end_tasks(*waits)

    def outages(self) -> tuple[Outage, ...]:
        """The addresses that are down now: for showing how it goes."""
        found = (line.breaker.outage for line in self._lines.values())
        return tuple(one for one in found if one is not None)

    def problems(self, mounts: Sequence[Mount]) -> list[str]:
        """Why each of these addresses that is down can't be reached, each in one line."""
        lines = (self._line(mount) for mount in mounts)
        return [str(self._problem(line)) for line in lines if line.breaker.is_open]

    @property
    def reaches_nothing(self) -> bool:
        """Whether every address that this process knows of is down: it had better take no work."""
        return bool(self._lines) and all(line.breaker.is_open for line in self._lines.values())

    async def reach(self, mounts: Sequence[Mount]) -> float:
        """Asks the addresses of a job whether they answer, and says for how many seconds none of them has; 0: one does."""
        await asyncio.gather(*(self._ask(mount) for mount in mounts if self.usable(mount)))
        outages = [self._line(mount).breaker.outage for mount in mounts]
        since = [one.since for one in outages if one is not None]
        return self._clock() - max(since) if since and len(since) == len(mounts) else 0.0

    def _line(self, mount: Mount) -> _Line:
        endpoint = Endpoint(mount.address, mount.transport, mount.nfs_port, mount.mount_port)
        line = self._lines.get(endpoint)
        if line is None:
            name = mount.address or "the files of this machine"
            line = self._lines[endpoint] = _Line(Breaker(name), OutageLog(log, name, self._clock))
            line.up.set()
        line.wanted_at = self._clock()
        return line

    def _find(self, place: Mount | Session) -> _Line:
        return self._line_of[place] if isinstance(place, Session) else self._line(place)

    def _problem(self, line: _Line, seconds: float = 0.0) -> TransportError:
        outage = line.breaker.outage
        problem = outage.problem if outage is not None else "no answer"
        if seconds:
            problem = f"{problem} (no answer for {seconds:.0f} s)"
        return ReplyTimeout(problem, address=line.breaker.address)

    def _fail(self, line: _Line, error: TransportError) -> None:
        problem = _without_address(error)
        if line.breaker.failed(self._clock(), problem):
            line.up.clear()
            self._tell(line, problem)
            line.probing = asyncio.create_task(self._probe_until_up(line))

    def _tell(self, line: _Line, problem: str) -> None:
        if self._announce:
            line.log.failed(problem)

    async def _probe_until_up(self, line: _Line) -> None:
        breaker = line.breaker
        while breaker.is_open:
            await asyncio.sleep(breaker.probe_in(self._clock()))
            if self._unwanted(line):
                for key in list(line.sessions):
                    await self._close(key)
                self._lines = {endpoint: one for endpoint, one in self._lines.items() if one is not line}
                return
            try:
                await self._probe(line)
            except TransportError as error:
                problem = _without_address(error)
                breaker.probe_failed(self._clock(), problem)
                self._tell(line, problem)
            else:
                breaker.answered(self._clock())
        line.up.set()
        line.log.answered()

    def _unwanted(self, line: _Line) -> bool:
        in_use = line.waiting or any(self._opened[key].lent for key in line.sessions)
        return not in_use and self._clock() - line.wanted_at > FORGET_SECONDS

    async def _probe(self, line: _Line) -> None:
        """Asks an address whether it answers: by one call of a session, or by opening one where there is none.

        Raises:
            TransportError: it does not. Any other answer, a refusal too, is one.
        """
        session = next(iter(line.sessions.values()), None)
        try:
            if session is not None:
                async with asyncio.timeout(PROBE_SECONDS):
                    await session.probe()
            elif line.mount is not None:
                session = await self._opener(line.mount, self.settings)
                await session.close()
        except TimeoutError as error:
            raise ReplyTimeout(f"no answer within {PROBE_SECONDS:g} s") from error
        except TransportError:
            raise
        except CacheWarmerError as error:
            log.debug("%s answers: %s", line.breaker.address, error)

    async def _ask(self, mount: Mount) -> None:
        line = self._line(mount)
        line.mount = line.mount or mount
        try:
            await self._probe(line)
        except TransportError as error:
            self._fail(line, error)

    # -- looking after them ----------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """Notices addresses that have fallen silent, and closes sessions that are not used any more."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._close_unused(self.settings.nfs.idle_seconds)
            await asyncio.gather(*(self._look_at(line) for line in list(self._lines.values())))

    async def _look_at(self, line: _Line) -> None:
        lent = [session for key, session in line.sessions.items() if self._opened[key].lent]
        heard = {session: session.heard() for session in lent}
        before, line.heard = line.heard, heard
        silent = [session for session in lent if before.get(session) == heard[session]]
        if not silent:
            return
        if not line.breaker.is_open:
            try:
                await self._probe(line)
            except TransportError as error:
                if any(session.heard() != heard[session] for session in lent):
                    return  # it answers others: slow it may be, but it is not away
                self._fail(line, error)
            else:
                return
        for session in silent:
            session.interrupt(self._problem(line))

    async def close(self) -> None:
        """Closes all sessions. Idempotent."""
        tasks = [line.probing for line in self._lines.values() if line.probing is not None]
        if self._looking is not None:
            tasks.append(self._looking)
        await end_tasks(*tasks)
        opened, self._opened = list(self._opened.values()), {}
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


def _without_address(error: CacheWarmerError) -> str:
    """An error in one line that leaves out which address it is about."""
    return one_line(error.problem, error.doing, to_text(error.subject), "", error.advice)
