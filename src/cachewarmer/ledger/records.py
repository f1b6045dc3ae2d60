"""The records of a job, one a file, from the pieces that its broker keeps: in order of their keys, in bounded memory."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import closing

from cachewarmer.model.outcomes import BASE, FURTHER, FileOutcome, FileStatus, group_of, read_line, unpack
from cachewarmer.paths import to_bytes


async def lines(pieces: AsyncIterable[tuple[str, bytes]], *, each_address: bool = False) -> AsyncIterator[str]:
    """Text of whole lines, a JSON object each; ``pieces`` in order of their keys, as ``Broker.ledger`` gives them.

    What the job was only submitted with, to compare with, is left out. ``each_address``: a file has a record for each
    address.

    Raises:
        InvalidMessage: a piece can't be read.
    """
    group, merged = "", None
    with closing(_Further(each_address=each_address)) as further:
        async for key, piece in pieces:
            of = group_of(key)
            if merged is not None and of != group:
                yield further.joined(merged).line()
                merged = None
            group = of
            if key.startswith(BASE):
                continue
            text = unpack(piece)
            if key.startswith(FURTHER):
                further.add(text)
            elif of:
                for one in map(read_line, text.splitlines()):
                    merged = one if merged is None else merged.merged(one)
            else:
                yield further.joined_lines(text)
        if merged is not None:
            yield further.joined(merged).line()
        for one in further.left():
            yield one.line()


def _whole(one: FileOutcome) -> FileOutcome:
    """The record of a file of which ranges were read: all of it, or a part."""
    if one.status in (FileStatus.READ, FileStatus.PART):
        return one._replace(status=FileStatus.PART if one.bytes < one.size else FileStatus.READ)
    return one


class _Further:
    """Records of other bytes of files that are named elsewhere, in a temporary database: only its cache is in memory."""

    def __init__(self, *, each_address: bool) -> None:
        self._each_address = each_address
        self._rows: sqlite3.Connection | None = None

    def add(self, text: str) -> None:
        if self._rows is None:
            self._rows = sqlite3.connect("", isolation_level=None)
            self._rows.execute("PRAGMA journal_mode = OFF")
            self._rows.execute("CREATE TABLE further (path BLOB PRIMARY KEY, line TEXT) WITHOUT ROWID")
        for one in map(read_line, text.splitlines()):
            earlier = self._take(one)
            merged = one if earlier is None else earlier.merged(one)
            self._rows.execute("INSERT INTO further VALUES (?, ?)", (self._key(one), merged.line()))

    def _take(self, one: FileOutcome) -> FileOutcome | None:
        if self._rows is None:
            return None
        found = self._rows.execute("DELETE FROM further WHERE path = ? RETURNING line", (self._key(one),)).fetchall()
        return read_line(found[0][0]) if found else None

    def joined(self, one: FileOutcome) -> FileOutcome:
        """A file's record with what was read of it elsewhere."""
        other = self._take(one)
        return _whole(one if other is None else one.merged(other))

    def joined_lines(self, text: str) -> str:
        """The same for lines; nearly always, there is nothing to join."""
        if self._rows is None:
            return text
        found = []
        for line in text.splitlines(keepends=True):
            one = read_line(line)
            other = self._take(one)
            found.append(line if other is None else _whole(one.merged(other)).line())
        return "".join(found)

    def left(self) -> Iterator[FileOutcome]:
        """Those of files that nothing else named: whoever should have counted them has not come to it."""
        if self._rows is not None:
            for (line,) in self._rows.execute("SELECT line FROM further"):
                yield _whole(read_line(line))

    def close(self) -> None:
        """Forgets everything."""
        if self._rows is not None:
            self._rows.close()

    def _key(self, one: FileOutcome) -> bytes:
        return to_bytes(one.path) + (b"\0" + to_bytes(one.address) if self._each_address else b"")


async def records(
    pieces: AsyncIterable[tuple[str, bytes]], *, each_address: bool = False
) -> AsyncIterator[FileOutcome]:
    """The records themselves. Raises ``InvalidMessage`` as ``lines``."""
    async for text in lines(pieces, each_address=each_address):
        for line in text.splitlines():
            yield read_line(line)
