"""Writes and reads long data, the file list and the ledger of a job, in few round trips.

Neither is written or read in a single statement. Such a statement would occupy a connection, and keep the server from
cleaning up (VACUUM), for as long as its reader or writer is blocked, such as by a full pipe.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from cachewarmer.broker import record
from cachewarmer.broker.postgres.database import Database, Transaction
from cachewarmer.broker.postgres.standing import add_pieces

PAGE_BYTES = 8 * 1024 * 1024
"""Maximum size of the pieces read together, so that small ones need few round trips and large ones little memory."""
PAGE_PIECES = 4096
CHUNK_TYPES = ("text", "int4", "bytea")
"""The types of the columns of ``copy_chunks``."""
CHUNKS_AT_ONCE = 64
"""Rows of a list of files written or read together; each holds up to 64 KiB."""


class FileLists:
    """The lists of files of jobs, stored as rows with one chunk each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, job_id: str, chunks: AsyncIterable[bytes]) -> None:
        """Stores the list of a job that is about to be submitted, in place of what an interrupted submission left."""
        async with self._database.statement() as sql:
            await sql.run("drop_chunks", job_id=job_id)
        number, together = 0, list[bytes]()
        async for chunk in chunks:
            together.append(chunk)
            if len(together) == CHUNKS_AT_ONCE:
                await self._put(job_id, number, together)
                number += len(together)
                together.clear()
        if together:
            await self._put(job_id, number, together)

    async def _put(self, job_id: str, first: int, chunks: Sequence[bytes]) -> None:
        async with self._database.statement() as sql:
            rows = ((job_id, number, chunk) for number, chunk in enumerate(chunks, first))
            await sql.copy_in("copy_chunks", CHUNK_TYPES, rows)

    async def read(self, job_id: str) -> AsyncIterator[bytes]:
        """Yields the chunks in order."""
        number = 0
        while True:
            async with self._database.statement() as sql:
                end = number + CHUNKS_AT_ONCE
                found = await sql.copy_out("copy_out_chunks", ("bytea",), job_id=job_id, first=number, end=end)
            for (chunk,) in found:
                yield chunk
            if len(found) < CHUNKS_AT_ONCE:
                return
            number = end


class Ledgers:
    """The pieces of ledgers, by job and key."""

    def __init__(self, database: Database, managed: record.ManagedJobs) -> None:
        self._database = database
        self._managed = managed

    async def read(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        """Yields all pieces of a job with their keys, sorted by key."""
        after = ""
        while True:
            async with self._database.statement() as sql:
                page = {"after": after, "most": PAGE_PIECES, "most_bytes": PAGE_BYTES}
                found = await sql.all_binary("pieces", job_id=job_id, **page)
            if not found:
                return
            for row in found:
                yield row["key"], row["piece"]
            after = found[-1]["key"]

    async def add(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        """Stores pieces that are not part of a receipt. Raises ``LeaseLost``."""
        async with self._database.transaction() as sql:
            await self._check_lease(sql, job_id)
            await add_pieces(sql, job_id, pieces)

    async def forget_scanned(self, job_id: str, part: str) -> None:
        """Drops the pieces that a scan, or a part of it, has written. Raises ``LeaseLost``."""
        async with self._database.transaction() as sql:
            await self._check_lease(sql, job_id)
            await sql.run("drop_scanned", job_id=job_id, part=part)

    async def forget(self, job_id: str) -> None:
        """Drops all pieces of a job."""
        async with self._database.statement() as sql:
            await sql.run("drop_ledger", job_id=job_id)

    async def _check_lease(self, sql: Transaction, job_id: str) -> None:
        row = await sql.one("job_locked", job_id=job_id)
        if row is not None:
            self._managed.check(job_id, row["token"])
