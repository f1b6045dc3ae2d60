"""Finds the files of an item that does not name them, such as one of a first-generation manager, when it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.config import MIB
from cachewarmer.errors import CacheWarmerError, FileVanished, TransportError
from cachewarmer.filters import FileFilter, in_name_range
from cachewarmer.model import FileEntry, WorkItem
from cachewarmer.model.parts import parts_of_ends
from cachewarmer.paths import join_bytes, to_bytes, to_text
from cachewarmer.targets.base import DirectoryEntry, FileKind, Session
from cachewarmer.targets.links import follow, resolve

RANGE_BYTES = 100 * MIB
"""A first-generation manager sends ranges of files of at least this size; workers leave these out of directories."""
FOLLOWED_TOGETHER = 16


async def list_item(session: Session, item: WorkItem) -> tuple[WorkItem, int, int]:
    """Returns the item with its files filled in, the number of excluded files, and the number of skipped entries.

    The path of the item may be a directory or a file. A directory stands for the files directly in it, except large
    ones if the item is of a first-generation manager, which sends their ranges in other items. A file stands for
    itself, or for the range in the item. Links to files of the export are followed if the item asks for that.

    Raises:
        CacheWarmerError: the path, or a name in the directory, can't be looked up.
    """
    filled, excluded, skipped = await _filled(session, item)
    head, tail = item.wanted.head_bytes, item.wanted.tail_bytes
    if filled.start < 0 and (head or tail):
        filled = replace(filled, parts=parts_of_ends(filled.files or (), head, tail))
    return filled, excluded, skipped


async def _filled(session: Session, item: WorkItem) -> tuple[WorkItem, int, int]:
    path = to_bytes(item.path.strip("/"))
    try:
        if item.wanted.follow_links:
            path, top = await resolve(session, to_bytes(item.access.export), path)
            item = replace(item, path=f"/{to_text(path)}")
        else:
            top = await session.lookup(path)
    except FileVanished:
        return replace(item, files=(FileEntry("", 0, b""),), start=-1, stop=-1), 0, 0
    if top.kind is FileKind.REGULAR:
        if item.start >= 0:
            item = replace(item, start=min(item.start, top.size), stop=min(item.stop, top.size))
        return replace(item, files=(FileEntry("", top.size, top.handle),), address=session.address), 0, 0
    if top.kind is not FileKind.DIRECTORY:
        return replace(item, files=(), start=-1, stop=-1), 0, 1
    listing = _Listing(session, item, path)
    await listing.run(top.handle)
    return listing.filled(), listing.excluded, listing.skipped


class _Listing:
    """The files that an item wants of one directory."""

    def __init__(self, session: Session, item: WorkItem, path: bytes) -> None:
        self._session = session
        self._item = item
        self._path = path
        self._filter = FileFilter.of(item.wanted)
        self._most = RANGE_BYTES if item.first_generation else 1 << 63
        self._first = self._last = b""
        if item.apply_filter:
            self._first, self._last = (to_bytes(one) for one in (item.start_file_filter, item.end_file_filter))
        self._files: list[FileEntry] = []
        self._links: list[DirectoryEntry] = []
        self._linked: dict[bytes, DirectoryEntry] = {}
        """Files to which links led, by their paths."""
        self.excluded = 0
        self.skipped = 0

    async def run(self, directory: bytes) -> None:
        async for page in self._session.list_directory(self._path, directory):
            for entry in page.entries:
                if entry.kind is not FileKind.DIRECTORY and in_name_range(entry.name, self._first, self._last):
                    self._take(entry)
            for name, error in page.errors:
                raise error.fill(subject=join_bytes(self._path, name), address=self._session.address)
        for start in range(0, len(self._links), FOLLOWED_TOGETHER):
            await self._follow(self._links[start : start + FOLLOWED_TOGETHER])

    def _take(self, entry: DirectoryEntry) -> None:
        text = to_text(entry.name)
        is_link = entry.kind is FileKind.LINK and self._item.wanted.follow_links
        if entry.kind is not FileKind.REGULAR and not is_link:
            self.skipped += 1
        elif not self._filter.wants_name(text):
            self.excluded += 1
        elif is_link:
            self._links.append(entry)
        elif entry.size < self._most and self._filter.wants_size(entry.size, entry.mtime):
            self._files.append(FileEntry(text, entry.size, entry.handle))
        else:
            self.excluded += 1

    async def _follow(self, links: Sequence[DirectoryEntry]) -> None:
        """Follows links. A large file behind one is kept: a first-generation manager sends no ranges of it."""
        for found in await asyncio.gather(*(self._follow_one(link) for link in links)):
            if found is None:
                self.skipped += 1
            elif self._filter.wants_size(found[1].size, found[1].mtime):
                self._linked.setdefault(*found)
            else:
                self.excluded += 1

    async def _follow_one(self, link: DirectoryEntry) -> tuple[bytes, DirectoryEntry] | None:
        """The path and the entry of the file to which a link leads; None: it leads to no file of the export."""
        item = self._item
        within = self._path if item.access.is_local else b""
        export = to_bytes(item.access.export)
        try:
            path, entry = await follow(
                self._session, export, join_bytes(self._path, link.name), link.handle, within=within
            )
        except TransportError:
            raise
        except CacheWarmerError:
            return None
        return (path, entry) if entry.kind is FileKind.REGULAR else None

    def filled(self) -> WorkItem:
        """The item with its files; their paths begin at the export if links led to some of them."""
        item, files = self._item, self._files
        if self._linked:
            item = replace(item, path="/")
            files = [one._replace(path=to_text(join_bytes(self._path, to_bytes(one.path)))) for one in files]
            own = {one.path for one in files}
            found = (FileEntry(to_text(path), entry.size, entry.handle) for path, entry in self._linked.items())
            files += [one for one in found if one.path not in own]
        return replace(item, files=tuple(files), start=-1, stop=-1, address=self._session.address)
