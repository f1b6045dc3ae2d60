"""What a PostgreSQL broker asks of a server that is far away: few round trips, whatever the number of jobs or pieces."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg
import pytest

from cachewarmer.broker.postgres import streams
from cachewarmer.errors import BrokerUnavailable, UnknownJob
from cachewarmer.model import JobState
from tests.conformance.labs import PostgresLab, a_job, claim_all, finish_scan, items_of, receipt, scanning_job
from tests.servers.far import far
from tests.servers.pgbouncer import pgbouncer
from tests.servers.postgres import postgres

PAGE = 8
"""Pieces or chunks that are read together here."""


@pytest.fixture
async def distant(postgres_url):
    """A lab behind the proxy, the proxy, and a broker that has been used."""
    async with far(postgres_url) as proxy:
        lab = PostgresLab(proxy.url)
        async with lab.handles:
            broker = await lab.broker()
            await broker.jobs()
            proxy.reset()
            yield lab, proxy, broker


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(streams, "PAGE_PIECES", PAGE)
    monkeypatch.setattr(streams, "CHUNKS_AT_ONCE", PAGE)


async def test_opening_takes_one_connection(distant):
    """The first one, which shows a wrong password at once, is the one that is worked with."""
    lab, proxy, _ = distant
    other = await lab.broker()
    assert await other.jobs() == []
    assert proxy.connections == 1


@pytest.mark.parametrize("number", [1, 12])
async def test_the_jobs_are_listed_in_as_many_round_trips_whatever_their_number(distant, number):
    """With the tallies of each; and so is the backlog told."""
    _, proxy, broker = distant
    ids = [await broker.submit(a_job()) for _ in range(number)]
    for ask in (broker.jobs, broker.backlog):
        proxy.reset()
        await ask()
        assert proxy.round_trips <= 2
    assert [one.job.job_id for one in await broker.jobs()] == ids[::-1]


async def test_a_status_is_one_round_trip(distant):
    lab, proxy, broker = distant
    job_id, _ = await scanning_job(broker, lab, 3)
    leases = await claim_all(broker, lab)
    await broker.complete("w1", [(lease, receipt(lease)) for lease in leases])
    await finish_scan(broker, job_id, 3)
    proxy.reset()
    assert (await broker.status(job_id)).state is JobState.COMPLETED
    assert proxy.round_trips == 1


async def test_a_claim_that_takes_all_there_is_is_not_made_again(distant):
    lab, proxy, broker = distant
    await scanning_job(broker, lab, 3)
    proxy.reset()
    assert len(await broker.claim(32, 60.0)) == 3
    assert proxy.round_trips == 1


async def test_what_goes_wrong_in_a_pipeline_is_told_and_the_connection_goes_on(distant):
    """An unknown job, a broken statement, and a task that is cancelled at any moment of it."""
    _, _, broker = distant
    job_id = await broker.submit(a_job())
    with pytest.raises(UnknownJob):
        await broker.status("nobody")
    async with broker._database.statement() as sql:
        with pytest.raises(psycopg.Error):
            await sql.together("job", "tallies_of", job_id=job_id)  # the second one misses a value
        assert len(await sql.all("job", job_id=job_id)) == 1
    for turns in range(30):
        asking = asyncio.create_task(broker.status(job_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokerUnavailable):
            await asking
        assert (await broker.status(job_id)).state is JobState.QUEUED


async def test_what_holds_locks_is_never_in_a_pipeline(distant):
    """The server would not see that a process which stops in one is idle, and would leave it its locks."""
    _, proxy, broker = distant
    job_id = await broker.submit(a_job())
    async with broker._database.transaction() as sql:
        proxy.reset()
        await sql.together("job_locked", "tallies", job_id=job_id)
        assert proxy.round_trips == 2


async def chunks_of(number):
    for one in range(number):
        yield b"%d\n" % one * 100


@pytest.mark.parametrize("number", [0, 1, PAGE, 3 * PAGE + 1])
async def test_a_list_comes_back_as_it_was_given(distant, small_pages, number):
    """In its order, a chunk a row, some together; and what an interrupted submission left is not among it."""
    _, proxy, broker = distant
    job = a_job(job_id="jlist")

    async def interrupted():
        async for chunk in chunks_of(2 * PAGE):
            yield chunk
        raise OSError("gone")

    with contextlib.suppress(Exception):
        await broker.submit(job, interrupted())
    proxy.reset()
    await broker.submit(job, chunks_of(number))
    assert proxy.round_trips <= 4 + 3 * -(-number // PAGE)
    proxy.reset()
    assert [chunk async for chunk in broker.file_list("jlist")] == [chunk async for chunk in chunks_of(number)]
    assert proxy.round_trips <= 2 * (1 + number // PAGE)


async def test_a_copy_that_is_cancelled_costs_a_connection_at_most(distant, small_pages, caplog):
    """At any moment of it, either way: the next call is answered, and nobody is told of what was put away."""
    _, _, broker = distant
    await broker.submit(a_job(job_id="jlist"), chunks_of(3 * PAGE))

    async def read():
        return [chunk async for chunk in broker.file_list("jlist")]

    for turns in range(0, 60, 3):
        for call in (read(), broker.submit(a_job(job_id=f"j{turns}"), chunks_of(3 * PAGE))):
            copying = asyncio.create_task(call)
            for _ in range(turns):
                await asyncio.sleep(0)
            copying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await copying
        assert (await broker.status("jlist")).state is JobState.QUEUED
    assert len(await read()) == 3 * PAGE
    assert caplog.messages == []


async def test_a_ledger_is_read_in_pages_of_many_pieces_or_many_bytes(distant, small_pages, monkeypatch):
    """Never so many together that they would not fit into memory, nor so few that each is a round trip."""
    _, proxy, broker = distant
    job_id = await broker.submit(a_job(ledger=True))
    pieces = [(f"s{number:08}", bytes([number]) * (1000 if number % 3 else 5000)) for number in range(5 * PAGE)]
    await broker.add_to_ledger(job_id, pieces[::-1])
    proxy.reset()
    assert [one async for one in broker.ledger(job_id)] == pieces
    assert proxy.round_trips <= 6
    monkeypatch.setattr(streams, "PAGE_BYTES", 6000)
    proxy.reset()
    assert [one async for one in broker.ledger(job_id)] == pieces
    assert proxy.round_trips >= 15


async def test_pipelines_and_copy_work_behind_a_pooler(small_pages):
    """PgBouncer in transaction mode, with fewer connections of the server than there are clients."""
    with postgres() as server, pgbouncer(server, 2) as url:
        lab = PostgresLab(url)
        async with lab.handles:
            brokers = [await lab.broker() for _ in range(6)]
            submitted = [
                one.submit(a_job(job_id=f"j{number}"), chunks_of(2 * PAGE + number))
                for number, one in enumerate(brokers)
            ]
            await asyncio.gather(*submitted)
            for number, one in enumerate(brokers):
                await one.add_to_ledger(f"j{number}", [(f"s{piece:04}", b"piece") for piece in range(3 * PAGE)])

            async def read(number, broker):
                chunks = [chunk async for chunk in broker.file_list(f"j{number}")]
                pieces = [key async for key, _ in broker.ledger(f"j{number}")]
                assert len(await broker.jobs()) == len(brokers)
                assert (await broker.status(f"j{number}")).state is JobState.QUEUED
                return len(chunks), len(pieces)

            found = await asyncio.gather(*(read(number, one) for number, one in enumerate(brokers)))
            assert found == [(2 * PAGE + number, 3 * PAGE) for number in range(len(brokers))]


async def test_without_a_pipeline_mode_statements_go_one_by_one(distant, monkeypatch):
    """libpq has it from version 14 on."""
    _, proxy, broker = distant
    job_id = await broker.submit(a_job())
    monkeypatch.setattr(psycopg.Pipeline, "is_supported", classmethod(lambda _: False))
    proxy.reset()
    assert (await broker.status(job_id)).state is JobState.QUEUED
    assert proxy.round_trips == 2
    await broker.publish(items_of(job_id, 1))
    assert (await broker.backlog()).waiting_items == 1
