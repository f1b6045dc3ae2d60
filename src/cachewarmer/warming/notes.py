"""The ledger records of the files of one item, for jobs that keep a ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cachewarmer.errors import CacheWarmerError, FileVanished
from cachewarmer.model import PathError, WorkItem
from cachewarmer.model.outcomes import MOST_ERROR_CHARS, FileOutcome, FileStatus, is_plain, quoted, times_of
from cachewarmer.paths import join


class Notes:
    """What a ledger records of each file of an item: the address, the bytes and the seconds, by the file's number."""

    __slots__ = ("addresses", "bytes", "here", "seconds")

    def __init__(self, files: int) -> None:
        self.here = ""
        """The address of the current pass."""
        self.addresses = [""] * files
        self.bytes = [0] * files
        self.seconds = [0.0] * files

    def add(self, number: int, count: int, seconds: float) -> None:
        """Records that ``count`` bytes of a file were received in a request of ``seconds``."""
        self.addresses[number] = self.here
        self.bytes[number] += count
        self.seconds[number] += seconds


def lines(
    item: WorkItem, notes: Notes | None, sizes: Mapping[int, int], problems: Mapping[int, CacheWarmerError]
) -> Iterator[str]:
    """Yields the records of an item's files, one line of JSON each.

    Args:
        item: the work item.
        notes: what was read of its files; None: nothing.
        sizes: the sizes in bytes of files that have changed since the scan, by number.
        problems: the errors of files that could not be read, by number.
    """
    files = item.files or ()
    notes = notes or Notes(len(files))
    base = join(item.access.export, item.path)
    head = base.rstrip("/") + "/"
    # Nearly all names are plain and nearly all files are read whole: their lines are built without a record each.
    plain = not item.parts and not sizes and is_plain(head) and is_plain("".join([entry.path for entry in files]))
    address, said = "", '""'
    for index, (entry, times) in enumerate(zip(files, times_of(item), strict=True)):
        name, size, _ = entry
        if not plain or not name or index in problems:
            yield _outcome(item, index, head + name if name else base, times, notes, sizes, problems).line()
            continue
        if notes.addresses[index] is not address:
            address = notes.addresses[index]
            said = quoted(address)
        mtime, ctime = times
        changed = repr(mtime)
        yield (
            f'{{"path":"{head}{name}","size":{size},"mtime":{changed},"ctime":{changed if ctime == mtime else repr(ctime)},'
            f'"status":"read","bytes":{notes.bytes[index]},"error":"","address":{said},"seconds":{notes.seconds[index]:.6f}}}\n'
        )


def _outcome(
    item: WorkItem,
    index: int,
    path: str,
    times: tuple[float, float],
    notes: Notes,
    sizes: Mapping[int, int],
    problems: Mapping[int, CacheWarmerError],
) -> FileOutcome:
    size = sizes.get(index, (item.files or ())[index].size)
    part = bool(item.parts) and notes.bytes[index] < size
    status, error = FileStatus.PART if part else FileStatus.READ, ""
    if index in problems:
        problem = problems[index]
        gone = isinstance(problem, FileVanished)
        status = FileStatus.VANISHED if gone else FileStatus.FAILED
        error = "" if gone else PathError.of(path, problem).error[:MOST_ERROR_CHARS]
    address, seconds = item.only_address or notes.addresses[index], notes.seconds[index]
    return FileOutcome(path, size, *times, status, notes.bytes[index], error, address, seconds)
