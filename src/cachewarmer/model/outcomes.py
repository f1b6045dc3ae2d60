"""The outcome of single files: the records of a ledger, and the pieces in which they travel and are kept.

A piece is what one work item (or one part of a scan) adds to the ledger of its job. Brokers keep pieces as they are, by
keys: whoever writes the same piece again puts it in the place of the first. Pieces of ranges of one file have keys beside
each other, so that who reads all of them in order can make one record of them.
"""

from __future__ import annotations

import json
import string
import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from hashlib import blake2b
from typing import Any, NamedTuple

from cachewarmer.errors import InvalidMessage
from cachewarmer.model.jobs import TIMES, WorkItem
from cachewarmer.paths import ENCODING, ERRORS, join, to_bytes
from cachewarmer.wire import MAX_INFLATED_BYTES

LINES, POISON = b"L", b"P"
"""The first byte of a piece: what follows is deflated. Lines of JSON, or an item that was given up, unopened."""
ITEM, RANGE, SCAN, KEPT, BASE, FURTHER = "i", "r", "s", "k", "b", "f"
"""The first letter of a key: who wrote the piece. An item, a range of a file, the scan (what it could not look at), the
scan again (what it left out as unchanged), or who submitted the job: records of an earlier one, to compare with. ``FURTHER``:
an item with other bytes of files that another item counts; it comes before that in the order of keys."""
KEY_PATH_BYTES = 200
"""Of an item's path, in its key."""
IN_KEYS = bytes(
    byte if byte in (string.ascii_letters + string.digits + ".").encode() else ord("-" if byte == ord("/") else "_")
    for byte in range(256)
)
"""What stands for each byte of a path in a key: Azure's table allows less than others (REST reference, Understanding the
Table Service Data Model)."""
MOST_ERROR_CHARS = 300
PIECES_AT_ONCE = 32
"""That a broker reads or is given together."""


class FileStatus(StrEnum):
    """The outcome of a file."""

    READ = "read"
    """All that was to be read of it was read."""
    PART = "part"
    """A part of it was to be read, and was read."""
    UNCHANGED = "unchanged"
    """It was left out: an earlier ledger says that it was read as it is now."""
    VANISHED = "vanished"
    """It was gone when it was to be read."""
    FAILED = "failed"


WORST_LAST = tuple(FileStatus)
"""Of several ranges of a file, the status that comes last here is the file's, where they differ."""
HOLDS = frozenset({FileStatus.READ, FileStatus.UNCHANGED})
"""A file with one of these need not be read again while it has not changed."""


class FileOutcome(NamedTuple):
    """The record of one file: a line of a ledger, whose JSON keys are the names of the fields."""

    path: str
    """The path as other clients of the server see it, including the export."""
    size: int
    """Bytes, as it was when it was read."""
    mtime: float
    ctime: float
    """Unix seconds, as the scan saw them; 0 if unknown."""
    status: str
    bytes: int
    """Read of it."""
    error: str
    """Why it failed, in one line; else empty."""
    address: str
    """The mount address that it was read at, or was to be read at where each is a cache of its own; empty: a local
    directory, or it was not read.
    """
    seconds: float
    """Time from the first call to the last reply; for several ranges, their sum."""

    @property
    def failed(self) -> bool:
        return self.status == FileStatus.FAILED

    def line(self) -> str:
        """The JSON, with the end of its line."""
        return (
            f'{{"path":{quoted(self.path)},"size":{self.size},"mtime":{self.mtime!r},"ctime":{self.ctime!r},'
            f'"status":"{self.status}","bytes":{self.bytes},"error":{quoted(self.error)},'
            f'"address":{quoted(self.address)},"seconds":{self.seconds:.6f}}}\n'
        )

    def merged(self, other: FileOutcome) -> FileOutcome:
        """One record of two ranges of the file."""
        worse = max(self, other, key=lambda one: WORST_LAST.index(FileStatus(one.status)))
        return self._replace(
            size=max(self.size, other.size),
            status=worse.status,
            bytes=self.bytes + other.bytes,
            error=worse.error,
            address=self.address or other.address,
            seconds=self.seconds + other.seconds,
        )


def quoted(text: str) -> str:
    """Text as JSON, in ASCII; bytes that aren't UTF-8 stay lone surrogates, as in every message."""
    return f'"{text}"' if is_plain(text) else json.dumps(text)


def is_plain(text: str) -> bool:
    """Whether text stands for itself in JSON."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def read_line(line: str | bytes) -> FileOutcome:
    """A record from its line; keys that are missing or of another type count as empty, unknown ones are passed by.

    Raises:
        InvalidMessage: it is not JSON, or names no path.
    """
    try:
        values = json.loads(line)
        path = values["path"]
        to_bytes(path)
        return FileOutcome(
            path,
            _number(values.get("size"), int),
            _number(values.get("mtime"), float),
            _number(values.get("ctime"), float),
            str(FileStatus(values.get("status"))),
            _number(values.get("bytes"), int),
            _text(values.get("error")),
            _text(values.get("address")),
            _number(values.get("seconds"), float),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise InvalidMessage(f"not a record of a ledger: {str(error)[:100]}") from None


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e18 < value < 1e19:
        return kind(0)
    return kind(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


# -- pieces --------------------------------------------------------------------------------------------------------


def pack(lines: Iterable[str]) -> bytes:
    """A piece of lines of JSON."""
    return LINES + zlib.compress("".join(lines).encode("ascii"), 1)


def pack_poison(message: str, reason: str) -> bytes:
    """The piece of an item that was given up: its message as it is, opened only by who reads the ledger.

    Each process that unpacked the item may have ended over it, so who gives it up must not.
    """
    return POISON + zlib.compress(json.dumps({"message": message, "reason": reason[:MOST_ERROR_CHARS]}).encode(), 1)


def unpack(piece: bytes) -> str:
    """The lines of a piece, whoever wrote it.

    Raises:
        InvalidMessage: it can't be read.
    """
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(piece[1:], MAX_INFLATED_BYTES)
        if inflater.unconsumed_tail or not inflater.eof:
            raise InvalidMessage("a piece of the ledger is truncated, or too large when inflated")
        if piece[:1] == LINES:
            return raw.decode("ascii")
        if piece[:1] == POISON:
            values = json.loads(raw)
            item = WorkItem.from_json(values["message"])
            return "".join(one.line() for one in given_up(item, str(values["reason"])))
    except (zlib.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidMessage(f"a piece of the ledger can't be read: {str(error)[:100]}") from None
    raise InvalidMessage("a piece of the ledger is of an unknown kind")


def given_up(item: WorkItem, reason: str) -> Iterator[FileOutcome]:
    """The failed files of an item that nobody reads any more."""
    times = times_of(item)
    for entry, (mtime, ctime) in zip(item.files or (), times, strict=True):
        path = join(item.access.export, item.path, entry.path)
        yield FileOutcome(path, entry.size, mtime, ctime, FileStatus.FAILED, 0, reason, item.only_address, 0.0)


def times_of(item: WorkItem) -> Iterable[tuple[float, float]]:
    """The mtime and ctime of each of an item's files; zeros where it does not say."""
    if len(item.times) == TIMES.size * len(item.files or ()):
        return TIMES.iter_unpack(item.times)
    return [(0.0, 0.0)] * len(item.files or ())


def item_key(item: WorkItem) -> str:
    """The key of an item's piece: letters, digits, ``-`` ``.`` and ``_``, of which any broker makes a key of its own.

    It begins with the item's path, since items are settled about as a walk came by them: in the order of ids, which are
    hashes, each piece of a large ledger would be written to another page of its index. Ranges of a file have a key of their
    own, as versions before this one make it too, for theirs must stand beside each other whoever wrote them.
    """
    if item.start >= 0:
        return f"{RANGE}{_digest(item.access.export, item.path, item.only_address)}{item.start:016x}"
    if item.files is not None and len(item.files) == 1 and not item.files[0].path:
        return f"{RANGE}{_digest(item.access.export, item.path, item.only_address)}{_digest(item.item_id)[:16]}"
    return (FURTHER if item.further else ITEM) + _near(item.path) + _digest(item.item_id)


def _near(path: str) -> str:
    """What puts the keys of paths that lie near each other near each other; paths may have it in common."""
    return path.encode(ENCODING, ERRORS)[:KEY_PATH_BYTES].translate(IN_KEYS).decode("ascii")


def scan_part(address: str) -> str:
    """What stands behind the first letter in the keys of a scan's pieces: of one address, or of all (empty)."""
    return _digest(address)[:8]


def group_of(key: str) -> str:
    """What the pieces of one file have in common in their keys; empty: the piece holds whole files."""
    return key[:-16] if key.startswith(RANGE) else ""


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(ENCODING, ERRORS), digest_size=16).hexdigest()
