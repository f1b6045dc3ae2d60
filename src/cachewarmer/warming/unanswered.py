"""Decides about READs that are not answered: whether some files are at fault, or the address answers no READ at all.

A cache whose origin is away, or whose threads are all waiting, still answers NULL but returns no data. That is the
fault of the address, and does not count as a failure of any file. But a single file may hang, or break each connection
that asks for it, while others are read. Then that file fails under its name, and the others are warm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from cachewarmer.errors import CacheWarmerError, ReplyTimeout, TransportError
from cachewarmer.model import WorkItem
from cachewarmer.targets.base import FileKind, Mount, ReadRequest, Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.warming.run import ItemRun

AGAIN_SHARE = 0.25
MOST_AGAIN_SECONDS = 4.0
"""Before files are blamed they are requested once more, for this share of the patience, but at most for this time."""
MOST_IN_A_ROW = 3
"""Files in a row that are requested singly and not answered, after which it is checked whether any other file is."""
LOOKS = 8
MOST_LOOK_SECONDS = 5.0
"""Checks for an answer during the time of a ``Limit``, and the maximum time between two checks."""


class Limit:
    """A context manager that gives up an item's requests when none is answered for ``seconds``; 0: never.

    They are then missing, as after a failure of the address; see ``ItemRun.leave``.
    """

    def __init__(self, run: ItemRun, address: str, seconds: float, clock: Callable[[], float]) -> None:
        self._run = run
        self._address = address
        self._seconds = seconds
        self._clock = clock
        self._seen: object = None
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.reached = False
        """Whether requests were given up."""

    def __enter__(self) -> Self:
        if self._seconds:
            self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now, mark = self._clock(), self._run.mark()
        if mark is None or mark != self._seen:
            self._seen, self._since = mark, now
        still = now - self._since
        if still >= self._seconds:
            self.reached = True
            self._run.leave(ReplyTimeout(f"no answer to READ for {still:.0f} s", address=self._address))
            return
        wait = min(MOST_LOOK_SECONDS, self._seconds / LOOKS)
        self._timer = asyncio.get_running_loop().call_later(wait, self._look)


class Judge:
    """Decides whose fault it is that some files of an item are not read. ``clock`` returns seconds."""

    def __init__(self, pool: SessionPool, run: ItemRun, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._run = run
        self._clock = clock

    async def blames_files(self, mount: Mount, item: WorkItem, error: TransportError) -> bool | None:
        """Requests the missing files once more, and returns whether they are at fault.

        ``error`` is what the last pass failed with.

        Returns:
            True: the address answers READs of other files, but not of these. False: it answers no READ at all.
            None: some or all of the missing files have been read now, or the run was aborted.

        Raises:
            TransportError: the address does not answer at all. CacheWarmerError: its export can't be opened.
        """
        seconds = min(MOST_AGAIN_SECONDS, AGAIN_SHARE * self._pool.settings.lease.patience_seconds)
        run, before, answered = self._run, self._run.progress, self._pool.reads_answered(mount)
        together = isinstance(error, ReplyTimeout)
        async with self._pool.lend(mount) as session:
            if together:
                with Limit(run, mount.address, seconds, self._clock):
                    await run.read(session, item)
            else:
                await run.read_each(session, item, MOST_IN_A_ROW)
            if run.aborted or run.unreached is None or (together and run.progress != before):
                return None
            others = self._pool.reads_answered(mount) > answered or await self._reads_another(session, item, seconds)
            if others and not together:
                await run.read_each(session, item)
            return None if run.aborted or run.unreached is None else others

    async def _reads_another(self, session: Session, item: WorkItem, seconds: float) -> bool:
        """Whether another file can be read: one of the item that was read before, or one beside the missing ones."""
        path = self._run.read_already(item)
        try:
            async with asyncio.timeout(seconds or None):
                path = path or await self._beside(session, item)
                return path is not None and await _is_read(session, path)
        except (TimeoutError, CacheWarmerError):
            return False

    async def _beside(self, session: Session, item: WorkItem) -> bytes | None:
        missing = self._run.missing(item)
        for above in sorted({path.rpartition(b"/")[0] for path in missing})[:1]:
            page = await session.list_page(above, b"")
            for entry in page.entries:
                path = above + b"/" + entry.name if above else entry.name
                if entry.kind is FileKind.REGULAR and entry.size and path not in missing:
                    return path
        return None


async def _is_read(session: Session, path: bytes) -> bool:
    """Whether a READ of the first byte of a file is answered; an error of the server is an answer too."""
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(request: ReadRequest) -> None:
        if not answered.done():
            answered.set_result(not isinstance(request.error, TransportError))

    request = ReadRequest(path, b"", 0, 1, done)
    session.read(request)
    try:
        return await answered
    finally:
        request.stop = request.start
