"""The worker's claim loop, over a tree in memory and the embedded broker."""

import asyncio
from dataclasses import replace

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import LeaseSettings, NfsSettings, Settings
from cachewarmer.model import (
    Access,
    AddressReport,
    Bandwidth,
    FileEntry,
    InHand,
    JobState,
    Priority,
    WarmJob,
    WorkerReport,
    WorkItem,
)
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker.worker import Worker
from tests.memory import MemorySession, opener

SETTINGS = Settings(lease=LeaseSettings(poll_seconds=0.05, drain_seconds=0.5), nfs=NfsSettings(window_calls=2))
ITEMS = 12


class Racing(Worker):
    """All that is held ends just while the loop finds that it holds enough."""

    async def _claim_and_take(self, wanted, least):
        taken = await super()._claim_and_take(wanted, least)
        while not wanted and self._held:
            await asyncio.sleep(0.001)
        return taken


async def test_what_a_session_asks_for_at_once_is_claimed(tmp_path):
    """A JuiceFS mount fetches many large files at the same time: they are in hand, however many bytes they are."""
    session = MemorySession({b"f%d" % number: 1 << 30 for number in range(ITEMS)}, "a")
    session.held = []
    session.window.bytes = 1 << 40
    item = WorkItem(access=Access(addresses=("a",), export="/"), job_id="j1")
    stop = asyncio.Event()
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(60):
        await broker.submit(WarmJob(access=Access(addresses=("a",)), job_id="j1"))
        await broker.set_state("j1", JobState.SCANNING)
        await broker.publish(
            [
                replace(item, path=f"/f{number}", item_id=f"i{number}", files=(FileEntry("", 1 << 30, b"h"),))
                for number in range(ITEMS)
            ]
        )
        working = asyncio.create_task(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session))).run(stop))
        while len(session.held) < 4 * SETTINGS.nfs.window_calls:
            await asyncio.sleep(0.01)
        stop.set()
        await working


async def test_what_ends_while_enough_is_held_is_not_missed(tmp_path):
    """Large items that end at once, as of a file that is shorter than it says: the worker claims on until none is left."""
    large = 1 << 40
    session = MemorySession({b"f%d" % number: large for number in range(ITEMS)}, "a")
    job = WarmJob(access=Access(addresses=("a",)), job_id="j1")
    item = WorkItem(access=Access(addresses=("a",), export="/"), job_id="j1")
    stop = asyncio.Event()
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(60):
        await broker.submit(job)
        await broker.set_state("j1", JobState.SCANNING)
        await broker.publish(
            [
                replace(item, path=f"/f{number}", item_id=f"i{number}", files=(FileEntry("", large, b"h"),))
                for number in range(ITEMS)
            ]
        )
        working = asyncio.create_task(Racing(broker, SETTINGS, SessionPool(SETTINGS, opener(session))).run(stop))
        while (await broker.status("j1")).settled_items < ITEMS:
            await asyncio.sleep(0.02)
        stop.set()
        await working


async def test_a_bandwidth_is_shared_by_those_who_read_the_job_now(tmp_path):
    """By this worker and another; not by one that is idle, one that has ended, or this worker's own row."""
    reading, idle = (InHand(job="j1", items=1),), (InHand(job="j1", settled_files=9),)
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(60):
        worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(MemorySession({}, "a"))), name="me", sharers=4)
        for row in (
            WorkerReport(worker="other", jobs=reading),
            WorkerReport(worker="idle", jobs=idle),
            WorkerReport(worker="ended", jobs=reading, ended=True),
            replace(worker.report(), jobs=reading),
        ):
            await broker.note_worker(row)
        pace = worker._paces.pace("j1", Bandwidth(1000))
        assert pace.bytes_per_second == 250
        await worker._share_bandwidth("j1", Bandwidth(1000))
        assert pace.bytes_per_second == 500


async def test_an_urgent_item_is_taken_while_enough_is_in_hand(tmp_path):
    """The session never ends what it was given, so that there is never room for a further item of the same priority."""
    session = MemorySession({b"f%d" % number: 1 << 40 for number in range(ITEMS)}, "a")
    session.held = []
    access, stop = Access(addresses=("a",), export="/"), asyncio.Event()
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(60):

        async def post(job_id, priority, count):
            await broker.submit(WarmJob(access=access, job_id=job_id, priority=priority))
            await broker.set_state(job_id, JobState.SCANNING)
            item = WorkItem(access=access, job_id=job_id, priority=priority)
            names = [f"f{number}" for number in range(count)]
            await broker.publish(
                [replace(item, item_id=name, files=(FileEntry(name, 1 << 40, b"h"),)) for name in names]
            )

        await post("j1", Priority.NORMAL, ITEMS)
        worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)))
        working = asyncio.create_task(worker.run(stop))
        while len(worker._held) < 2:
            await asyncio.sleep(0.02)
        await post("j2", Priority.HIGH, 1)
        while not worker._held.of_job("j2"):
            await asyncio.sleep(0.02)
        assert len(worker._held.of_job("j1")) == 2
        stop.set()
        await working


async def test_a_worker_that_comes_later_begins_with_what_others_have_learnt(tmp_path):
    """Where its windows are found automatically; else nobody is asked."""
    stop = asyncio.Event()
    stop.set()
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(60):
        await broker.note_worker(WorkerReport(worker="w", addresses=(AddressReport(address="a", knee=60),)))
        for auto, known in ((True, 30), (False, 0)):
            settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, window_auto=auto))
            pool = SessionPool(settings, opener(MemorySession({}, "a")))
            await Worker(broker, settings, pool).run(stop)
            assert (pool.learnt("a"), pool.learnt("b")) == (known, 0)
