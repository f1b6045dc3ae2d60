"""The mount addresses of one scan: which of them is asked next, and where it goes on when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from cachewarmer.errors import TransportError
from cachewarmer.targets.base import Session

RETRY_SECONDS = 1.0
"""Wait before an address that failed is asked again, where nobody watches over it."""


class Breakers(Protocol):
    """Who knows which addresses are up: the pool of sessions."""

    def failed(self, place: Session, error: TransportError, /) -> None:
        """An address could not be reached."""

    def usable(self, place: Session, /) -> bool:
        """Whether it may be used now."""

    async def wait_until_up(self, places: Sequence[Session], /) -> Session:
        """The first that is up. Raises ``TransportError`` when none is for as long as the patience lasts."""


class NoAddressAnswers(TransportError):
    """None of the addresses has answered for as long as a scan waits: it can't go on."""


class Addresses:
    """The sessions of a scan, by their numbers."""

    def __init__(self, sessions: Sequence[Session], breakers: Breakers | None = None) -> None:
        self.sessions = tuple(sessions)
        self._breakers = breakers
        self._last = 0

    def __len__(self) -> int:
        return len(self.sessions)

    def next(self) -> int:
        """Spreads work over the addresses in turn, over those that are up; with one there is nothing to choose."""
        count = len(self.sessions)
        for _ in range(count - 1 and count):
            self._last = (self._last + 1) % count
            if self._breakers is None or self._breakers.usable(self.sessions[self._last]):
                break
        return self._last

    async def elsewhere(self, number: int, error: TransportError) -> int:
        """An address failed: the number of one that is up, once there is one.

        Raises:
            NoAddressAnswers: there was none for as long as the patience lasts.
        """
        if self._breakers is None:
            await asyncio.sleep(RETRY_SECONDS)
            return (number + 1) % len(self.sessions)
        self._breakers.failed(self.sessions[number], error)
        try:
            return self.sessions.index(await self._breakers.wait_until_up(self.sessions))
        except TransportError as problem:
            raise NoAddressAnswers.like(problem) from problem
