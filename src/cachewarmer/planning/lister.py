"""Lists whole directories, in spite of stale handles and bad cookies."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from cachewarmer.errors import CacheWarmerError, StaleHandle, TransportError
from cachewarmer.targets.base import Page, Session

ATTEMPTS = 3
"""Tries of one call while its failure is transient."""
RETRY_SECONDS = 1.0
"""Wait before it is tried again; grows with each try."""

T = TypeVar("T")


class Lister:
    """The calls of a scan at all its addresses; ``most`` of them are in flight at the same time.

    An address that fails is the sessions' affair (see ``targets.steady``): where they raise ``TransportError``, the scan
    can't continue.
    """

    def __init__(self, sessions: Sequence[Session], most: int) -> None:
        self._sessions = sessions
        self._room = asyncio.Semaphore(most)

    async def call(self, number: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Makes a call at an address, a few times where its failure is transient.

        Raises:
            CacheWarmerError: what the call raises.
        """
        failures = 0
        while True:
            try:
                async with self._room:
                    return await act(self._sessions[number])
            except CacheWarmerError as error:
                failures += 1
                await _before_another_try(error, failures)

    async def first_page(self, number: int, path: bytes, handle: bytes) -> Page:
        """The first part of a directory. ``handle`` is the one at address ``number``."""

        def list_it(session: Session) -> Awaitable[Page]:
            nonlocal handle
            known, handle = handle, b""  # only for the first try: it may be stale
            return session.list_page(path, known)

        return await self.call(number, list_it)

    async def pages(self, number: int, path: bytes, handle: bytes, first: Awaitable[Page]) -> AsyncIterator[Page]:
        """All parts of a directory. A listing that breaks off begins again without the names that were listed.

        Raises:
            CacheWarmerError: it can't be listed to its end.
        """
        listed = array("q")
        known: set[int] = set()
        restarts = 0
        page = await first
        while True:
            yield _without(page, known)
            if page.cookie is None:
                return
            listed.extend(hash(entry.name) for entry in page.entries)
            listed.extend(hash(one.name) for one in page.errors)
            try:
                async with self._room:
                    page = await self._sessions[number].list_page(path, handle, page.cookie)
            except CacheWarmerError as error:
                restarts += 1
                await _before_another_try(error, restarts)
                known, handle = set(listed), b""
                page = await self.first_page(number, path, b"")


async def _before_another_try(error: CacheWarmerError, failures: int) -> None:
    """Waits before a call is made again. Raises the error where that would be in vain."""
    transient = error.transient or isinstance(error, StaleHandle)
    if isinstance(error, TransportError) or not transient or failures >= ATTEMPTS:
        raise error
    await asyncio.sleep(RETRY_SECONDS * failures)


def _without(page: Page, known: set[int]) -> Page:
    """A part of a directory without the names that were listed before."""
    if not known:
        return page
    return page._replace(
        entries=[entry for entry in page.entries if hash(entry.name) not in known],
        errors=[one for one in page.errors if hash(one.name) not in known],
    )
