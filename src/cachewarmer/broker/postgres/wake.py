"""Wakes up when there is work, with LISTEN and NOTIFY on a connection that would be idle otherwise (PostgreSQL manual,
LISTEN).

A process that has nothing to do lends one connection of its pool to this until work comes, and gets it back at once. A
session that listens once continues to: what it is told while it does something else wakes whoever waits next. A pooler in
transaction mode gives each transaction another session, so nothing would be heard: it is known by the server process,
which is another one than the pooler said, and there this only sleeps.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from cachewarmer.broker.postgres.database import Connection, Database
from cachewarmer.errors import BrokerError


class Wake:
    """Waits for notices in the name of the schema."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listening: WeakSet[Connection] = WeakSet()
        self._is_lent = False
        self._hears = True
        self._woken = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Returns when there may be work, after ``seconds`` at the latest; whatever goes wrong is for others to say."""
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
                    return  # work may have come since the caller looked, unheard: it looks once more
        except BrokerError:
            pass  # whoever calls next is told
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
        """Returns when a notice has come. The library would keep those that nobody waits for, without end."""
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
