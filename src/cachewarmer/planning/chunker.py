"""Cuts a stream of files into work items. Pure: entries in, items out.

The same stream always gives the same items with the same ids, whatever its handles and addresses are, so that a scan
that is done twice publishes nothing new. Where an item ends is decided by the paths and the sizes of the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeAlias

from cachewarmer.config import PlanSettings
from cachewarmer.model import FileEntry, WarmJob, WorkItem
from cachewarmer.model.parts import Part, Range
from cachewarmer.paths import ENCODING, ERRORS, to_text

ROW_BYTES = 16
"""Bytes that a file takes in a message in addition to its path: brackets, quotes, commas, the digits of its size."""
TIMES_ROW_BYTES = 24
"""Bytes that the times of a file take in a message: 16 bytes in base64, which compression may not make smaller."""
PART_BYTES = 12
"""Bytes that a range of a file takes in a message in addition to the digits of its two ends."""
MESSAGE_HEAD_BYTES = 4 * 1024
"""Kept free in a message for ids and whatever else is added to an item that holds no files."""
FEW_FILES = 4
"""Up to this many files are added faster one by one than together."""
MOST_RANGES = 4096
"""Maximum number of ranges that one file is cut into: a sparse file may claim exabytes, but the plan must be small."""


File: TypeAlias = tuple[bytes, int, bytes]
"""The name of a file, its size in bytes, and its handle."""


class Chunker:
    """Packs the files of one unit of the scan: call ``add_files`` in order, then ``flush``.

    Args:
        job: what its items inherit, such as access, priority and bandwidth.
        settings: the limits of an item: files, bytes, the length of a range, and the size of a message (0: none).
        export: the export that the sessions have mounted; passed on in the items.
        address: the mount address where the handles are valid; passed on in the items.
        further: whether other items count the files of these.
    """

    def __init__(
        self, job: WarmJob, settings: PlanSettings, *, export: str, address: str, further: bool = False
    ) -> None:
        self.settings = settings
        self._job, self._export, self._address = job, export, address
        self._further: Chunker | None = None
        """Packs the parts of files that other items count."""
        self._template = WorkItem(
            access=replace(job.access, export=export),
            job_id=job.job_id,
            address=address,
            only_address=address if job.each_address else "",
            max_bandwidth=job.max_bandwidth,
            max_bandwidth_hours=job.max_bandwidth_hours,
            priority=job.priority,
            ledger=job.ledger,
            in_order=job.in_order,
            further=further,
        )
        room = settings.message_bytes - MESSAGE_HEAD_BYTES - len(self._template.to_json())
        self._most_name_bytes = room if settings.message_bytes else 1 << 62
        self._row_bytes = ROW_BYTES + (TIMES_ROW_BYTES if job.ledger else 0)
        self._runs: list[tuple[bytes, list[File]]] = []
        """Files in a row that are in the same directory, which comes first."""
        self._count = 0
        self._times: list[bytes] = []
        self._parts: list[Part] = []
        self._bytes = 0
        self._name_bytes = 0

    def anew(self) -> Chunker:
        """Returns an empty chunker for the same job and address, without building again what all its items share."""
        other = copy(self)
        other.clear()
        return other

    def clear(self) -> None:
        """Drops the files that are held and not packed yet."""
        self._further, self._runs, self._times, self._parts = None, [], [], []
        self._count = self._bytes = self._name_bytes = 0

    @property
    def only_address(self) -> str:
        """The only address where the items may be read, for a job whose addresses are separate caches; else empty."""
        return self._template.only_address

    def add(self, directory: bytes, name: bytes, size: int, handle: bytes) -> list[WorkItem]:
        """Adds one file of ``directory`` (below the export, without a leading slash).

        Returns the items that are now complete.
        """
        return self.add_files(directory, [(name, size, handle)])

    def add_files(self, directory: bytes, files: Sequence[File], times: Sequence[bytes] = ()) -> list[WorkItem]:
        """Adds files of one directory, in order; returns the items that are now complete.

        Args:
            directory: their directory, below the export, without a leading slash.
            files: the name, the size in bytes and the handle of each; an empty handle: unknown.
            times: the mtime and ctime of each, packed, for a job that keeps a ledger; else none.
        """
        if len(files) > FEW_FILES and self._add_all(directory, files, times):
            return []
        items: list[WorkItem] = []
        settings = self.settings
        range_bytes, item_files, item_bytes = settings.range_bytes, settings.item_files, settings.item_bytes
        most_name_bytes, row_bytes, length = self._most_name_bytes, self._row_bytes, len(directory)
        for place, (name, size, handle) in enumerate(files):
            if size > range_bytes:
                items.extend(self._before())
                path = directory + b"/" + name if directory else name
                items.extend(self._ranges(path, size, handle, times[place : place + 1]))
                continue
            # Base64 of the deflated list is never longer than the list as JSON; a byte may take six characters there.
            cost = row_bytes + (len(name) + length if name.isascii() else 6 * (len(name) + length))
            if self._count and self._name_bytes + cost > most_name_bytes:
                items.append(self._pack())
            self._keep(directory, [(name, size, handle)], size, cost, times[place : place + 1])
            if self._count >= item_files or self._bytes >= item_bytes:
                items.append(self._pack())
        return items

    def _add_all(self, directory: bytes, files: Sequence[File], times: Sequence[bytes]) -> bool:
        """Adds all the files at once if no item ends among them; returns whether it does."""
        settings, count = self.settings, len(files)
        sizes = [size for _, size, _ in files]
        names = b"".join([name for name, _, _ in files])
        size = sum(sizes)
        cost = len(names) + count * (self._row_bytes + len(directory))
        if not (
            names.isascii()
            and self._count + count < settings.item_files
            and self._bytes + size < settings.item_bytes
            and self._name_bytes + cost <= self._most_name_bytes
            and max(sizes, default=0) <= settings.range_bytes
        ):
            return False
        self._keep(directory, files, size, cost, times)
        return True

    def _keep(self, directory: bytes, files: Sequence[File], size: int, cost: int, times: Sequence[bytes]) -> None:
        if not self._runs or self._runs[-1][0] != directory:
            self._runs.append((directory, []))
        self._runs[-1][1].extend(files)
        self._times.extend(times)
        self._count += len(files)
        self._bytes += size
        self._name_bytes += cost

    def add_parts(
        self,
        directory: bytes,
        file: File,
        ranges: Sequence[Range],
        *,
        further: bool,
        times: bytes = b"",
    ) -> list[WorkItem]:
        """Adds some bytes of one file; returns the items that are now complete.

        Args:
            directory: as for ``add_files``.
            file: its name, its size in bytes and its handle.
            ranges: (start, stop) in bytes; not empty, in order and disjoint.
            further: whether another item counts the file.
            times: its mtime and ctime, packed, for a job that keeps a ledger; else empty.
        """
        if further and not self._template.further:
            if self._further is None:
                self._further = Chunker(
                    self._job, self.settings, export=self._export, address=self._address, further=True
                )
            return [*self._before(), *self._further.add_parts(directory, file, ranges, further=True, times=times)]
        name, size, handle = file
        wanted = sum(stop - start for start, stop in ranges)
        if wanted > self.settings.range_bytes:
            path = directory + b"/" + name if directory else name
            return [*self._before(), *self._large(path, size, handle, ranges, wanted, times)]
        items: list[WorkItem] = []
        cost = self._row_bytes + 6 * (len(name) + len(directory))
        cost += sum(PART_BYTES + len(str(start)) + len(str(stop)) for start, stop in ranges)
        if self._count and self._name_bytes + cost > self._most_name_bytes:
            items.append(self._pack())
        self._parts += [Part(self._count, start, stop) for start, stop in ranges]
        self._keep(directory, [file], wanted, cost, [times] if times else [])
        if self._count >= self.settings.item_files or self._bytes >= self.settings.item_bytes:
            items.append(self._pack())
        return items

    def _before(self) -> list[WorkItem]:
        """The items to hand out before one that is packed separately: all that are held if order counts, else none."""
        return list(self.flush()) if self._job.in_order else []

    def flush(self) -> Iterator[WorkItem]:
        """Yields the last items, if any files are left."""
        if self._runs:
            yield self._pack()
        if self._further is not None:
            yield from self._further.flush()

    def _pack(self) -> WorkItem:
        runs, self._runs, self._count, self._bytes, self._name_bytes = self._runs, [], 0, 0, 0
        parts, self._parts = tuple(self._parts), []
        base = common_directory(runs[0][0], {directory for directory, _ in runs})
        skip = len(base) + 1 if base else 0
        entries: list[FileEntry] = []
        new = tuple.__new__  # a named tuple's own __new__ is a function of Python
        for directory, files in runs:
            prefix = directory[skip:] + b"/" if len(directory) > len(base) else b""
            entries += [
                new(FileEntry, ((prefix + name).decode(ENCODING, ERRORS), size, handle)) for name, size, handle in files
            ]
        times, self._times = b"".join(self._times), []
        return replace(
            self._template, path="/" + to_text(base), files=tuple(entries), times=times, parts=parts
        ).with_content_id()

    def _large(
        self, file_path: bytes, size: int, handle: bytes, ranges: Sequence[Range], wanted: int, times: bytes
    ) -> Iterator[WorkItem]:
        """Cuts ranges of one file into items; each holds as many bytes as a range of a file that is read whole."""
        most = self.settings.range_bytes
        most *= -(-wanted // (most * MOST_RANGES))
        held: list[Range] = []
        room, further = most, self._template.further
        for start, stop in ranges:
            at = start
            while at < stop:
                end = min(stop, at + room)
                held.append((at, end))
                room -= end - at
                at = end
                if not room:
                    yield self._of_ranges(file_path, size, handle, held, times, further=further)
                    held, room, further = [], most, True
        if held:
            yield self._of_ranges(file_path, size, handle, held, times, further=further)

    def _of_ranges(
        self, file_path: bytes, size: int, handle: bytes, ranges: Sequence[Range], times: bytes, *, further: bool
    ) -> WorkItem:
        item = replace(self._template, path="/" + to_text(file_path), files=(FileEntry("", size, handle),), times=times)
        if len(ranges) == 1 and (ranges[0][0] > 0) == further:  # the older form says it as well
            item = replace(item, start=ranges[0][0], stop=ranges[0][1], further=False)
        else:
            item = replace(item, parts=tuple(Part(0, start, stop) for start, stop in ranges), further=further)
        return item.with_content_id()

    def _ranges(self, file_path: bytes, size: int, handle: bytes, times: Sequence[bytes]) -> Iterator[WorkItem]:
        path = "/" + to_text(file_path)
        length = self.settings.range_bytes
        length *= -(-size // (length * MOST_RANGES))
        for start in range(0, size, length):
            stop = min(size, start + length)
            yield replace(
                self._template,
                path=path,
                start=start,
                stop=stop,
                files=(FileEntry("", size, handle),),
                times=b"".join(times),
            ).with_content_id()


def common_directory(first: bytes, directories: set[bytes]) -> bytes:
    """The deepest directory that holds all of ``directories``, of which ``first`` is one."""
    common = first.split(b"/") if first else []
    for directory in directories:
        parts = directory.split(b"/")
        depth = 0
        while depth < min(len(common), len(parts)) and common[depth] == parts[depth]:
            depth += 1
        del common[depth:]
    return b"/".join(common)
