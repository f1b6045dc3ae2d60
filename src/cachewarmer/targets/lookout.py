"""Probes addresses, and notices when one that is in use becomes silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from cachewarmer.errors import CacheWarmerError, ReplyTimeout, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.opened import OpenSessions
from cachewarmer.targets.reach import Addresses, Line

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at an address in use. One that has sent nothing since the last look is probed: a server that accepts
calls and never answers would otherwise be noticed only by the reply timeout of many calls."""
PROBE_SECONDS = 10.0
"""A probe without an answer for this long has failed."""


class Lookout:
    """``idle_seconds``: a session that nobody has used for so long is closed."""

    def __init__(
        self,
        addresses: Addresses,
        sessions: OpenSessions,
        opener: Callable[[Mount], Awaitable[Session]],
        idle_seconds: float,
    ) -> None:
        self._addresses = addresses
        self._sessions = sessions
        self._opener = opener
        self._idle_seconds = idle_seconds
        self._heard: WeakKeyDictionary[Session, object] = WeakKeyDictionary()
        """What each session in use had received at the last look."""
        self._looking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Looks at the addresses from now on. Idempotent."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """Ends that. Idempotent."""
        if self._looking is not None:
            await end_tasks(self._looking)

    async def probe(self, line: Line) -> None:
        """Asks an address whether it answers: by one call of a session, or by opening one where there is none.

        Raises:
            TransportError: it does not. Any other answer, a refusal too, is one.
        """
        try:
            await self._sessions.with_room(lambda: self._probe_once(line))
        except TransportError:
            raise
        except CacheWarmerError as error:
            log.debug("%s answers: %s", line.breaker.address, error)

    async def _probe_once(self, line: Line) -> None:
        if not line.sessions:
            session = await self._opener(line.mount)
            await session.close()
            return
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await line.sessions[0].probe()
        except TimeoutError as error:
            raise ReplyTimeout(f"no answer within {PROBE_SECONDS:g} s") from error

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._addresses.settle()
            # A session of an address that is down serves to probe it.
            down = [session for line in self._addresses.lines if line.breaker.is_open for session in line.sessions]
            await self._sessions.close_unused(self._idle_seconds, but=down)
            await asyncio.gather(*(self._look_at(line) for line in self._addresses.lines))

    async def _look_at(self, line: Line) -> None:
        lent = self._sessions.lent()
        in_use = [session for session in line.sessions if session in lent]
        silent = [session for session in in_use if not self._has_spoken(session)]
        if silent and not line.breaker.is_open:
            try:
                await self.probe(line)
            except TransportError as error:
                if any(session.heard() != self._heard[session] for session in in_use):
                    return  # it answers others: slow it may be, but it is not away
                self._addresses.failed(line, error)
            else:
                return
        for session in silent:
            session.interrupt(line.problem())

    def _has_spoken(self, session: Session) -> bool:
        """Whether a session has received anything since the last look."""
        before, self._heard[session] = self._heard.get(session), session.heard()
        return before != self._heard[session]
