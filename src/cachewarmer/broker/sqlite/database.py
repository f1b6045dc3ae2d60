"""One SQLite file in WAL mode: its schema with upgrades, and transactions of named statements."""

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
"""Columns of the table of jobs that are added to a file of an earlier version."""
SHRINK_BYTES = 4 * 1024 * 1024
SHRINK_SHARE = 0.25
"""The file is shrunk if at least so many bytes of it are free, and they are at least this fraction of it."""


@cache
def queries() -> dict[str, str]:
    """The statements of ``queries.sql`` by name."""
    # Not with importlib.resources, which is slow to import.
    path = os.path.join(os.path.dirname(__file__), "queries.sql")
    text = __spec__.loader.get_data(path).decode("utf-8")  # type: ignore[union-attr]  # any module has this
    text = with_numbers(text)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Database:
    """An open file. ``busy_seconds``: how long a transaction waits for those of other processes."""

    def __init__(self, path: str, busy_seconds: float) -> None:
        self._sql = queries()
        self.connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, cached_statements=256)
        try:
            self.connection.row_factory = sqlite3.Row
            # Takes effect in a new file, and after a VACUUM: freed pages can then be given back to the disk.
            self.connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._use_wal(busy_seconds)
            # A commit survives the end of any process; after a power failure, the last ones may be lost and repeated.
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self._make_schema(path)
        except BaseException:
            self.connection.close()
            raise

    def _use_wal(self, busy_seconds: float) -> None:
        """Switches a new file to WAL mode; tries again, since SQLite does not wait for another process that does so."""
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
        with self.transaction():  # another process may have done it meanwhile, so the version is read again
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
        """Whether nothing is missing that is added to files of earlier versions."""
        return not self._missing_counts() and self._has_tables() and self._columns("jobs") >= ADDED_COLUMNS

    def _has_tables(self) -> bool:
        """Whether the tables that are added to files of earlier versions exist."""
        names = "SELECT count(*) FROM sqlite_master WHERE name IN ('workers', 'fleets', 'ledger')"
        return int(self.connection.execute(names).fetchone()[0]) == 3  # noqa: PLR2004

    def _version(self) -> int:
        return self._pragma("user_version")

    def _missing_counts(self) -> list[str]:
        """The columns of tallies that a file of an earlier version lacks."""
        there = self._columns("tallies")
        return [name for name in TALLY_COUNTS if name not in there]

    def _columns(self, table: str) -> set[str]:
        return {row["name"] for row in self.connection.execute(f"PRAGMA table_info({table})")}

    def _run_script(self, name: str) -> None:
        for statement in self._sql[name].split(";\n"):
            self.connection.execute(statement)

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()

    def run(self, query: str, /, **values: Any) -> sqlite3.Cursor:
        """Executes a statement of ``queries.sql``."""
        return self.connection.execute(self._sql[query], values)

    def run_many(self, query: str, rows: Sequence[Sequence[Any]]) -> int:
        """Executes a statement for each of ``rows``; returns how many rows were changed."""
        return self.connection.executemany(self._sql[query], rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes the block one transaction, for which other writers wait. An exception rolls it back."""
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
        """Gives several SELECTs one snapshot. In WAL mode, this waits for nobody."""
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def shrink(self) -> None:
        """Gives free pages back to the disk if there are many, unless the file is busy."""
        free = self._pragma("freelist_count")
        if free * self._pragma("page_size") < SHRINK_BYTES or free < self._pragma("page_count") * SHRINK_SHARE:
            return
        try:
            self.connection.executescript("PRAGMA incremental_vacuum")  # a plain execute frees one page
            if self._pragma("freelist_count") == free:
                self.connection.execute("VACUUM")  # once, for a file of an early version without the setting above
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                raise

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])
