"""Probes addresses, and detects when one that is in use becomes silent."""

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
"""Time between two checks of an address in use. If it has sent nothing since the last check, it is probed: otherwise a
server that accepts calls and never answers would be noticed only when many calls time out.
"""
PROBE_SECONDS = 10.0
"""A probe without an answer for this long has failed."""


class Lookout:
    """Checks the addresses of a pool, and closes sessions that nobody has used for ``idle_seconds``."""

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
        """``Session.heard`` of each session in use at the last check."""
        self._looking: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Starts checking the addresses. Idempotent."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_after())

    async def close(self) -> None:
        """Stops checking. Idempotent."""
        if self._looking is not None:
            await end_tasks(self._looking)

    async def probe(self, line: Line) -> None:
        """Checks whether an address answers, with one call of a session, or by opening one if there is none.

        Raises:
            TransportError: it does not answer. Any reply counts as an answer, even a refusal.
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
            # A session of an address that is down is needed to probe it.
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
                    return  # it answers other calls, so it is slow but not down
                self._addresses.failed(line, error)
            else:
                return
        for session in silent:
            session.interrupt(line.problem())

    def _has_spoken(self, session: Session) -> bool:
        """Whether a session has received anything since the last check."""
        before, self._heard[session] = self._heard.get(session), session.heard()
        return before != self._heard[session]
