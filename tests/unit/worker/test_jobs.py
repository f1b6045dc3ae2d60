"""What a worker knows of jobs, with a clock of the test's own."""

import pytest

from cachewarmer.broker.base import JobLook
from cachewarmer.errors import BrokerUnavailable, UnknownJob
from cachewarmer.model import Bandwidth, Hours, JobState
from cachewarmer.worker.jobs import HIDING_SECONDS, HIDING_STEP_SECONDS, MAX_HIDING_SECONDS, Hiding, JobStates, Paces


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class States:
    """A broker of which only states are asked."""

    def __init__(self):
        self.answer = JobState.WARMING
        self.asked = 0

    async def look(self, job_id):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return JobLook(self.answer)


@pytest.fixture
def clock():
    return Clock()


async def test_a_state_is_asked_for_again_only_when_it_is_old(clock):
    broker = States()
    states = JobStates(broker, 1.0, clock)
    assert (await states.look("j")).state is JobState.WARMING
    broker.answer = JobState.PAUSED
    clock.now += 0.9
    assert (await states.look("j")).state is JobState.WARMING
    clock.now += 0.2
    assert (await states.look("j")).state is JobState.PAUSED
    assert broker.asked == 2


async def test_a_broker_that_does_not_answer_leaves_the_state_as_it_was(clock):
    """Work in hand is not thrown away because nobody can say whether it is still wanted."""
    broker = States()
    states = JobStates(broker, 1.0, clock)
    broker.answer = BrokerUnavailable("away")
    assert (await states.look("new")).state is JobState.WARMING
    broker.answer = JobState.PAUSED
    await states.look("j")
    clock.now += 2
    broker.answer = BrokerUnavailable("away")
    assert (await states.look("j")).state is JobState.PAUSED


async def test_a_job_that_was_forgotten_is_over_and_work_without_a_job_goes_on(clock):
    broker = States()
    broker.answer = UnknownJob("gone")
    states = JobStates(broker, 1.0, clock)
    assert (await states.look("j")).state is JobState.CANCELLED
    assert (await states.look("")).state is JobState.WARMING


def test_a_pace_is_the_share_of_the_job_and_no_more_than_the_worker_may(clock):
    paces = Paces(300, sharers=2, clock=clock)
    assert paces.pace("a", Bandwidth(1000)).bytes_per_second == 300
    assert paces.pace("b", Bandwidth(400)).bytes_per_second == 200
    assert paces.pace("c", Bandwidth()).bytes_per_second == 300
    assert Paces(0, clock=clock).pace("a", Bandwidth()).bytes_per_second == 0


def test_the_limit_of_a_worker_is_one_for_all_of_its_jobs(clock):
    """One that waits for its own limit leaves the rest to the other, and what both ask for is held to the whole."""
    paces = Paces(300, clock=clock)
    slow, quick = paces.pace("a", Bandwidth(100)), paces.pace("b", Bandwidth())
    read, end = {slow: 0, quick: 0}, clock.now + 60
    waiting = {pace: pace.take(50, clock.now) for pace in read}
    while clock.now < end:
        clock.now += 0.05
        for pace in read:
            while pace.wait(waiting[pace], clock.now) == 0:
                read[pace] += 50
                waiting[pace] = pace.take(50, clock.now)
    assert read[slow] == pytest.approx(60 * 100, rel=0.03)
    assert read[slow] + read[quick] == pytest.approx(60 * 300, rel=0.03)
    assert not Paces(0, clock=clock).pace("a", Bandwidth()).holds_back(clock.now)


def test_a_pace_is_one_for_all_items_of_a_job_and_adapts_to_the_workers(clock):
    paces, whole = Paces(0, clock=clock), Bandwidth(1000)
    pace = paces.pace("a", whole)
    assert paces.pace("a", whole) is pace
    paces.share("a", 4)
    paces.adapt("a", whole)
    assert pace.bytes_per_second == 250
    paces.share("a", 1)
    paces.adapt("a", whole)
    assert pace.bytes_per_second == 1000


def test_a_worker_among_idle_ones_gets_the_whole_rate(clock):
    """How many processes there are says nothing: only those that read have a share."""
    paces, whole = Paces(0, sharers=4, clock=clock), Bandwidth(1000)
    pace = paces.pace("a", whole)
    assert pace.bytes_per_second == 250
    paces.share("a", 1)
    paces.adapt("a", whole)
    assert pace.bytes_per_second == 1000


def test_a_pace_follows_a_new_limit_and_the_time_of_day(clock):
    """And it is told where what was asked for at the old pace has to be held back: not for a little less."""
    minute = [0]
    paces = Paces(0, clock=clock, minute=lambda: minute[0])
    pace = paces.pace("a", Bandwidth())
    assert paces.adapt("a", Bandwidth(1000))
    assert pace.bytes_per_second == 1000
    assert not paces.adapt("a", Bandwidth(900))
    assert not paces.adapt("a", Bandwidth())
    by_day = Bandwidth(0, (Hours(8 * 60, 20 * 60, 100),))
    assert not paces.is_shared(by_day)
    minute[0] = 8 * 60
    assert paces.is_shared(by_day)
    assert paces.adapt("a", by_day)
    assert pace.bytes_per_second == 100


def test_many_items_come_back_into_sight_one_by_one(clock):
    """One is back soon, so that resuming acts within seconds; a thousand do not come between others together."""
    hiding = Hiding(clock)
    assert hiding.seconds() == HIDING_SECONDS
    hidden = [hiding.seconds() for _ in range(10_000)]
    assert hidden == sorted(hidden)
    assert hidden[99] == pytest.approx(HIDING_SECONDS + 100 * HIDING_STEP_SECONDS)
    assert hidden[-1] == MAX_HIDING_SECONDS
    clock.now += 5000.0
    assert hiding.seconds() == HIDING_SECONDS
