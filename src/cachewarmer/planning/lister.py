"""Lists directories, whatever happens meanwhile: an address that fails, a handle that went stale, a cookie gone bad."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from cachewarmer.errors import CacheWarmerError, StaleHandle, TransportError
from cachewarmer.planning.addresses import Addresses, NoAddressAnswers
from cachewarmer.targets.base import Page, Session

ATTEMPTS = 3
"""Tries of one call while its failure is transient and the address answers."""
RETRY_SECONDS = 1.0
"""Wait before it is tried again; grows with each try."""

T = TypeVar("T")


class Lister:
    """The calls of a scan. ``most`` of them go on at the same time, over all addresses."""

    def __init__(self, addresses: Addresses, most: int, max_entries: int) -> None:
        self.addresses = addresses
        self._max_entries = max_entries
        self._room = asyncio.Semaphore(most)

    async def call(self, number: int, act: Callable[[Session], Awaitable[T]]) -> tuple[int, T]:
        """Makes a call at an address, and at others where it fails; returns where it was answered, and the answer.

        Raises:
            CacheWarmerError: what the call raises. NoAddressAnswers: no address does.
        """
        failures = 0
        while True:
            try:
                async with self._room:
                    return number, await act(self.addresses.sessions[number])
            except CacheWarmerError as error:
                failures += 1
                number = await self._after(number, error, failures)

    async def _after(self, number: int, error: CacheWarmerError, failures: int) -> int:
        """Where a call is made again after a failure. Raises the error where that would be in vain."""
        if isinstance(error, NoAddressAnswers):
            raise error
        if isinstance(error, TransportError):
            if failures > ATTEMPTS * len(self.addresses):
                raise error
            return await self.addresses.elsewhere(number, error)
        if not (error.transient or isinstance(error, StaleHandle)) or failures >= ATTEMPTS:
            raise error
        await asyncio.sleep(RETRY_SECONDS * failures)
        return number

    async def first_page(self, number: int, path: bytes, handle: bytes) -> tuple[int, Page]:
        """The first part of a directory, and where it came from. ``handle`` is the one at address ``number``."""

        def list_it(session: Session) -> Awaitable[Page]:
            nonlocal handle
            known, handle = handle, b""  # only for the first try: a second one may be elsewhere, or the handle stale
            return session.list_page(path, known)

        return await self.call(number, list_it)

    async def pages(
        self, path: bytes, handle: bytes, first: Awaitable[tuple[int, Page]], number: int
    ) -> AsyncIterator[tuple[int, Page]]:
        """All parts of a directory, each with the number of the address it came from. A listing that breaks off begins
        again without the names that were listed.

        Raises:
            CacheWarmerError: it can't be listed to its end.
        """
        listed = array("q")
        known: set[int] = set()
        restarts = 0
        at, page = await first
        while True:
            yield at, _without(page, known)
            if page.cookie is None:
                return
            listed.extend(hash(entry.name) for entry in page.entries)
            listed.extend(hash(one.name) for one in page.errors)
            if len(listed) > self._max_entries:
                raise CacheWarmerError(
                    f"more than {self._max_entries} entries: the rest of the directory is not listed",
                    advice="raise [plan] directory_entries if that is right",
                )
            try:
                async with self._room:
                    page = await self.addresses.sessions[at].list_page(
                        path, handle if at == number else b"", page.cookie
                    )
            except CacheWarmerError as error:
                restarts += 1
                at = await self._after(at, error, restarts)
                known = set(listed)
                at, page = await self.first_page(at, path, b"")


def _without(page: Page, known: set[int]) -> Page:
    """A part of a directory without the names that were listed before."""
    if not known:
        return page
    return page._replace(
        entries=[entry for entry in page.entries if hash(entry.name) not in known],
        errors=[one for one in page.errors if hash(one.name) not in known],
    )
