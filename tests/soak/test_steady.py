"""A manager and a worker for SOAK_HOURS (1) against a server that keeps failing: what they hold does not grow."""

import asyncio
import contextlib
import itertools
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.model import JobState, Report
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Faults, ScriptedServer, Trick

SECONDS = float(os.environ.get("SOAK_HOURS", "1")) * 3600
PHASE_SECONDS = 10.0
"""The server is restarted with another fault after this long."""
WARM_UP = 0.25
"""Of the samples: caches fill, threads are started."""
MAX_GROWTH = 1.05
TREE = {b"d%d" % n: {b"f%d" % m: 1000 + 7 * m for m in range(100)} for n in range(20)}
FILES = 2000


@dataclass(frozen=True)
class Sample:
    memory_kib: int
    descriptors: int
    threads: int


def sample(pid):
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return Sample(int(fields["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]))


def faults(chance):
    """One of the ways in which a server fails for a while; nothing that loses files."""
    kinds = [
        Faults(),
        Faults(list_handles=False, list_attributes=False),
        Faults(short_reads=True, fragments=True, small_writes=True),
        Faults(jukebox_every=50),
        Faults(read_delay=0.005),
        Faults(bad_cookies=2, page_entries=16),
        *(Faults(trick=trick, trick_after=chance.randrange(200), trick_times=3) for trick in Trick),
    ]
    return chance.choice(kinds)


async def failing_server(port, chance, stop):
    while not stop.is_set():
        async with ScriptedServer(TREE, faults(chance), port=port):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PHASE_SECONDS)


def growth(samples, name):
    """The last quarter's median in relation to that of the first quarter after the warm-up."""
    values = [getattr(one, name) for one in samples][int(len(samples) * WARM_UP) :]
    quarter = max(1, len(values) // 4)
    return statistics.median(values[-quarter:]) / statistics.median(values[:quarter])


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 900)
async def test_memory_descriptors_and_threads_stay_while_everything_fails_at_random(tmp_path):
    """Every job ends, every file of it is accounted for, and neither process grows by more than 5 %."""
    chance = random.Random(1)
    broker_url = f"sqlite:///{tmp_path}/broker.db"
    stop = asyncio.Event()
    async with ScriptedServer(TREE) as first:
        port = first.port
    target = f"nfs://127.0.0.1/export?nfsport={port}&mountport={port}"
    serving = asyncio.create_task(failing_server(port, chance, stop))
    children = {
        role: subprocess.Popen(
            [sys.executable, "-m", "cachewarmer", role, "--broker", broker_url, "-q"], stdin=subprocess.DEVNULL
        )
        for role in ("manager", "worker")
    }
    samples = {role: [] for role in children}
    jobs = 0
    try:
        async with open_broker(broker_url, Settings().lease) as broker:
            began = time.monotonic()
            while time.monotonic() - began < SECONDS:
                job = make_job(parse_target(target))
                job_id = await broker.submit(job) or job.job_id
                jobs += 1
                for waited in itertools.count():
                    await asyncio.sleep(0.25)
                    status = await broker.status(job_id)
                    if status.state.final:
                        break
                    assert waited < 4 * 600, f"job {jobs} has not ended: {status}"
                assert status.state in (JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS, JobState.FAILED)
                report = Report.of_job(status, 0).document()
                if status.state is not JobState.FAILED:
                    assert report["files"] + report["failed_files"] + report["vanished_files"] == FILES, report
                for role, child in children.items():
                    assert child.poll() is None, f"the {role} ended"
                    samples[role].append(sample(child.pid))
    finally:
        stop.set()
        for child in children.values():
            child.terminate()
        for child in children.values():
            await asyncio.to_thread(child.wait, 60)
        await serving
    print(f"{jobs} jobs")
    for role, taken in samples.items():
        for name in ("memory_kib", "descriptors", "threads"):
            ratio = growth(taken, name)
            print(f"{role:8} {name:12} {getattr(taken[0], name)} to {getattr(taken[-1], name)}, growth {ratio:.3f}")
            assert ratio <= MAX_GROWTH, (role, name, ratio)
