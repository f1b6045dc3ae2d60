"""Listing that survives failures of addresses: what one does not answer is requested from another, or later.

A scan lists many directories at the same time, each at one of the job's addresses. A failure of that address is not the
fault of the directory: another address lists it from the beginning, and if there is none, the call waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from cachewarmer.errors import CacheWarmerError, ConnectFailed, FileError, NfsStatusError, TransportError
from cachewarmer.targets.base import (
    DirectoryEntry,
    Identity,
    Mount,
    Page,
    PageRequest,
    Question,
    ReadRequest,
    Session,
    SessionSnapshot,
    Supply,
)
from cachewarmer.targets.pool import SessionPool

T = TypeVar("T")

MAX_TRIES = 6
"""How often a call may fail at addresses that otherwise answer, before that counts as the fault of the directory."""
BAD_COOKIE = 10003


class ListingMoved(NfsStatusError):
    """The address at which a listing began does not answer any more; it can begin again at another address."""

    transient = True


class _Cookie(NamedTuple):
    """A cookie, and the session where it is valid."""

    session: Session
    cookie: object


class SteadySession(Session):
    """One of several sessions of a job, which falls back on the others for listing. Reads use ``session`` only.

    Its methods raise ``TransportError`` only if none of the addresses has answered within the patience of the settings.
    An entry from another address has no handle, because a handle is valid at its own address only.
    """

    def __init__(
        self,
        session: Session,
        others: Sequence[Session],
        pool: SessionPool,
        mounts: Sequence[Mount] = (),
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        self._session = session
        self._all = [session, *others]
        self._pool = pool
        self._mounts = mounts
        self._left_out = left_out
        self.address = session.address
        self.export = session.export
        self.window = session.window

    def __repr__(self) -> str:
        return f"<SteadySession {self._session!r} of {len(self._all)}>"

    async def lookup(self, path: bytes) -> DirectoryEntry:
        session, entry = await self._somewhere(lambda one: one.lookup(path), path)
        return entry if session is self._session else entry._replace(handle=b"")

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        if isinstance(cookie, _Cookie):
            session, page = cookie.session, await self._next_page(path, handle, cookie)
        else:
            session, page = await self._somewhere(lambda one: one.list_page(path, self._handle(one, handle)), path)
        if session is not self._session:
            page = page._replace(entries=[entry._replace(handle=b"") for entry in page.entries])
        return page if page.cookie is None else page._replace(cookie=_Cookie(session, page.cookie))

    def ask_page(self, request: PageRequest) -> bool:
        session = self._session
        if self._left_out or not self._pool.usable(session):
            return False
        on_done = request.on_done

        def answered(page: Page | TransportError | None) -> None:
            if isinstance(page, TransportError):
                self._pool.failed(session, page)
            elif isinstance(page, Page) and page.cookie is not None:
                page = page._replace(cookie=_Cookie(session, page.cookie))
            on_done(page)

        request.on_done = answered
        return session.ask_page(request)

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:
        return (await self._somewhere(lambda one: one.read_link(path, self._handle(one, handle)), path))[1]

    async def ask(
        self, question: Question, path: bytes, handle: bytes = b"", identity: Identity | None = None
    ) -> float | None:
        return (await self._somewhere(lambda one: one.ask(question, path, self._handle(one, handle), identity), path))[
            1
        ]

    async def exports(self) -> Sequence[str]:
        return (await self._somewhere(lambda one: one.exports(), b""))[1]

    async def _next_page(self, path: bytes, handle: bytes, cookie: _Cookie) -> Page:
        """The next page, at the address of the page before.

        Raises:
            ListingMoved: that address does not answer any more.
        """
        session = cookie.session
        try:
            return await session.list_page(path, self._handle(session, handle), cookie.cookie)
        except TransportError as error:
            self._pool.failed(session, error)
            raise ListingMoved(
                BAD_COOKIE, error.doing or "READDIRPLUS", path, error.problem, address=session.address
            ) from error

    def _handle(self, session: Session, handle: bytes) -> bytes:
        return handle if session is self._session else b""

    async def _somewhere(self, call: Callable[[Session], Awaitable[T]], path: bytes) -> tuple[Session, T]:
        """Makes a call at the first address that answers it; returns the session and the result."""
        for _ in range(MAX_TRIES):
            session = await self._up()
            try:
                return session, await call(session)
            except TransportError as error:
                self._pool.failed(session, error)
                failure: CacheWarmerError = error
        raise FileError(
            f"no address lists it, though they answer: {failure.problem}", subject=path, address=failure.address
        ) from failure

    async def _up(self) -> Session:
        """The first session whose address is up; waits while all of them are down.

        Raises:
            ConnectFailed: only an address that was down when the scan began is up: the scan has to begin again.
        """
        if not self._left_out:
            return await self._pool.wait_until_up(self._all)
        for session in self._all:
            if self._pool.usable(session):
                return session
        mount = await self._pool.wait_until_up(self._mounts)
        for session in self._all:
            if session.address == mount.address:
                return session
        raise ConnectFailed("it answers now, and the scan began without it", address=mount.address)

    # -- delegated to the session ----------------------------------------------------------------------------------

    def read(self, request: ReadRequest) -> None:
        self._session.read(request)

    def read_all(self, supply: Supply) -> None:
        self._session.read_all(supply)

    def snapshot(self) -> SessionSnapshot:
        return self._session.snapshot()

    async def probe(self) -> float:
        return await self._session.probe()

    def set_window(self, calls: int) -> None:
        self._session.set_window(calls)

    def heard(self) -> object:
        return self._session.heard()

    def interrupt(self, error: CacheWarmerError) -> None:
        self._session.interrupt(error)

    async def close(self) -> None:
        """Does nothing: the sessions belong to the pool."""


def steady(sessions: Sequence[Session], pool: SessionPool, mounts: Sequence[Mount] = ()) -> list[Session]:
    """Wraps the sessions of a job, so that each falls back on the others.

    ``mounts`` are all addresses of the job, for a caller that begins the scan again after a ``TransportError``: then an
    address that is down now will be used once it is up.
    """
    opened = {one.address for one in sessions}
    left_out = frozenset(one.address for one in mounts if one.address not in opened and not pool.usable(one))
    others = [one for one in mounts if one.address in opened or one.address in left_out]
    return [
        SteadySession(one, [other for other in sessions if other is not one], pool, others, left_out)
        for one in sessions
    ]
