"""Connections to PostgreSQL: a small pool, the named statements, and what goes wrong in our own errors."""

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
"""Connections a process: one for what it waits for, one so that leases are renewed meanwhile."""
CONNECT_SECONDS = 10
START_SECONDS = 60.0
"""How long a server that answers and takes no connection yet is waited for: it starts up, recovers, or has none left."""
IDLE_SECONDS = 300.0
"""An unused connection is given back to the server after this long."""
STATEMENT_SECONDS = 60
IDLE_IN_TRANSACTION_SECONDS = 30
"""A process that is stopped in the middle of a transaction must not hold its locks for longer."""
BEGIN = (
    f"BEGIN; SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_SECONDS}s'"
)
"""In one round trip. The limits last for this transaction alone: behind a pooler the next one may have another session."""
TRANSIENT_CLASSES = ("08", "40", "53", "57", "58")
"""SQLSTATE classes that may pass: connection exception, transaction rollback, insufficient resources, operator
intervention, system error (PostgreSQL manual, appendix A)."""
TRANSIENT_STATES = ("25006", "25P03", "25P04", "55P03")
"""SQLSTATEs that may pass: a write on a server that is a standby at the moment, during a fail-over; a transaction of a
process that was stopped in the middle of it; one that took too long; and a lock that was waited for too long."""
SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

CONNECTION: Mapping[str, Any] = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": None}
"""What each connection is made with. Prepared statements would be a session's, which a pooler gives to others."""
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.1, 2.0

log = logging.getLogger(__name__)

Row: TypeAlias = DictRow
Connection: TypeAlias = psycopg.AsyncConnection[Row]

logging.getLogger("psycopg").setLevel(logging.CRITICAL)
"""The pool logs each attempt to reconnect, and a connection what it ignores as it is put away after a cancelled COPY; callers are
told by an error, once."""
warnings.filterwarnings("ignore", "the connection was obtained using the GSSAPI", RuntimeWarning)
"""For programmers: that some builds of libpq want ``gssencmode`` in the URL. docs/postgres.md says so."""


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
        """The first row, if any."""
        return await (await self.run(name, **values)).fetchone()

    async def all(self, name: str, /, **values: Any) -> list[Row]:
        return await (await self.run(name, **values)).fetchall()

    async def all_binary(self, name: str, /, **values: Any) -> list[Row]:
        """The rows as the server has them: bytes are half as long as in a text."""
        return await (await self.connection.execute(self._sql[name], values, binary=True)).fetchall()

    async def together(self, *names: str, **values: Any) -> list[list[Row]]:
        """The rows of several statements, each of which takes what it needs of ``values``: in one round trip.

        Outside of a transaction, and where libpq has the pipeline mode (from version 14); else one by one. In a pipeline
        a process can be stopped with statements sent that it has not yet asked the results of. For the server it is not
        idle then, so its locks would be held forever.
        """
        if self.connection.info.transaction_status is not TransactionStatus.IDLE or not psycopg.Pipeline.is_supported():
            return [await self.all(name, **values) for name in names]
        async with self.connection.pipeline():
            asked = [await self.run(name, **values) for name in names]
        return [await one.fetchall() for one in asked]

    async def copy_in(self, name: str, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY … FROM STDIN: many rows that can't be there already, whose columns have these types."""
        async with self.connection.cursor().copy(self._sql[name]) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    async def copy_out(self, name: str, types: Sequence[str], /, **values: Any) -> list[tuple[Any, ...]]:
        """COPY … TO STDOUT: rows whose columns have these types. The client puts ``values`` into the text itself."""
        async with self.connection.cursor().copy(self._sql[name], values) as copy:
            copy.set_types(types)
            return [row async for row in copy.rows()]

    async def count(self, name: str, /, **values: Any) -> int:
        """How many rows were changed."""
        return (await self.run(name, **values)).rowcount


class Database:
    """``url`` is any connection string of libpq, so that passwords may come from a service file or ``.pgpass``.

    Raises:
        BrokerError: the connection string can't be parsed; the text never repeats it, since it may hold a password.
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
        """Connects once, so that a wrong URL or password is told at once; then the pool connects as needed."""
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
                pass  # the pool has it from here on
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
        """Everything inside happens, or nothing. Raises ``BrokerUnavailable`` or ``BrokerError``.

        Not in a pipeline, though that would save round trips: a process that is stopped in one, with statements sent that
        it has not yet asked the results of, is not idle for the server, which would let it hold its locks forever.
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
        """Nothing inside happens: only what the server says to it is known. Raises as ``transaction``."""
        async with self.connection() as connection:
            try:
                await connection.execute(BEGIN)
                yield Transaction(connection, self._sql)
            finally:
                with suppress(psycopg.Error):
                    await connection.rollback()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Transaction]:
        """For one statement that is atomic by itself: without BEGIN and COMMIT it is one round trip."""
        async with self.connection() as connection:
            yield Transaction(connection, self._sql)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One of the pool's, for as long as the block lasts."""
        if self._pool is None:
            raise BrokerError(f"the broker {self.shown} is not open")
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task is not None else 0
        with self._translated():
            async with self._pool.connection() as connection:
                if task is not None and task.cancelling() > cancelled_before:
                    # The pool lost it: it waits by asyncio.wait_for, and a connection came at the same moment.
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
    """Connections of which ``first`` is the first one, so that a pool begins with what is open already."""
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
