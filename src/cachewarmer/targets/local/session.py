"""The local target: any directory of this machine, such as a disk, a FUSE mount, Lustre or a kernel NFS mount.

The session hands blocking calls (see ``files``) to a bounded pool of threads.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections import Counter
from collections.abc import Callable
from mmap import mmap
from threading import local as thread_local
from typing import Generic, TypeVar

from cachewarmer.config import LocalSettings
from cachewarmer.errors import CacheWarmerError, ConnectionLost, FileError
from cachewarmer.targets.base import (
    DirectoryEntry,
    Identity,
    Page,
    Question,
    ReadRequest,
    Session,
    SessionSnapshot,
    Window,
)
from cachewarmer.targets.latency import LatencyHistogram
from cachewarmer.targets.local.discards import (
    BLOCK_BYTES,
    CHECK_SECONDS,
    LATE_SECONDS,
    LATE_SECONDS_OF_MANY,
    TRIES,
    DiscardCounts,
    Discards,
    gave_up,
)
from cachewarmer.targets.local.files import (
    Bypasses,
    FileSystems,
    Listing,
    Tree,
    file_id,
    kind_of,
    open_regular,
    read_piece,
    split,
    translate,
)
from cachewarmer.targets.local.filling import Filling, Volumes
from cachewarmer.targets.local.threads import Operation, ThreadPool

Result = TypeVar("Result")


async def open_local(root: str | bytes, settings: LocalSettings) -> LocalSession:
    """Opens a directory of this machine; request paths are below it.

    Raises:
        FileVanished, FileError: it does not exist, is not a directory, or may not be read.
        ReplyTimeout: the file system does not answer.
    """
    return await LocalSession.open(os.fsencode(root), settings)


class _Call(Operation, Generic[Result]):
    """A blocking call that a coroutine awaits."""

    __slots__ = ("_act", "_error", "_future", "_result")

    def __init__(self, future: asyncio.Future[Result], act: Callable[[Callable[[], bool]], Result]) -> None:
        super().__init__()
        self._future = future
        self._act = act
        self._result: Result | None = None
        self._error: BaseException | None = None

    def run(self, clock: Callable[[], float]) -> None:
        def note() -> bool:
            self.progress = clock()
            return self.abandoned

        try:
            self._result = self._act(note)
        except BaseException as error:
            self._error = error

    def finish(self, error: CacheWarmerError | None) -> None:
        if self._future.done():  # whoever waited was cancelled
            return
        problem = error or self._error
        if problem is not None:
            self._future.set_exception(problem)
        else:
            self._future.set_result(self._result)  # type: ignore[arg-type]  # Result may itself be Optional


class _Read(Operation):
    """A ``ReadRequest`` in progress. Of what may change in the request, threads read only ``stop``."""

    __slots__ = (
        "_bytes_read",
        "_calls",
        "_error",
        "_request",
        "_rounds",
        "_seconds",
        "_session",
        "discards",
        "mark",
        "until",
    )

    def __init__(self, session: LocalSession, request: ReadRequest) -> None:
        super().__init__()
        self._session = session
        self._request = request
        self._bytes_read = 0
        self._calls = 0
        self._seconds = 0.0
        self._error: CacheWarmerError | None = None
        self._rounds = 0
        self.discards: Discards | None = None
        """The counts of the cache that was read; None: it has none."""
        self.mark = 0.0
        """The mark of ``Discards.begin`` when the reading began."""
        self.until = 0.0
        """When the counts are certain to include all blocks of this reading that were dropped."""

    def run(self, clock: Callable[[], float]) -> None:
        begun = clock()
        try:
            self._read(clock)
        except OSError as error:
            self._error = translate(error, "read", self._request.path)
            self._error.__cause__ = error
        except CacheWarmerError as error:
            self._error = error
        except Exception as error:
            self._error = FileError(str(error), doing="read", subject=b"/" + self._request.path.lstrip(b"/"))
            self._error.__cause__ = error
        self._seconds = clock() - begun

    def _read(self, clock: Callable[[], float]) -> None:
        request = self._request
        if request.start >= request.stop:
            return
        fd, status = open_regular(self._session.tree, request.path, self._session.bypasses)
        try:
            self.discards = None if request.once else self._session.discards.of(status.st_dev)
            stop = min(request.stop, status.st_size)
            if self.discards is None:
                self._read_range(fd, status, clock, stop)
            else:
                self._read_blocks(fd, status, clock, self.discards)
        finally:
            os.close(fd)

    def _read_blocks(self, fd: int, status: os.stat_result, clock: Callable[[], float], discards: Discards) -> None:
        """Reads block by block, each when the cache has room for it."""

        def alive() -> bool:
            self.progress = clock()
            return not self.abandoned

        request = self._request
        offset = request.start
        first = True
        while not self.abandoned and offset < (stop := min(request.stop, status.st_size)):
            stop = min(stop, offset - offset % BLOCK_BYTES + BLOCK_BYTES)
            mark = discards.begin(alive)
            if first:
                self.mark, first = mark, False
            try:
                offset = self._read_range(fd, status, clock, stop, offset)
            finally:
                late = LATE_SECONDS if status.st_size <= BLOCK_BYTES else LATE_SECONDS_OF_MANY
                self.until = discards.end() + late
            if offset < stop:
                return

    def _read_range(
        self, fd: int, status: os.stat_result, clock: Callable[[], float], stop: int, offset: int | None = None
    ) -> int:
        request, bypasses = self._request, self._session.bypasses
        buffer = self._session.buffer()
        offset = request.start if offset is None else offset
        # Never past the current size: a virtual file has none, or reading it blocks after its last byte.
        while not self.abandoned and offset < (end := min(request.stop, stop)):
            self.progress = clock()
            count = read_piece(fd, status.st_dev, bypasses, buffer, offset, end)
            self._calls += 1
            if not count:
                break
            offset += count
            self._bytes_read += count
        return offset

    def again(self) -> bool:
        """Prepares another read and returns True; after too many, settles the request with an error and returns False."""
        self._bytes_read = 0
        self._rounds += 1
        if self._rounds < TRIES:
            return True
        self.settle(gave_up(self._request.path))
        return False

    def finish(self, error: CacheWarmerError | None) -> None:
        request = self._request
        request.bytes_read = self._bytes_read
        request.calls = self._calls
        request.seconds = self._seconds
        request.error = error or self._error
        if self.discards is not None and request.error is None and request.bytes_read:
            self._session.confirm_later(self)
        else:
            self._session.settle(request)

    def settle(self, error: CacheWarmerError | None = None) -> None:
        """Reports the request as done."""
        self._request.error = error
        self._session.settle(self._request)


class LocalSession(Session):
    """An open directory."""

    exact_seconds = True
    asks_by_counts = True

    def __init__(self, tree: Tree, pool: ThreadPool, settings: LocalSettings, address: str = "") -> None:
        """Use ``open`` instead. Takes ownership of the tree and the pool."""
        self.address = address
        self.tree = tree
        self.bypasses = Bypasses()
        self._kinds = FileSystems()
        self.discards = DiscardCounts()
        self._window_bytes = settings.threads * settings.read_bytes
        self.window = Window(calls=settings.threads, bytes=self._window_bytes)
        self._pool = pool
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._latencies = LatencyHistogram()
        self._fill_threads = settings.fill_threads
        self._read_bytes = max(4096, settings.read_bytes - settings.read_bytes % 4096)
        self._mine = thread_local()
        self._queued = 0
        self._unconfirmed: list[_Read] = []
        self._waited: list[_Read] = []
        """Reads that have been unconfirmed for one turn of the timer."""
        self._confirming: asyncio.TimerHandle | None = None
        self._listings: weakref.WeakSet[Listing] = weakref.WeakSet()
        self._filling: Filling | None = None

    def __repr__(self) -> str:
        return f"<LocalSession {self.address or 'local'} queued={self._queued} {self._pool!r}>"

    @classmethod
    async def open(cls, root: bytes, settings: LocalSettings, address: str = "") -> LocalSession:
        """Opens ``root``, following links in its path. Raises what ``open_local`` raises."""
        subject = f"{address}: kernel mount {os.fsdecode(root)}" if address else os.fsdecode(root)
        pool = ThreadPool(settings.threads, settings.reply_seconds, subject=subject)
        ask = settings.fill_threads > 0 and not address  # an NFS mount can't be asked

        def opened(_: Callable[[], bool]) -> tuple[Tree, bytes, Volumes | None]:
            return Tree(root), os.path.realpath(root) if ask else root, Volumes() if ask else None

        try:
            tree, place, volumes = await _call(pool, opened, "open", root)
        except BaseException:
            pool.close()
            raise
        session = cls(tree, pool, settings, address)
        if volumes is not None:
            session.fill_by(volumes, place)
        return session

    def fill_by(self, volumes: Volumes, root: bytes) -> None:
        """From now on, asks mounts that can be asked to load whole files; ``root`` is this directory without links."""
        self._filling = Filling(
            volumes,
            root,
            self.tree,
            self._pool,
            self._fill_threads,
            settle=self.settle,
            read=self._read_through,
        )

    def buffer(self) -> mmap:
        """The buffer of the calling thread, page-aligned for O_DIRECT."""
        found: mmap | None = getattr(self._mine, "buffer", None)
        if found is None:
            found = self._mine.buffer = mmap(-1, self._read_bytes)
        return found

    async def lookup(self, path: bytes) -> DirectoryEntry:
        status = await _call(self._pool, lambda _: self.tree.status(path), "look up", path)
        name = (split(path) or (b"",))[-1]
        return DirectoryEntry(
            name,
            kind_of(status.st_mode),
            status.st_size,
            status.st_mtime,
            b"",
            file_id(status),
            status.st_nlink,
            status.st_ctime,
        )

    async def ask(
        self,
        question: Question,
        path: bytes,
        handle: bytes = b"",  # noqa: ARG002
        identity: Identity | None = None,  # noqa: ARG002 -- a path is all it takes
    ) -> float | None:
        if question is Question.ACCESS or identity is not None:
            return None

        def act(_: Callable[[], bool]) -> float | None:
            if question is Question.ORIGIN:
                discards = self.discards.of(self.tree.status(path).st_dev)
                mean = None if discards is None else discards.fetch_seconds()
                return (
                    None if mean is None else mean / 2
                )  # a small read may take less than the blocks that are fetched ahead
            began = time.monotonic()
            self.tree.status(path)
            return time.monotonic() - began

        return await _call(self._pool, act, "look up", path)

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:  # noqa: ARG002 -- a path is all it takes
        return await _call(self._pool, lambda _: self.tree.read_link(path), "read the link", path)

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:  # noqa: ARG002 -- a path is all it takes
        def act(note: Callable[[], bool]) -> Page:
            listing = cookie if isinstance(cookie, Listing) else Listing(self.tree, path, self._kinds)
            self._listings.add(listing)
            return listing.page(note)

        return await _call(self._pool, act, "list", path)

    def read(self, request: ReadRequest) -> None:
        self._queued += 1
        self._pool.most = max(1, self.window.calls)
        if self._filling is not None:
            self.window.bytes = max(self._window_bytes, self._filling.bytes)
            if self._filling.takes(request):
                return
        self._read_through(request)

    def _read_through(self, request: ReadRequest) -> None:
        self._pool.submit(_Read(self, request))

    def snapshot(self) -> SessionSnapshot:
        running = self.window.in_flight = self._pool.running
        messages = self._filling.messages if self._filling is not None else 0
        return SessionSnapshot(
            calls={**self._counts, "fill": messages} if messages else dict(self._counts),
            window_calls=self.window.calls,
            in_flight=running,
            waiting=self._queued,
            bytes=self._bytes,
            latencies=self._latencies.copy(),
        )

    def settle(self, request: ReadRequest) -> None:
        """Ends a request. To be called on the event loop."""
        self._queued -= 1
        self._bytes += request.bytes_read
        if request.calls:
            self._counts["read"] += request.calls
            self._latencies.add(request.seconds / request.calls, request.calls)
        request.on_done(request)

    def confirm_later(self, read: _Read) -> None:
        """Checks later whether the cache has kept what was read. To be called on the event loop."""
        self._unconfirmed.append(read)
        if self._confirming is None:
            self._confirming = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._confirm)

    def _confirm(self) -> None:
        self._confirming = None
        reads, self._waited, self._unconfirmed = self._waited, self._unconfirmed, []
        if self._waited:
            self._confirming = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._confirm)
        if not reads:
            return

        def act(_: Callable[[], bool]) -> list[bool]:
            return [read.discards is None or read.discards.kept(read.mark, read.until) for read in reads]

        def looked(future: asyncio.Future[list[bool]]) -> None:
            error = future.exception()
            for read, kept in zip(reads, [True] * len(reads) if error else future.result(), strict=True):
                if kept:
                    read.settle(error if isinstance(error, CacheWarmerError) else None)
                elif read.again():
                    self._pool.submit(read)

        future: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(looked)
        self._pool.submit(_Call(future, act), urgent=True)

    @property
    def stuck_threads(self) -> int:
        """Threads that are waiting for a file system that does not answer."""
        return self._pool.stuck

    async def close(self) -> None:
        waiting = self._filling.close() if self._filling is not None else []
        self._pool.close()
        for request in waiting:
            request.error = ConnectionLost("the session was closed")
            self.settle(request)
        if self._confirming is not None:
            self._confirming.cancel()
            self._confirming = None
        unconfirmed, self._unconfirmed, self._waited = self._waited + self._unconfirmed, [], []
        for read in unconfirmed:
            read.settle(ConnectionLost("the session was closed"))
        for listing in list(self._listings):
            listing.close()
        self.tree.close()


async def _call(pool: ThreadPool, act: Callable[[Callable[[], bool]], Result], what: str, path: bytes) -> Result:
    """Runs a blocking function in the pool, before any reads, and translates what it raises."""
    future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    pool.submit(_Call(future, act), urgent=True)
    try:
        return await future
    except OSError as error:
        raise translate(error, what, path) from error
