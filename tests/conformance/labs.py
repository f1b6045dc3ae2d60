"""What the conformance suite needs of each broker: a fresh store, several handles on it, and time that passes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path

from cachewarmer.broker.base import Broker, JobLease, WorkLease
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.model import Access, FileEntry, JobState, Receipt, ScanTotals, WarmJob, WorkerReport, WorkItem
from cachewarmer.model.live import KEEP_SECONDS


class Lab:
    """One fresh store. ``lease_seconds`` is short where time is real."""

    name: str
    lease_seconds: float
    can_choose_job: bool

    def __init__(self) -> None:
        self.handles = AsyncExitStack()

    def make(self, settings: LeaseSettings) -> Broker:
        raise NotImplementedError

    async def broker(self, max_deliveries: int = 5) -> Broker:
        """Another handle on the same store, as another process would have it."""
        settings = LeaseSettings(max_deliveries=max_deliveries, lease_seconds=self.lease_seconds)
        return await self.handles.enter_async_context(self.make(settings))

    async def advance(self, seconds: float) -> None:
        raise NotImplementedError

    async def expire(self) -> None:
        """Every lease taken until now runs out."""
        await self.advance(self.lease_seconds + 0.3)

    async def poison_reasons(self) -> list[str]:
        raise NotImplementedError

    def looking(self) -> Broker:
        """A handle for somebody who only looks, not opened."""
        raise NotImplementedError

    async def is_empty(self) -> bool:
        """Whether nothing has been created."""
        raise NotImplementedError

    async def lose_items(self) -> None:
        """Everything that waits to be read is deleted by hand."""
        raise NotImplementedError

    async def damage_job(self, job_id: str) -> None:
        """Somebody writes nonsense into the job's record."""
        raise NotImplementedError

    async def write_learnt(self, job_id: str, text: str, seconds: float = 0.0) -> None:
        """Somebody writes this, and where ``seconds`` says so this time, as what the job has taught."""
        raise NotImplementedError

    async def damage_worker(self, report: WorkerReport) -> None:
        """Somebody writes nonsense into a worker's row."""
        raise NotImplementedError

    timed: tuple[str, ...] = ("jobs", "items", "fleets", "managers", "workers")
    """The tables whose rows name a time that somebody may have written."""

    async def set_times(self, table: str, value: float) -> None:
        """Somebody writes another time into all rows of a table."""
        raise NotImplementedError

    async def age_workers(self, monkeypatch) -> None:
        """The rows of workers that are there become old enough to be forgotten."""
        raise NotImplementedError

    async def worker_rows(self) -> int:
        """How many there are, seen or not."""
        raise NotImplementedError


TIMES = {
    "jobs": "lease_until",
    "items": "visible_at",
    "fleets": "lease_until",
    "managers": "seen_at",
    "workers": "seen_at",
}
"""The column of each table in a database."""


class SqliteLab(Lab):
    name = "sqlite"
    lease_seconds = 60.0
    can_choose_job = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = str(folder / "broker.db")
        self.now = 1_000_000.0

    def make(self, settings):
        return SqliteBroker(self.path, settings, clock=lambda: self.now)

    def looking(self):
        return SqliteBroker(self.path, create=False)

    async def is_empty(self):
        return not list(Path(self.path).parent.iterdir())

    def run(self, statement: str, *values: object) -> None:
        """Changes the file by hand."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(statement, values)

    async def lose_items(self):
        self.run("DELETE FROM items WHERE settled = 0")

    async def damage_job(self, job_id):
        self.run("UPDATE jobs SET state = 'bogus' WHERE job_id = ?", job_id)

    async def write_learnt(self, job_id, text, seconds=0.0):
        self.run("UPDATE jobs SET learnt = ?, learnt_at = ? WHERE job_id = ?", text, seconds or self.now, job_id)

    async def damage_worker(self, report):
        self.run("UPDATE workers SET report = '{\"jobs\": 1}' WHERE key = ?", report.key)

    async def set_times(self, table, value):
        self.run(f"UPDATE {table} SET {TIMES[table]} = ?", value)

    async def age_workers(self, monkeypatch):
        await self.advance(KEEP_SECONDS + 1)

    async def worker_rows(self):
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return connection.execute("SELECT count(*) FROM workers").fetchone()[0]

    async def advance(self, seconds):
        self.now += seconds

    async def poison_reasons(self):
        connection = sqlite3.connect(self.path)
        try:
            return [row[0] for row in connection.execute("SELECT reason FROM poison ORDER BY seq")]
        finally:
            connection.close()


class AzuriteLab(Lab):
    name = "azurite"
    lease_seconds = 2.0
    can_choose_job = False

    def __init__(self, connection_string: str) -> None:
        super().__init__()
        self.connection_string = connection_string
        self.prefix = "t" + secrets.token_hex(6)

    def make(self, settings):
        from cachewarmer.broker.azure.broker import AzureBroker

        return AzureBroker("warmtest", self.prefix, settings, connection_string=self.connection_string)

    def looking(self):
        from cachewarmer.broker.azure.broker import AzureBroker

        return AzureBroker("warmtest", self.prefix, create=False, connection_string=self.connection_string)

    async def is_empty(self):
        from azure.storage.queue.aio import QueueServiceClient

        async with QueueServiceClient.from_connection_string(self.connection_string) as service:
            return not [queue async for queue in service.list_queues(name_starts_with=self.prefix)]

    async def lose_items(self):
        async with self.queue("work") as queue:
            await queue.clear_messages()

    async def damage_job(self, job_id):
        from azure.data.tables import UpdateMode

        async with self.table() as table:
            row = {"PartitionKey": f"{self.prefix}.jobs", "RowKey": job_id, "State": "bogus"}
            await table.update_entity(row, mode=UpdateMode.MERGE)

    async def write_learnt(self, job_id, text, seconds=0.0):
        from azure.data.tables import UpdateMode

        row = {"PartitionKey": f"{self.prefix}.jobs", "RowKey": job_id, "Learnt": text}
        async with self.table() as table:
            await table.update_entity({**row, **({"LearntAt": seconds} if seconds else {})}, mode=UpdateMode.MERGE)

    async def damage_worker(self, report):
        from azure.data.tables import UpdateMode

        async with self.table() as table:
            found = [row async for row in table.query_entities(f"PartitionKey eq '{self.prefix}.workers'")]
            (row,) = [row for row in found if json.loads(row["Report"])["worker"] == report.worker]
            await table.update_entity({**row, "Report": b'{"jobs": 1}'}, mode=UpdateMode.REPLACE)

    timed = ("fleets",)  # the service itself keeps the others

    async def set_times(self, table, value):
        from azure.data.tables import UpdateMode

        async with self.table() as client:
            async for row in client.query_entities(f"PartitionKey eq '{self.prefix}.{table}'"):
                await client.update_entity({**row, "Seconds": value}, mode=UpdateMode.REPLACE)

    async def age_workers(self, monkeypatch):
        # Only the service stamps its rows: so they become old sooner instead.
        for module in ("cachewarmer.broker.record", "cachewarmer.broker.azure.workers"):
            monkeypatch.setattr(f"{module}.KEEP_SECONDS", 2.5)
        await asyncio.sleep(4)

    async def worker_rows(self):
        async with self.table() as table:
            return len([row async for row in table.query_entities(f"PartitionKey eq '{self.prefix}.workers'")])

    async def advance(self, seconds):
        await asyncio.sleep(seconds)

    def queue(self, kind: str):
        from azure.storage.queue.aio import QueueClient

        return QueueClient.from_connection_string(self.connection_string, self.prefix + kind)

    def table(self):
        from azure.data.tables.aio import TableClient

        return TableClient.from_connection_string(self.connection_string, self.prefix + "status")

    async def post(self, kind: str, text: str) -> str:
        """Puts a message on a queue by hand."""
        async with self.queue(kind) as queue:
            return (await queue.send_message(text)).id

    async def texts(self, kind: str) -> list[str]:
        async with self.queue(kind) as queue:
            return [message.content for message in await queue.peek_messages(max_messages=32)]

    async def poison_reasons(self):
        return [json.loads(text)["Reason"] for text in await self.texts("poison")]


class PostgresLab(Lab):
    name = "postgres"
    lease_seconds = 2.0
    can_choose_job = True

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.schema = "t" + secrets.token_hex(6)

    def make(self, settings):
        from cachewarmer.broker.postgres.broker import PostgresBroker

        return PostgresBroker(self.url, settings, schema=self.schema)

    async def advance(self, seconds):
        await asyncio.sleep(seconds)

    def looking(self):
        from cachewarmer.broker.postgres.broker import PostgresBroker

        return PostgresBroker(self.url, schema=self.schema, create=False)

    async def run(self, statement: str, *values: object):
        """The rows of a statement made by hand; ``{}`` is the schema."""
        import psycopg

        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            done = await connection.execute(statement.format(self.schema), values)
            return await done.fetchall() if done.description else []

    async def is_empty(self):
        return not await self.run("SELECT 1 FROM pg_namespace WHERE nspname = '{}'")

    async def lose_items(self):
        await self.run("DELETE FROM {}.items WHERE NOT settled")

    async def damage_job(self, job_id):
        await self.run("UPDATE {}.jobs SET state = 'bogus' WHERE job_id = %s", job_id)

    async def write_learnt(self, job_id, text, seconds=0.0):
        await self.run("UPDATE {}.jobs SET learnt = %s WHERE job_id = %s", text, job_id)
        if seconds:
            await self.run("UPDATE {}.jobs SET learnt_at = %s WHERE job_id = %s", seconds, job_id)

    async def damage_worker(self, report):
        await self.run("UPDATE {}.workers SET report = %s WHERE key = %s", '{"jobs": 1}', report.key)

    async def set_times(self, table, value):
        await self.run(f"UPDATE {{}}.{table} SET {TIMES[table]} = %s", value)

    async def age_workers(self, monkeypatch):
        await self.run("UPDATE {}.workers SET seen_at = seen_at - %s", KEEP_SECONDS + 1)

    async def worker_rows(self):
        return (await self.run("SELECT count(*) FROM {}.workers"))[0][0]

    async def poison_reasons(self):
        return [row[0] for row in await self.run("SELECT reason FROM {}.poison ORDER BY seq")]


# -- short ways to the usual situations ----------------------------------------------------------------------------


async def until_answered(call):
    """The result of a call, made again while the broker is unavailable."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


def a_job(**values) -> WarmJob:
    access = Access(addresses=("10.0.1.7",), export="/data")
    return WarmJob(**{"access": access, "warm_path": "/tools", **values})


def items_of(job_id: str, count: int, *, size: int = 1000, start: int = 0) -> list[WorkItem]:
    """Items of two files each."""
    return [
        WorkItem(
            access=Access(addresses=("10.0.1.7",), export="/data"),
            path=f"/tools/d{number}",
            job_id=job_id,
            files=(FileEntry("a", size, b"\x01\x02"), FileEntry("b\udcff", size)),
        ).with_content_id()
        for number in range(start, start + count)
    ]


def receipt(lease: WorkLease, **values) -> Receipt:
    sizes = [entry.size for entry in lease.item.files or ()]
    return Receipt(**{"item_id": lease.item.item_id, "files": len(sizes), "bytes": sum(sizes), "calls": 2, **values})


async def scanning_job(broker: Broker, lab: Lab, count: int = 0, **values) -> tuple[str, JobLease]:
    """A job whose scan has begun and published ``count`` items."""
    job_id = await broker.submit(a_job(**values))
    lease = await broker.claim_job(lab.lease_seconds * 20)
    assert lease is not None
    assert lease.job.job_id == job_id
    await broker.set_state(job_id, JobState.SCANNING)
    if count:
        await broker.publish(items_of(job_id, count))
    return job_id, lease


async def finish_scan(broker: Broker, job_id: str, items: int, **values) -> None:
    totals = {"files": 2 * items, "bytes": 2000 * items, **values}
    await broker.record_scan(job_id, ScanTotals(items=items, finished=True, **totals))


async def give_up(lab: Lab, lease: WorkLease, reason: str) -> None:
    """The item fails for the last time, where a single delivery is all that it is granted."""
    await (await lab.broker(max_deliveries=1)).abandon(lease, reason)


async def claim_all(broker: Broker, lab: Lab, worker: str = "w1", most: int = 32) -> list[WorkLease]:
    """Everything that can be claimed now."""
    found: list[WorkLease] = []
    while leases := await broker.claim(most, lab.lease_seconds):
        found += leases
    return found


async def claim_some(broker: Broker, lab: Lab, count: int, worker: str = "w1") -> list[WorkLease]:
    """Exactly ``count`` items; a queue may give fewer at a time than are there."""
    found: list[WorkLease] = []
    for _ in range(10 + count):
        if len(found) == count:
            break
        found += await broker.claim(count - len(found), lab.lease_seconds)
    assert len(found) == count
    return found
