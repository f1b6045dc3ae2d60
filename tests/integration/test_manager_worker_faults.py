"""What manager and worker do when their broker, their targets or they themselves misbehave."""

import asyncio
import time
from dataclasses import replace

import pytest

from cachewarmer.broker.base import JobLook
from cachewarmer.config import NfsSettings, PlanSettings
from cachewarmer.errors import (
    BrokerBusy,
    BrokerError,
    BrokerUnavailable,
    ConnectFailed,
    InvalidTransition,
    OwnResourceError,
    ProgramChanged,
)
from cachewarmer.manager import Manager
from cachewarmer.model import Access, FileEntry, JobState, Report, WarmJob, WorkItem
from cachewarmer.submitter import submit
from cachewarmer.targets.base import DirectoryEntry, FileKind, Page
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker import Worker
from tests.integration.parts import BYTES, FILES, SETTINGS, TREE, finish, job
from tests.memory import MemorySession, opener

SHORT = replace(SETTINGS, lease=replace(SETTINGS.lease, lease_seconds=0.5))
"""What nobody renews comes back soon."""


def failing(broker, name, error, times):
    """The broker's call ``name`` fails so many times."""
    real = getattr(broker, name)
    left = [error] * times

    async def call(*arguments, **more):
        if left:
            raise left.pop()
        return await real(*arguments, **more)

    setattr(broker, name, call)
    return left


async def wait_for(true, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def ends_warm(broker, running, settings):
    """A manager and a worker do a whole job, with exact totals."""
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, settings, SessionPool(settings, opener(session))))
    running.start(Worker(broker, settings, SessionPool(settings, opener(session)), name="x"))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["scanned_files"]) == (FILES, BYTES, FILES)


async def work_of(broker, count, *, files=10, first_generation=False):
    """A job with items that nobody has published otherwise."""
    job_id = await submit(broker, job())
    await broker.set_state(job_id, JobState.SCANNING)
    entries = tuple(FileEntry(f"f{number}", 100) for number in range(files))
    await broker.publish(
        [
            WorkItem(
                access=Access(addresses=("a",)),
                path=f"/d{number}",
                job_id=job_id,
                files=None if first_generation else entries,
            )
            for number in range(count)
        ]
    )
    return job_id


# -- the worker ----------------------------------------------------------------------------------------------------


async def test_what_can_not_be_reported_comes_back_when_its_lease_runs_out(broker, running):
    """A broker that refuses a receipt once: the worker lets the item go, and does not renew it for ever."""
    left = failing(broker, "complete", BrokerError("refused"), 1)
    await ends_warm(broker, running, SHORT)
    assert not left


@pytest.mark.parametrize("first_generation", [False, True])
async def test_a_worker_that_still_connects_leaves_the_work_to_others(broker, running, first_generation):
    """It takes what fills its window and no more, though none of its requests is under way yet."""
    window = 8
    settings = replace(SETTINGS, nfs=NfsSettings(window_calls=window))
    await work_of(broker, 100, first_generation=first_generation)
    connecting = asyncio.Event()

    async def never(mount, settings):
        connecting.set()
        await asyncio.Event().wait()

    running.start(Worker(broker, settings, SessionPool(settings, never), name="slow"))
    await connecting.wait()
    await asyncio.sleep(0.3)
    held = (await broker.backlog()).leased_items
    assert held <= (2 if first_generation else 2 * 4 * window // 10)


async def test_the_tail_of_a_job_is_shared(broker, running):
    """Of two workers that read equally fast, none ends with much more than the other."""
    settings = replace(SETTINGS, nfs=NfsSettings(window_calls=4))
    tree = {b"d%d" % d: {b"f%d" % f: 100 for f in range(10)} for d in range(60)}

    class Slow(MemorySession):
        """Each file takes 5 ms, one after the other."""

        due = 0.0

        def read(self, request):
            loop = asyncio.get_running_loop()
            self.due = max(self.due, loop.time()) + 0.005
            loop.call_at(self.due, super().read, request)

    job_id = await work_of(broker, 60)
    ended = {}

    async def watch():
        while True:
            for tally in (await broker.status(job_id)).tallies:
                if tally.items != ended.get(tally.worker, (0, 0))[0]:
                    ended[tally.worker] = (tally.items, time.monotonic())
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    for name in "xy":
        running.start(Worker(broker, settings, SessionPool(settings, opener(Slow(tree, "a"))), name=name))
    async with asyncio.timeout(20):
        while (await broker.status(job_id)).settled_items < 60:
            await asyncio.sleep(0.01)
    watching.cancel()
    last = sorted(moment for _, moment in ended.values())
    assert len(last) == 2
    assert last[1] - last[0] < 0.5, "an item takes 0.05 s, and each holds few"


async def test_a_stopped_worker_is_gone_in_time_though_its_broker_is_not_there(broker, running):
    """Nothing it does on its way out takes longer than it is given."""
    settings = replace(SETTINGS, lease=replace(SETTINGS.lease, drain_seconds=3.0))
    stuck = MemorySession(TREE, "a")
    stuck.held = []
    await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(MemorySession(TREE, "a")))))
    task, stop = running.start(Worker(broker, settings, SessionPool(settings, opener(stuck))))
    await wait_for(lambda: stuck.held)

    async def hang(*arguments, **more):
        await asyncio.Event().wait()

    theirs = {name: getattr(broker, name) for name in ("abandon", "claim", "complete")}
    for name in theirs:
        setattr(broker, name, hang)
    stop.set()
    await asyncio.wait_for(task, 4 * settings.lease.drain_seconds)  # none of the calls would ever end by itself
    for name, real in theirs.items():
        setattr(broker, name, real)


async def test_a_worker_with_nothing_but_paused_work_is_idle(broker):
    """Where the queue hands out what is paused, that is no work."""
    job_id = await work_of(broker, 3)

    async def paused(_job_id):
        return JobLook(JobState.PAUSED)

    broker.look = paused
    worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, opener()), exit_when_idle=0.2)
    await asyncio.wait_for(worker.run(asyncio.Event()), 5)
    assert (await broker.status(job_id)).settled_items == 0


# -- the manager ---------------------------------------------------------------------------------------------------


async def test_a_queue_that_fails_in_mid_scan_costs_neither_items_nor_directories(broker, running):
    """What could not be posted is posted again; it is not the fault of the directory that it came from."""
    left = failing(broker, "publish", BrokerUnavailable("the queue is out of order"), 3)
    await ends_warm(broker, running, SETTINGS)
    assert not left


async def test_a_queue_that_refuses_for_good_fails_the_job_with_its_reason(broker, running):
    """It would refuse the next manager too; whoever waits for the job hears of it."""
    job_id = await submit(broker, job())
    failing(broker, "publish", BrokerError("posting to the queue: not allowed"), 1)
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(MemorySession(TREE, "a")))))
    status = await finish(broker, job_id)
    assert (status.state, status.reason) == (JobState.FAILED, "posting to the queue: not allowed")


async def test_a_queue_that_is_away_for_longer_than_a_lease_ends_no_job(broker, running):
    """The job's lease runs out, and it is scanned again: no item is counted that was never posted."""
    left = failing(broker, "publish", BrokerUnavailable("the queue is out of order"), 4)
    await ends_warm(broker, running, SHORT)
    assert not left


async def test_a_lone_manager_waits_for_a_broker_that_others_hold(broker, running):
    """There is no other one to go on with the job: it waits for longer than a lease, and scans only once."""
    left = failing(broker, "publish", BrokerBusy("locked"), 4)
    scans = []
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    pool = SessionPool(SHORT, opener(session))
    lease = await broker.claim_job(SHORT.lease.lease_seconds, job_id)
    manager = Manager(broker, SHORT, pool, busy_seconds=60.0, on_scanning=scans.append)
    managing = asyncio.create_task(manager.manage(lease, asyncio.Event()))
    running.start(Worker(broker, SHORT, SessionPool(SHORT, opener(session)), name="x"))
    assert (await finish(broker, job_id)).state is JobState.COMPLETED
    await asyncio.wait_for(managing, 60)
    assert not left
    assert scans == [True, False]


async def test_a_cancelled_scan_ends_though_it_publishes_nothing(broker, running):
    """It finds nothing but directories, on and on: still it ends within a poll."""

    class Endless(MemorySession):
        """Each directory holds two others."""

        listed = 0

        async def list_page(self, path, handle, cookie=None):
            await asyncio.sleep(0.001)
            self.listed += 1
            entry = DirectoryEntry(b"d", FileKind.DIRECTORY, 0, 0.0, b"%d" % self.listed)
            return Page([entry, entry._replace(name=b"e", handle=b"e%d" % self.listed)], [], None)

    session = Endless({b"d": {}}, "a")
    job_id = await submit(broker, job())
    task, _ = running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), exit_when_idle=0.1))
    await wait_for(lambda: session.listed > 10)
    await broker.set_state(job_id, JobState.CANCELLED)
    await asyncio.wait_for(task, 5)
    listed = session.listed
    await asyncio.sleep(0.05)
    assert session.listed == listed


async def test_paused_jobs_take_no_other_jobs_place(broker, running):
    """A manager that scans one job at a time takes the next while the first one rests."""
    session = MemorySession(TREE, "a", delay=0.002)
    first = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), jobs_at_once=1))
    while (await broker.state(first)) is not JobState.SCANNING:
        await asyncio.sleep(0.005)
    await broker.set_state(first, JobState.PAUSED)
    second = await submit(broker, job())
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="x"))
    assert Report.of_job(await finish(broker, second), 0).document()["files"] == FILES
    assert (await broker.state(first)) is JobState.PAUSED
    await broker.set_state(first, JobState.SCANNING)
    assert Report.of_job(await finish(broker, first), 0).document()["files"] == FILES


async def test_a_job_that_is_only_read_takes_no_other_jobs_place(broker, running):
    """What counts is how many are scanned at the same time."""
    session = MemorySession(TREE, "a")
    jobs = [await submit(broker, job()) for _ in range(3)]
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), jobs_at_once=1))
    async with asyncio.timeout(10):
        while {await broker.state(one) for one in jobs} != {JobState.WARMING}:
            await asyncio.sleep(0.02)


async def test_a_fault_of_the_program_fails_the_job_and_not_the_next_manager(broker, running):
    """Else the job would go from manager to manager for ever."""

    async def broken(mount, settings):
        raise ZeroDivisionError("a bug")

    job_id = await submit(broker, job())
    other = await submit(broker, WarmJob(access=Access(addresses=("a",)), warm_path="/d00"))
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, broken)))
    status = await finish(broker, job_id)
    assert (status.state, status.reason) == (JobState.FAILED, "ZeroDivisionError: a bug")
    assert (await finish(broker, other)).state is JobState.FAILED


async def test_a_job_cancelled_just_before_its_scan_is_let_go(broker, running):
    """The manager finds that it may not begin, and goes on with others."""
    job_id = await submit(broker, job())
    real = broker.set_state

    async def cancelled_first(one, state, reason=""):
        if state is JobState.SCANNING:
            await real(one, JobState.CANCELLED)
        return await real(one, state, reason)

    broker.set_state = cancelled_first
    task, _ = running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener()), exit_when_idle=0.1))
    await asyncio.wait_for(task, 5)
    with pytest.raises(InvalidTransition):
        await real(job_id, JobState.SCANNING)
    assert await broker.claim_job(1.0) is None, "it is off the queue"


async def test_small_files_do_not_make_a_plan_that_nobody_can_share(broker, running):
    """Items of one file each: a worker claims many, yet no more than fill its window."""
    settings = replace(SETTINGS, plan=PlanSettings(item_files=1), nfs=NfsSettings(window_calls=2))
    session = MemorySession(TREE, "a")
    session.held = []
    job_id = await submit(broker, job())
    running.start(Manager(broker, settings, SessionPool(settings, opener(MemorySession(TREE, "a")))))
    running.start(Worker(broker, settings, SessionPool(settings, opener(session)), name="x"))
    while not (await broker.status(job_id)).scan.finished:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(session.held) <= 2 * 4 * 2, "twice what it keeps ahead"
    session.held, held = None, session.held
    for request in held:
        session.finish(request)
    assert Report.of_job(await finish(broker, job_id), 0).document()["files"] == FILES


# -- addresses that go away ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ConnectFailed("no route to host"), OwnResourceError("too many open files")])
async def test_a_worker_that_can_not_reach_the_cache_leaves_everything_to_those_who_can(
    broker, running, monkeypatch, caplog, error
):
    """It hands back what it took without a delivery counted, claims next to nothing, and says why once."""
    monkeypatch.setattr("cachewarmer.worker.worker.HOLD_SECONDS", 0.1)
    monkeypatch.setattr("cachewarmer.worker.worker.AWAY_SECONDS", 0.2)
    monkeypatch.setattr("cachewarmer.worker.jobs.HIDING_SECONDS", 0.05)
    session = MemorySession(TREE, "a", delay=0.001)
    claims = []
    claim = broker.claim

    async def refuse(mount, settings):
        raise error

    job_id = await submit(broker, job())
    away = Worker(broker, SETTINGS, SessionPool(SETTINGS, refuse), name="away")

    async def count(wanted, *more, **named):
        taken = await claim(wanted, *more, **named)
        claims.append((asyncio.current_task(), len(taken)))
        return taken

    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    running.start(away)
    while not (await broker.status(job_id)).scan.finished:
        await asyncio.sleep(0.01)
    await wait_for(lambda: away.pool.reaches_nothing and not away._held)
    monkeypatch.setattr(broker, "claim", count)
    await asyncio.sleep(1.0)
    assert sum(taken for _, taken in claims) <= 6, "one item every 0.2 s, to see whether it is for another address"
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="well"))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)
    assert [one["worker"] for one in report["workers"]] == ["well"]
    assert sum("waiting for it" in record.message for record in caplog.records) == 1


async def test_what_had_come_of_items_is_not_read_again_by_another_worker(broker, running, monkeypatch):
    """One worker loses its way to the cache in the middle of items: no byte is read twice, and each counts once."""
    monkeypatch.setattr("cachewarmer.worker.worker.HOLD_SECONDS", 0.05)
    monkeypatch.setattr("cachewarmer.worker.jobs.HIDING_SECONDS", 0.05)
    well = MemorySession(TREE, "a")

    class Cut(MemorySession):
        def finish(self, request):
            if len(self.reads) == 100:
                self.down = ConnectFailed("no route to host", address="a")
            super().finish(request)
            if request.error is not None:
                self.reads.pop()

    cut = Cut(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(well))))
    away = Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(cut)), name="away")
    running.start(away)
    await wait_for(lambda: away.pool.reaches_nothing and not away._held)
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(well)), name="well"))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)
    reads = [*cut.reads, *well.reads]
    assert len(cut.reads) == 100
    assert sum(stop - start for _, start, stop in reads) == BYTES
    assert len(reads) == len(set(reads))


async def test_a_worker_that_reaches_the_cache_again_goes_on(broker, running, monkeypatch):
    monkeypatch.setattr("cachewarmer.worker.worker.HOLD_SECONDS", 0.05)
    monkeypatch.setattr("cachewarmer.worker.jobs.HIDING_SECONDS", 0.05)
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    while not (await broker.status(job_id)).scan.finished:
        await asyncio.sleep(0.01)
    there = False

    async def sometimes(mount, settings):
        if not there:
            raise ConnectFailed("no route to host", address="a")
        return session

    worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, sometimes), name="x")
    running.start(worker)
    await wait_for(lambda: worker.pool.reaches_nothing)
    there = True
    status = await finish(broker, job_id)
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, FILES)


async def test_a_job_whose_addresses_stay_away_fails_after_the_patience(broker, running, monkeypatch):
    """The manager, not a worker, says so: it looks for itself when nothing has moved for a while."""
    monkeypatch.setattr("cachewarmer.manager.waiting.STILL_SECONDS", 0.1)
    settings = replace(SETTINGS, lease=replace(SETTINGS.lease, patience_seconds=0.5))
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, settings, SessionPool(settings, opener(session))))
    while not (await broker.status(job_id)).scan.finished:
        await asyncio.sleep(0.01)
    session.down = ConnectFailed("refused", address="a")
    running.start(Worker(broker, settings, SessionPool(settings, opener(session)), name="x"))
    status = await finish(broker, job_id)
    assert status.state is JobState.FAILED
    assert "a: refused" in status.reason
    assert status.poisoned_items == 0


async def test_a_scan_waits_for_its_addresses_and_is_complete(broker, running):
    """The address goes away in the middle of the scan and comes back: no directory is missing, none has failed."""
    session = MemorySession(TREE, "a", delay=0.005)
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    while not (await broker.status(job_id)).scan.directories:
        await asyncio.sleep(0.005)
    session.down = ConnectFailed("refused", address="a")
    await asyncio.sleep(0.5)
    assert not (await broker.status(job_id)).scan.finished
    session.down = None
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="x"))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["scanned_files"], report["failed_files"]) == (FILES, FILES, 0)


# -- jobs whose work got lost --------------------------------------------------------------------------------------


async def lose(broker, job_id):
    """Takes the items of a job off the queue behind everybody's back, as another program would."""
    await broker._call(lambda: broker._opened().run("drop_items", job_id=job_id))


async def test_a_job_whose_items_are_gone_is_scanned_again_and_fails_the_second_time(broker, running, monkeypatch):
    monkeypatch.setattr("cachewarmer.manager.waiting.STRANDED_SECONDS", 0.1)
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    for again in (False, True):
        while not (status := await broker.status(job_id)).scan.finished:
            await asyncio.sleep(0.01)
        await lose(broker, job_id)
        if not again:
            while (await broker.status(job_id)).scan.finished:
                await asyncio.sleep(0.01)
    status = await finish(broker, job_id)
    assert status.state is JobState.FAILED
    assert "gone from the queue" in status.reason


async def test_a_job_that_was_scanned_again_ends_with_exact_totals(broker, running, monkeypatch):
    monkeypatch.setattr("cachewarmer.manager.waiting.STRANDED_SECONDS", 0.1)
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    while not (await broker.status(job_id)).scan.finished:
        await asyncio.sleep(0.01)
    await lose(broker, job_id)
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="x"))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["scanned_files"]) == (FILES, BYTES, FILES)


# -- a program that is replaced while it runs ----------------------------------------------------------------------


async def replaced(mount, settings):
    """What an upgrade in place does to a module that was not needed until now."""
    raise ModuleNotFoundError("No module named 'cachewarmer.targets.mount'")


async def test_a_worker_whose_program_was_replaced_leaves_its_items_to_others(broker):
    """They are not at fault, however often that happens; and it ends, for its service to be started again."""
    job_id = await work_of(broker, 3)
    for _ in range(SETTINGS.lease.max_deliveries + 1):
        worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, replaced))
        with pytest.raises(ProgramChanged, match=r"No module named .*start it again"):
            await asyncio.wait_for(worker.run(asyncio.Event()), 20)
    status = await broker.status(job_id)
    assert (status.poisoned_items, status.settled_items) == (0, 0)
    assert (await broker.backlog()).leased_items == 0


async def test_a_manager_whose_program_was_replaced_leaves_its_job_to_another(broker, running):
    job_id = await submit(broker, job())
    manager = Manager(broker, SETTINGS, SessionPool(SETTINGS, replaced))
    with pytest.raises(ProgramChanged):
        await asyncio.wait_for(manager.run(asyncio.Event()), 20)
    session = MemorySession(TREE, "a")
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    assert (await finish(broker, job_id)).state is JobState.COMPLETED
