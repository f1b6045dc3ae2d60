"""A manager with a fleet of worker processes on this machine, as an operator starts it, from the first item to the ledger."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import sys
import time
from pathlib import Path

import pytest
from azure.storage.queue.aio import QueueClient

from cachewarmer.broker import open_broker
from cachewarmer.config import LeaseSettings
from cachewarmer.model import JobState, Report
from cachewarmer.submitter import submit
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Faults, ScriptedServer

pytestmark = pytest.mark.timeout(180)

TREE = {b"d%d" % d: {b"f%02d" % f: 1000 + f for f in range(25)} for d in range(24)}
FILES = 24 * 25
BYTES = 24 * sum(1000 + f for f in range(25))
IDLE_SECONDS = 2.0
CONFIG = f"""
[fleet]
idle_seconds = {IDLE_SECONDS}
look_seconds = 0.2
[plan]
item_files = 25
[nfs]
window_calls = 2
[lease]
lease_seconds = 4.0
poll_seconds = 0.1
drain_seconds = 3.0
"""


@contextlib.asynccontextmanager
async def slow_server(read_delay=0.04):
    """Three workers need some seconds for its tree: 600 READs, 2 in flight for each."""
    async with ScriptedServer(TREE, Faults(read_delay=read_delay)) as server:
        yield server


class Operator:
    """Starts managers, and looks at what they have started."""

    def __init__(self, broker_url, folder, environment):
        self.broker_url = broker_url
        self.log = folder / "manager.log"
        config = folder / "config.toml"
        config.write_text(CONFIG)
        self.environment = os.environ | environment | {"CACHEWARMER_CONFIG": str(config)}
        self.managers = []

    async def start(self, *more):
        command = [sys.executable, "-m", "cachewarmer", "manager", "--broker", self.broker_url, "--fleet", "local"]
        with self.log.open("ab") as log:
            manager = await asyncio.create_subprocess_exec(
                *command, "--workers", "3", *more, env=self.environment, stdin=asyncio.subprocess.DEVNULL, stderr=log
            )
        self.managers.append(manager)
        return manager

    @property
    def said(self):
        return self.log.read_text()

    async def stop(self):
        for manager in self.managers:
            if manager.returncode is None:
                manager.terminate()
                await asyncio.wait_for(manager.wait(), 60)


def workers_of(manager):
    """The worker processes that a manager has now, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes().split(b"\0")
            if parent == manager.pid and b"worker" in command:
                found[int(entry.name)] = command
    return found


async def until(condition, operator, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, operator.said
        await asyncio.sleep(0.05)


@pytest.fixture
async def operator(tmp_path):
    made = Operator(f"sqlite:///{tmp_path}/broker.db", tmp_path, {})
    yield made
    await made.stop()


@pytest.fixture
async def azure_operator(azurite_connection, tmp_path):
    account = azurite_connection.partition("AccountName=")[2].partition(";")[0]
    url = f"azure://{account}/l{secrets.token_hex(4)}"
    made = Operator(url, tmp_path, {"AZURE_STORAGE_CONNECTION_STRING": azurite_connection})
    yield made
    await made.stop()


async def warmed(operator, broker, server, after_start):
    """Submits the tree, lets ``after_start(job_id)`` do its worst, and returns the job's final report."""
    job_id = await submit(broker, make_job(parse_target(server.url()), transport="nfs"))
    await after_start(job_id)
    deadline = time.monotonic() + 120
    while not (status := await broker.status(job_id)).state.final:
        assert time.monotonic() < deadline, operator.said
        await asyncio.sleep(0.1)
    assert status.state is JobState.COMPLETED, status
    return Report.of_job(status, time.time()).document()


async def killing_one(operator, broker, manager, job_id):
    """SIGKILL to a worker, once work is under way."""
    while (await broker.backlog()).leased_items < 3 and not (await broker.status(job_id)).tallies:
        await asyncio.sleep(0.02)
    await until(lambda: len(workers_of(manager)) == 3, operator)
    os.kill(min(workers_of(manager)), signal.SIGKILL)
    await until(lambda: "1 evicted" in operator.said, operator)


async def check_the_end(operator, manager):
    """The fleet goes ``idle_seconds`` after the end, with its ledger; and the manager leaves nothing behind."""
    ended = time.monotonic()
    await until(lambda: "machines took" in operator.said, operator)
    assert IDLE_SECONDS * 0.9 <= time.monotonic() - ended < 30
    assert workers_of(manager) == {}
    manager.terminate()
    assert await asyncio.wait_for(manager.wait(), 60) == 0
    lines = [line for line in operator.said.splitlines() if ".driver: fleet " in line]
    assert sum(line.endswith(" s, deleted") for line in lines) == 3
    assert sum(line.endswith(" s, evicted") for line in lines) == 1
    assert re.search(r"4 machines took \d+ VM-seconds \((1 evicted, 3 deleted|3 deleted, 1 evicted)\)", operator.said)
    assert re.search(r"create to [123]: \d+ items? (is|are) left", operator.said)
    assert len(re.findall(r": delete: nothing was left to read for \d+ s", operator.said)) == 1


async def test_the_fleet_comes_with_the_work_replaces_what_is_killed_and_goes(operator):
    """Over SQLite: exact totals, the ledger with the killed worker, no process left."""
    async with slow_server() as server, open_broker(operator.broker_url, LeaseSettings()) as broker:
        manager = await operator.start()
        report = await warmed(operator, broker, server, lambda job_id: killing_one(operator, broker, manager, job_id))
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0), operator.said
        await check_the_end(operator, manager)


async def test_the_same_over_queues_of_azure_storage(azure_operator):
    """Where leases can't be seen; and no command line has a secret."""
    operator = azure_operator
    secret = operator.environment["AZURE_STORAGE_CONNECTION_STRING"].partition("AccountKey=")[2].partition(";")[0]
    connection = operator.environment["AZURE_STORAGE_CONNECTION_STRING"]
    async with (
        slow_server() as server,
        open_broker(operator.broker_url, LeaseSettings(), connection_string=connection) as broker,
    ):
        manager = await operator.start()

        async def kill_and_look(job_id):
            await killing_one(operator, broker, manager, job_id)
            assert all(secret.encode() not in b" ".join(command) for command in workers_of(manager).values())

        report = await warmed(operator, broker, server, kill_and_look)
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0), operator.said
        await check_the_end(operator, manager)
        assert secret not in operator.said


async def test_a_manager_that_is_killed_leaves_no_worker_and_the_next_one_goes_on(operator):
    """Its workers hand back what they hold; the totals are those of one run."""
    async with slow_server() as server, open_broker(operator.broker_url, LeaseSettings()) as broker:
        first = await operator.start()
        second = []

        async def kill_the_manager(job_id):
            while not (await broker.status(job_id)).tallies:
                await asyncio.sleep(0.02)
            workers = workers_of(first)
            assert workers
            first.kill()
            await first.wait()
            await until(lambda: operator.said.count("standard input was closed") == len(workers), operator)
            second.append(await operator.start())

        report = await warmed(operator, broker, server, kill_the_manager)
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0), operator.said
        await until(lambda: "machines took" in operator.said, operator)
        assert workers_of(second[0]) == {}


async def test_a_stopped_manager_takes_its_workers_along(operator):
    """In mid-read: they finish or hand back, and the job waits for the next manager."""
    async with slow_server(0.3) as server, open_broker(operator.broker_url, LeaseSettings()) as broker:
        manager = await operator.start()
        job_id = await submit(broker, make_job(parse_target(server.url()), transport="nfs"))
        await until(lambda: server.calls["READ"] > 10, operator)
        workers = workers_of(manager)
        manager.terminate()
        assert await asyncio.wait_for(manager.wait(), 60) == 0
        assert workers
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        backlog = await broker.backlog()
        assert (backlog.leased_items, backlog.unsettled_items > 0) == (0, True)
        assert not (await broker.status(job_id)).state.final
        assert "VM-seconds" in operator.said


async def test_a_small_job_is_done_beside_the_manager(operator):
    """With ``local_seconds`` no process is started for what one worker does in that time."""
    text = CONFIG.replace("[fleet]", "[fleet]\nlocal_seconds = 60.0")
    Path(operator.environment["CACHEWARMER_CONFIG"]).write_text(text)

    async def nothing(_):
        pass

    async with slow_server(0.0) as server, open_broker(operator.broker_url, LeaseSettings()) as broker:
        manager = await operator.start("--exit-when-idle", "2")
        report = await warmed(operator, broker, server, nothing)
        assert (report["files"], report["bytes"]) == (FILES, BYTES)
        assert [one["worker"].endswith(".beside") for one in report["workers"]] == [True]
        assert await asyncio.wait_for(manager.wait(), 30) == 0
    assert "create to" not in operator.said
    assert "VM-seconds" not in operator.said


async def test_items_that_a_first_generation_manager_posted_are_read(azure_operator):
    """No job is known for them: the worker beside the manager takes them up, and then they are work like any other."""
    operator = azure_operator
    connection = operator.environment["AZURE_STORAGE_CONNECTION_STRING"]
    prefix = operator.broker_url.rpartition("/")[2]
    async with slow_server(0.0) as server, QueueClient.from_connection_string(connection, f"{prefix}work") as queue:
        config = Path(operator.environment["CACHEWARMER_CONFIG"])
        config.write_text(CONFIG.replace("[nfs]", f"[nfs]\nport = {server.port}\nmount_port = {server.port}"))
        await queue.create_queue()
        for number in range(24):
            await queue.send_message(
                json.dumps(
                    {
                        "WarmTargetMountAddresses": ["127.0.0.1"],
                        "WarmTargetExportPath": "/export",
                        "WarmTargetPath": f"/d{number}",
                    }
                )
            )
        await operator.start()
        await until(lambda: "a worker beside the manager reads" in operator.said, operator)
        async with open_broker(operator.broker_url, LeaseSettings(), connection_string=connection) as broker:
            async with asyncio.timeout(60):
                while await queue.peek_messages() or (await broker.backlog()).unsettled_items:
                    await asyncio.sleep(0.1)
            report = Report.of_job(await broker.status("firstgen"), time.time()).document()
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0), operator.said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fleet", "vmss", "--workers", "3"], "VMs can't reach the broker sqlite:"),
        (["--fleet", "local"], "a fleet of kind local needs the number of workers"),
        (["--workers", "3"], "--workers 3 needs a kind of fleet"),
        (["--fleet", "local", "--workers", "0"], "'0' is not a positive number"),
        (["--fleet", "moon", "--workers", "3"], "'moon' is not one of none, local, slurm, vmss"),
    ],
)
async def test_a_fleet_that_makes_no_sense_is_wrong_usage(tmp_path, arguments, complaint):
    """Exit code 2 and one line, before the broker's file is made."""
    file = tmp_path / "broker.db"
    command = [sys.executable, "-m", "cachewarmer", "manager", "--broker", f"sqlite:///{file}", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2, said
    assert complaint in said.decode()
    assert said.decode().startswith(("cachewarmer: ", "usage: "))
    assert not file.exists()
