"""A manager keeps with a job what its workers find out, now and then and at the end; nothing depends on it."""

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.manager.learning import KEPT_SECONDS, Learning
from cachewarmer.model import Access, AddressReport, Bound, InHand, JobState, JobStatus, Learnt, WarmJob, WorkerReport
from cachewarmer.model.learnt import LearntAddress
from cachewarmer.model.live import NOTE_SECONDS

JOB = WarmJob(access=Access(addresses=("a",)), job_id="j1")
WARMING = JobStatus(job=JOB, state=JobState.WARMING)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
async def broker(tmp_path):
    async with SqliteBroker(str(tmp_path / "broker.db")) as broker:
        await broker.submit(JOB)
        yield broker


async def note(broker, knee):
    jobs, addresses = (InHand(job="j1", items=1),), (AddressReport(address="a", knee=knee),)
    await broker.note_worker(WorkerReport(worker="w", bound="threads", jobs=jobs, addresses=addresses))


async def kept(broker):
    learnt = (await broker.look("j1")).learnt
    return learnt.addresses[0].window if learnt is not None else 0


async def test_it_is_written_at_once_then_now_and_then_and_at_the_end(broker):
    clock = Clock()
    learning = Learning(broker, JOB, clock)
    assert await learning.look(WARMING) == []
    assert await kept(broker) == 0
    await note(broker, 40)
    (seen,) = await learning.look(WARMING)
    assert (seen.worker, await kept(broker)) == ("w", 40)
    await note(broker, 30)
    await learning.look(WARMING)
    assert await kept(broker) == 40
    clock.now += KEPT_SECONDS
    await learning.look(WARMING)
    assert await kept(broker) == 30
    await note(broker, 20)
    await learning.look(WARMING)
    await learning.keep()
    assert await kept(broker) == 20
    assert (await broker.status("j1")).bound.bound is Bound.THREADS


async def test_a_scan_asks_no_more_often_than_there_is_something_new(broker):
    clock = Clock()
    learning = Learning(broker, JOB, clock)
    await note(broker, 40)
    await learning.look_while_scanning()
    assert await kept(broker) == 0
    clock.now += NOTE_SECONDS
    await learning.look_while_scanning()
    assert await kept(broker) == 40


async def test_a_broker_that_fails_is_no_harm(broker, monkeypatch):
    async def away(*_):
        raise BrokerUnavailable("away")

    learning = Learning(broker, JOB, Clock())
    await note(broker, 40)
    monkeypatch.setattr(broker, "keep_learnt", away)
    assert len(await learning.look(WARMING)) == 1
    monkeypatch.setattr(broker, "workers", away)
    assert await learning.look(WARMING) is None
    monkeypatch.undo()
    await learning.keep()
    assert await kept(broker) == 40


async def test_a_scan_begins_with_what_workers_hold_or_what_was_kept(broker):
    """Half of it, as anyone who comes later; of the job's own addresses alone, and nothing where the broker is away."""
    learning = Learning(broker, JOB)
    assert await learning.first_windows() == {}
    await broker.keep_learnt("j1", Learnt(addresses=(LearntAddress(address="a", window=60),)))
    assert await learning.first_windows() == {"a": 30}
    elsewhere = AddressReport(address="b", knee=80)
    await broker.note_worker(WorkerReport(worker="w", addresses=(AddressReport(address="a", knee=40), elsewhere)))
    assert await learning.first_windows() == {"a": 20}
    await broker.close()
    assert await learning.first_windows() == {}
