"""Lists whole directories, and recovers from stale handles and cookies that the server no longer accepts."""

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
        self.room = Room(most)

    async def call(self, number: int, act: Callable[[Session], Awaitable[T]]) -> T:
        """Returns the result of ``act`` with session ``number``, retrying it while its failure is transient.

        Raises:
            CacheWarmerError: what the last try raised.
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
        """Requests the first page of each of several directories, given by path and handle as in ``first_page``."""
        return FirstPages(self, number, self._sessions[number], directories)

    async def first_page(self, number: int, path: bytes, handle: bytes) -> Page:
        """The first page of a directory. ``handle`` is valid at session ``number``; empty: the path is resolved."""

        def list_it(session: Session) -> Awaitable[Page]:
            nonlocal handle
            known, handle = handle, b""  # only for the first try: it may be stale
            return session.list_page(path, known)

        return await self.call(number, list_it)

    async def further_pages(self, number: int, path: bytes, handle: bytes, page: Page) -> AsyncIterator[Page]:
        """Yields the pages of a directory that follow ``page``, its first one.

        A listing that breaks off is begun again, and the names that were listed before are left out.

        Raises:
            CacheWarmerError: the directory can't be listed completely.
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
    """The first pages of the directories of a batch, requested in order, as far as there is room.

    Most come with one call, without a task (see ``Session.ask_page``); ``Lister.first_page`` lists the others.
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
        """One for each directory, in order; its exception is the ``CacheWarmerError`` of ``Lister.first_page``."""
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
        """Ends the requests that are still running. Call it exactly once."""
        for page in self.pages:
            if not page.cancel() and not page.cancelled():
                page.exception()  # otherwise asyncio would log those that nobody has waited for
        asked, self._asked = self._asked, {}
        for request in asked.values():
            request.unwanted = True
            self._lister.room.leave()
        await end_tasks(*self._tasks)


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
