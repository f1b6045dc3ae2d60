"""The outcome of single files: the records of a ledger, and the pieces in which they are transferred and stored.

A piece is what one work item (or one part of a scan) adds to the ledger of its job. Brokers store pieces as they are,
by key: writing the same piece again replaces it. Pieces for ranges of one file have adjacent keys, so that a reader
who goes through them in order can merge them into one record.
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
"""The first byte of a piece. Deflated content follows: lines of JSON, or the unopened message of an item that was given
up.
"""
ITEM, RANGE, SCAN, KEPT, BASE, FURTHER = "i", "r", "s", "k", "b", "f"
"""The first letter of a piece's key, which says what the piece is about:

- ``ITEM``: a work item
- ``RANGE``: a range of a file
- ``SCAN``: names that the scan could not look up
- ``KEPT``: files that the scan left out as unchanged
- ``BASE``: records of an earlier job to compare with, which came with the job
- ``FURTHER``: an item with other bytes of files that another item counts; its key sorts before that of the other
"""
KEY_PATH_BYTES = 200
"""Maximum number of bytes of an item's path in its key."""
IN_KEYS = bytes(
    byte if byte in (string.ascii_letters + string.digits + ".").encode() else ord("-" if byte == ord("/") else "_")
    for byte in range(256)
)
"""Translates each byte of a path for use in a key. Azure tables allow fewer characters than other brokers (Azure REST
reference, "Understanding the Table service data model").
"""
MOST_ERROR_CHARS = 300
PIECES_AT_ONCE = 32
"""Number of pieces that are read from or written to a broker together."""


class FileStatus(StrEnum):
    """The outcome of a file."""

    READ = "read"
    """The whole file was read."""
    PART = "part"
    """Only a part of it was wanted, and was read."""
    UNCHANGED = "unchanged"
    """It was left out, because an earlier ledger says that it was read as it is now."""
    VANISHED = "vanished"
    """It was gone when it should have been read."""
    FAILED = "failed"


WORST_LAST = tuple(FileStatus)
"""If ranges of a file differ in status, the file has the status that comes last here."""
HOLDS = frozenset({FileStatus.READ, FileStatus.UNCHANGED})
"""A file with one of these need not be read again while it has not changed."""


class FileOutcome(NamedTuple):
    """The record of one file: a line of a ledger, whose JSON keys are the names of the fields."""

    path: str
    """The path as other clients of the server see it, including the export."""
    size: int
    """Bytes, at the time when it was read."""
    mtime: float
    ctime: float
    """Unix seconds, as the scan saw them; 0 if unknown."""
    status: str
    """One of ``FileStatus``."""
    bytes: int
    """Number of bytes that were read."""
    error: str
    """Why it failed, in one line; else empty."""
    address: str
    """The mount address where it was read, or should have been read if each address is a separate cache. Empty for
    local directories, or if it was not read.
    """
    seconds: float
    """Time from the first call to the last reply; for several ranges, their sum."""

    @property
    def failed(self) -> bool:
        """Whether the file could not be read."""
        return self.status == FileStatus.FAILED

    def line(self) -> str:
        """The record as JSON, with a line end."""
        return (
            f'{{"path":{quoted(self.path)},"size":{self.size},"mtime":{self.mtime!r},"ctime":{self.ctime!r},'
            f'"status":"{self.status}","bytes":{self.bytes},"error":{quoted(self.error)},'
            f'"address":{quoted(self.address)},"seconds":{self.seconds:.6f}}}\n'
        )

    def merged(self, other: FileOutcome) -> FileOutcome:
        """Merges the records of two ranges of the same file."""
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
    """The text as a JSON string in ASCII; bytes that aren't UTF-8 stay lone surrogates, as in every message."""
    return f'"{text}"' if is_plain(text) else json.dumps(text)


def is_plain(text: str) -> bool:
    """Whether the text needs no escaping in JSON."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def read_line(line: str | bytes) -> FileOutcome:
    """Reads a record from its line. Numbers and texts that are missing or of another type count as 0 or empty, and
    unknown keys are ignored.

    Raises:
        InvalidMessage: the line is not JSON, or has no path or no valid status.
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
    """Packs lines of JSON into a piece."""
    return LINES + zlib.compress("".join(lines).encode("ascii"), 1)


def pack_poison(message: str, reason: str) -> bytes:
    """Packs the message of an item that was given up into a piece, as it is: only readers of the ledger open it.

    Every process that unpacked the item may have crashed because of it, so the one that gives it up must not unpack it.
    """
    return POISON + zlib.compress(json.dumps({"message": message, "reason": reason[:MOST_ERROR_CHARS]}).encode(), 1)


def unpack(piece: bytes) -> str:
    """The lines of a piece, which anyone may have written.

    Raises:
        InvalidMessage: the piece is not valid, or too large.
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
    """The records of an item's files, all failed, if the item was given up."""
    times = times_of(item)
    for entry, (mtime, ctime) in zip(item.files or (), times, strict=True):
        path = join(item.access.export, item.path, entry.path)
        yield FileOutcome(path, entry.size, mtime, ctime, FileStatus.FAILED, 0, reason, item.only_address, 0.0)


def times_of(item: WorkItem) -> Iterable[tuple[float, float]]:
    """The mtime and ctime of each of an item's files, in Unix seconds; zeros if the item does not carry them."""
    if len(item.times) == TIMES.size * len(item.files or ()):
        return TIMES.iter_unpack(item.times)
    return [(0.0, 0.0)] * len(item.files or ())


def item_key(item: WorkItem) -> str:
    """The key of an item's piece: letters, digits, ``-``, ``.`` and ``_``, which any broker can use in its own keys.

    After the first letter, it begins with the item's path, because items are settled roughly in the order in which a
    walk found them. Ids are hashes: with keys in their order, each piece of a large ledger would go to another page of
    the broker's index. Ranges of a file have keys of another form, which earlier versions also use, so that they are
    adjacent whichever version wrote them.
    """
    if item.start >= 0:
        return f"{RANGE}{_digest(item.access.export, item.path, item.only_address)}{item.start:016x}"
    if item.files is not None and len(item.files) == 1 and not item.files[0].path:
        return f"{RANGE}{_digest(item.access.export, item.path, item.only_address)}{_digest(item.item_id)[:16]}"
    return (FURTHER if item.further else ITEM) + _near(item.path) + _digest(item.item_id)


def _near(path: str) -> str:
    """The part of a key that makes the keys of neighbouring paths neighbours. Several paths may have the same."""
    return path.encode(ENCODING, ERRORS)[:KEY_PATH_BYTES].translate(IN_KEYS).decode("ascii")


def scan_part(address: str) -> str:
    """What follows the first letter in the keys of a scan's pieces; ``address`` is empty if the scan is for all."""
    return _digest(address)[:8]


def group_of(key: str) -> str:
    """The part of a key that all pieces of one file have in common; empty if the piece holds whole files."""
    return key[:-16] if key.startswith(RANGE) else ""


def _digest(*parts: str) -> str:
    return blake2b("\0".join(parts).encode(ENCODING, ERRORS), digest_size=16).hexdigest()
