"""Wakes up when there is work, with LISTEN and NOTIFY on an otherwise idle connection (PostgreSQL manual, LISTEN).

A process that has nothing to do lends a connection of its pool to this until work comes, and gets it back at once. A
session that listens once keeps listening: a notice that it gets while it does something else wakes the next caller that
waits. A pooler in transaction mode gives each transaction another session, so that no notice would arrive. It is
recognized by the server process, whose id differs from the one that the pooler reported; then this only sleeps.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from cachewarmer.broker.postgres.database import Connection, Database
from cachewarmer.errors import BrokerError


class Wake:
    """Waits for the notices of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listening: WeakSet[Connection] = WeakSet()
        self._is_lent = False
        self._hears = True
        self._woken = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Returns when there may be work, after ``seconds`` at the latest. Errors are left to the next call."""
        if not self._woken.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._until_woken()
        self._woken.clear()

    async def _until_woken(self) -> None:
        if not self._hears or self._is_lent:
            await self._woken.wait()
            return
        self._is_lent = True
        try:
            async with self._database.connection() as connection:
                if connection in self._listening:
                    await self._hear(connection)
                elif await self._begin(connection):
                    return  # work may have come unnoticed since the caller looked: it looks again
        except BrokerError:
            pass  # the next call reports it
        finally:
            self._is_lent = False
        await self._woken.wait()

    async def _begin(self, connection: Connection) -> bool:
        row = await (await connection.execute("SELECT pg_backend_pid() AS pid")).fetchone()
        self._hears = row is not None and row["pid"] == connection.info.backend_pid
        if self._hears:
            connection.add_notify_handler(self._heard)
            await connection.execute(self._database.statement_of("listen"))
            self._listening.add(connection)
        return self._hears

    def _heard(self, _notice: Any = None) -> None:
        self._woken.set()

    async def _hear(self, connection: Connection) -> None:
        """Returns when a notice has come. The library itself would accumulate notices that nobody waits for."""
        loop, socket, readable = asyncio.get_running_loop(), connection.fileno(), asyncio.Event()
        loop.add_reader(socket, readable.set)
        try:
            while not self._woken.is_set():
                await readable.wait()
                readable.clear()
                connection.pgconn.consume_input()
                while connection.pgconn.notifies():
                    self._woken.set()
        finally:
            loop.remove_reader(socket)
