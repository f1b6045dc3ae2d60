"""A manager whose workers are job arrays of a real Slurm cluster of two nodes on this machine, with a real PostgreSQL as broker."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import psycopg
import pytest

from cachewarmer.config import SlurmSettings
from cachewarmer.errors import FleetUnavailable
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.slurm.fleet import SlurmFleet
from cachewarmer.testing import Faults, ScriptedServer
from tests.servers.postgres import postgres
from tests.servers.slurm import slurm

pytestmark = pytest.mark.timeout(180)

TREE = {b"d%d" % d: {b"f%02d" % f: 1000 + f for f in range(25)} for d in range(24)}
FILES = 24 * 25
BYTES = 24 * sum(1000 + f for f in range(25))
WARM = str(Path(__file__).parents[2] / "deploy" / "slurm" / "warm.sh")
WORKERS = 6
PASSWORD = "hunter2-not-to-be-seen"
CONFIG = """
[fleet]
kind = "slurm"
workers = {workers}
idle_seconds = 1.0
look_seconds = 0.3
[fleet.slurm]
log_directory = "{logs}"
setup = "export SET_UP=yes"
worker_idle_seconds = 30.0
[plan]
item_files = 25
[nfs]
window_calls = 1
[lease]
lease_seconds = 4.0
poll_seconds = 0.1
drain_seconds = 3.0
"""


@pytest.fixture(scope="module")
def cluster():
    with slurm() as running:
        yield running


@pytest.fixture(scope="module")
def database():
    with postgres() as running:
        yield running


class Site:
    """What an operator has: the commands, and a look at the cluster."""

    def __init__(self, cluster, url, folder):
        self.cluster, self.folder = cluster, folder
        config = folder / "config.toml"
        config.write_text(CONFIG.format(logs=folder, workers=WORKERS))
        self.environment = os.environ | cluster.environment
        self.environment |= {"CACHEWARMER_CONFIG": str(config), "CACHEWARMER_BROKER": url}
        self.log = folder / "manager.log"

    async def start(self, *arguments):
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cachewarmer", *arguments),
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    @property
    def said(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    async def until(self, true, seconds=100):
        deadline = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < deadline, self.said
            await asyncio.sleep(0.1)
        return found

    def workers(self):
        """The processes of the workers by the node that they run on."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                variables = dict(one.partition("=")[::2] for one in (entry / "environ").read_text().split("\0"))
                if variables.get("SLURM_CONF") == self.environment["SLURM_CONF"] and "worker" in (
                    entry / "cmdline"
                ).read_text().split("\0"):
                    found.setdefault(variables["SLURMD_NODENAME"], []).append(int(entry.name))
        return found


def command_lines():
    """Of every process of this machine."""
    said = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said.append(path.read_text(errors="replace"))
    return "\n".join(said)


@pytest.fixture
def site(cluster, database, tmp_path):
    return Site(cluster, database.url.replace("warm@", f"warm:{PASSWORD}@"), tmp_path)


async def test_a_job_brings_an_array_and_survives_what_happens_to_its_nodes(site):
    """One worker of each node is killed: they are replaced, every file counts once, and nothing is left in the queue."""
    async with ScriptedServer(TREE, Faults(read_delay=0.05)) as server:
        manager = await site.start("manager", "--fleet-option=--partition=warm", "--fleet-option=--exclusive=user")
        submitted = await site.start("submit", server.url(), "--transport", "nfs", "--wait", "--json")
        await site.until(lambda: len(site.workers()) == 2 and server.procedures.read_bytes > 30_000)
        workers = site.workers()
        for pids in workers.values():
            os.kill(pids[0], signal.SIGKILL)
        listed = site.cluster.ask("scontrol", "show", "job", "--details") + site.cluster.ask(
            "squeue", "--Format=Name,Command"
        )
        processes = command_lines()
        output, _ = await asyncio.wait_for(submitted.communicate(), 120)
        report = json.loads(output)
        assert (submitted.returncode, report["state"]) == (0, "completed"), site.said
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)
        await site.until(lambda: "machines took" in site.said)
        assert site.cluster.ask("squeue", "--noheader") == ""
        manager.terminate()
        assert await asyncio.wait_for(manager.wait(), 60) == 0
    assert "2 evicted" in site.said
    assert "cachewarmer-" in listed
    assert PASSWORD not in listed + processes + site.said


def elements(cluster):
    """Of every array that the controller still knows, ended ones too: ``ARRAY_ELEMENT``."""
    return set(
        cluster.ask("squeue", "--noheader", "--states=all", "--array", "--Format=ArrayJobID:_,ArrayTaskID").split()
    )


async def test_of_two_managers_one_asks_for_arrays_and_the_other_goes_on_when_it_is_killed(site, database):
    """With the fleet's lease over, as after a minute, what was killed meanwhile is replaced, and nothing is asked for twice."""
    before = elements(site.cluster)
    async with ScriptedServer(TREE, Faults(read_delay=0.1)) as server:
        first = await site.start("manager")
        submitted = await site.start("submit", server.url(), "--transport", "nfs", "--wait", "--json")
        await site.until(lambda: len(elements(site.cluster) - before) == WORKERS)
        second = await site.start("manager")
        await site.until(lambda: "another manager has it" in site.said)
        await site.until(lambda: sum(map(len, site.workers().values())) == WORKERS)
        first.kill()
        for pids in site.workers().values():
            os.kill(pids[0], signal.SIGKILL)
        await asyncio.sleep(2)
        assert len(elements(site.cluster) - before) == WORKERS, "the second asked while the lease was the first's"
        with psycopg.connect(database.url) as connection:
            assert connection.execute("UPDATE cachewarmer.fleets SET lease_until = 0").rowcount == 1
        await site.until(lambda: len(elements(site.cluster) - before) > WORKERS)
        assert "this manager has it now" in site.said
        assert sum(map(len, site.workers().values())) <= WORKERS
        output, _ = await asyncio.wait_for(submitted.communicate(), 120)
        report = json.loads(output)
        assert (submitted.returncode, report["state"]) == (0, "completed"), site.said
        assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)
        await site.until(lambda: site.cluster.ask("squeue", "--noheader") == "")
        second.terminate()
        assert await asyncio.wait_for(second.wait(), 60) == 0
    assert len(elements(site.cluster) - before) <= WORKERS + 2


async def test_a_node_that_fails_and_a_controller_that_restarts(cluster, monkeypatch):
    """What ran on the node is lost and asked for again; it waits until there is room. A controller that is away is no loss at all."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    launch = WorkerLaunch(broker_url="postgresql://nowhere/nodes")
    fleet = SlurmFleet(SlurmSettings(), launch, script="#!/bin/sh\nexec sleep 1000\n", end_seconds=5)

    async def until(true, seconds=60):
        deadline = time.monotonic() + seconds
        while not true(size := await fleet.observe()):
            assert time.monotonic() < deadline, size
            await asyncio.sleep(0.2)
        return size

    async def update(*what):
        await asyncio.to_thread(cluster.ask, "scontrol", "update", "NodeName=warm2", *what)

    await fleet.create(6)
    await until(lambda size: size.running == 6)
    await update("State=DRAIN", "Reason=test")  # or it would be back as soon as its slurmd registers
    await update("State=DOWN", "Reason=test")
    size = await until(lambda size: size.evicted == 2)
    assert (size.running, size.evicted) == (4, 2)
    assert [one.end for one in fleet.ledger()].count("evicted") == 2
    await fleet.resize(6)
    size = await until(lambda size: size.running + size.queued == 6)
    assert (size.running, size.queued) == (4, 2)

    await asyncio.to_thread(cluster.stop_controller)
    with pytest.raises(FleetUnavailable):
        await fleet.observe()
    await asyncio.to_thread(cluster.start_controller)
    await update("State=RESUME")
    size = await until(lambda size: size.running == 6)
    assert (size.queued, size.evicted) == (0, 2)
    await fleet.delete()
    assert not (await fleet.observe()).is_there


async def test_a_render_job_starts_when_its_data_is_warm(site):
    """The pre-job task, run by Slurm: what depends on it is held back, and runs when it has ended well."""
    broker, folder = site.folder / "broker.env", site.folder
    broker.write_text(f"CACHEWARMER_BROKER={site.environment['CACHEWARMER_BROKER']}\n")
    program = folder / "cachewarmer"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cachewarmer "$@"\n')
    program.chmod(0o755)
    warm = f"{folder}/warm.out"
    site.cluster.environment_of_jobs = {"CACHEWARMER_ENV": str(broker), "CACHEWARMER": str(program)}
    async with ScriptedServer({b"d": {b"f": 1000}}) as server:
        options = ["--parsable", f"--output={warm}", WARM, "--transport", "nfs", server.url()]
        job = (await asyncio.to_thread(site.cluster.ask, "sbatch", *options)).strip()
        assert job, "sbatch refused the script"
        rendered = folder / "rendered"
        after = [f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes", f"--wrap=date > {rendered}"]
        await asyncio.to_thread(site.cluster.ask, "sbatch", "--output=/dev/null", *after)
        await site.until(lambda: "RUNNING" in site.cluster.ask("squeue", "--noheader", "--Format=State"))
        assert not rendered.exists()
        manager = await site.start("manager")
        await site.until(rendered.exists)
        manager.terminate()
        assert await asyncio.wait_for(manager.wait(), 60) == 0
    assert "1 file" in Path(warm).read_text()
