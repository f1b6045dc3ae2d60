"""The concurrent scan: lists directories, filters their entries, and packs files into work items.

The unit of the scan is a batch of directories (see ``frontier.Batch``). Batches run at the same time and in any order,
but the result of each depends only on its own directories and their order, so two scans of the same tree publish the
same items.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cachewarmer.config import PlanSettings
from cachewarmer.errors import BrokerError, CacheWarmerError, FileVanished, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.filters import FileFilter
from cachewarmer.model import WarmJob, WorkItem
from cachewarmer.model.parts import Range
from cachewarmer.paths import join_bytes, printable, to_bytes
from cachewarmer.planning.balance import Balance
from cachewarmer.planning.chunker import Chunker
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.frontier import Above, Batch, Directory, Frontier
from cachewarmer.planning.lister import Lister
from cachewarmer.planning.portions import Portions
from cachewarmer.planning.primer import Primer
from cachewarmer.planning.sieve import MAX_PATH_BYTES, SNAPSHOTS, Known, Link, Sieve
from cachewarmer.targets.base import DirectoryEntry, FileKind, Page, Session
from cachewarmer.targets.links import follow, resolve

if TYPE_CHECKING:  # loaded where there is a list
    from cachewarmer.planning.listed import LookedUp, Named

__all__ = ["MAX_PATH_BYTES", "Emit", "Walker"]

BATCH_DIRECTORIES = 32
"""Directories in one batch. Not a setting, because item ids depend on it."""
LIST_LINES = 512
"""Lines of a list that are looked up together. Not a setting, because item ids depend on it."""
EMIT_ITEMS = 32
"""Maximum number of items in one call of ``emit``."""
FILTERED_TOGETHER = 64
"""Names that are matched before the event loop gets a turn, because patterns and names may be long."""
FOLLOWED_TOGETHER = 64
"""Maximum number of links that are followed at the same time."""

Emit = Callable[[Sequence[WorkItem]], Awaitable[None]]


class Walker:
    """One scan of one export.

    Args:
        job: what is scanned.
        sessions: the open sessions of its mount addresses, all with this export.
        export: the path of the export.
        root: the path of the target below the export.
        settings: the limits of the scan and of an item.
        counter: receives the counts, the errors and the warnings.
        emit: receives the items in batches. The scan waits for it, and a ``BrokerError`` that it raises ends the scan.
        filter_: the filter of the job, if it has been made already.
        prefix: for an export nested in the target, its path below the target.
        check: raises ``CacheWarmerError`` if a path to which a link leads may not be read.
        known: the files that an earlier ledger holds as read, which are left out.
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
        filter_: FileFilter | None = None,
        prefix: str = "",
        check: Callable[[bytes], None] = lambda _: None,
        known: Known | None = None,
    ) -> None:
        self.job = job
        self.sessions = sessions
        self.export = export
        self.root = root.strip(b"/")
        self.settings = settings
        self.counter = counter
        counter.base = export.rstrip("/")
        self.emit = emit
        self.filter = filter_ or FileFilter.of(job.wanted, job.full_path)
        self._prefix = prefix
        self._check = check
        self._known = known
        self._primer = Primer(job.access_as, counter)
        self._balance = Balance([one.address for one in sessions]) if len(sessions) > 1 else None
        self._sieve = self._make_sieve(self.root)
        self._frontier = Frontier(settings.pending_memory_bytes, settings.pending_disk_bytes)
        self._lister = Lister(sessions, settings.directories_in_flight)
        self._chunkers: dict[int, Chunker] = {}
        """An empty chunker for each session, by its index."""
        self._active: set[asyncio.Task[None]] = set()
        self._began = time.monotonic()
        self._emitting = 0
        self._device = 0
        self._last_session = 0

    def _make_sieve(self, root: bytes) -> Sieve:
        return Sieve(
            self.job.wanted,
            self.filter,
            self.counter,
            self.settings,
            root=root,
            prefix=self._prefix,
            timed=self.job.ledger,
            known=self._known,
            in_order=self.job.in_order,
        )

    # -- what is scanned -------------------------------------------------------------------------------------------

    async def walk(self) -> None:
        """Scans the tree at the root, or the single file there. If the root is a link, it is followed.

        Raises:
            CacheWarmerError: the root can't be looked up or listed, or the scan took too long; failures below the root
                are counted.
            BrokerError: ``emit`` failed.
            TransportError: no address answers.
        """
        try:
            path, entry = await self._lister.call(0, partial(resolve, export=self._raw_export, path=self.root))
        except CacheWarmerError as error:
            from cachewarmer.targets.meant import advise

            await advise(self.sessions[0], self.root, error)
            raise
        if path != self.root:
            self._check(path)
            self.counter.warn(f"reading the target at {self._shown(path)}, where its symbolic link points")
            self.root = path
        if entry.kind is FileKind.REGULAR:
            directory, _, name = path.rpartition(b"/")
            self._sieve = self._make_sieve(directory)
            chunker = self._chunker(0)
            await self._emit(self._sieve.files(chunker, 0, directory, [entry._replace(name=name)], []))
            await self._emit(list(chunker.flush()))
            if self._primer:
                await self._primer.above(self.sessions[0], path)
        elif entry.kind is FileKind.DIRECTORY:
            self._sieve = self._make_sieve(path)
            if self._primer:
                await self._primer.above(self.sessions[0], path)
            self._frontier.push(Batch([Directory(Above(b""), path, entry.handle)], 0))
            try:
                await self._drain()
            except TransportError as error:
                self._lose_aside(error)
                raise
        else:
            raise CacheWarmerError("it is neither a file nor a directory", subject=to_bytes(self._shown(path)))
        await self._read_aside()
        self._primer.conclude()

    async def walk_list(self, chunks: AsyncIterable[bytes]) -> None:
        """Scans the paths of a stored list (see ``listed``); a directory stands for its tree, duplicates are left out.

        Raises:
            CacheWarmerError: the scan took too long; lines that can't be looked up are counted.
            BrokerError: ``emit`` failed.
            TransportError: no address answers.
        """
        from cachewarmer.planning.filelist import grouped_lines
        from cachewarmer.planning.listed import ListPaths, Named, joined_ranges, look_up

        lines_to_paths = ListPaths(self.export, self.root)
        named = Named(SNAPSHOTS)
        self._sieve.named, self._sieve.covers = named, named.covers
        wanted = self.job.wanted
        self._sieve.portions = Portions(wanted.head_bytes, wanted.tail_bytes, remember=True)
        chunker = self._chunker(0)
        try:
            async for lines in grouped_lines(chunks, LIST_LINES):
                looking = (look_up(line, lines_to_paths, self._find, self.counter) for line in lines)
                looked_up = await asyncio.gather(*looking)
                self.counter.lines += len(lines)
                links: list[Link] = []
                await self._emit(await self._take_lines(chunker, named, joined_ranges(looked_up), links))
                await self._follow(0, links)
                if self._primer:
                    named_paths = [path for path, entry, _ in looked_up if entry is not None]
                    await asyncio.gather(*(self._primer.above(self.sessions[0], path) for path in named_paths))
                await self._drain()
        except TransportError as error:
            self._lose(chunker.flush(), error)
            self._lose_aside(error)
            raise
        await self._emit(list(chunker.flush()))
        await self._read_aside()

    async def _take_lines(
        self, chunker: Chunker, named: Named, found: Iterable[LookedUp], links: list[Link]
    ) -> list[WorkItem]:
        """Takes some lines of a list; returns the items that are now complete and have not been emitted yet."""
        items: list[WorkItem] = []
        for path, entry, ranges in found:
            if entry is None:
                continue
            if ranges:
                items += self._listed_ranges(chunker, named, path, entry, ranges)
            elif not named.add(path, directory=entry.kind is FileKind.DIRECTORY):
                self.counter.duplicates += 1
            elif entry.kind is not FileKind.DIRECTORY:
                items += self._listed_file(chunker, path, entry, links)
            else:
                self._frontier.push(Batch([Directory(Above(b""), path, entry.handle)], 0))
                if self.job.in_order:
                    await self._emit([*items, *chunker.flush()])
                    items = []
                    await self._drain()
        return items

    def _listed_ranges(
        self, chunker: Chunker, named: Named, path: bytes, entry: DirectoryEntry, ranges: Sequence[Range]
    ) -> list[WorkItem]:
        if named.covers(path) and not self._sieve.portions.remembers:
            self.counter.duplicates += 1
            return []
        return self._sieve.ranges_of(chunker, path, entry, ranges)

    def _listed_file(self, chunker: Chunker, path: bytes, entry: DirectoryEntry, links: list[Link]) -> list[WorkItem]:
        directory, _, name = path.rpartition(b"/")
        named, self._sieve.named = self._sieve.named, None  # it is the list that names it
        try:
            return self._sieve.files(chunker, 0, directory, [entry._replace(name=name)], links)
        finally:
            self._sieve.named = named

    async def _find(self, path: bytes) -> DirectoryEntry:
        return await self._lister.call(0, lambda session: session.lookup(path))

    # -- the walk --------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Lists batches until the frontier is empty and none is under way."""
        most = max(2, self.settings.directories_in_flight // 8)
        try:
            while len(self._frontier) or self._active:
                while len(self._frontier) and len(self._active) < most:
                    self._active.add(asyncio.create_task(self._scan_batch(self._frontier.pop())))
                done, self._active = await asyncio.wait(self._active, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                self._check_time()
        except TransportError:
            if self.job.each_address:
                await self._end_batches()
            raise
        finally:
            await end_tasks(*self._active)
            self._active = set()
            self._frontier.close()

    async def _end_batches(self) -> None:
        """Waits for the running batches to end, so that each emits or counts as lost the files that it has counted."""
        ended = await asyncio.gather(*self._active, return_exceptions=True)
        for one in ended:
            if isinstance(one, BaseException) and not isinstance(one, TransportError):
                raise one

    def _lose(self, items: Iterable[WorkItem], error: TransportError) -> None:
        """Counts as lost the files of items that are not emitted, if no other address may read them."""
        if self.job.each_address:
            self.counter.add_lost(items, error)

    def _lose_aside(self, error: TransportError) -> None:
        """Counts as lost the files that were set aside, if no other address may read them."""
        if self.job.each_address:
            for items in self._sieve.linked_files(lambda: self._chunker(0)):
                self.counter.add_lost(items, error)

    def _check_time(self) -> None:
        limit = self.settings.scan_seconds
        if limit and not self._emitting and time.monotonic() - self._began > limit:
            raise CacheWarmerError(
                f"the scan has taken more than {limit:.0f} s",
                advice="name a part of the tree, or raise [plan] scan_seconds",
            )

    async def _scan_batch(self, batch: Batch) -> None:
        number = self._choose_session()
        chunker = self._chunker(number)
        below: list[Directory] = []
        known = batch.session == number
        places = [(one.path, one.handle if known else b"") for one in batch.directories]
        firsts = self._lister.first_pages(number, places)
        try:
            for directory, place, first in zip(batch.directories, places, firsts.pages, strict=True):
                await self._scan_directory(chunker, number, directory, place, first, below)
        except TransportError as error:
            self._lose(chunker.flush(), error)
            raise
        finally:
            await firsts.close()
        await self._emit(list(chunker.flush()))
        self._push(below, number, keep=0)

    def _choose_session(self) -> int:
        """Returns the index of the next session: batches go to the addresses in turn."""
        self._last_session = (self._last_session + 1) % len(self.sessions)
        return self._last_session

    async def _scan_directory(
        self,
        chunker: Chunker,
        number: int,
        directory: Directory,
        place: tuple[bytes, bytes],
        first: Awaitable[Page],
        below: list[Directory],
    ) -> None:
        """Lists one directory. ``place`` is its path, and its handle at session ``number``: empty if that has none."""
        path, handle = place
        try:
            page = await first
            if self._other_file_system(path, page):
                return
            self.counter.directories += 1
            await self._take(chunker, number, directory, path, page, below)
            if page.cookie is not None:
                async for further in self._lister.further_pages(number, path, handle, page):
                    await self._take(chunker, number, directory, path, further, below)
        except (BrokerError, TransportError):
            raise  # ``emit`` failed, or no address answers: it is not the fault of the directory
        except CacheWarmerError as error:
            if path == self.root:
                raise
            if isinstance(error, FileVanished):
                error = CacheWarmerError(f"the directory vanished during the scan ({error.problem})")
            self.counter.add_error(path, error, directory=True)

    async def _take(
        self, chunker: Chunker, number: int, directory: Directory, path: bytes, page: Page, below: list[Directory]
    ) -> None:
        """Takes one page of a directory, which is at ``path``: its files, subdirectories, links and errors."""
        links: list[Link] = []
        for entries in self._turns(page.entries):
            items = self._sieve.files(chunker, number, path, entries, links)
            self._sieve.directories(directory, path, entries, below)
            if items:
                await self._emit(items)
            elif self.filter.uses_names:
                await asyncio.sleep(0)
        self.counter.duplicates += page.duplicates
        for name, error in page.errors:
            self.counter.add_error(join_bytes(path, name), error)
        if links:
            await self._follow(number, links)
        if self._primer:
            await self._primer.page(self.sessions[number], path, page.entries)
        self._push(below, number, keep=BATCH_DIRECTORIES)

    def _turns(self, entries: Sequence[DirectoryEntry]) -> Iterable[Sequence[DirectoryEntry]]:
        """The entries in pieces, if each has to be matched against patterns; else all at once."""
        if not self.filter.uses_names:
            return (entries,)
        return (entries[start : start + FILTERED_TOGETHER] for start in range(0, len(entries), FILTERED_TOGETHER))

    def _push(self, below: list[Directory], number: int, *, keep: int) -> None:
        """Moves batches from ``below`` to the frontier while it holds more than ``keep``; with 0, all of it."""
        while len(below) > keep or (below and not keep):
            self._frontier.push(Batch(below[:BATCH_DIRECTORIES], number))
            del below[:BATCH_DIRECTORIES]

    def _other_file_system(self, path: bytes, page: Page) -> bool:
        """Whether a local directory is left out, because it is on another file system than the target."""
        if path == self.root:
            self._device = page.device
        if not self.job.wanted.one_file_system or page.device in (0, self._device) or not self._device:
            return False
        self.counter.warn(f"{self._shown(path)} is on another file system: left out (--one-file-system)")
        return True

    # -- links -----------------------------------------------------------------------------------------------------

    async def _follow(self, number: int, links: list[Link]) -> None:
        for start in range(0, len(links), FOLLOWED_TOGETHER):
            some = links[start : start + FOLLOWED_TOGETHER]
            await asyncio.gather(*(self._follow_one(number, one) for one in some))

    async def _follow_one(self, number: int, link: Link) -> None:
        """Plans the file that a link leads to; a link that leads to none that may be read is counted as lost."""
        # A link may lead anywhere in an export, which its server offers; a local link must stay in the target.
        within = self.root if self.job.access.is_local else b""
        follow_it = partial(follow, export=self._raw_export, path=link.path, within=within)
        try:
            path, entry = await self._lister.call(number, follow_it)
            self._check(path)
        except TransportError:
            raise
        except CacheWarmerError:
            self.counter.add_lost_link(link.path)
            return
        if not self._sieve.followed(number, path, entry):
            self.counter.add_lost_link(link.path)

    async def _read_aside(self) -> None:
        """Plans the files that were set aside: see ``aside``."""
        try:
            for items in self._sieve.linked_files(lambda: self._chunker(0)):
                await self._emit(items)
        finally:
            self._sieve.aside.close()
            self._sieve.portions.close()

    # -- items -----------------------------------------------------------------------------------------------------

    @property
    def _raw_export(self) -> bytes:
        return to_bytes(self.export)

    def _shown(self, path: bytes) -> str:
        return f"{self.export.rstrip('/')}/{printable(path)}"

    def _chunker(self, number: int) -> Chunker:
        first = self._chunkers.get(number)
        if first is None:
            address = self.sessions[number].address
            first = self._chunkers[number] = Chunker(self.job, self.settings, export=self.export, address=address)
        return first.anew()

    async def _emit(self, items: Sequence[WorkItem]) -> None:
        if not items or self.job.metadata_only:
            return
        self.counter.items += len(items)
        if self._balance is not None:
            items = [self._balance.placed(item) for item in items]
        began = time.monotonic()
        self._emitting += 1
        try:
            for start in range(0, len(items), EMIT_ITEMS):
                await self.emit(items[start : start + EMIT_ITEMS])
        finally:
            self._emitting -= 1
            if not self._emitting:
                self._began += time.monotonic() - began
