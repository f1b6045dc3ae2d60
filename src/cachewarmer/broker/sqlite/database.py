"""One SQLite file in WAL mode: its schema, brought up to date, and transactions of named statements."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from cachewarmer.broker.rows import with_numbers
from cachewarmer.errors import BrokerError
from cachewarmer.model import TALLY_COUNTS

SCHEMA_VERSION = 3
ADDED_COLUMNS = frozenset({"priority", "bandwidth", "learnt", "learnt_at"})
"""Of the table of jobs: added where they are missing."""
SHRINK_BYTES = 4 * 1024 * 1024
SHRINK_SHARE = 0.25
"""The file is made smaller when so much of it is free, and that is such a share of it."""


@cache
def queries() -> dict[str, str]:
    """The statements of ``queries.sql`` by name."""
    # Not by importlib.resources, which takes long to import.
    path = os.path.join(os.path.dirname(__file__), "queries.sql")
    text = __spec__.loader.get_data(path).decode("utf-8")  # type: ignore[union-attr]  # what has code has this
    text = with_numbers(text)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Database:
    """One open file. ``busy_seconds``: how long a transaction waits for those of other processes."""

    def __init__(self, path: str, busy_seconds: float) -> None:
        self._sql = queries()
        self.connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, cached_statements=256)
        try:
            self.connection.row_factory = sqlite3.Row
            # Counts in a new file, and in one that is vacuumed: freed pages can be given back to the disk.
            self.connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._use_wal(busy_seconds)
            # A commit survives the end of any process; after a power cut the last ones may be read again.
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self._make_schema(path)
        except BaseException:
            self.connection.close()
            raise

    def _use_wal(self, busy_seconds: float) -> None:
        """Turns a new file to WAL. SQLite waits for nobody there: two processes that open it at once must try again."""
        deadline = time.monotonic() + busy_seconds
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _make_schema(self, path: str) -> None:
        if self._version() == SCHEMA_VERSION and self._is_complete():
            return
        with self.transaction():  # others may open the same file: what is to be done is asked for again in here
            version = self._version()
            if version > SCHEMA_VERSION:
                raise BrokerError(f"{path} was made by a newer version of cachewarmer (schema {version})")
            if not version:
                if self.connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise BrokerError(f"{path} is an SQLite file of another program")
                self._run_script("schema")
            for upgrade in range(max(version, 1) + 1, SCHEMA_VERSION + 1):
                self._run_script(f"upgrade_{upgrade}")
            for name in ADDED_COLUMNS - self._columns("jobs"):
                self._run_script(f"add_{name}")
            for name in self._missing_counts():
                self.connection.execute(f"ALTER TABLE tallies ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
            self._run_script("workers_table")
            self._run_script("fleets_table")
            self._run_script("ledger_table")
            self.connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _is_complete(self) -> bool:
        """Whether all is there that is made where it is missing."""
        return not self._missing_counts() and self._has_tables() and self._columns("jobs") >= ADDED_COLUMNS

    def _has_tables(self) -> bool:
        """Whether the tables that are made where they are missing are there."""
        names = "SELECT count(*) FROM sqlite_master WHERE name IN ('workers', 'fleets', 'ledger')"
        return int(self.connection.execute(names).fetchone()[0]) == 3  # noqa: PLR2004

    def _version(self) -> int:
        return self._pragma("user_version")

    def _missing_counts(self) -> list[str]:
        """The columns that a file of an earlier version has not."""
        there = self._columns("tallies")
        return [name for name in TALLY_COUNTS if name not in there]

    def _columns(self, table: str) -> set[str]:
        return {row["name"] for row in self.connection.execute(f"PRAGMA table_info({table})")}

    def _run_script(self, name: str) -> None:
        for statement in self._sql[name].split(";\n"):
            self.connection.execute(statement)

    def close(self) -> None:
        """Lets go of the file."""
        self.connection.close()

    def run(self, query: str, /, **values: Any) -> sqlite3.Cursor:
        """Executes a statement of ``queries.sql``."""
        return self.connection.execute(self._sql[query], values)

    def run_many(self, query: str, rows: Sequence[Sequence[Any]]) -> int:
        """How many rows a statement changed, executed for each of ``rows``."""
        return self.connection.executemany(self._sql[query], rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it; others that write wait."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One snapshot for several SELECTs; in WAL mode it waits for nobody."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Gives free pages back to the disk where they are many. Others may be at work: then it is done another time."""
        free = self._pragma("freelist_count")
        if free * self._pragma("page_size") < SHRINK_BYTES or free < self._pragma("page_count") * SHRINK_SHARE:
            return
        try:
            self.connection.executescript("PRAGMA incremental_vacuum")  # a plain execute frees one page
            if self._pragma("freelist_count") == free:
                self.connection.execute("VACUUM")  # a file of an early version: once, with the setting from above
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                raise

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])
