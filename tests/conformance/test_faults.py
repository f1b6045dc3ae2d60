"""A small job from its submission to its end, with a fault at every single call: are the totals exact each time?

What can go wrong with a call: it fails; it is done and its answer is lost; it is done twice; or the process that makes
it is killed just before it, or just after. Manager and workers are the real ones, on a tree in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field, replace

import psycopg
import pytest

from cachewarmer.broker.azure.broker import AzureBroker
from cachewarmer.broker.base import Broker
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import LeaseSettings, PlanSettings, Settings
from cachewarmer.errors import BrokerUnavailable
from cachewarmer.eventloop import end_tasks
from cachewarmer.ledger.records import records
from cachewarmer.ledger.since import store_base
from cachewarmer.manager import Manager
from cachewarmer.model import Access, JobState, Report, WarmJob, new_job_id
from cachewarmer.model.outcomes import FileOutcome
from cachewarmer.submitter import submit
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker.worker import Worker
from tests.conformance.labs import AzuriteLab, PostgresLab
from tests.memory import MemorySession, opener

SETTINGS = Settings(
    plan=PlanSettings(item_files=4, item_bytes=10_000, range_bytes=3000),
    # A slow machine may let a lease run out by itself: that must not end in poison, which is not what is tested here.
    lease=LeaseSettings(poll_seconds=0.1, lease_seconds=2.0, drain_seconds=0.2, max_deliveries=100),
)
TREE = {b"d%d" % d: {b"f%d" % f: 100 + f for f in range(5)} for d in range(4)} | {b"big": 10_001, b"none": 0}
FILES = 4 * 5 + 2
BYTES = 4 * sum(100 + f for f in range(5)) + 10_001

FATES = ("fails", "is lost", "is done twice", "kills before", "kills after")
CALLS = (
    "submit", "claim_job", "renew_job", "settle_job", "set_state", "record_scan", "state", "look", "status",
    "publish", "claim", "renew", "complete", "note_worker", "add_to_ledger", "forget_scanned",
)  # fmt: skip
PLAIN_CALLS = tuple(call for call in CALLS if call not in ("add_to_ledger", "forget_scanned"))
STEPS = {
    "jobs": ("send", "receive", "change", "delete"),
    "work": ("send", "receive", "change", "delete"),
    "records": ("find", "add", "replace", "look"),
    "receipts": ("_write", "sums"),
}
"""What the calls of the Azure broker are made of: each is one request, or one that is repeated until it is answered."""
TIMES = {"sqlite": 4, "azurite": 2, "postgres": 1}
"""Each call that is made so often, or oftener, has its fault at the first, the second, … of them."""
AT_ONCE = {"sqlite": 12, "azurite": 6, "postgres": 6}
HANG_SECONDS = 60


@dataclass
class Fault:
    """What becomes of the ``number``-th call of a kind, whoever makes it."""

    call: str
    number: int
    fate: str
    seen: Counter[str] = field(default_factory=Counter)
    struck: bool = False

    def strikes(self, call: str) -> bool:
        self.seen[call] += 1
        if call != self.call or self.seen[call] != self.number:
            return False
        self.struck = True
        return True


class SlowSession(MemorySession):
    """Its large file takes long enough for leases to be renewed, its root for a scan's manager to ask for the job's state."""

    async def list_page(self, path, handle, cookie=None):
        if path == b"" and cookie is None:
            await asyncio.sleep(3 * SETTINGS.lease.poll_seconds)
        return await super().list_page(path, handle, cookie)

    def read(self, request):
        if request.path == b"big" and request.start == 0:
            asyncio.get_running_loop().call_later(1.2, super().read, request)
        else:
            super().read(request)


class Killed(BaseException):
    """What every call of a dead process ends with, so that nothing it still does reaches the broker."""


class Faulty:
    """One process's handle on a broker."""

    def __init__(self, broker: Broker, fault: Fault) -> None:
        self.broker = broker
        self.fault = fault
        self.dead = asyncio.Event()
        if isinstance(broker, AzureBroker) and broker._open is not None:
            for part, steps in STEPS.items():
                owner = getattr(broker._open, part)
                for step in steps:
                    setattr(owner, step, self.struck(f"{part}.{step}", getattr(owner, step)))

    def __getattr__(self, name):
        found = getattr(self.broker, name)
        return self.struck(name, found) if name in CALLS else found

    def struck(self, name, call):
        """The call with its fault."""

        async def with_fault(*arguments, **more):
            if self.dead.is_set():
                raise Killed
            if not self.fault.strikes(name):
                return await call(*arguments, **more)
            fate = self.fault.fate
            if fate == "fails":
                raise BrokerUnavailable(f"{name}: as the test wants it")
            if fate != "kills before":
                result = await call(*arguments, **more)
            if fate == "is done twice":
                # Where the first time gave something that the second can't, as a claim does, it is lost.
                return await call(*arguments, **more)
            if fate == "is lost":
                raise BrokerUnavailable(f"{name}: its answer {result!r} is lost")
            self.dead.set()
            raise Killed

        return with_fault


async def persistently(make_part, make_handle, fault, stop):
    """Runs a manager or worker, and another one in its place when it was killed or gave up."""
    stopped = asyncio.create_task(stop.wait())
    while not stop.is_set():
        handle = Faulty(await make_handle(), fault)
        own_stop = asyncio.Event()
        part = asyncio.create_task(make_part(handle).run(own_stop))
        died = asyncio.create_task(handle.dead.wait())
        await asyncio.wait([part, died, stopped], return_when=asyncio.FIRST_COMPLETED)
        own_stop.set()
        # It may still be killed while it stops.
        await asyncio.wait([part, died], return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(part, died)
    await stopped


async def within_seconds(seconds, tasks, what):
    """Waits until tasks have ended; says where those are that have not in time."""
    _, left = await asyncio.wait(tasks, timeout=seconds)
    if left:
        sys.stdout.write(f"{what}: {len(left)} of its processes do not end; what is awaited:\n")
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.print_stack(file=sys.stdout)
        for task in left:
            task.cancel()
        raise TimeoutError(what)


async def messages_left(broker):
    """Whether a job or an item is still on a queue, in sight or not."""
    if isinstance(broker, SqliteBroker):
        with contextlib.closing(sqlite3.connect(broker.path)) as file:
            return file.execute(
                "SELECT (SELECT count(*) FROM items) + count(*) FROM jobs WHERE NOT off_queue"
            ).fetchone()[0]
    if isinstance(broker, PostgresBroker):
        async with broker._database.statement() as sql:
            return sum([not row["off_queue"] for row in await sql.all("all_jobs")]) + await _rows(broker)
    return await broker._at.jobs.length() + await broker._at.work.length()


async def _rows(broker):
    """Item rows of a PostgreSQL broker."""
    async with await psycopg.AsyncConnection.connect(broker.url) as connection:
        found = await connection.execute(f"SELECT count(*) FROM {broker._database.schema}.items")
        return (await found.fetchone())[0]


async def warm_with(make_handle, fault, tree=TREE, held=()):
    """One job under one fault; returns its status, the paths read, and the broker that saw no fault.

    ``held``: records of an earlier ledger; with them, the job keeps a ledger too.
    """
    session = SlowSession(tree, "a", delay=0.01)
    eye = await make_handle()
    stop = asyncio.Event()
    job = WarmJob(access=Access(addresses=("a",)), warm_path="/", job_id=new_job_id())
    if held:
        job = replace(job, ledger=True, since=job.job_id)
        await store_base(eye, job.job_id, held)
    running = [
        asyncio.create_task(
            persistently(
                lambda broker: Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), jobs_at_once=2),
                make_handle,
                fault,
                stop,
            )
        )
    ]
    for _ in range(2):
        make = lambda broker: Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name=new_job_id())  # noqa: E731
        running.append(asyncio.create_task(persistently(make, make_handle, fault, stop)))
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while True:  # whoever got no answer posts the job again, under its id
                with contextlib.suppress(BrokerUnavailable, Killed):
                    await submit(Faulty(await make_handle(), fault), job)
                    break
            while not (status := await eye.status(job.job_id)).state.final:
                await asyncio.sleep(0.05)
            # Its record says so too, and nothing of it stays to be read or managed.
            while (await eye.state(job.job_id)) is not status.state or await messages_left(eye):
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        _, hanging = await asyncio.wait(running, timeout=HANG_SECONDS)
        assert not hanging, [task.get_stack() for task in hanging]
    return status, session, eye


def said(status, session):
    report = Report.of_job(status, 0).document()
    read = {path for path, _, _ in session.reads} | {b"none"}
    return {
        "state": report["state"],
        "files": report["files"],
        "bytes": report["bytes"],
        "failed": report["failed_files"],
        "scanned": (report["scanned_files"], report["scanned_bytes"]),
        "read": len(read),
    }


EXACT = {
    "state": JobState.COMPLETED,
    "files": FILES,
    "bytes": BYTES,
    "failed": 0,
    "scanned": (FILES, BYTES),
    "read": FILES,
}


async def check_all(kind, make_store, fate, calls=PLAIN_CALLS, run=None, times=None):
    """Every fault on a store of its own, some at a time; each kind of call meets one at least."""
    # A job that nobody posted is no job: killing the submitter at its first step proves nothing.
    run = run or totals
    left_out = {"submit", "jobs.send"} if fate.startswith("kills") else set()
    faults = [
        Fault(call, number, fate)
        for call in calls
        if call not in left_out
        for number in range(1, (times or TIMES[kind]) + 1)
    ]
    few = asyncio.Semaphore(AT_ONCE[kind])
    wrong, unmet = [], []

    async def one(number, fault):
        async with few, contextlib.AsyncExitStack() as handles:
            make = make_store(number)
            try:
                found, exact = await run(lambda: handles.enter_async_context(make()), fault)
            except TimeoutError as error:
                wrong.append((fault, f"hangs {error}"))
                return
            if found != exact:
                wrong.append((fault, found))
            if not fault.struck:
                unmet.append(fault)

    await asyncio.gather(*(one(number, fault) for number, fault in enumerate(faults)))
    assert not wrong
    assert {fault.call for fault in unmet if fault.number == 1} == set()


async def totals(make_handle, fault):
    """What is said of a job, and what is right."""
    status, session, _ = await warm_with(make_handle, fault)
    return said(status, session), EXACT


HELD = [
    FileOutcome(f"/d0/f{number}", 100 + number, 1000.0, 0.0, "read", 100 + number, "", "a", 0.1) for number in range(5)
]
TOLD_TREE = TREE | {b"d1": {**TREE[b"d1"], b"bad": 5}}
"""With a name that can't be looked at: its record is the scan's own."""
RECORDS = sorted(
    [(f"/d0/f{number}", 100 + number, "unchanged", 0) for number in range(5)]
    + [(f"/d{d}/f{f}", 100 + f, "read", 100 + f) for d in (1, 2, 3) for f in range(5)]
    + [("/big", 10_001, "read", 10_001), ("/d1/bad", 0, "failed", 0), ("/none", 0, "read", 0)]
)
LEDGER_CALLS = (
    "claim_job", "renew_job", "settle_job", "record_scan", "publish", "claim", "renew", "complete", "add_to_ledger", "forget_scanned",
)  # fmt: skip


async def ledger(make_handle, fault):
    """The records of a job that is compared with an earlier one, a line for each file, and what they should be."""
    status, _, eye = await warm_with(make_handle, fault, TOLD_TREE, HELD)
    lines = sorted(
        [(one.path, one.size, one.status, one.bytes) async for one in records(eye.ledger(status.job.job_id))]
    )
    report = Report.of_job(status, 0).document()
    counts = [report[key] for key in ("state", "files", "bytes", "unchanged_files", "failed_files")]
    read = [size for _, size, state, _ in RECORDS if state == "read"]
    return (lines, counts), (RECORDS, [JobState.COMPLETED_WITH_ERRORS, len(read), sum(read), 5, 1])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", FATES)
async def test_a_call_that_goes_wrong_over_sqlite(tmp_path, fate):
    """Whichever call it is."""
    await check_all("sqlite", lambda number: lambda: SqliteBroker(str(tmp_path / f"{number}.db"), SETTINGS.lease), fate)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", FATES)
async def test_a_call_that_goes_wrong_over_postgres(postgres_url, fate):
    """Whichever call it is."""

    def store(_number):
        lab = PostgresLab(postgres_url)
        return lambda: lab.make(SETTINGS.lease)

    await check_all("postgres", store, fate)


def account(storage_account):
    """A store of its own for each fault."""

    def store(_number):
        lab = AzuriteLab(storage_account)
        return lambda: lab.make(SETTINGS.lease)

    return store


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", FATES)
async def test_a_call_that_goes_wrong_over_azurite(storage_account, fate):
    """Whichever call it is."""
    await check_all("azurite", account(storage_account), fate)


def stores(kind, request, tmp_path):
    """A store of its own for each fault, of each kind."""
    if kind == "sqlite":
        return lambda number: lambda: SqliteBroker(str(tmp_path / f"{number}.db"), SETTINGS.lease)
    if kind == "azurite":
        return account(request.getfixturevalue("storage_account"))
    url = request.getfixturevalue("postgres_url")

    def store(_number):
        lab = PostgresLab(url)
        return lambda: lab.make(SETTINGS.lease)

    return store


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "azurite"])
async def test_each_file_has_one_record_whatever_goes_wrong(kind, fate, request, tmp_path):
    """Read, in ranges, left out as unchanged, or failed: also after a kill before or after it was settled, and twice delivered."""
    await check_all(kind, stores(kind, request, tmp_path), fate, LEDGER_CALLS, ledger, times=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fate", FATES)
async def test_a_step_that_goes_wrong_over_azurite(storage_account, fate):
    """Whichever step of a call it is."""
    steps = [f"{part}.{step}" for part, steps in STEPS.items() for step in steps]
    await check_all("azurite", account(storage_account), fate, steps)
