"""What a job takes beside others: its bandwidth, counted at the server and changed while it runs, and its priority."""

from __future__ import annotations

import asyncio
import time

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import LeaseSettings, Settings
from cachewarmer.manager import Manager
from cachewarmer.model import Bandwidth, JobState, Priority, WarmJob
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import ScriptedServer
from cachewarmer.worker.worker import Worker
from tests.e2e.limiting import MIB, Meter, tree, until
from tests.integration.parts import Running

FILE_BYTES = 64 * MIB


SETTINGS = Settings(lease=LeaseSettings(poll_seconds=0.2, lease_seconds=5.0, drain_seconds=0.3))


@pytest.fixture
async def pool():
    async with SessionPool(SETTINGS, open_session) as made:
        yield made


def start(running, pool, *workers):
    """A manager, and workers of these names."""
    running.start(Manager(running.broker, SETTINGS, pool))
    for name in workers:
        running.start(Worker(running.broker, SETTINGS, pool, name=name))


def check(rates, limit):
    """Never above the limit, but for what a short window may hold of the next; and all in all near it.

    A machine that stands still for a second reads less in that: ``benchmarks.limits`` measures over longer times.
    """
    assert max(rates) < 1.2 * limit
    assert sum(rates) / len(rates) > 0.7 * limit


async def metered(server):
    meter = Meter(server)
    return meter, asyncio.create_task(meter.run())


def a_job(server, bandwidth) -> WarmJob:
    return make_job(parse_target(server.url()), bandwidth=bandwidth)


async def test_a_limit_is_held_and_a_new_one_is_taken_up_by_the_items_being_read(broker, running, pool):
    """Two workers hold 64 MiB items all the time: had they to end those first, no new rate could be seen for long."""
    async with ScriptedServer(tree(20, FILE_BYTES)) as server:
        meter, metering = await metered(server)
        start(running, pool, "w1", "w2")
        job_id = await broker.submit(a_job(server, Bandwidth(8 * MIB)))
        begin = await until(lambda: server.read_bytes > 0) + 3
        await asyncio.sleep(begin + 4 - time.monotonic())
        check(meter.rates(3.0, begin, time.monotonic()), 8 * MIB)
        for rate in (24 * MIB, 4 * MIB):
            await broker.limit(job_id, Bandwidth(rate))
            begin = time.monotonic() + 2
            await asyncio.sleep(4.5)
            check(meter.rates(2.0, begin, time.monotonic()), rate)
        metering.cancel()


async def test_a_limit_for_a_job_without_one_holds_back_what_was_asked_for(broker, running, pool):
    """A worker asks for all of its items at once; of those, only what is on its way still comes at the old rate."""
    async with ScriptedServer(tree(40, FILE_BYTES)) as server:
        meter, metering = await metered(server)
        start(running, pool, "w1")
        job_id = await broker.submit(a_job(server, Bandwidth()))
        await until(lambda: server.read_bytes > 4 * FILE_BYTES)
        await broker.limit(job_id, Bandwidth(4 * MIB))
        begin = time.monotonic() + 3
        await asyncio.sleep(6)
        check(meter.rates(2.5, begin, time.monotonic()), 4 * MIB)
        await broker.limit(job_id, Bandwidth())
        async with asyncio.timeout(60):
            while (status := await broker.status(job_id)).state is not JobState.COMPLETED:
                await asyncio.sleep(0.1)
        assert (status.total("files"), status.total("bytes")) == (40, 40 * FILE_BYTES)
        assert server.read_bytes < 1.01 * 40 * FILE_BYTES
        metering.cancel()


async def test_an_urgent_job_ends_while_one_of_terabytes_goes_on(shared_broker):
    """Though the manager scans one job at a time, and the worker has all in hand that it wants. Nor does a second urgent
    one, of terabytes as well, starve the first: counted at the servers, both go on beside each other.
    """
    large = {b"d%d" % number: {b"f%d" % one: 1 << 30 for one in range(50)} for number in range(100)}
    small = {b"f%d" % number: 13_000 for number in range(200)}
    async with (
        ScriptedServer({b"large": large}) as ours,
        ScriptedServer({b"small": small, b"large": large}) as theirs,
        open_broker(shared_broker, SETTINGS.lease) as broker,
        SessionPool(SETTINGS, open_session) as pool,
    ):
        running = Running(broker)
        try:
            running.start(Manager(broker, SETTINGS, pool, jobs_at_once=1))
            running.start(Worker(broker, SETTINGS, pool, name="w1"))
            slow = Bandwidth(4 * MIB)
            going_on = await broker.submit(make_job(parse_target(ours.url("/large")), bandwidth=slow))
            await until(lambda: ours.read_bytes > 4 * MIB)
            urgent = await broker.submit(make_job(parse_target(theirs.url("/small")), priority=Priority.HIGH))
            async with asyncio.timeout(30):
                while (status := await broker.status(urgent)).state is not JobState.COMPLETED:
                    await asyncio.sleep(0.05)
            assert status.total("files") == 200
            assert theirs.read_bytes == 200 * 13_000
            endless = make_job(parse_target(theirs.url("/large")), priority=Priority.HIGH, bandwidth=slow)
            second = await broker.submit(endless)
            await until(lambda: theirs.read_bytes > 4 * MIB)
            before = ours.read_bytes, theirs.read_bytes
            await until(lambda: ours.read_bytes > before[0] + 4 * MIB and theirs.read_bytes > before[1] + 4 * MIB)
            for job_id in (going_on, second):
                status = await broker.status(job_id)
                assert not status.state.final
                assert not status.total("failed_files")
                await broker.set_state(job_id, JobState.CANCELLED)
        finally:
            await running.end()
