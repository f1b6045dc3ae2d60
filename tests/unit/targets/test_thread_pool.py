"""The thread pool: urgent operations first, stuck threads replaced, nothing lost when it closes."""

import asyncio
import threading

import pytest

from cachewarmer.errors import ConnectionLost, OwnResourceError, ReplyTimeout
from cachewarmer.targets.local.threads import Operation, ThreadPool


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Step(Operation):
    """Runs until it is let go; says how it ended."""

    def __init__(self, log, name, gate=None):
        super().__init__()
        self.log, self.name, self.gate = log, name, gate
        self.started = threading.Event()
        self.ended = asyncio.get_running_loop().create_future()

    def run(self, clock):
        self.started.set()
        if self.gate is not None:
            self.gate.wait(30)

    def finish(self, error):
        assert not self.ended.done(), "finished twice"
        self.log.append(self.name)
        self.ended.set_result(error)


async def started(*steps):
    for step in steps:
        await asyncio.to_thread(step.started.wait, 30)
        assert step.started.is_set()


async def test_every_operation_is_finished_once_on_the_event_loop():
    """More operations than threads."""
    log = []
    pool = ThreadPool(3, 60, clock=Clock())
    steps = [Step(log, number) for number in range(200)]
    for step in steps:
        pool.submit(step)
    assert await asyncio.gather(*(step.ended for step in steps)) == [None] * 200
    assert sorted(log) == list(range(200))
    pool.close()


async def test_urgent_operations_overtake_those_that_wait():
    """A listing does not wait for all the reads that are queued."""
    log, gate = [], threading.Event()
    pool = ThreadPool(1, 60, clock=Clock())
    first = Step(log, "first", gate)
    pool.submit(first)
    await started(first)
    slow, urgent = Step(log, "slow"), Step(log, "urgent")
    pool.submit(slow)
    pool.submit(urgent, urgent=True)
    gate.set()
    await asyncio.gather(slow.ended, urgent.ended)
    assert log == ["first", "urgent", "slow"]
    pool.close()


async def test_a_stuck_operation_ends_with_a_timeout_and_its_thread_is_replaced():
    """The next operation is done although the only thread has not come back."""
    log, gate, clock = [], threading.Event(), Clock()
    pool = ThreadPool(1, 10, subject="/mnt", clock=clock)
    stuck = Step(log, "stuck", gate)
    pool.submit(stuck)
    await started(stuck)
    clock.now = 5
    pool._watch()
    assert not stuck.ended.done()
    clock.now = 11
    pool._watch()
    error = await stuck.ended
    assert isinstance(error, ReplyTimeout)
    assert "/mnt" in str(error)
    assert pool.stuck == 1
    assert stuck.abandoned
    after = Step(log, "after")
    pool.submit(after)
    assert await after.ended is None
    gate.set()
    while pool.stuck:
        await asyncio.sleep(0)
    pool.close()


async def test_what_is_queued_behind_a_dead_file_system_is_not_kept_waiting():
    """Nothing at all got through in that time, so that all of it fails at once."""
    gate, clock = threading.Event(), Clock()
    pool = ThreadPool(1, 10, clock=clock)
    stuck, queued = Step([], "stuck", gate), Step([], "queued")
    pool.submit(stuck)
    pool.submit(queued)
    await started(stuck)
    clock.now = 11
    pool._watch()
    assert isinstance(await queued.ended, ReplyTimeout)
    gate.set()
    pool.close()


async def test_an_operation_that_gets_on_is_not_given_up():
    """However long it takes in all."""
    gate, clock = threading.Event(), Clock()
    pool = ThreadPool(1, 10, clock=clock)
    step = Step([], "long", gate)
    pool.submit(step)
    await started(step)
    for now in (8, 16, 24, 32):
        clock.now = now
        step.progress = now
        pool._watch()
    assert pool.stuck == 0
    gate.set()
    assert await step.ended is None
    pool.close()


async def test_with_too_many_stuck_threads_work_is_refused_until_one_comes_back():
    """Their number is bounded: each holds a stack and a descriptor."""
    gate, clock = threading.Event(), Clock()
    pool = ThreadPool(1, 10, clock=clock)
    for turn in range(1, 3):
        step = Step([], turn, gate)
        pool.submit(step)
        await started(step)
        clock.now += 11
        pool._watch()
        await step.ended
    refused = Step([], "refused")
    pool.submit(refused)
    assert isinstance(await refused.ended, ReplyTimeout)
    gate.set()
    while pool.stuck:
        await asyncio.sleep(0)
    taken = Step([], "taken")
    pool.submit(taken)
    assert await taken.ended is None
    pool.close()


async def test_closing_ends_what_runs_and_what_waits_without_waiting_for_threads():
    """Once each, and so does what is submitted later."""
    gate = threading.Event()
    pool = ThreadPool(1, 60, clock=Clock())
    running, queued, late = Step([], "running", gate), Step([], "queued"), Step([], "late")
    pool.submit(running)
    pool.submit(queued)
    await started(running)
    pool.close()
    pool.close()
    pool.submit(late)
    for step in (running, queued, late):
        assert isinstance(await step.ended, ConnectionLost)
    gate.set()
    assert running.abandoned


@pytest.mark.parametrize("size", [0, -1])
async def test_a_pool_has_at_least_one_thread(size):
    """A setting of none would hang."""
    pool = ThreadPool(size, 60, clock=Clock())
    step = Step([], "one")
    pool.submit(step)
    assert await step.ended is None
    pool.close()


async def test_where_no_further_thread_can_be_started_those_that_there_are_do_the_work(monkeypatch):
    """A machine at its limit reads more slowly; nothing has failed."""
    pool = ThreadPool(4, 60, clock=Clock())
    first = Step([], "first")
    pool.submit(first)
    assert await first.ended is None

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    steps = [Step([], str(number)) for number in range(5)]
    for step in steps:
        pool.submit(step)
    assert [await step.ended for step in steps] == [None] * 5
    pool.close()


async def test_without_any_thread_an_operation_ends_with_what_is_missing(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = ThreadPool(4, 60, clock=Clock())
    step = Step([], "one")
    pool.submit(step)
    assert isinstance(await step.ended, OwnResourceError)
    pool.close()
