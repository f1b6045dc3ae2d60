"""Workers and managers without work are woken by PostgreSQL, with the connections that they have."""

from __future__ import annotations

import asyncio
import time

import pytest

from cachewarmer.model import JobState
from tests.conformance.labs import PostgresLab, a_job, items_of, scanning_job, until_answered
from tests.servers.pgbouncer import pgbouncer
from tests.servers.postgres import postgres

LONG_SECONDS = 60.0
"""Longer than any test takes: whoever comes back was woken."""


@pytest.fixture
async def lab(postgres_url):
    lab = PostgresLab(postgres_url)
    async with lab.handles:
        yield lab


async def listening(broker):
    """A wait of a broker that listens: the first one only begins to, and lets its caller look once more."""
    await asyncio.wait_for(broker.wait_for_work(LONG_SECONDS), 20)
    waiting = asyncio.create_task(broker.wait_for_work(LONG_SECONDS))
    while not broker._wake._is_lent:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    return waiting


async def test_what_makes_work_wakes_those_who_wait(lab):
    """A job that is submitted, items that are published, a job that is resumed."""
    idle, other = await lab.broker(), await lab.broker()
    waiting = await listening(idle)
    await other.submit(a_job())
    await asyncio.wait_for(waiting, 20)

    waiting = asyncio.create_task(idle.wait_for_work(LONG_SECONDS))
    lease = await other.claim_job(30.0)
    await other.set_state(lease.job.job_id, JobState.SCANNING)
    await asyncio.wait_for(waiting, 20)

    waiting = asyncio.create_task(idle.wait_for_work(LONG_SECONDS))
    await other.publish(items_of(lease.job.job_id, 3))
    await asyncio.wait_for(waiting, 20)


async def test_what_comes_while_nobody_waits_is_not_lost(lab):
    """Between an empty claim and the wait there is a moment; the notices are kept, and each wakes once at most."""
    idle, other = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(other, lab)
    waiting = await listening(idle)
    waiting.cancel()
    notices = 5
    for number in range(notices):
        await other.publish(items_of(job_id, 1, start=number))
    await asyncio.wait_for(idle.wait_for_work(LONG_SECONDS), 20)
    for _ in range(notices):  # one that comes while the others are read wakes once more
        waiting = asyncio.create_task(idle.wait_for_work(LONG_SECONDS))
        if waiting not in (await asyncio.wait({waiting}, timeout=0.5))[0]:
            break
    assert not waiting.done()
    waiting.cancel()


async def test_a_process_that_waits_has_two_connections_and_one_of_them_is_free(lab):
    """However many wait in it: a lease can still be renewed."""
    idle, other = await lab.broker(), await lab.broker()
    job_id = await other.submit(a_job())
    waiting = [await listening(idle), *(asyncio.create_task(idle.wait_for_work(LONG_SECONDS)) for _ in range(5))]
    assert [await idle.state(job_id) for _ in range(5)] == [JobState.QUEUED] * 5
    assert idle._database._pool.get_stats()["pool_size"] <= 2
    await other.submit(a_job())
    await asyncio.wait_for(asyncio.gather(*waiting), 20)


async def test_a_server_that_goes_away_ends_no_wait_with_an_error():
    """Whoever waits goes on to poll, and listens again when the server is back."""
    with postgres() as server:
        lab = PostgresLab(server.url)
        async with lab.handles:
            idle, other = await lab.broker(), await lab.broker()
            waiting = await listening(idle)
            waiting.cancel()
            waiting = asyncio.create_task(idle.wait_for_work(0.3))
            await asyncio.sleep(0.05)
            server.stop()
            await asyncio.wait_for(waiting, 20)
            server.start()
            await until_answered(lambda: other.submit(a_job()))
            for _ in range(3):  # what it had is gone; then it has another connection, and listens
                await asyncio.wait_for(idle.wait_for_work(0.3), 20)
            waiting = asyncio.create_task(idle.wait_for_work(LONG_SECONDS))
            await other.submit(a_job())
            await asyncio.wait_for(waiting, 20)


async def test_behind_a_pooler_in_transaction_mode_nobody_listens():
    """The notice would go to a session that somebody else has by then. Work is found by looking, and no session is left
    listening."""
    with postgres() as server, pgbouncer(server, 2) as url:
        lab = PostgresLab(url)
        async with lab.handles:
            idle, other = await lab.broker(), await lab.broker()
            began = time.monotonic()
            await idle.wait_for_work(0.3)
            assert time.monotonic() - began > 0.2
            assert not idle._wake._hears
            await other.submit(a_job())
            assert (await idle.claim_job(30.0)) is not None
