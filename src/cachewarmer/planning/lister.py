"""Lists whole directories, and recovers from stale handles and cookies that the server no longer accepts."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from cachewarmer.errors import CacheWarmerError, StaleHandle, TransportError
from cachewarmer.targets.base import Page, Session

ATTEMPTS = 3
"""Maximum number of tries of one call, and of attempts to list one directory. Only transient failures are retried."""
RETRY_SECONDS = 1.0
"""Wait before the second try; before the third it is twice as long, and so on."""

T = TypeVar("T")


class Lister:
    """Makes the calls of a scan at all its addresses, at most ``most`` at the same time.

    The sessions deal with an address that fails (see ``targets.steady``): if they raise ``TransportError``, the scan
    can't continue.
    """

    def __init__(self, sessions: Sequence[Session], most: int) -> None:
        self._sessions = sessions
        self._room = asyncio.Semaphore(most)

    async def call(self, number: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Returns the result of ``act`` with session ``number``, retrying it while its failure is transient.

        Raises:
            CacheWarmerError: what the last try raised.
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
        """The first page of a directory. ``handle`` is valid at session ``number``; empty: the path is resolved."""

        def list_it(session: Session) -> Awaitable[Page]:
            nonlocal handle
            known, handle = handle, b""  # only for the first try: it may be stale
            return session.list_page(path, known)

        return await self.call(number, list_it)

    async def pages(self, number: int, path: bytes, handle: bytes, first: Awaitable[Page]) -> AsyncIterator[Page]:
        """Yields all pages of a directory; ``first`` is its first one, as ``first_page`` returns it.

        A listing that breaks off is begun again, and the names that were listed before are left out.

        Raises:
            CacheWarmerError: the directory can't be listed completely.
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
    """Waits before a call is made again, or raises its error if it is not transient or there were enough tries."""
    transient = error.transient or isinstance(error, StaleHandle)
    if isinstance(error, TransportError) or not transient or failures >= ATTEMPTS:
        raise error
    await asyncio.sleep(RETRY_SECONDS * failures)


def _without(page: Page, known: set[int]) -> Page:
    """The page without the names whose hashes are in ``known``."""
    if not known:
        return page
    return page._replace(
        entries=[entry for entry in page.entries if hash(entry.name) not in known],
        errors=[one for one in page.errors if hash(one.name) not in known],
    )
