"""Reads one work item through one mount address, and says what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cachewarmer.errors import CacheWarmerError, FileVanished, TransportError
from cachewarmer.filters import FileFilter, in_name_range
from cachewarmer.model import FileEntry, PathError, Receipt, SlowPath, WorkItem
from cachewarmer.paths import join, to_bytes, to_text
from cachewarmer.targets.base import FileKind, Mount, ReadRequest, Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.warming.pace import Pace

ERRORS_PER_ITEM = 20
"""Failed paths that a receipt names."""
SLOWEST_PER_ITEM = 5
DOWN_SECONDS = 10.0
"""How long an address that failed is tried only after the others."""


@dataclass(slots=True)
class Reading:
    """What came of reading an item: a receipt, or the error for which it must be tried again."""

    receipt: Receipt | None = None
    error: CacheWarmerError | None = None
    aborted: bool = False


class ItemReader:
    """Reads items through the sessions of a pool; knows which addresses failed lately."""

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool
        self._down_until: dict[str, float] = {}

    async def read(self, item: WorkItem, run: ItemRun) -> Reading:
        """Reads all of an item on one address; on the next one when the address fails.

        ``run`` lets another coroutine see how far it is, and end it early. Nothing is raised: every error of the
        program's own ends up in the result.
        """
        now = time.monotonic()
        addresses = self._addresses(item, now)
        error: CacheWarmerError | None = None
        for address in addresses:
            if run.aborted:
                break
            try:
                reading = await self._read_at(address, item, run)
            except CacheWarmerError as failure:
                reading = Reading(error=failure)
            if reading.error is None:
                return reading
            error = reading.error
            if not isinstance(error, TransportError):
                return reading
            self._down_until[address] = time.monotonic() + DOWN_SECONDS
        return Reading(error=error, aborted=run.aborted)

    def _addresses(self, item: WorkItem, now: float) -> list[str]:
        """The addresses to try, best first: the one whose handles the item carries, unless it failed lately."""
        if not item.mount_addresses:
            return [""]
        spread = hash(item.item_id) % len(item.mount_addresses)
        turned = [*item.mount_addresses[spread:], *item.mount_addresses[:spread]]
        return sorted(
            turned, key=lambda one: (self._down_until.get(one, 0.0) > now, one != item.address and bool(item.address))
        )

    async def _read_at(self, address: str, item: WorkItem, run: ItemRun) -> Reading:
        session = await self._pool.session(Mount.of(item, address, item.path))
        excluded = skipped = 0
        if item.files is None:
            item, excluded, skipped = await list_item(session, item)
        elif address != item.address:
            item = replace(item, files=tuple(entry._replace(handle=b"") for entry in item.files))
        began = time.monotonic()
        await run.read(session, item)
        if run.aborted:
            return Reading(aborted=True)
        return run.result(item, excluded, skipped, time.monotonic() - began)


async def list_item(session: Session, item: WorkItem) -> tuple[WorkItem, int, int]:
    """A first-generation item with its files filled in, and how many were excluded and skipped.

    A directory stands for the files directly in it; a file for itself, or for its range.
    """
    path = to_bytes(item.path.strip("/"))
    wanted = FileFilter(item.inclusion, item.exclusion, max_file_bytes=item.max_file_bytes)
    try:
        top = await session.lookup(path)
    except FileVanished:
        return replace(item, files=(FileEntry("", 0, b""),), start=-1, stop=-1), 0, 0
    if top.kind is FileKind.REGULAR:
        if item.start >= 0:
            item = replace(item, start=min(item.start, top.size), stop=min(item.stop, top.size))
        return replace(item, files=(FileEntry("", top.size, top.handle),), address=session.address), 0, 0
    if top.kind is not FileKind.DIRECTORY:
        return replace(item, files=(), start=-1, stop=-1), 0, 1
    first = last = b""
    if item.apply_filter:
        first, last = (to_bytes(one) for one in (item.start_file_filter, item.end_file_filter))
    excluded = skipped = 0
    files: list[FileEntry] = []
    async for page in session.list_directory(path, top.handle):
        for name, kind, size, mtime, handle in page.entries:
            if kind is FileKind.DIRECTORY or not in_name_range(name, first, last):
                continue
            if kind is not FileKind.REGULAR:
                skipped += 1
                continue
            text = to_text(name)
            if not wanted.wants_size(size, mtime) or not wanted.wants_name(text):
                excluded += 1
                continue
            files.append(FileEntry(text, size, handle))
        for name, error in page.errors:
            raise error.fill(subject=path + b"/" + name, address=session.address)
    return replace(item, files=tuple(files), start=-1, stop=-1, address=session.address), excluded, skipped


class ItemRun:
    """One item being read: its requests, what has come back, and the way to end it early."""

    def __init__(self, pace: Pace | None = None) -> None:
        self.pace = pace
        self.outstanding = 0
        """Requests given to the session and not yet done."""
        self.bytes = 0
        self.files = 0
        """Files that need no more reading, whatever came of them."""
        self.begun = False
        """Whether its files are known and were given to a session."""
        self.aborted = False
        self._requests: list[ReadRequest] = []
        self._calls = 0
        self._problems: dict[int, CacheWarmerError] = {}
        self._slow: list[tuple[float, bytes]] = []
        self._ended: set[int] = set()
        self._idle = asyncio.Event()
        self._aborting = asyncio.Event()

    def abort(self) -> None:
        """Ends the reading soon: no further call is made for it."""
        self.aborted = True
        self._aborting.set()
        for request in self._requests:
            request.stop = request.start

    async def read(self, session: Session, item: WorkItem) -> None:
        """Gives all of the item's files to the session and waits until every request is done."""
        if self.aborted:
            return
        self._requests, self._problems, self._slow, self._ended = [], {}, [], set()
        self.bytes = self.files = self._calls = 0
        self._idle.clear()
        base = to_bytes(item.path.strip("/"))
        prefix = base + b"/" if base else b""
        pace = self.pace
        self.outstanding = 1
        self.begun = True
        for index, (name, size, handle) in enumerate(item.files or ()):
            path = prefix + to_bytes(name) if name else base
            start, stop = (0, size) if item.start < 0 else (min(item.start, size), min(item.stop, size))
            if pace is None:
                self._ask(session, ReadRequest(path, handle, start, stop, self._done, index))
                continue
            while start < stop and not self.aborted and index not in self._ended:
                piece = min(stop, start + pace.piece_bytes)
                wait = pace.take(piece - start, time.monotonic())
                if wait:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._aborting.wait(), wait)
                done = self._done if piece == stop else self._piece_done
                self._ask(session, ReadRequest(path, handle, start, piece, done, index))
                start = piece
            if self.aborted:
                break
        self.outstanding -= 1
        if self.outstanding:
            await self._idle.wait()
        self._requests = []  # each of them holds this run: together they would wait for the garbage collector

    def _ask(self, session: Session, request: ReadRequest) -> None:
        self._requests.append(request)
        self.outstanding += 1
        session.read(request)

    def _done(self, request: ReadRequest) -> None:
        self.files += 1
        self._piece_done(request)

    def _piece_done(self, request: ReadRequest) -> None:
        self.outstanding -= 1
        self.bytes += request.bytes_read
        self._calls += request.calls
        if request.bytes_read < request.stop - request.start:
            self._ended.add(request.context)  # type: ignore[arg-type]  # the file is shorter than it was, or can't be read
        if request.error is not None:
            self._problems[request.context] = request.error  # type: ignore[index]
        slow = self._slow
        if len(slow) < SLOWEST_PER_ITEM:
            heapq.heappush(slow, (request.seconds, request.path))
        elif request.seconds > slow[0][0]:
            heapq.heapreplace(slow, (request.seconds, request.path))
        if not self.outstanding:
            self._idle.set()

    def result(self, item: WorkItem, excluded: int, skipped: int, seconds: float) -> Reading:
        """The receipt; or the error, where the address failed or none of several tries could read anything."""
        for problem in self._problems.values():
            if isinstance(problem, TransportError):
                return Reading(error=problem)
        files = item.files or ()
        vanished = sum(isinstance(problem, FileVanished) for problem in self._problems.values())
        failed = len(self._problems) - vanished
        first = next((one for one in self._problems.values() if not isinstance(one, FileVanished)), None)
        if failed and failed + vanished == len(files):
            return Reading(error=first)
        counted = 0 if item.start > 0 else len(files) - failed - vanished
        return Reading(
            Receipt(
                item_id=item.item_id,
                files=counted,
                bytes=self.bytes,
                failed_files=failed,
                vanished_files=0 if item.start > 0 else vanished,
                excluded_files=excluded,
                skipped_files=skipped,
                calls=self._calls,
                seconds=seconds,
                errors=_sample(item, files, self._problems),
                slowest=tuple(
                    SlowPath(full_path(item, to_text(path)), took) for took, path in sorted(self._slow, reverse=True)
                ),
            )
        )


def _sample(item: WorkItem, files: Sequence[FileEntry], problems: dict[int, CacheWarmerError]) -> tuple[PathError, ...]:
    sample = []
    for index, problem in problems.items():
        if isinstance(problem, FileVanished):
            continue
        path = f"{item.path}/{files[index].path}" if files[index].path else item.path
        sample.append(PathError.of(full_path(item, path), problem))
        if len(sample) == ERRORS_PER_ITEM:
            break
    return tuple(sample)


def full_path(item: WorkItem, path: str) -> str:
    """A path below the item's export as the server's other clients know it."""
    return join(item.export_path, path)
