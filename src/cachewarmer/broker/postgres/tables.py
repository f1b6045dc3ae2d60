"""The tables: made when missing, and brought to this program's version, by one process at a time.

``version`` says which version the tables have, and ``oldest`` the earliest version of a program that may use them. A
program meets tables of

- its own version: it uses them;
- an earlier version: it migrates them, in one transaction under an advisory lock;
- a later version that allows for it: it uses them, and passes by what it does not know;
- any other later version: it refuses, and changes nothing.

What runs already is not asked again, so a migration that earlier programs would do harm to must also take from them
what they work with: it gives ``items`` and ``jobs`` other names.
"""

from __future__ import annotations

from contextlib import suppress

from psycopg import errors

from cachewarmer.broker.postgres.database import Database, Transaction
from cachewarmer.errors import BrokerError, NothingThere

SCHEMA_VERSION = 6
FIRST_VERSION = 1
"""The earliest that can be migrated from."""


async def make_tables(database: Database, *, create: bool) -> None:
    """Creates or migrates the tables. With ``create=False`` nothing is changed.

    Raises:
        NothingThere: there are none, and none are to be created. BrokerError: this program can't work with what is there.
    """
    # Outside of a transaction, which would hold the table until its end: somebody else may want to migrate it.
    # Nor are tables looked for first: mostly they are there, and a database may be far away.
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
    """The version of the tables, if this program can work with it."""
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
    """The version of the tables, and that of the oldest program that may use them."""
    row = await sql.one("version")
    if row is None:
        return 0, 0
    return int(row["version"]), int(row.get("oldest", FIRST_VERSION))


async def _value(sql: Transaction, name: str) -> object:
    row = await sql.one(name)
    return next(iter(row.values())) if row else None
