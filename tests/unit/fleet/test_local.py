"""Worker processes of this machine behind the contract of a fleet: real processes, short-lived ones."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from cachewarmer.errors import CapacityError, FleetError
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.local import LocalFleet

LAUNCH = WorkerLaunch(broker_url="sqlite:////nowhere/b.db", local_options=("--window", "3"))
WAITS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); sys.stdin.read()"
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: None); open('ready', 'w'); sys.stdin.read()"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready', 'w'); time.sleep(60)"


@pytest.fixture
async def make():
    """Makes fleets whose workers run a line of Python; all of them are gone at the end."""
    made = []

    def one(code=WAITS, **options):
        fleet = LocalFleet(LAUNCH, command=lambda _: [sys.executable, "-S", "-c", code], **options)
        made.append(fleet)
        return fleet

    yield one
    for fleet in made:
        await fleet.close()


def pids(fleet):
    return [one.pid for one in fleet._processes.values()]


def counts(size):
    return size.exists, size.wanted, size.running, size.evicted


async def gone(fleet, running):
    async with asyncio.timeout(30):
        while (await fleet.observe()).running != running:
            await asyncio.sleep(0.01)


async def test_it_grows_and_is_deleted(make):
    """As many processes as asked for, each in the ledger with its time."""
    fleet = make()
    assert counts(await fleet.observe()) == (False, 0, 0, 0)
    await fleet.create(2)
    await fleet.resize(3)
    assert counts(await fleet.observe()) == (True, 3, 3, 0)
    running = pids(fleet)
    await fleet.delete()
    assert counts(await fleet.observe()) == (False, 0, 0, 0)
    for pid in running:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert [(one.end, one.ended_at >= one.started_at) for one in fleet.ledger()] == [("deleted", True)] * 3
    await fleet.delete()


async def test_a_worker_that_misses_the_signal_ends_with_its_input(make, tmp_path, monkeypatch):
    """It is not killed, so that it can hand back what it holds."""
    monkeypatch.chdir(tmp_path)
    fleet = make(DEAF)
    await fleet.create(1)
    async with asyncio.timeout(30):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.01)
    (process,) = fleet._processes.values()
    await fleet.delete()
    assert process.returncode == 0


async def test_a_killed_worker_counts_as_evicted_and_is_replaced(make):
    """The same capacity again brings what is missing."""
    fleet = make()
    await fleet.create(2)
    os.kill(pids(fleet)[0], signal.SIGKILL)
    await gone(fleet, 1)
    assert counts(await fleet.observe()) == (True, 2, 1, 1)
    await fleet.resize(2)
    assert counts(await fleet.observe()) == (True, 2, 2, 1)
    assert [one.end for one in fleet.ledger()] == ["evicted", "", ""]


async def test_a_smaller_capacity_takes_no_running_worker(make):
    """It may hold work."""
    fleet = make()
    await fleet.create(3)
    await fleet.resize(1)
    assert counts(await fleet.observe()) == (True, 3, 3, 0)


async def test_a_worker_that_ends_at_once_with_an_error_is_not_started_for_ever(make):
    """The next call says so, so that the driver waits; then it is tried again."""
    fleet = make("raise SystemExit(2)")
    await fleet.create(1)
    await gone(fleet, 0)
    with pytest.raises(FleetError, match=r"\.1 ended at once with exit code 2"):
        await fleet.resize(1)
    await fleet.resize(1)
    assert [one.end for one in fleet.ledger()] == ["failed", ""]


async def test_one_that_does_not_heed_sigterm_is_killed(make, monkeypatch, tmp_path):
    """After the time that draining may take."""
    monkeypatch.chdir(tmp_path)
    fleet = make(STUBBORN, stop_seconds=0.3)
    await fleet.create(1)
    async with asyncio.timeout(30):
        while not (tmp_path / "ready").exists():
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await fleet.delete()
    assert 0.3 <= time.monotonic() - began < 30
    assert [one.end for one in fleet.ledger()] == ["deleted"]


async def test_a_program_that_is_not_there_is_one_line():
    """And no process is left in the ledger."""
    fleet = LocalFleet(LAUNCH, command=lambda _: ["/nowhere/cachewarmer"])
    with pytest.raises(FleetError, match="can't be started on this machine"):
        await fleet.create(1)
    assert fleet.ledger() == []
    await fleet.close()


async def test_a_machine_that_is_full_is_a_lack_of_room(make, monkeypatch):
    """Another time there may be room."""

    def full(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    fleet = make()
    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(CapacityError):
        await fleet.create(1)


async def test_the_broker_is_named_in_the_environment_alone(tmp_path, monkeypatch):
    """Its URL may hold a password, which no command line must show; it counts more than the manager's own variable."""
    monkeypatch.setenv("CACHEWARMER_BROKER", "sqlite:///other")
    url, said = "postgresql://warm:secret@127.0.0.1:1/db", tmp_path / "said"
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['CACHEWARMER_BROKER'])"
    fleet = LocalFleet(WorkerLaunch(broker_url=url), command=lambda _: [sys.executable, "-c", script, str(said)])
    await fleet.create(1)
    await gone(fleet, 0)
    await fleet.close()
    assert said.read_text() == url
    assert "secret" not in " ".join(LocalFleet(WorkerLaunch(broker_url=url))._own_command("n.1"))


def test_the_command_line_is_a_workers_and_has_no_secret():
    """A name of its own, what the manager was told of reading; the environment has the rest."""
    fleet = LocalFleet(WorkerLaunch(broker_url="azure://acc/p", storage_resource_group="rg", local_options=("-q",)))
    command = fleet._own_command("n.1")
    assert command[:4] == [sys.executable, "-m", "cachewarmer", "worker"]
    assert command[4:] == [
        *("--name", "n.1", "--exit-on-eof"),
        *("--storage-resource-group", "rg", "-q"),
    ]


def test_workers_end_with_the_process_that_started_them_even_if_it_is_killed(tmp_path):
    """The kernel closes the pipe on their standard input, whatever happened to its other end."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
        import asyncio, sys
        from cachewarmer.fleet.base import WorkerLaunch
        from cachewarmer.fleet.local import LocalFleet

        async def main():
            fleet = LocalFleet(WorkerLaunch(broker_url="sqlite:///{tmp_path}/b.db"))
            await fleet.create(2)
            print(*[one.pid for one in fleet._processes.values()], flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """)
    )
    process = subprocess.Popen([sys.executable, parent], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert len(process.stdout.readline().split()) == 2
    process.kill()
    _, said = process.communicate(timeout=30)  # its standard error is the workers' too: it ends with the last of them
    assert said.count("standard input was closed: exiting") == 2
