"""The scan: walks a tree with many directories in flight and turns it into work items, in bounded memory.

The tree is cut into batches of directories (see ``frontier.Batch``). Batches go on at the same time and in any order;
what comes of each is decided by its own directories alone, in order, so two scans of the same tree publish the same
items.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence

from cachewarmer.config import PlanSettings
from cachewarmer.errors import BrokerError, CacheWarmerError, FileVanished, NfsStatusError, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.filters import SNAPSHOT_NAMES, DirectoryFilter, FileFilter
from cachewarmer.model import WarmJob, WorkItem
from cachewarmer.paths import to_bytes, to_text
from cachewarmer.planning.chunker import Chunker
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.filelist import grouped_lines
from cachewarmer.planning.frontier import Batch, Directory, Frontier
from cachewarmer.targets.base import DirectoryEntry, FileKind, Page, Session

BATCH_DIRECTORIES = 32
"""Directories in one batch; part of what makes item ids repeatable, so never a setting."""
LIST_LINES = 512
"""Lines of a file list that are looked up together."""
EMIT_ITEMS = 32
"""Items handed on at once."""
LIST_ATTEMPTS = 3
"""Tries of one listing, each on the next address, while the failure is transient."""
LIST_RETRY_SECONDS = 1.0
"""Wait before a listing is tried again; grows with each try."""
MOST_FILE_BYTES = (1 << 63) - 1
"""No file system has larger files; a server that says so is wrong."""
MOST_PATH_BYTES = 8 * 1024
"""Longer than any client can open; what is deeper is a tree that loops, or was made up."""

Emit = Callable[[Sequence[WorkItem]], Awaitable[None]]


class Walker:
    """One scan. ``sessions`` are the job's mount addresses, opened, all with the same export (``export``).

    ``root`` is the target below the export. ``emit`` receives the items in batches; while it waits, the scan waits, and
    a ``BrokerError`` of it ends the scan.
    """

    def __init__(
        self,
        job: WarmJob,
        sessions: Sequence[Session],
        *,
        export: str,
        root: bytes,
        settings: PlanSettings,
        counter: ScanCounter,
        emit: Emit,
    ) -> None:
        self.job = job
        self.sessions = sessions
        self.export = export
        self.root = root.strip(b"/")
        self.settings = settings
        self.counter = counter
        counter.base = export.rstrip("/")
        self.emit = emit
        self.filter = FileFilter.of(job.wanted, job.full_path)
        self._frontier = Frontier()
        self._listings = asyncio.Semaphore(settings.directories_in_flight)
        self._next_session = 0
        self._active: set[asyncio.Task[None]] = set()
        self._root_skip = len(self.root) + 1 if self.root else 0

    # -- what is scanned -------------------------------------------------------------------------------------------

    async def walk(self) -> None:
        """Scans the tree at the root, or the one file that the root is.

        Raises:
            CacheWarmerError: the root itself can't be looked at or listed; what goes wrong below it is counted.
        """
        entry = await self._lookup(self.root)
        if entry.kind is FileKind.REGULAR:
            directory, _, name = self.root.rpartition(b"/")
            self._root_skip = len(directory) + 1 if directory else 0
            chunker = self._chunker(self.sessions[0])
            await self._emit(self._files(chunker, directory, [entry._replace(name=name)]))
            await self._emit(list(chunker.flush()))
        elif entry.kind is FileKind.DIRECTORY:
            self._frontier.push(Batch([Directory(self.root, entry.handle)], 0))
            await self._drain()
        else:
            what = "a symbolic link: name what it points to" if entry.kind is FileKind.LINK else "no file or directory"
            raise CacheWarmerError(f"it is {what}", subject=b"/" + self.root)

    async def walk_list(self, chunks: AsyncIterable[bytes]) -> None:
        """Scans the paths of a list (see ``filelist``), relative to the root or absolute below it; a directory stands for its tree."""
        chunker = self._chunker(self.sessions[0])
        async for lines in grouped_lines(chunks, LIST_LINES):
            looked_up = await asyncio.gather(*(self._lookup_listed(line) for line in lines))
            items: list[WorkItem] = []
            directories: list[Directory] = []
            for path, entry in looked_up:
                if entry is None:
                    continue
                if entry.kind is FileKind.DIRECTORY:
                    directories.append(Directory(path, entry.handle))
                else:
                    directory, _, name = path.rpartition(b"/")
                    items += self._files(chunker, directory, [entry._replace(name=name)])
            await self._emit(items)
            for found in directories:
                self._frontier.push(Batch([found], 0))
            await self._drain()
        await self._emit(list(chunker.flush()))

    async def _lookup_listed(self, line: bytes) -> tuple[bytes, DirectoryEntry | None]:
        prefix = b"/" + self.root if self.root else b""
        full = b"/" + to_bytes(self.export.strip("/")) + prefix if self.export != "/" else prefix
        if line.startswith(b"/"):
            for known in (full, prefix):
                if line == known or line.startswith(known + b"/"):
                    line = line[len(known) :]
                    break
            else:
                self.counter.add_error(line.lstrip(b"/"), "is not below the target")
                return line, None
        parts = [part for part in line.split(b"/") if part not in (b"", b".")]
        path = b"/".join([self.root, *parts] if self.root else parts)
        try:
            if b".." in parts:
                raise CacheWarmerError("a path can't hold ..")
            return path, await self._lookup(path)
        except FileVanished:
            self.counter.add_error(path, "there is no such file")
        except TransportError:
            raise
        except CacheWarmerError as error:
            self.counter.add_error(path, error)
        return path, None

    # -- the walk --------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Lists batches until the frontier is empty and none is going on."""
        most = max(2, self.settings.directories_in_flight // 8)
        try:
            while len(self._frontier) or self._active:
                while len(self._frontier) and len(self._active) < most:
                    self._active.add(asyncio.create_task(self._scan_batch(self._frontier.pop())))
                done, self._active = await asyncio.wait(self._active, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            await end_tasks(*self._active)
            self._active = set()
            self._frontier.close()

    async def _scan_batch(self, batch: Batch) -> None:
        number = self._choose_session()
        session = self.sessions[number]
        chunker = self._chunker(session)
        below: list[Directory] = []
        handles = [one.handle if batch.session == number else b"" for one in batch.directories]
        firsts = [
            asyncio.create_task(self._first_page(session, one.path, handle))
            for one, handle in zip(batch.directories, handles, strict=True)
        ]
        try:
            for directory, handle, first in zip(batch.directories, handles, firsts, strict=True):
                await self._scan_directory(session, chunker, number, directory, handle, first, below)
        finally:
            await end_tasks(*firsts)
        await self._emit(list(chunker.flush()))
        self._push(below, number, keep=0)

    def _choose_session(self) -> int:
        """Spreads batches over the addresses in turn; with one address there is nothing to choose."""
        if len(self.sessions) == 1:
            return 0
        self._next_session = (self._next_session + 1) % len(self.sessions)
        return self._next_session

    async def _scan_directory(
        self,
        session: Session,
        chunker: Chunker,
        number: int,
        directory: Directory,
        handle: bytes,
        first: asyncio.Task[Page],
        below: list[Directory],
    ) -> None:
        """Lists one directory; ``handle`` is the one that is good at this session, empty where that has none."""
        path = directory.path
        listed = array("q")
        known: set[int] = set()
        restarts = 0
        try:
            page = await first
            self.counter.directories += 1
            while True:
                entries, errors = page.entries, page.errors
                if known:
                    entries = [entry for entry in entries if hash(entry.name) not in known]
                    errors = [one for one in errors if hash(one.name) not in known]
                items = self._files(chunker, path, entries)
                self._directories(directory, entries, below)
                for name, error in errors:
                    self.counter.add_error(path + b"/" + name if path else name, error)
                if items:
                    await self._emit(items)
                self._push(below, number, keep=BATCH_DIRECTORIES)
                if page.cookie is None:
                    return
                listed.extend(hash(entry.name) for entry in entries)
                listed.extend(hash(one.name) for one in errors)
                try:
                    async with self._listings:
                        page = await session.list_page(path, handle, page.cookie)
                except NfsStatusError as error:
                    # The directory changed so that its listing can't go on: from the start, without what we have.
                    restarts += 1
                    if not error.transient or restarts > LIST_ATTEMPTS:
                        raise
                    known = set(listed)
                    page = await self._first_page(session, path, handle)
        except (BrokerError, TransportError):
            raise  # ``emit`` failed, or no address answers: the directory has no fault
        except FileVanished as error:
            if path == self.root:
                raise
            self.counter.add_error(path, f"directory vanished during the scan ({error.problem})")
        except CacheWarmerError as error:
            if path == self.root:
                raise
            self.counter.add_error(path, error)

    async def _first_page(self, session: Session, path: bytes, handle: bytes) -> Page:
        async with self._listings:
            for attempt in range(1, LIST_ATTEMPTS + 1):
                try:
                    return await session.list_page(path, handle)
                except CacheWarmerError as error:
                    if not error.transient or attempt == LIST_ATTEMPTS:
                        raise
                    await asyncio.sleep(LIST_RETRY_SECONDS * attempt)
        raise AssertionError("unreachable")

    def _push(self, below: list[Directory], number: int, *, keep: int) -> None:
        """Cuts whole batches off ``below``; with ``keep`` 0 the rest as well."""
        while len(below) > keep or (below and not keep):
            self._frontier.push(Batch(below[:BATCH_DIRECTORIES], number))
            del below[:BATCH_DIRECTORIES]

    # -- entries to items ------------------------------------------------------------------------------------------

    def _files(self, chunker: Chunker, directory: bytes, entries: Sequence[DirectoryEntry]) -> list[WorkItem]:
        """Filters entries and packs the files that are wanted; counts what is neither file nor directory."""
        counter, wanted = self.counter, self.filter
        names = self._names(directory)
        items: list[WorkItem] = []
        prefix = directory + b"/" if directory else b""
        most_name = MOST_PATH_BYTES - len(prefix)
        for name, kind, size, mtime, handle, _, _ in entries:
            if kind is FileKind.REGULAR:
                if size > MOST_FILE_BYTES or len(name) > most_name:
                    too_long = f"a path of more than {MOST_PATH_BYTES} bytes"
                    what = too_long if len(name) > most_name else f"a file of {size} bytes"
                    counter.add_error(prefix + name, f"the server lists {what}, which can't be")
                    continue
                if not wanted.wants_size(size, mtime) or (names is not None and not names.wants(to_text(name))):
                    counter.excluded_files += 1
                    continue
                counter.add_file(directory, name, size)
                items.extend(chunker.add(directory, name, size, handle))
            elif kind is not FileKind.DIRECTORY:
                counter.skipped_files += 1
        return items

    def _directories(self, parent: Directory, entries: Sequence[DirectoryEntry], below: list[Directory]) -> None:
        """Adds the subdirectories that are to be listed to ``below``: not what is excluded whole, nor a loop."""
        names = self._names(parent.path)
        prefix = parent.path + b"/" if parent.path else b""
        above = (*parent.above, hash(parent.handle)) if parent.handle else parent.above
        for name, kind, _, _, handle, _, _ in entries:
            if kind is not FileKind.DIRECTORY:
                continue
            path = prefix + name
            if names is not None and names.prunes(to_text(name)):
                continue
            if self._passes_over(to_text(name)):
                continue
            if handle and hash(handle) in above:
                self.counter.add_error(path, "is one of the directories above it: the tree is a loop there")
            elif len(path) > MOST_PATH_BYTES:
                self.counter.add_error(path, f"is deeper than {MOST_PATH_BYTES} bytes of path: not listed")
            else:
                below.append(Directory(path, handle, above))

    def _passes_over(self, name: str) -> bool:
        """Whether a directory shows older states of the tree, which nobody asked for; said once."""
        wanted = self.job.wanted
        if name not in SNAPSHOT_NAMES or wanted.snapshots or wanted.go_rules or self.filter.keeps_snapshots:
            return False
        warning = f"snapshots are left out ({name}); --include-snapshots reads them"
        if warning not in self.counter.warnings:
            self.counter.warnings.append(warning)
        return True

    def _names(self, directory: bytes) -> DirectoryFilter | None:
        """What the patterns say of the names in a directory; None if there are none."""
        return self.filter.directory(to_text(directory[self._root_skip :])) if self.filter.uses_names else None

    def _chunker(self, session: Session) -> Chunker:
        return Chunker(self.job, self.settings, export=self.export, address=session.address)

    async def _emit(self, items: Sequence[WorkItem]) -> None:
        self.counter.items += len(items)
        for start in range(0, len(items), EMIT_ITEMS):
            await self.emit(items[start : start + EMIT_ITEMS])

    async def _lookup(self, path: bytes) -> DirectoryEntry:
        """Looks a path up on the first address, so that its handle fits the batches that start there."""
        async with self._listings:
            return await self.sessions[0].lookup(path)
