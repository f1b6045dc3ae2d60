"""A manager with a fleet, whose broker can't be opened: it stays as long as machines may be running."""

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import FleetSettings, LeaseSettings, Settings
from cachewarmer.errors import BrokerError, BrokerUnavailable
from cachewarmer.fleet.driver import FleetDriver
from cachewarmer.manager import Manager
from cachewarmer.model import Access, JobState, Priority, WarmJob
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from tests.memory import MemorySession, opener
from tests.unit.fleet.doubles import PaperFleet

SETTINGS = Settings(fleet=FleetSettings(workers=3, look_seconds=0.01, blind_seconds=0.1, idle_seconds=0.05))


class Closed(SqliteBroker):
    """Opens only after ``errors`` are used up."""

    def __init__(self, path, *errors):
        super().__init__(str(path))
        self.errors = list(errors)

    async def open(self):
        if self.errors:
            raise self.errors.pop(0)
        await super().open()


def managing(broker, fleet):
    """A manager that drives the fleet, as a task, and what stops it."""
    stop = asyncio.Event()
    manager = Manager(
        broker, SETTINGS, SessionPool(SETTINGS, open_session), fleet_driver=FleetDriver(broker, fleet, SETTINGS.fleet)
    )
    return asyncio.create_task(manager.run(stop)), stop


async def test_machines_of_an_earlier_manager_do_not_outlive_an_account_that_is_gone(tmp_path):
    """They are deleted as soon as the queues could not be seen for long enough; then the error ends the manager."""
    fleet = PaperFleet()
    await fleet.create(2)
    errors = [BrokerError("no such account")] * 5
    task, _ = managing(Closed(tmp_path / "b.db", *errors), fleet)
    with pytest.raises(BrokerError, match="no such account"):
        await asyncio.wait_for(task, 20)
    assert ("delete", 0) in fleet.calls
    assert fleet.closed


async def test_an_account_that_can_not_be_reached_for_a_while_is_waited_for(tmp_path):
    """And then jobs are taken as ever."""
    fleet = PaperFleet()
    broker = Closed(tmp_path / "b.db", BrokerUnavailable("no way"))
    task, stop = managing(broker, fleet)
    async with asyncio.timeout(10):
        while broker.errors or broker._store is None:
            await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(task, 10)
    assert fleet.calls == []
    await broker.close()


async def test_a_manager_that_may_not_take_jobs_ends_only_when_no_machine_is_left(tmp_path):
    """One that is started again and again would otherwise never be there long enough to delete them."""
    fleet = PaperFleet()
    await fleet.create(2)
    broker = Closed(tmp_path / "b.db")

    async def refuse(*_, **__):
        raise BrokerError("no role on the job queue")

    broker.claim_job = refuse
    task, _ = managing(broker, fleet)
    with pytest.raises(BrokerError, match="no role on the job queue"):
        await asyncio.wait_for(task, 30)
    assert ("delete", 0) in fleet.calls
    await broker.close()


async def test_without_a_fleet_the_error_ends_the_manager_at_once(tmp_path):
    """Whoever started it sees why."""
    with pytest.raises(BrokerUnavailable):
        await Manager(
            Closed(tmp_path / "b.db", BrokerUnavailable("no way")), SETTINGS, SessionPool(SETTINGS, open_session)
        ).run(asyncio.Event())


async def test_scans_of_less_urgent_jobs_take_no_room_from_an_urgent_one(tmp_path):
    """Each of the endless scans has its place; a normal job beside them has to wait, an urgent one has not."""
    session = MemorySession({b"f": 1}, "a", delay=3600)
    settings = replace(SETTINGS, lease=LeaseSettings(poll_seconds=0.05))
    stop = asyncio.Event()
    job = WarmJob(access=Access(addresses=("a",), export="/"))

    async def states():
        return {one.job.job_id: one.state for one in await broker.jobs()}

    async def until(job_id):
        while (await states())[job_id] is not JobState.SCANNING:
            await asyncio.sleep(0.02)

    async with SqliteBroker(str(tmp_path / "b.db"), settings.lease) as broker, asyncio.timeout(20):
        manager = Manager(broker, settings, SessionPool(settings, opener(session)), jobs_at_once=2)
        task = asyncio.create_task(manager.run(stop))
        first = [await broker.submit(job) for _ in range(2)]
        for one in first:
            await until(one)
        waits = await broker.submit(job)
        urgent = await broker.submit(replace(job, priority=Priority.HIGH))
        await until(urgent)
        assert (await states())[waits] is JobState.QUEUED
        stop.set()
        await task
