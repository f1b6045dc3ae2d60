"""Programs of several versions at one PostgreSQL database, and one that starts before the server takes connections."""

from __future__ import annotations

import asyncio
import contextlib
import re
from urllib.parse import urlsplit

import pytest

from cachewarmer.broker.postgres import database, tables
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.postgres.tables import SCHEMA_VERSION
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerError, BrokerUnavailable
from cachewarmer.model import JobState
from tests.conformance.labs import PostgresLab, a_job, claim_all, finish_scan, receipt, scanning_job

TO_VERSION_1 = (
    "ALTER TABLE {}.version DROP COLUMN oldest",
    "DROP TABLE {}.workers",
    "DROP TABLE {}.fleets",
    "ALTER TABLE {}.jobs DROP COLUMN priority",
    "ALTER TABLE {}.jobs DROP COLUMN bandwidth",
    "DROP TABLE {}.ledger",
    "ALTER TABLE {}.jobs DROP COLUMN learnt, DROP COLUMN learnt_at",
    "UPDATE {}.version SET version = 1",
)


@pytest.fixture
async def lab(postgres_url):
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        yield lab


@pytest.fixture
async def old(lab):
    """A database of version 1 in which a job of 6 items is half done: its broker, still open, and its leases."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 6)
    leases = await claim_all(broker, lab)
    await broker.complete("w1", [(lease, receipt(lease)) for lease in leases[:3]])
    for statement in TO_VERSION_1:
        await lab.run(statement)
    return broker, job_id, leases


async def columns(lab):
    """Every column of every table, with its type."""
    found = await lab.run(
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema = '{}' ORDER BY 1, 2"
    )
    return [tuple(str(value).replace(lab.schema, "") for value in row) for row in found]


async def test_tables_of_an_earlier_version_are_migrated_with_what_is_in_them(lab, old):
    """The program that was at work goes on with its job, and one of this version ends it: totals are exact."""
    before, job_id, leases = old
    after = await lab.broker()
    assert (await lab.run("SELECT version, oldest FROM {}.version")) == [(SCHEMA_VERSION, 1)]
    assert (await after.status(job_id)).settled_items == 3
    await before.complete("w1", [(lease, receipt(lease)) for lease in leases[3:5]])
    counted = await after.complete("w2", [(lease, receipt(lease)) for lease in leases])
    assert counted == [False] * 5 + [True]
    await finish_scan(after, job_id, 6)
    status = await before.status(job_id)
    assert (status.state, sum(tally.files for tally in status.tallies)) == (JobState.COMPLETED, 12)


async def test_migrated_tables_are_those_that_are_made_anew(lab, old, postgres_url):
    await lab.broker()
    fresh = PostgresLab(postgres_url)
    async with fresh.handles:
        await fresh.broker()
        assert await columns(lab) == await columns(fresh)


async def test_many_that_come_at_once_migrate_once(lab, old):
    """Twice would fail, since the column is there the second time."""
    brokers = [lab.make(LeaseSettings()) for _ in range(12)]
    await asyncio.gather(*(broker.open() for broker in brokers))
    await asyncio.gather(*(broker.close() for broker in brokers))
    assert len(await lab.run("SELECT * FROM {}.version")) == 1


async def test_a_migration_that_breaks_off_leaves_all_as_it_was(lab, old, monkeypatch):
    """It is one transaction, and the next program does it."""
    before = await columns(lab)
    statements = database.statements(lab.schema)
    broken = {**statements, "tables_2": statements["tables_2"] + b"SELECT 1 / 0"}
    monkeypatch.setattr(database, "statements", lambda schema: broken)
    with pytest.raises(BrokerError, match="division by zero"):
        await lab.broker()
    monkeypatch.undo()
    assert await columns(lab) == before
    await lab.broker()


async def test_who_only_looks_migrates_nothing(lab, old):
    """Whoever asks for a status must not lock the farm's older programs out: it is told what to do."""
    with pytest.raises(
        BrokerError, match=rf"have schema version 1, and this program has {SCHEMA_VERSION}: start a manager"
    ) as caught:
        await lab.looking().open()
    assert not caught.value.transient
    assert await lab.run("SELECT version FROM {}.version") == [(1,)]


async def test_a_later_version_is_used_where_it_allows_for_it(lab):
    """The older program passes by what it does not know; where the later version excludes it, it changes nothing."""
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await lab.run("ALTER TABLE {}.jobs ADD COLUMN colour text NOT NULL DEFAULT 'red'")
    await lab.run("UPDATE {}.version SET version = 7")
    later = await lab.broker()
    assert (await later.status(job_id)).state is JobState.QUEUED
    lease = await later.claim_job(30.0)
    assert lease is not None
    await lab.run("UPDATE {}.version SET oldest = 7")
    for refused in (lab.make(LeaseSettings()), lab.looking()):
        with pytest.raises(
            BrokerError, match=f"schema version 7, and this program has {SCHEMA_VERSION}: use a newer version"
        ):
            await refused.open()


def test_every_version_has_its_migration_and_says_its_number():
    """A version that is added without one would leave the tables of others as they are."""
    text = database.statements("s")
    for version in range(tables.FIRST_VERSION + 1, SCHEMA_VERSION + 1):
        assert re.search(rb"UPDATE s.version SET version = %d" % version, text[f"tables_{version}"])
    assert f"tables_{SCHEMA_VERSION + 1}" not in text


# -- a server that starts up ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def starting(url: str, refusals: int):
    """The URL of a server that refuses so many connections as one that starts up, and then lets them through."""
    address = urlsplit(url)
    left = refusals
    serving = []

    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def serve(reader, writer):
        nonlocal left
        serving.append(asyncio.current_task())
        if left > 0:
            left -= 1
            await reader.read(1024)
            fields = (
                b"SFATAL\0VFATAL\0C57P03\0Mdas Datenbanksystem startet\0\0"  # as a server says it that is not English
            )
            writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
            writer.close()
            await writer.wait_closed()
            return
        there, onward = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(copy(reader, onward), copy(there, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://warm@127.0.0.1:{port}/postgres?sslmode=disable&gssencmode=disable", lambda: left
    await asyncio.gather(*serving)


async def test_a_command_waits_for_a_server_that_starts_up(lab, caplog):
    """It says so once, and goes on; in whatever language the server speaks."""
    async with starting(lab.url, refusals=2) as (url, left):
        broker = PostgresBroker(url, schema=lab.schema)
        await broker.open()
        assert left() == 0
        assert await broker.jobs() == []
        await broker.close()
    said = [line for record in caplog.records if (line := record.getMessage()).endswith("; waiting for it")]
    assert len(said) == 1
    assert "FATAL: das Datenbanksystem startet" in said[0]


async def test_a_server_that_starts_up_for_ever_is_not_waited_for_as_long(lab, monkeypatch):
    monkeypatch.setattr(database, "START_SECONDS", 0.2)
    async with starting(lab.url, refusals=1000) as (url, _):
        with pytest.raises(BrokerUnavailable, match="startet"):
            await PostgresBroker(url, schema=lab.schema).open()
