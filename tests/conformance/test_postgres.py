"""What is PostgreSQL's own: restarts, fail-over, versions, secrets, poolers, many processes at once."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg
import pytest

from cachewarmer.broker.counted import CallCounts, counted
from cachewarmer.broker.postgres import database
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerError, BrokerUnavailable, UsageError
from cachewarmer.model import JobState
from tests.conformance.labs import (
    PostgresLab,
    a_job,
    claim_all,
    finish_scan,
    items_of,
    receipt,
    scanning_job,
    until_answered,
)
from tests.servers.postgres import postgres


@pytest.fixture
async def own_lab(postgres_url):
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        yield lab


async def test_a_server_that_loses_its_power_loses_nothing_that_was_answered():
    """Committed work is there after the restart, and the same handle goes on by itself."""
    with postgres() as server:
        lab = PostgresLab(server.url)
        async with lab.handles:
            broker = await lab.broker()
            job_id, _ = await scanning_job(broker, lab, 6)
            leases = await claim_all(broker, lab)
            assert await broker.complete("w1", [(lease, receipt(lease)) for lease in leases[:3]]) == [True] * 3
            server.stop()
            with pytest.raises(BrokerUnavailable):
                await broker.complete("w1", [(lease, receipt(lease)) for lease in leases[3:]])
            server.start()
            again = [(lease, receipt(lease)) for lease in leases]
            counted = await until_answered(lambda: broker.complete("w1", again))
            assert counted == [False] * 3 + [True] * 3
            await finish_scan(broker, job_id, 6)
            status = await broker.status(job_id)
            assert status.state is JobState.COMPLETED
            assert sum(tally.files for tally in status.tallies) == 12


async def test_connections_cut_by_a_fail_over_are_replaced(own_lab):
    """What the server calls 57P01, admin shutdown, is a pause and no error of the job's."""
    broker = await own_lab.broker()
    job_id = await broker.submit(a_job())
    async with await psycopg.AsyncConnection.connect(own_lab.url, autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'cachewarmer' AND pid <> pg_backend_pid()"
        )
    assert await until_answered(lambda: broker.state(job_id)) is JobState.QUEUED


async def test_a_server_that_is_read_only_for_a_while_is_unavailable_and_no_error(own_lab):
    """A standby that is about to be promoted refuses writes with SQLSTATE 25006."""
    await own_lab.broker()
    async with PostgresBroker(own_lab.url, schema=own_lab.schema) as broker:
        await broker.close()
        reader = PostgresBroker(own_lab.url + "?options=-c%20default_transaction_read_only%3Don", schema=own_lab.schema)
        await reader._database.open()
        try:
            with pytest.raises(BrokerUnavailable, match="read-only"):
                await reader.submit(a_job())
        finally:
            await reader.close()


async def test_twenty_processes_that_open_a_new_database_at_once_create_its_tables_once(own_lab):
    brokers = [own_lab.make(LeaseSettings()) for _ in range(20)]
    await asyncio.gather(*(broker.open() for broker in brokers))
    await asyncio.gather(*(broker.close() for broker in brokers))


async def test_a_password_is_never_shown():
    """Not in an error, not in a repr: the URL may hold it."""
    broker = PostgresBroker("postgresql://me:hush-hush@127.0.0.1:1/db")
    with pytest.raises(BrokerUnavailable) as caught:
        await broker.open()
    assert "hush" not in str(caught.value) + repr(broker)
    assert broker.shown == counted(broker, CallCounts()).shown == "postgresql://me@127.0.0.1:1/db"
    with pytest.raises(BrokerError) as caught:
        PostgresBroker("postgresql://me:hush-hush@h:port/db?nonsense=hush")
    assert "hush" not in str(caught.value)


async def test_a_service_file_and_a_password_file_say_all_that_a_url_need_not(tmp_path, monkeypatch):
    """As libpq reads them; a wrong password is refused at once, and shown no more than the right one."""
    with postgres() as server:
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as other:
            await other.execute("CREATE ROLE farm LOGIN PASSWORD 'hush-hush'")
            await other.execute("GRANT CREATE ON DATABASE postgres TO farm")
        access = server.place / "data" / "pg_hba.conf"
        access.write_text(f"host all farm 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
        async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as other:
            await other.execute("SELECT pg_reload_conf()")
        service, passwords = tmp_path / "service.conf", tmp_path / "pgpass"
        service.write_text(f"[warm]\nhost=127.0.0.1\nport={server.port}\ndbname=postgres\nuser=farm\n")
        passwords.write_text("*:*:*:farm:hush-hush\n")
        passwords.chmod(0o600)
        monkeypatch.setenv("PGSERVICEFILE", str(service))
        monkeypatch.setenv("PGPASSFILE", str(passwords))
        async with PostgresBroker("postgresql:///?service=warm") as broker:
            assert await broker.jobs() == []
            assert repr(broker) == "<PostgresBroker postgresql://warm/ open>"
        passwords.write_text("*:*:*:farm:hush-wrong\n")
        with pytest.raises(BrokerError, match="password authentication failed") as caught:
            await PostgresBroker("postgresql:///?service=warm").open()
        assert not caught.value.transient
        assert "hush" not in str(caught.value)


async def test_a_process_that_is_stopped_in_a_transaction_holds_its_locks_for_a_while_only(own_lab, monkeypatch):
    """The server ends the transaction; the process, when it goes on, may call again."""
    monkeypatch.setattr(database, "BEGIN", database.BEGIN.replace("'30s'", "'1s'"))
    stopped, other = await own_lab.broker(), await own_lab.broker()
    job_id = await stopped.submit(a_job())

    async def stop_and_go_on():
        async with stopped._database.transaction() as sql:
            await sql.one("job_locked", job_id=job_id)
            assert (await other.set_state(job_id, JobState.SCANNING)).state is JobState.SCANNING
            await sql.one("job", job_id=job_id)

    with pytest.raises(BrokerUnavailable):
        await stop_and_go_on()
    assert await stopped.state(job_id) is JobState.SCANNING


def test_a_schema_name_can_not_carry_sql():
    with pytest.raises(UsageError):
        PostgresBroker("postgresql:///x", schema="a; DROP TABLE jobs")


async def test_items_are_handed_out_once_among_many_workers(own_lab):
    """Eight processes claim at the same time: no item goes to two, none is forgotten."""
    broker = await own_lab.broker()
    job_id, _ = await scanning_job(broker, own_lab)
    await broker.publish(items_of(job_id, 400))
    workers = [await own_lab.broker() for _ in range(8)]

    async def work(number):
        mine = []
        while leases := await workers[number].claim(7, 30.0):
            mine += leases
        return mine

    found = [lease.item.item_id for leases in await asyncio.gather(*map(work, range(8))) for lease in leases]
    assert len(found) == len(set(found)) == 400


async def test_a_claim_passes_no_settled_items(own_lab):
    """Whatever the statistics say: those of a large job are old for as long as a tenth of it is not settled."""
    broker = await own_lab.broker()
    job_id, _ = await scanning_job(broker, own_lab, 1)
    await own_lab.run(
        "INSERT INTO {0}.items (job_id, item_id, message)"
        " SELECT job_id, md5(n::text), '' FROM {0}.jobs, generate_series(1, 20000) AS n"
    )
    await own_lab.run("ANALYZE {}.items")
    values = {"job_id": job_id, "most": 32, "least": 2, "turns": [32, 0, 0], "token": "t", "seconds": 60.0}
    async with broker._database.connection() as connection:
        claim = broker._database.statement_of("claim")
        plan = await (await connection.execute(b"EXPLAIN " + claim, values)).fetchall()
    lines = [line for row in plan for line in row.values()]
    found = lines[: next(number for number, line in enumerate(lines) if "CTE Scan" in line)]
    assert any("open_items" in line for line in found)
    assert not any("items_pkey" in line for line in found)


async def test_the_last_two_items_settled_at_the_same_time_end_the_job(own_lab):
    """Neither worker sees the other's tally before it commits: the record must end all the same."""
    broker = await own_lab.broker()
    for _ in range(10):
        job_id, job_lease = await scanning_job(broker, own_lab, 2)
        await finish_scan(broker, job_id, 2)
        one, two = await claim_all(broker, own_lab)
        other = await own_lab.broker()
        await asyncio.gather(broker.complete("w1", [(one, receipt(one))]), other.complete("w2", [(two, receipt(two))]))
        assert await broker.state(job_id) is JobState.COMPLETED
        await broker.settle_job(job_lease)
        with contextlib.suppress(BrokerError):
            await other.close()


async def test_a_publishing_manager_and_its_successor_never_deadlock(own_lab):
    """Both publish the same items in different orders; each id counts once."""
    first, second = await own_lab.broker(), await own_lab.broker()
    job_id, _ = await scanning_job(first, own_lab)
    items = items_of(job_id, 300)
    await asyncio.gather(first.publish(items), second.publish(items[::-1]))
    assert (await first.status(job_id)).scan.items == 300


async def test_a_job_is_locked_before_its_items(own_lab):
    """An item is given up while its job is taken off the queue: whoever waits for the job holds no item."""
    broker = await own_lab.broker(max_deliveries=1)
    await scanning_job(broker, own_lab, 1)
    (lease,) = await claim_all(broker, own_lab)
    async with await psycopg.AsyncConnection.connect(own_lab.url) as other:
        await other.execute(f"SELECT 1 FROM {own_lab.schema}.jobs FOR UPDATE")
        giving_up = asyncio.create_task(broker.abandon(lease, "broken"))
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        async with asyncio.timeout(20):
            while not await (await other.execute(waits)).fetchone():
                await asyncio.sleep(0.01)
        await other.execute(f"SELECT 1 FROM {own_lab.schema}.items FOR UPDATE NOWAIT")
    assert await giving_up


async def test_a_job_that_ends_does_not_wait_for_those_who_settle(own_lab):
    """What is being settled stays, and the rest of its rows goes."""
    broker = await own_lab.broker()
    job_id, job_lease = await scanning_job(broker, own_lab, 4)
    await broker.set_state(job_id, JobState.CANCELLED)
    async with await psycopg.AsyncConnection.connect(own_lab.url) as other:
        await other.execute(f"SELECT 1 FROM {own_lab.schema}.items ORDER BY seq DESC LIMIT 1 FOR UPDATE")
        await asyncio.wait_for(broker.settle_job(job_lease), 20)
        (left,) = await (await other.execute(f"SELECT count(*) FROM {own_lab.schema}.items")).fetchone()
    assert left == 1


async def test_a_task_that_is_cancelled_when_its_connection_comes_ends(own_lab):
    """The pool hands out the connection instead: whoever stopped a process then waited for it for ever."""
    broker = await own_lab.broker()
    job_id = await broker.submit(a_job())

    async def use(turns):
        async with broker._database.statement():
            for _ in range(turns):
                await asyncio.sleep(0)

    for turns in range(40):
        users = [asyncio.create_task(use(turns)) for _ in range(2)]
        waiting = [asyncio.create_task(broker.state(job_id)) for _ in range(3)]
        await asyncio.wait(users, return_when=asyncio.FIRST_COMPLETED)
        cancelled = [task for task in waiting if task.cancel()]
        await asyncio.wait([*users, *waiting])
        assert all(task.cancelled() for task in cancelled)
    assert await broker.state(job_id) is JobState.QUEUED  # no connection was lost on the way
