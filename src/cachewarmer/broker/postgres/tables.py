"""Creates the tables if they are missing, and migrates them to the version of this program, one process at a time.

``version`` is the version of the tables, and ``oldest`` the earliest version of a program that may use them. If a
program finds tables of

- its own version, it uses them;
- an earlier version, it migrates them, in one transaction under an advisory lock;
- a later version that permits it, it uses them, and ignores what it does not know;
- any other later version, it refuses to work, and changes nothing.

Programs that are running already do not check again. So a migration that they would damage must also make them fail, by
renaming ``items`` and ``jobs``.
"""

from __future__ import annotations

from contextlib import suppress

from psycopg import errors

from cachewarmer.broker.postgres.database import Database, Transaction
from cachewarmer.errors import BrokerError, NothingThere

SCHEMA_VERSION = 6
FIRST_VERSION = 1
"""The earliest version that can be migrated."""


async def make_tables(database: Database, *, create: bool) -> None:
    """Creates or migrates the tables. With ``create=False``, nothing is changed.

    Raises:
        NothingThere: there are no tables, and none may be created.
        BrokerError: this program can't work with the tables.
    """
    # Outside of a transaction, which would lock the table until its end while another process may want to migrate it.
    # There is no check for the tables first: they usually exist, and the database may be far away.
    async with database.statement() as sql:
        with suppress(errors.UndefinedTable):
            if await _check(sql, database.shown, migrates=create) >= SCHEMA_VERSION:
                return
    if not create:
        raise NothingThere(
            f"there is nothing at {database.shown}: no job was ever submitted there; check the name of the database"
        )
    async with database.transaction() as sql:
        await sql.run("lock_tables")
        if not await _value(sql, "has_tables"):
            await sql.run("tables_1")
        for version in range(await _check(sql, database.shown, migrates=True), SCHEMA_VERSION):
            await sql.run(f"tables_{version + 1}")


async def _check(sql: Transaction, shown: str, *, migrates: bool) -> int:
    """The version of the tables. Raises ``BrokerError`` if this program can't work with it."""
    version, oldest = await _versions(sql)
    theirs = f"the tables at {shown} have schema version {version}, and this program has {SCHEMA_VERSION}"
    if oldest > SCHEMA_VERSION:
        raise BrokerError(f"{theirs}: use a newer version of cachewarmer")
    if version < FIRST_VERSION:
        raise BrokerError(f"{theirs}: this version is too old to be migrated")
    if version < SCHEMA_VERSION and not migrates:
        raise BrokerError(f"{theirs}: start a manager of this version, which migrates them")
    return version


async def _versions(sql: Transaction) -> tuple[int, int]:
    """The version of the tables, and the earliest version of a program that may use them."""
    row = await sql.one("version")
    if row is None:
        return 0, 0
    return int(row["version"]), int(row.get("oldest", FIRST_VERSION))


async def _value(sql: Transaction, name: str) -> object:
    row = await sql.one(name)
    return next(iter(row.values())) if row else None
