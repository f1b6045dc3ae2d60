"""Connections to PostgreSQL: a small pool, the named statements, and the translation of errors."""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from importlib import resources
from typing import Any, TypeAlias

import psycopg
from psycopg import conninfo, errors
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from cachewarmer.broker.postgres.refusals import is_answer, refusal, states_said
from cachewarmer.broker.rows import with_numbers
from cachewarmer.errors import BrokerError, BrokerUnavailable

MOST_CONNECTIONS = 2
"""Maximum number of connections of a process: while one waits for work, leases are renewed on the other."""
CONNECT_SECONDS = 10
START_SECONDS = 60.0
"""Maximum wait for a server that answers but accepts no connection: it may be starting, recovering or full."""
IDLE_SECONDS = 300.0
"""Time after which an unused connection is closed."""
STATEMENT_SECONDS = 60
IDLE_IN_TRANSACTION_SECONDS = 30
"""Maximum time for which a process that is stopped in the middle of a transaction holds its locks."""
BEGIN = (
    f"BEGIN; SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'"
)
"""Begins a transaction and sets its limits in one round trip. Behind a pooler, the next one may get another session."""
TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes of transient errors: connection exception, transaction rollback, insufficient resources, operator
intervention, system error (PostgreSQL manual, appendix A)."""
TRANSIENT_STATES = ("25006", "25P03", "25P04", "55P03")
"""SQLSTATEs of further transient errors: a write to a server that is a standby now, during a failover; a transaction
whose process was stopped in the middle of it; one that took too long; and a lock that was not available in time."""
SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

CONNECTION: Mapping[str, Any] = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": None}
"""Options of each connection. Prepared statements are off, because a pooler gives their session to others."""
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.1, 2.0

log = logging.getLogger(__name__)

Row: TypeAlias = DictRow
Connection: TypeAlias = psycopg.AsyncConnection[Row]

logging.getLogger("psycopg").setLevel(logging.CRITICAL)
"""The pool logs each attempt to reconnect, and a connection logs what it ignores when it is closed after a cancelled
COPY; callers get an error instead, once."""
warnings.filterwarnings("ignore", "the connection was obtained using the GSSAPI", RuntimeWarning)
"""A warning that some builds of libpq need ``gssencmode`` in the URL, which docs/postgres.md explains."""


@cache
def statements(schema: str) -> Mapping[str, bytes]:
    """The statements of ``queries.sql`` by name, for the tables in ``schema``."""
    text = resources.files(__package__).joinpath("queries.sql").read_text("utf-8")
    text = re.sub(r"\bSCHEMA\b(?! IF)", schema, text)
    text = re.sub(r"\bNOW\b", "extract(epoch FROM clock_timestamp())::float8", text)
    text = with_numbers(text)
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return {name: body.encode() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


class Transaction:
    """Runs named statements on one connection."""

    def __init__(self, connection: Connection, sql: Mapping[str, bytes]) -> None:
        self.connection = connection
        self._sql = sql

    async def run(self, name: str, /, **values: Any) -> psycopg.AsyncCursor[Row]:
        return await self.connection.execute(self._sql[name], values or None)

    async def one(self, name: str, /, **values: Any) -> Row | None:
        """The first row; None: there is none."""
        return await (await self.run(name, **values)).fetchone()

    async def all(self, name: str, /, **values: Any) -> list[Row]:
        return await (await self.run(name, **values)).fetchall()

    async def all_binary(self, name: str, /, **values: Any) -> list[Row]:
        """The rows in binary format, in which bytes take half as much as in text format."""
        return await (await self.connection.execute(self._sql[name], values, binary=True)).fetchall()

    async def together(self, *names: str, **values: Any) -> list[list[Row]]:
        """The rows of several statements, in one round trip; each statement uses what it needs of ``values``.

        In a transaction, or without the pipeline mode of libpq (version 14 or later), they are executed one by one. If
        a process were stopped in a pipeline, after it has sent statements but before it has asked for the results, the
        server would not consider it idle, and its locks would be held forever.
        """
        if self.connection.info.transaction_status is not TransactionStatus.IDLE or not psycopg.Pipeline.is_supported():
            return [await self.all(name, **values) for name in names]
        async with self.connection.pipeline():
            asked = [await self.run(name, **values) for name in names]
        return [await one.fetchall() for one in asked]

    async def copy_in(self, name: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Runs COPY … FROM STDIN for rows that can't exist already; ``types`` are the types of their columns."""
        async with self.connection.cursor().copy(self._sql[name]) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    async def copy_out(self, name: str, types: Sequence[str], /, **values: Any) -> list[tuple[Any, ...]]:
        """Runs COPY … TO STDOUT for rows with columns of ``types``. The client puts ``values`` into the text."""
        async with self.connection.cursor().copy(self._sql[name], values) as copy:
            copy.set_types(types)
            return [row async for row in copy.rows()]

    async def count(self, name: str, /, **values: Any) -> int:
        """Runs a statement; returns how many rows it changed."""
        return (await self.run(name, **values)).rowcount


class Database:
    """A database with its pool of connections.

    ``url`` is any connection string of libpq, so that passwords may come from a service file or ``.pgpass``.

    Raises:
        BrokerError: the connection string can't be parsed. The message does not repeat it, as it may hold a password.
    """

    def __init__(self, url: str, schema: str) -> None:
        try:
            parts = conninfo.conninfo_to_dict(url)
        except psycopg.Error:
            raise BrokerError("the PostgreSQL broker's URL can't be parsed: postgresql://HOST/DATABASE") from None
        self.shown = _shown(parts)
        """The URL without its password."""
        self.schema = schema
        self._sql = statements(schema)
        parts.setdefault("connect_timeout", CONNECT_SECONDS)
        parts.setdefault("application_name", "cachewarmer")
        self._conninfo = conninfo.make_conninfo("", **parts)
        self._pool: AsyncConnectionPool[Connection] | None = None

    @property
    def is_open(self) -> bool:
        return self._pool is not None

    async def open(self) -> None:
        """Connects once, so that a wrong URL or password is reported at once; then the pool connects as needed."""
        if self._pool is not None:
            return
        first = await self._connect_once()
        pool = AsyncConnectionPool[Connection](
            self._conninfo,
            connection_class=_beginning_with(first),
            kwargs=dict(CONNECTION),
            min_size=0,
            max_size=MOST_CONNECTIONS,
            max_idle=IDLE_SECONDS,
            timeout=CONNECT_SECONDS,
            reconnect_timeout=CONNECT_SECONDS,
            open=False,
        )
        try:
            await pool.open()
            async with pool.connection():
                pass  # the first connection is in the pool from here on
        except BaseException:
            await pool.close(timeout=2.0)
            await first.close()
            raise
        self._pool = pool

    async def _connect_once(self) -> Connection:
        wait, waited = FIRST_WAIT_SECONDS, 0.0
        while True:
            try:
                with self._translated():
                    return await psycopg.AsyncConnection[Row].connect(self._conninfo, **CONNECTION)
            except BrokerUnavailable as error:
                said = str(error.__cause__)
                if waited >= START_SECONDS or not is_answer(said):
                    raise
                states = await asyncio.to_thread(states_said, self._conninfo, CONNECT_SECONDS)
                if (refused := refusal(said, states)) is not None:
                    raise BrokerError(f"the broker {self.shown}: {' '.join(refused.split())}") from error
                if not waited:
                    log.warning("%s; waiting for it", error)
            await asyncio.sleep(wait)
            waited += wait
            wait = min(MOST_WAIT_SECONDS, wait * 2)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(timeout=2.0)

    def statement_of(self, name: str) -> bytes:
        """The text of a statement of ``queries.sql``, for this schema."""
        return self._sql[name]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Makes the block one transaction. Raises ``BrokerUnavailable`` or ``BrokerError``.

        It is not a pipeline, although that would save round trips; see ``Transaction.together``.
        """
        async with self.connection() as connection:
            try:
                await connection.execute(BEGIN)
                yield Transaction(connection, self._sql)
                await connection.commit()
            except BaseException:
                with suppress(psycopg.Error):  # a connection that is lost took the transaction with it
                    await connection.rollback()
                raise

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[Transaction]:
        """Makes the block a transaction that is rolled back, to test permissions. Raises as ``transaction``."""
        async with self.connection() as connection:
            try:
                await connection.execute(BEGIN)
                yield Transaction(connection, self._sql)
            finally:
                with suppress(psycopg.Error):
                    await connection.rollback()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Transaction]:
        """Runs statements that are each atomic, without BEGIN and COMMIT, so that each is one round trip."""
        async with self.connection() as connection:
            yield Transaction(connection, self._sql)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool for the body of a ``with``."""
        if self._pool is None:
            raise BrokerError(f"the broker {self.shown} is not open")
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        with self._translated():
            async with self._pool.connection() as connection:
                if task is not None and task.cancelling() > cancelled_before:
                    # The pool swallows a cancellation that comes at the same moment as a connection (asyncio.wait_for).
                    raise asyncio.CancelledError
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise self._ours(error) from error
        except OSError as error:
            raise BrokerUnavailable(f"the broker {self.shown} can't be reached: {error}") from error

    def _ours(self, error: psycopg.Error) -> BrokerError:
        state = error.sqlstate or ""
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, errors.InsufficientPrivilege):
            return BrokerError(f"the broker {self.shown} refuses this user: {said}")
        if state.startswith(TRANSIENT_CLASSES) or state in TRANSIENT_STATES:
            return BrokerUnavailable(f"the broker {self.shown}: {said}")
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not state.startswith("28"):
            if (refused := refusal(said)) is not None:
                return BrokerError(f"the broker {self.shown}: {refused}")
            return BrokerUnavailable(f"the broker {self.shown} can't be reached: {said}")
        return BrokerError(f"the broker {self.shown}: {said}")


def _beginning_with(first: Connection) -> type[Connection]:
    """A connection class whose first connection is ``first``, so that a pool begins with an open connection."""
    waiting = [first]

    class Beginning(psycopg.AsyncConnection[Row]):
        @classmethod
        async def connect(cls, conninfo: str = "", **settings: Any) -> Connection:  # type: ignore[override]  # as the pool calls it
            if waiting:
                return waiting.pop()
            return await psycopg.AsyncConnection[Row].connect(conninfo, **settings)

    return Beginning


def _shown(parts: Mapping[str, Any]) -> str:
    host = str(parts.get("host") or parts.get("hostaddr") or parts.get("service") or "")
    port = f":{parts['port']}" if parts.get("port") else ""
    user = f"{parts['user']}@" if parts.get("user") else ""
    return f"postgresql://{user}{host}{port}/{parts.get('dbname') or ''}"
