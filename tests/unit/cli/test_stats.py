"""``--stats``: what was done since the last line, for people and for programs."""

import asyncio
import logging

import pytest

from cachewarmer.about import parts_of
from cachewarmer.broker.base import Backlog
from cachewarmer.cli import stats
from cachewarmer.cli.stats import Look, Stats, look_at, look_at_broker, stats_told
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.model import AddressReport, InHand, JobState, JobStatus, Tally, WarmJob, WorkerReport


def worker(files=0, settled=0, failed=0, seen_seconds=0.0, bound="threads", **address):
    """A worker with one item of 10 files in hand."""
    held = InHand(
        job="j1",
        items=1,
        files=files,
        bytes=1000 * files,
        settled_items=settled,
        settled_files=10 * settled,
        settled_bytes=10_000 * settled,
        failed_files=failed,
    )
    place = AddressReport(address="10.0.0.1", window=32, in_flight=30, knee=40, **address)
    return WorkerReport(
        worker="w", host="h", pid=1, bound=bound, jobs=(held,), addresses=(place,), seen_seconds=seen_seconds
    )


@pytest.fixture
def told(caplog):
    """The lines so far: their text, and their numbers."""
    caplog.set_level(logging.INFO, "cachewarmer.cli.stats")
    return lambda: [(one.getMessage(), parts_of(one)["stats"]) for one in caplog.records]


def test_a_line_says_what_a_worker_has_done_and_what_bounds_it(told):
    """What is in hand counts with what is settled; what did not happen is not named."""
    one = Stats(look_at([worker(files=4)]), 100.0)
    one.tell(look_at([worker(files=6, settled=1, failed=2, retries=1, jukebox_waits=3)]), 110.0)
    ((text, numbers),) = told()
    assert text == (
        "in 10s: 12 files, 11.7 KiB (1.2 files/s, 1.2 KiB/s); 1 item done, 1 in hand; 30 of 32 calls in flight, knee 40; "
        "bound by the cache's threads; 2 failed files; 1 retry; 3 JUKEBOX waits"
    )
    assert numbers == {
        "seconds": 10.0,
        "items": 1,
        "files": 12,
        "bytes": 12_000,
        "failed_files": 2,
        "retries": 1,
        "jukebox_waits": 3,
        "reconnects": 0,
        "address_failures": 0,
        "files_per_second": 1.2,
        "bytes_per_second": 1200.0,
        "held_items": 1,
        "in_flight_calls": 30,
        "window_calls": 32,
        "knee_calls": 40,
        "away_addresses": 0,
        "bound_by": "threads",
    }


def test_what_is_handed_back_is_never_a_negative_number(told):
    """It is read again, and counted then."""
    one = Stats(look_at([worker(files=9)]), 0.0)
    one.tell(look_at([worker(files=0)]), 10.0)
    assert told()[0][1]["files"] == 0


def test_idleness_is_said_once(told):
    """A fleet that waits over the weekend fills no log; the first work after it is told of."""
    one = Stats(look_at([]), 0.0)
    for now in (10.0, 20.0, 30.0):
        one.tell(look_at([]), now)
    one.tell(look_at([worker(files=1)]), 40.0)
    one.tell(look_at([]), 50.0, at_end=True)
    assert [text.partition(";")[0] for text, _ in told()] == [
        "in 10s: idle",
        "in 10s: 1 file, 1000 B (0.1 files/s, 100 B/s)",
    ]


def test_an_address_that_does_not_answer_is_named(told):
    """Nothing is read, and this is why."""
    one = Stats(look_at([worker()]), 0.0)
    one.tell(look_at([worker(problem="refused", silent_seconds=9.0, bound="outage")]), 10.0)
    assert told()[0][0].endswith("; an address does not answer")


class Fleet:
    """A broker with one job that two workers read, one of which is lost."""

    def __init__(self):
        self.files = 0

    async def jobs(self):
        job = WarmJob(job_id="j1")
        return [JobStatus(job=job, state=JobState.WARMING, tallies=(Tally(worker="gone", files=self.files, items=1),))]

    async def workers(self):
        return [worker(files=self.files), worker(files=99, seen_seconds=999.0)]

    async def backlog(self):
        if self.files == 3:
            raise BrokerUnavailable("it is away")
        return Backlog(waiting_items=5, leased_items=2)


async def test_a_manager_tells_of_its_whole_fleet(told):
    """Jobs by their books and what workers have in hand, the queue, and those that are at work."""
    fleet = Fleet()
    one = Stats(await look_at_broker(fleet), 0.0)
    fleet.files = 2
    one.tell(await look_at_broker(fleet), 2.0)
    ((text, numbers),) = told()
    assert "1 job, 1 worker, 5 items waiting, 2 leased" in text
    assert (numbers["files"], numbers["workers"], numbers["jobs"]) == (4, 1, 1)


async def test_an_outage_makes_the_next_line_one_for_a_longer_time(told, monkeypatch):
    """And the end of the command says what is left to say."""
    fleet, now, looked = Fleet(), [0.0], asyncio.Event()

    async def look():
        now[0] += 10.0
        fleet.files += 1
        if fleet.files > 4:
            looked.set()
            await asyncio.sleep(60)
        return await look_at_broker(fleet)

    monkeypatch.setattr(stats, "LAST_SECONDS", 0.01)
    async with stats_told(0.001, look, lambda: now[0]):
        await asyncio.wait_for(looked.wait(), 20)
    assert [numbers["seconds"] for _, numbers in told()] == [10.0, 20.0]


async def test_zero_is_never():
    """Nobody looks."""
    async with stats_told(0.0, None):
        pass


def test_a_look_of_nothing():
    """Before the first item there is no window to name."""
    assert look_at([]) == Look({}, dict.fromkeys(look_at([]).now, 0))
