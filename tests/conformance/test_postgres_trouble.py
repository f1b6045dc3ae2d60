"""What a PostgreSQL broker meets at a site: a pooler, no connection left, a full disk, a worker whose clock is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time

import psycopg
import pytest

from cachewarmer.broker.postgres import database
from cachewarmer.config import LeaseSettings, PlanSettings, Settings
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.manager import Manager
from cachewarmer.model import Access, JobState, WarmJob
from cachewarmer.submitter import submit
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker.worker import Worker
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
from tests.memory import MemorySession, opener
from tests.servers.need import need
from tests.servers.pgbouncer import pgbouncer
from tests.servers.postgres import postgres

TREE = {b"d%d" % d: {b"f%d" % f: 100 + f for f in range(25)} for d in range(40)}
SETTINGS = Settings(plan=PlanSettings(item_files=10), lease=LeaseSettings(poll_seconds=0.1, lease_seconds=20.0))


async def test_a_manager_and_eight_workers_share_three_connections_behind_a_pooler():
    """PgBouncer in transaction mode: each transaction may have another session of the server."""
    with postgres() as server, pgbouncer(server, 3) as url:
        lab = PostgresLab(url)
        async with lab.handles, SessionPool(SETTINGS, opener(MemorySession(TREE, "a"))) as pool:
            brokers = [await lab.handles.enter_async_context(lab.make(SETTINGS.lease)) for _ in range(9)]
            stop = asyncio.Event()
            parts = [Manager(brokers[0], SETTINGS, pool)]
            parts += [Worker(broker, SETTINGS, pool, name=f"w{n}") for n, broker in enumerate(brokers[1:])]
            running = [asyncio.create_task(part.run(stop)) for part in parts]
            job = WarmJob(access=Access(addresses=("a",)), warm_path="/")
            job_id = await submit(brokers[0], job)
            async with asyncio.timeout(60):
                while not (status := await brokers[1].status(job_id)).state.final:
                    await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*running)
            assert status.state is JobState.COMPLETED
            assert sum(tally.files for tally in status.tallies) == 40 * 25
            count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            async with await psycopg.AsyncConnection.connect(server.url) as other:
                (sessions,) = await (await other.execute(count)).fetchone()
            assert sessions <= 3 + 1


async def test_a_server_without_a_connection_left_is_waited_for(monkeypatch):
    """It says so with SQLSTATE 53300: work goes on when somebody leaves."""
    monkeypatch.setattr(database, "START_SECONDS", 0.0)
    with postgres("max_connections = 10", "superuser_reserved_connections = 0") as server:
        lab = PostgresLab(server.url)
        async with lab.handles, contextlib.AsyncExitStack() as others:
            job_id = await (await lab.broker()).submit(a_job())
            late = lab.make(LeaseSettings())
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    await others.enter_async_context(await psycopg.AsyncConnection.connect(server.url))
            with pytest.raises(BrokerUnavailable):
                await late.open()
            await others.aclose()
            await until_answered(late.open)
            assert await late.state(job_id) is JobState.QUEUED
            await late.close()


async def test_a_full_disk_stops_nothing_for_good_and_loses_nothing(tmp_path_factory):
    """What was answered is there; what was refused is taken when there is room again."""
    with postgres() as server:
        disk = server.place / "small"
        disk.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size=6m,uid={server.place.stat().st_uid}", "tmpfs", str(disk)],
            capture_output=True,
            check=False,
        )
        need(mounted.returncode == 0, f"a disk of 6 MB needs root: {mounted.stderr.decode().strip()}")
        try:
            async with await psycopg.AsyncConnection.connect(server.url, autocommit=True) as other:
                await other.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
            lab = PostgresLab(f"{server.url}?options=-c%20default_tablespace%3Dsmall")
            async with lab.handles:
                broker = await lab.broker()
                job_id, _ = await scanning_job(broker, lab)
                items = items_of(job_id, 300)
                await broker.publish(items[:100])
                filler = disk / "filler"
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while file.write(bytes(4096)):
                        pass
                more = [item for number in range(20) for item in items_of(job_id, 500, start=1000 * (1 + number))]
                with pytest.raises(BrokerUnavailable, match="No space left"):
                    await broker.publish(more)
                filler.unlink()
                published = (await broker.status(job_id)).scan.items
                await broker.publish(items)
                assert (await broker.status(job_id)).scan.items == published + 200
                leases = await claim_all(broker, lab)
                assert len(leases) == published + 200
                assert all(await broker.complete("w", [(lease, receipt(lease)) for lease in leases]))
                await finish_scan(broker, job_id, len(leases))
                assert await broker.state(job_id) is JobState.COMPLETED
        finally:
            server.stop()
            subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.parametrize("hours", [-7, 7])
async def test_a_clock_that_is_hours_wrong_changes_nothing(postgres_url, monkeypatch, hours):
    """The server's clock alone says when a lease ends and when a job was submitted."""
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        right = time.time()
        wrong, honest = await lab.broker(), await lab.broker()
        monkeypatch.setattr(time, "time", lambda: right + hours * 3600)
        job_id, _ = await scanning_job(wrong, lab, 2)
        (mine,) = await wrong.claim(1, 600.0)
        assert len(await honest.claim(5, 600.0)) == 1
        assert await honest.claim(5, 600.0) == []
        await wrong.renew(mine, 600.0)
        assert abs(mine.expires_at - right - 600.0) < 1800
        assert abs((await honest.status(job_id)).submitted_at - right) < 1800
        assert await wrong.complete("w", [(mine, receipt(mine))]) == [True]
