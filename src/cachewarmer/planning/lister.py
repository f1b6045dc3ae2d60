"""Lists whole directories, in spite of stale handles and bad cookies."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from cachewarmer.errors import CacheWarmerError, StaleHandle, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.planning.room import Room
from cachewarmer.targets.base import Page, PageRequest, Session

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
        self.room = Room(most)

    async def call(self, number: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Makes a call at an address, a few times where its failure is transient.

        Raises:
            CacheWarmerError: what the call raises.
        """
        failures = 0
        while True:
            try:
                async with self.room:
                    return await act(self._sessions[number])
            except CacheWarmerError as error:
                failures += 1
                await _before_another_try(error, failures)

    def first_pages(self, number: int, directories: Sequence[tuple[bytes, bytes]]) -> FirstPages:
        """The first parts of several directories: path, and handle at address ``number``, of each."""
        return FirstPages(self, number, self._sessions[number], directories)

    async def first_page(self, number: int, path: bytes, handle: bytes) -> Page:
        """The first part of a directory. ``handle`` is the one at address ``number``."""

        def list_it(session: Session) -> Awaitable[Page]:
            nonlocal handle
            known, handle = handle, b""  # only for the first try: it may be stale
            return session.list_page(path, known)

        return await self.call(number, list_it)

    async def further_pages(self, number: int, path: bytes, handle: bytes, page: Page) -> AsyncIterator[Page]:
        """What follows the first part of a directory. A listing that breaks off begins again without the names that were
        listed.

        Raises:
            CacheWarmerError: it can't be listed to its end.
        """
        listed = array("q")
        known: set[int] = set()
        restarts = 0
        while page.cookie is not None:
            listed.extend(hash(entry.name) for entry in page.entries)
            listed.extend(hash(one.name) for one in page.errors)
            try:
                async with self.room:
                    page = await self._sessions[number].list_page(path, handle, page.cookie)
            except CacheWarmerError as error:
                restarts += 1
                await _before_another_try(error, restarts)
                known, handle = set(listed), b""
                page = await self.first_page(number, path, b"")
            yield _without(page, known)


class FirstPages:
    """The first parts of the directories of a batch: all are asked for, in their order, as far as there is room.

    Most come with one call, and need no task (see ``Session.ask_page``).
    """

    def __init__(
        self, lister: Lister, number: int, session: Session, directories: Sequence[tuple[bytes, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._lister = lister
        self._number = number
        self._session = session
        self._directories = directories
        self._asked: dict[int, PageRequest] = {}
        self._tasks: set[asyncio.Task[Page]] = set()
        self.pages: list[asyncio.Future[Page]] = [loop.create_future() for _ in directories]
        """Those of the directories, in the same order; or the ``CacheWarmerError`` for which one can't be listed."""
        for place in range(len(directories)):
            lister.room.enter(partial(self._ask, place))

    def _ask(self, place: int) -> None:
        if self.pages[place].done():  # closed meanwhile
            self._lister.room.leave()
            return
        request = PageRequest(*self._directories[place], on_done=partial(self._answered, place))
        self._asked[place] = request
        if not self._session.ask_page(request):
            self._answered(place, None)

    def _answered(self, place: int, page: Page | TransportError | None) -> None:
        if self._asked.pop(place, None) is None:
            return
        self._lister.room.leave()
        if self.pages[place].done():  # whoever waited for it was cancelled
            return
        if isinstance(page, Page):
            self.pages[place].set_result(page)
            return
        task = asyncio.create_task(self._lister.first_page(self._number, *self._directories[place]))
        self._tasks.add(task)
        task.add_done_callback(partial(self._listed, place))

    def _listed(self, place: int, task: asyncio.Task[Page]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self.pages[place].done() or task.cancelled():
            return
        if error is not None:
            self.pages[place].set_exception(error)
        else:
            self.pages[place].set_result(task.result())

    async def close(self) -> None:
        """Ends what is still being asked."""
        for page in self.pages:
            if not page.cancel() and not page.cancelled():
                page.exception()  # or asyncio would tell of those that nobody has waited for
        asked, self._asked = self._asked, {}
        for request in asked.values():
            request.unwanted = True
            self._lister.room.leave()
        await end_tasks(*self._tasks)


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
