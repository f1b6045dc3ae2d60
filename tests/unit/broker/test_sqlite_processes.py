"""The SQLite broker among real processes: several at once, and some that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from cachewarmer.broker.sqlite import processes
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import LeaseSettings
from cachewarmer.model import Access, JobState, Receipt, ScanTotals, Transport, WarmJob, WorkItem, item_id

HEAD = """
import asyncio, sys, os, signal
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import *
async def main():
    async with SqliteBroker(sys.argv[1]) as broker:
"""


def start(body: str, *arguments: str) -> subprocess.Popen[str]:
    text = HEAD + textwrap.indent(textwrap.dedent(body), " " * 8) + "\nasyncio.run(main())\n"
    return subprocess.Popen([sys.executable, "-c", text, *arguments], stdout=subprocess.PIPE, text=True)


async def publish(broker: SqliteBroker, count: int) -> str:
    job = WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x")
    job_id = await broker.submit(job)
    await broker.set_state(job_id, JobState.SCANNING)
    await broker.publish([WorkItem(path=f"/{n}", job_id=job_id, item_id=item_id(job_id, n)) for n in range(count)])
    return job_id


async def test_processes_share_the_work_and_no_item_twice(tmp_path):
    """Four processes that open a new file at the same moment and claim as fast as they can: the sums are exact."""
    path = str(tmp_path / "new" / "b.db")
    body = """
    me = sys.argv[2]
    print("ready", flush=True)
    while not (jobs := await broker.jobs()) or not jobs[0].scan.finished:
        await asyncio.sleep(0.01)
    while leases := await broker.claim(7, 60):
        print(*(lease.item.item_id for lease in leases), flush=True)
        results = [(lease, Receipt(item_id=lease.item.item_id, files=1)) for lease in leases]
        assert all(await broker.complete(me, results))
    """
    children = [start(body, path, f"w{number}") for number in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    async with SqliteBroker(path) as broker:
        job_id = await publish(broker, 1000)
        await broker.record_scan(job_id, ScanTotals(items=1000, finished=True))
        taken = [one for child in children for one in child.communicate()[0].split()]
        assert [child.returncode for child in children] == [0] * 4
        assert len(taken) == len(set(taken)) == 1000
        status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED
    assert sum(tally.items for tally in status.tallies) == 1000


async def test_what_a_killed_process_held_is_free_at_the_next_start(tmp_path):
    """After kill -9 the next process that opens the file has the job and its items at once, with nothing counted."""
    path = str(tmp_path / "b.db")
    body = """
    job = await broker.claim_job(3600)
    leases = await broker.claim(5, 3600)
    first = leases[0]
    await broker.complete("w", [(first, Receipt(item_id=first.item.item_id, files=1))])
    print(len(leases), flush=True)
    await asyncio.sleep(60)
    """
    async with SqliteBroker(path) as broker:
        job_id = await publish(broker, 5)
        child = start(body, path)
        assert child.stdout.readline() == "5\n"
        async with SqliteBroker(path) as other:
            assert await other.claim(5, 60) == []  # it lives: its leases hold
        child.send_signal(signal.SIGKILL)
        child.communicate()
        async with SqliteBroker(path) as other:
            leases = await other.claim(5, 60)
            assert [lease.deliveries for lease in leases] == [2] * 4
            job = await other.claim_job(60)
            assert job is not None
            assert job.job.job_id == job_id
        assert sum(tally.items for tally in (await broker.status(job_id)).tallies) == 1


async def test_a_process_killed_before_its_commit_counted_nothing(tmp_path):
    """Receipt and tally are one step: a kill between the two leaves neither."""
    path = str(tmp_path / "b.db")
    body = """
    (lease,) = await broker.claim(1, 3600)
    store = broker._store
    def die(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    store._finish_if_settled = die  # after the receipt and the tally, before COMMIT
    await broker.complete("w", [(lease, Receipt(item_id=lease.item.item_id, files=1))])
    """
    async with SqliteBroker(path) as broker:
        job_id = await publish(broker, 1)
        child = start(body, path)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert not (await broker.status(job_id)).tallies
        async with SqliteBroker(path) as other:
            (lease,) = await other.claim(1, 60)
            assert await other.complete("w2", [(lease, Receipt(item_id=lease.item.item_id, files=1))]) == [True]


def test_a_process_is_told_from_another_with_its_number():
    """Gone: no such process, one that was started at another time, or before the last boot; a stranger's never."""
    own = processes.own_name()
    host, boot, namespace, pid, started = own.rsplit(":", 4)
    assert not processes.is_gone(own)
    assert processes.is_gone(f"{host}:{boot}:{namespace}:{pid}:1")
    assert processes.is_gone(f"{host}:earlier-boot:{namespace}:{pid}:{started}")
    assert not processes.is_gone(f"elsewhere:x:{namespace}:{pid}:1")
    assert not processes.is_gone(f"{host}:{boot}:1:99999999:1")
    assert not processes.is_gone("what is this")
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert processes.is_gone(":".join([host, boot, namespace, str(child), "5"]))


@pytest.mark.parametrize("settings", [LeaseSettings(max_deliveries=1)])
async def test_one_delivery_is_enough_where_so_configured(tmp_path, settings):
    """``max_deliveries`` of the settings is what counts."""
    async with SqliteBroker(str(tmp_path / "b.db"), settings) as broker:
        await publish(broker, 1)
        (lease,) = await broker.claim(1, 60)
        assert await broker.abandon(lease, "no") is True
