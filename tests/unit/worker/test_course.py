"""What a worker tells of its course: when it starts to read, what it waits for, and why it stops; each once."""

import asyncio
import logging

import pytest

from cachewarmer.broker.patience import outage_log
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import LeaseSettings, Settings
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.manager import Manager
from cachewarmer.model import Access, FileEntry, JobState, Tally, WarmJob, WorkItem
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker import Worker
from cachewarmer.worker.course import Course
from tests.memory import MemorySession, opener

SETTINGS = Settings(lease=LeaseSettings(poll_seconds=0.02))


@pytest.fixture
def told(caplog):
    """The lines so far."""
    caplog.set_level(logging.INFO, "cachewarmer")
    return lambda: [record.message for record in caplog.records]


def test_waiting_and_reading_are_told_once_each(told):
    """However often a worker polls, and however often it has nothing for a moment between two items."""
    now = [0.0]
    course = Course(lambda: now[0])
    done = Tally(worker="")
    for _ in range(100):
        now[0] += 1.0
        course.rests(done)
    for number in range(5):
        course.works(f"j{number}")
        done = Tally(worker="", items=number + 1, files=10 * number, bytes=2048, failed_files=number)
        now[0] += 1.0
        course.rests(done)
        now[0] += 1.0
    for _ in range(100):
        now[0] += 1.0
        course.rests(done)
    course.works("later")
    course.ends(done, 3)
    assert told() == [
        "waiting for work",
        "reading job j0",
        "read 5 items, 40 files, 2.0 KiB, 4 files failed in 9.0 s; waiting for work",
        "reading job later",
        "stopped: it was asked to; read 5 items, 40 files, 2.0 KiB, 4 files failed in 3 min 30 s; 3 items handed back",
    ]


class Away(SqliteBroker):
    """Does not answer claims while ``away`` is set."""

    away = False
    claims = 0

    async def claim(self, *given, **named):
        self.claims += 1
        if self.away:
            raise BrokerUnavailable("the broker can't be reached")
        return await super().claim(*given, **named)


async def claims(broker, count):
    """Waits for so many more claims."""
    until = broker.claims + count
    while broker.claims < until:
        await asyncio.sleep(0.005)


async def test_the_course_of_a_worker(tmp_path, told):
    """It waits, reads, waits out an outage of its broker, and stops: a line for each, however often it polls."""
    session = MemorySession({b"f": 1000}, "a")
    access, files = Access(addresses=("a",), export="/"), (FileEntry("", 1000, b"h"),)
    item = WorkItem(access=access, job_id="j1", path="/f", item_id="i1", files=files)
    stop = asyncio.Event()
    async with Away(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(100):
        outage_log(broker)._quiet_seconds = 0.0
        await broker.submit(WarmJob(access=Access(addresses=("a",)), job_id="j1"))
        await broker.set_state("j1", JobState.SCANNING)
        pool = SessionPool(SETTINGS, opener(session))
        working = asyncio.create_task(Worker(broker, SETTINGS, pool, course=Course()).run(stop))
        await claims(broker, 5)
        broker.away = True
        await claims(broker, 5)
        broker.away = False
        await claims(broker, 5)
        await broker.publish([item])
        while not (await broker.status("j1")).settled_items:
            await asyncio.sleep(0.01)
        stop.set()
        await working
    first, *_, last = told()
    assert first == "waiting for work"
    assert told()[1] == "claiming work: the broker can't be reached; waiting for it"
    assert told()[2].startswith("the broker answers again after ")
    assert told()[3] == "reading job j1"
    assert last.startswith("stopped: it was asked to; read 1 item, 1 file, 1000 B in ")
    assert len(told()) == 5


@pytest.mark.parametrize("evicted", [False, True])
async def test_a_worker_says_why_it_stops(tmp_path, told, evicted):
    """It had nothing to do, or its machine goes away."""
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker:
        pool = SessionPool(SETTINGS, opener())
        worker = Worker(broker, SETTINGS, pool, course=Course(), exit_when_idle=None if evicted else 0.0)
        if evicted:
            worker.evict()
        await asyncio.wait_for(worker.run(asyncio.Event()), 20)
    why = "its machine is taken away" if evicted else "there was nothing to do for 0 s"
    assert told()[-1].startswith(f"stopped: {why}; read 0 items, 0 files, 0 B in ")


async def test_the_course_of_a_manager(tmp_path, told):
    """It waits for jobs, has one, waits again, and says why it stops."""
    session = MemorySession({}, "a")
    async with SqliteBroker(str(tmp_path / "broker.db"), SETTINGS.lease) as broker, asyncio.timeout(100):
        stop = asyncio.Event()
        manager = Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session)))
        managing = asyncio.create_task(manager.run(stop))
        while not told():
            await asyncio.sleep(0.01)
        await broker.submit(WarmJob(access=Access(addresses=("a",)), warm_path="/", job_id="j1"))
        while told().count("waiting for jobs") < 2:
            await asyncio.sleep(0.01)
        stop.set()
        await managing
    assert told()[:-1] == ["waiting for jobs", "job j1: a:/", "job j1 is completed", "waiting for jobs"]
    assert told()[-1].startswith("stopped: it was asked to; 1 job ended in ")
