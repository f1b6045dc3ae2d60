"""Decides what becomes of each entry that a scan finds: read, set aside, listed, left out, or counted as failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from cachewarmer.config import PlanSettings
from cachewarmer.filters import SNAPSHOT_NAMES, DirectoryFilter, FileFilter
from cachewarmer.model import Wanted, WorkItem
from cachewarmer.model.jobs import TIMES
from cachewarmer.model.parts import Range
from cachewarmer.paths import join_bytes, to_bytes, to_text
from cachewarmer.planning.aside import Aside, LinkedFile
from cachewarmer.planning.chunker import Chunker
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.frontier import Above, Directory
from cachewarmer.planning.portions import Portion, Portions
from cachewarmer.targets.base import DirectoryEntry, FileKind

MAX_FILE_BYTES = (1 << 63) - 1
"""No file system has larger files: a server that reports one is wrong."""
MAX_PATH_BYTES = 8 * 1024
"""Longer than any path that a client can open: a tree with longer ones has a loop, or was made up."""
SNAPSHOTS = frozenset(name.encode() for name in SNAPSHOT_NAMES)


class Link(NamedTuple):
    """A symbolic link that is to be followed."""

    path: bytes
    handle: bytes


class Known(Protocol):
    """The files that an earlier ledger holds as read."""

    def holds(self, address: str, path: bytes, size: int, times: bytes) -> bool:
        """Whether the file has been read in its present state; if so, it is recorded as unchanged.

        Args:
            address: the mount address, for a job whose addresses are separate caches; else empty.
            path: its path, beginning with the export.
            size: its size in bytes.
            times: its mtime and ctime, packed as in work items.
        """


def time_of(entry: DirectoryEntry) -> bytes:
    """The mtime and ctime of an entry, packed as in work items."""
    return TIMES.pack(entry.mtime, entry.ctime)


def _times(entries: Sequence[DirectoryEntry]) -> list[bytes]:
    return [time_of(entry) for entry in entries]


class Sieve:
    """Sorts the entries of one export.

    Args:
        wanted: what the job selects.
        filter_: its patterns, sizes and ages.
        counter: receives the counts and the errors.
        settings: the limits of the scan.
        root: the path of the target below the export, to which patterns are relative.
        prefix: for an export nested in the target, its path below the target, which patterns see before each path.
        in_order: whether the order of a list counts, so that files with several hard links are not set aside.
        timed: whether the job keeps a ledger, so that items carry the times of their files.
        known: the files that an earlier ledger holds as read.
    """

    def __init__(
        self,
        wanted: Wanted,
        filter_: FileFilter,
        counter: ScanCounter,
        settings: PlanSettings,
        *,
        root: bytes = b"",
        prefix: str = "",
        in_order: bool = False,
        timed: bool = False,
        known: Known | None = None,
    ) -> None:
        self.filter = filter_
        self.counter = counter
        self.portions = Portions(wanted.head_bytes, wanted.tail_bytes, remember=False)
        self.aside = Aside(settings.pending_memory_bytes, settings.pending_disk_bytes)
        self.named: Callable[[bytes], bool] | None = None
        """Whether a list has named exactly this path; None: there is no list."""
        self.covers: Callable[[bytes], bool] | None = None
        """Whether a list has named this path, or a directory above it; None: there is no list."""
        self.known = known
        """The files that need not be read, because an earlier ledger holds them; None: there are none."""
        self._timed = timed
        self._wanted = wanted
        self._dedup = wanted.hardlink_dedup and not in_order
        """Whether files with several hard links are set aside until the end."""
        self._settings = settings
        self._skip = len(root) + 1 if root else 0
        self._root = root
        self._prefix = prefix
        self._snapshots = wanted.snapshots or wanted.go_rules or filter_.keeps_snapshots

    def _names(self, directory: bytes) -> DirectoryFilter | None:
        """The patterns as they apply to the names in a directory; None: there are no patterns."""
        if not self.filter.uses_names:
            return None
        path = to_text(directory[self._skip :])
        return self.filter.directory(f"{self._prefix}/{path}".strip("/") if self._prefix else path)

    # -- files -----------------------------------------------------------------------------------------------------

    def files(
        self, chunker: Chunker, number: int, directory: bytes, entries: Sequence[DirectoryEntry], links: list[Link]
    ) -> list[WorkItem]:
        """Packs the files of a directory that are wanted, and counts what is left out.

        Args:
            chunker: packs the files.
            number: index of the session at which the handles are valid.
            directory: their directory, below the export.
            entries: its entries; directories among them are ignored.
            links: receives the symbolic links that are to be followed.

        Returns:
            The items that are now complete.
        """
        counter, wants_size, dedup = self.counter, self.filter.wants_size, self._dedup
        names, named = self._names(directory), self.named
        kept: list[tuple[bytes, int, bytes]] = []
        dated: list[DirectoryEntry] = []
        keep, timed = kept.append, self._timed
        prefix = directory + b"/" if directory else b""
        most_name = MAX_PATH_BYTES - len(prefix)
        regular = FileKind.REGULAR
        for entry in entries:
            name, kind, size, mtime, handle, file_id, names_of_file, _ = entry
            if kind is not regular:
                self._other(prefix + name, entry, names, links)
            elif size > MAX_FILE_BYTES or len(name) > most_name:
                self._refuse(prefix + name, size)
            elif not wants_size(size, mtime) or (names is not None and not names.wants(to_text(name))):
                counter.excluded_files += 1
            elif named is not None and named(prefix + name):
                counter.duplicates += 1
            elif names_of_file > 1 and file_id and dedup:
                self.aside.add(LinkedFile(file_id, size, prefix + name, names_of_file, number, handle, time_of(entry)))
            else:
                keep((name, size, handle))
                if timed:
                    dated.append(entry)
        return self._plan(chunker, directory, kept, _times(dated))

    def _plan(
        self, chunker: Chunker, directory: bytes, files: list[tuple[bytes, int, bytes]], times: list[bytes]
    ) -> list[WorkItem]:
        """Packs files, or the bytes that are wanted of them, except those that an earlier ledger holds.

        ``times`` are those of ``files`` if a ledger is kept; else it is empty.
        """
        if self.known is not None:
            new = self._new(self.known, chunker.only_address, directory, files, times)
            files, times = [files[place] for place in new], [times[place] for place in new]
        if not self.portions.active:
            self.counter.add_files(directory, files)
            return chunker.add_files(directory, files, times)
        items: list[WorkItem] = []
        prefix = directory + b"/" if directory else b""
        for place, file in enumerate(files):
            portion, time = self.portions.of(prefix + file[0], file[1]), times[place : place + 1]
            if portion is None:
                self.counter.add_files(directory, [file])
                items += chunker.add_files(directory, [file], time)
            else:
                items += self.plan_portion(chunker, directory, file, portion, b"".join(time))
        return items

    def _new(
        self,
        known: Known,
        address: str,
        directory: bytes,
        files: Sequence[tuple[bytes, int, bytes]],
        times: Sequence[bytes],
    ) -> list[int]:
        """The indexes of the files that an earlier ledger does not hold; the others are counted as unchanged."""
        above = to_bytes(self.counter.base) + b"/" + (directory + b"/" if directory else b"")
        new = [
            place
            for place, (name, size, _) in enumerate(files)
            if not known.holds(address, above + name, size, times[place])
        ]
        self.counter.unchanged_files += len(files) - len(new)
        return new

    def plan_portion(
        self, chunker: Chunker, directory: bytes, file: tuple[bytes, int, bytes], portion: Portion, times: bytes
    ) -> list[WorkItem]:
        """Packs a portion of a file, or counts a duplicate if it is empty; returns the items that are now complete."""
        if not portion.ranges:
            self.counter.duplicates += 1
            return []
        self.counter.add_portion(directory, file, portion)
        return chunker.add_parts(directory, file, portion.ranges, further=portion.further, times=times)

    def ranges_of(
        self, chunker: Chunker, path: bytes, entry: DirectoryEntry, ranges: Sequence[Range]
    ) -> list[WorkItem]:
        """Packs ranges of a file that a list names, if the filters select the file; returns the items now complete.

        A range is cut at the end of the file, which is counted.
        """
        directory, _, name = path.rpartition(b"/")
        names, size = self._names(directory), entry.size
        if entry.kind is not FileKind.REGULAR:
            self.counter.add_error(path, "a range needs a file, and this is not one")
        elif size > MAX_FILE_BYTES:
            self._refuse(path, size)
        elif not self.filter.wants_size(size, entry.mtime) or (names is not None and not names.wants(to_text(name))):
            self.counter.excluded_files += 1
        else:
            for _, stop in ranges:
                if stop > size:
                    self.counter.add_cut_range(path)
            there = [(start, min(stop, size)) for start, stop in ranges if start < size]
            if there:
                portion = self.portions.of_ranges(path, there)
                times = time_of(entry) if self._timed else b""
                return self.plan_portion(chunker, directory, (name, size, entry.handle), portion, times)
        return []

    def _refuse(self, path: bytes, size: int) -> None:
        what = f"a file of {size} bytes" if size > MAX_FILE_BYTES else f"a path of more than {MAX_PATH_BYTES} bytes"
        self.counter.add_error(path, f"the server lists {what}, which can't be")

    def _other(self, path: bytes, entry: DirectoryEntry, names: DirectoryFilter | None, links: list[Link]) -> None:
        """Takes an entry that is not a regular file: a link or a special file. The walker takes care of directories."""
        if entry.kind is FileKind.DIRECTORY:
            return
        if entry.kind is FileKind.LINK:
            self.counter.links += 1
            if self._wanted.follow_links:
                if names is not None and not names.wants(to_text(entry.name)):
                    self.counter.excluded_files += 1
                else:
                    links.append(Link(path, entry.handle))
                return
        self.counter.skipped_files += 1

    def followed(self, number: int, path: bytes, entry: DirectoryEntry) -> bool:
        """Takes what a link led to; returns False if that is not a regular file of a valid size.

        The file is set aside, unless a filter excludes it or it is read under its own name anyway.
        """
        if entry.kind is not FileKind.REGULAR or entry.size > MAX_FILE_BYTES:
            return False
        if not self.filter.wants_size(entry.size, entry.mtime):
            self.counter.excluded_files += 1
        elif not self._read_anyway(path):
            file_id = entry.file_id if self._wanted.hardlink_dedup else 0
            times = time_of(entry)
            self.aside.add(LinkedFile(file_id, entry.size, path, entry.links, number, entry.handle, times))
        return True

    def _read_anyway(self, path: bytes) -> bool:
        """Whether a file is read under its own name, because it is in the tree and no pattern leaves it out."""
        if self.covers is not None:
            return self.covers(path)
        if self._root and not path.startswith(self._root + b"/"):
            return False
        directory, _, name = path.rpartition(b"/")
        if not self._snapshots and not SNAPSHOTS.isdisjoint(directory[self._skip :].split(b"/")):
            return False
        names = self._names(directory)
        return names is None or names.wants(to_text(name))

    def linked_files(self, make_chunker: Callable[[], Chunker]) -> Iterator[list[WorkItem]]:
        """Plans the files that were set aside; yields their items, part by part."""
        chunker = make_chunker()
        for files, left_out in self.aside.take():
            self.counter.hardlinks += left_out
            items: list[WorkItem] = []
            for one in files:
                directory, _, name = one.path.rpartition(b"/")
                file = [(name, one.size, b"" if one.session else one.handle)]
                items.extend(self._plan(chunker, directory, file, [one.times] if self._timed else []))
            if items:
                yield items
        yield list(chunker.flush())

    # -- directories -----------------------------------------------------------------------------------------------

    def directories(
        self, parent: Directory, path: bytes, entries: Sequence[DirectoryEntry], below: list[Directory]
    ) -> None:
        """Adds the subdirectories of ``parent``, which is at ``path``, that are to be listed to ``below``."""
        found = [entry for entry in entries if entry[1] is FileKind.DIRECTORY]
        if not found:  # as at the end of each branch of the tree
            return
        names = self._names(path)
        loops = parent.above.handles
        above = Above(path, (*loops, hash(parent.handle)) if parent.handle else loops, parent.above.depth + 1)
        for entry in found:
            name, handle = entry.name, entry.handle
            if self._left_out(path, name, names):
                continue
            problem = self._problem(above, name, handle)
            if problem:
                self.counter.add_error(join_bytes(path, name), problem, directory=True)
            else:
                below.append(Directory(above, name, handle))

    def _left_out(self, path: bytes, name: bytes, names: DirectoryFilter | None) -> bool:
        if names is not None and names.prunes(to_text(name)):
            return True
        if name in SNAPSHOTS and not self._snapshots:
            self.counter.add_snapshot(join_bytes(path, name))
            return True
        if self.named is not None and self.named(join_bytes(path, name)):
            self.counter.duplicates += 1
            return True
        return False

    def _problem(self, above: Above, name: bytes, handle: bytes) -> str:
        """Why a directory can't be listed; empty if it can."""
        if handle and hash(handle) in above.handles:
            return "it is one of the directories above it: the tree is a loop there"
        if len(above.path) + len(name) >= MAX_PATH_BYTES:
            return f"its path is longer than {MAX_PATH_BYTES} bytes: not listed"
        if above.depth > self._settings.depth:
            return f"it is deeper than {self._settings.depth} directories ([plan] depth): not listed"
        return ""
