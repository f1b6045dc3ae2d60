"""The ids that a scan has published, because a queue can't tell whether an item was posted before."""

from __future__ import annotations

import hashlib
import sqlite3

CACHE_KIB = 32 * 1024
"""Memory for about a million ids; more of them go to a temporary file without a name."""


class PublishedIds:
    """A set of item ids, 16 bytes each, that moves to disk when it grows. Not for use from several threads."""

    def __init__(self) -> None:
        # An empty name is a temporary database: in memory until the cache is full, and deleted when it is closed.
        self._ids = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
            self._ids.execute(f"PRAGMA {pragma}")
        self._ids.execute("CREATE TABLE ids (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._ids.execute("BEGIN")  # never committed: a commit goes through all pages, and takes longer and longer
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<PublishedIds {self._count}>"

    def add(self, item_id: str) -> bool:
        """Adds an id; returns whether it is new."""
        added = self._ids.execute("INSERT OR IGNORE INTO ids VALUES (?)", (_key(item_id),)).rowcount
        self._count += added
        return added == 1

    def remove(self, item_id: str) -> None:
        """Removes an id whose message could not be posted."""
        self._count -= self._ids.execute("DELETE FROM ids WHERE id = ?", (_key(item_id),)).rowcount

    def close(self) -> None:
        """Deletes the database."""
        self._ids.close()


def _key(item_id: str) -> bytes:
    return hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()
