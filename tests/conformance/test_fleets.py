"""What every fleet promises (``fleet/base.py``), for each kind: processes of this machine, scale sets of the stand-in for
Azure, and job arrays of Slurm: a stand-in for its commands, and a real cluster.

A new kind passes this with a lab of its own: how it is opened, and how one of its machines is taken away.
"""

import asyncio
import os
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cachewarmer.config import SlurmSettings
from cachewarmer.errors import FleetError
from cachewarmer.fleet.base import Fleet, WorkerLaunch
from cachewarmer.fleet.local import LocalFleet
from cachewarmer.fleet.slurm.fleet import SlurmFleet
from cachewarmer.fleet.vmss.fleet import VmssFleet
from tests.azure_standin.cloud import azure
from tests.azure_standin.fixtures import LAUNCH, run, settings, trust
from tests.servers.slurm import slurm
from tests.slurm_standin.cluster import Standin


class LocalLab:
    """Processes that only wait."""

    def __init__(self, monkeypatch):
        self.fleets = []

    def open(self) -> Fleet:
        launch = WorkerLaunch(broker_url="sqlite:////nowhere/b.db")
        self.fleets.append(LocalFleet(launch, stop_seconds=5, command=lambda name: ["sleep", "1000"]))
        return self.fleets[-1]

    async def take(self, fleet: Fleet) -> None:
        """Takes one machine away, as the provider might."""
        os.kill(next(iter(fleet._processes.values())).pid, signal.SIGKILL)

    def close(self) -> None:
        pass


class ScaleSetLab:
    """A scale set of this orchestration."""

    def __init__(self, monkeypatch, orchestration):
        self._running = azure()
        self.cloud = self._running.__enter__()
        trust(self.cloud, monkeypatch)
        self._settings = settings(orchestration=orchestration)

    def open(self) -> Fleet:
        return VmssFleet(self._settings, LAUNCH)

    async def take(self, fleet: Fleet) -> None:
        await run(self.cloud, self.cloud.evict(self.cloud.vms[0]))

    def close(self) -> None:
        self._running.__exit__(None, None, None)


class SlurmLab:
    """A Slurm cluster whose jobs only wait."""

    def __init__(self, monkeypatch, cluster):
        self.cluster = cluster
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        self._launch = WorkerLaunch(broker_url=f"postgresql://nowhere/{secrets.token_hex(4)}")

    def open(self, **given) -> Fleet:
        return SlurmFleet(SlurmSettings(**given), self._launch, script="#!/bin/sh\nexec sleep 1000\n", end_seconds=5)

    async def take(self, fleet: Fleet) -> None:
        taken = next(one.name for one in fleet.ledger() if not one.ended_at)
        await asyncio.to_thread(self.cluster.ask, "scancel", "--full", "--signal=KILL", taken)

    def close(self) -> None:
        pass


class StandinSlurmLab(SlurmLab):
    """The stand-in for Slurm's commands."""

    def __init__(self, monkeypatch):
        self._folder = tempfile.TemporaryDirectory()
        super().__init__(monkeypatch, Standin(Path(self._folder.name) / "cluster"))

    async def take(self, fleet: Fleet) -> None:
        self.cluster.take()

    def close(self) -> None:
        self.cluster.close()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def real_slurm():
    """A cluster for all tests of this file."""
    with slurm() as cluster:
        yield cluster


LABS = {
    "local": LocalLab,
    "slurm": StandinSlurmLab,
    "flexible": lambda patch: ScaleSetLab(patch, "Flexible"),
    "uniform": lambda patch: ScaleSetLab(patch, "Uniform"),
}


@pytest.fixture(params=[*LABS, "real slurm"])
def lab(request, monkeypatch):
    if request.param == "real slurm":
        made = SlurmLab(monkeypatch, request.getfixturevalue("real_slurm"))
    else:
        made = LABS[request.param](monkeypatch)
    yield made
    made.close()


@asynccontextmanager
async def opened(lab) -> AsyncIterator[Fleet]:
    fleet = lab.open()
    try:
        yield fleet
        await fleet.delete()
    finally:
        await fleet.close()


async def seen(fleet, true):
    """The size once it is as wanted."""
    deadline = time.monotonic() + 30
    while not true(size := await fleet.observe()):
        assert time.monotonic() < deadline, size
        await asyncio.sleep(0.05)
    return size


async def test_it_has_a_name_and_can_be_checked_before_there_is_any(lab):
    """A look changes nothing, and may be repeated."""
    async with opened(lab) as fleet:
        assert fleet.name
        await fleet.check()
        await fleet.check()
        size = await fleet.observe()
        assert (size.exists, size.wanted, size.running, size.evicted) == (False, 0, 0, 0)
        assert not size.is_there
        assert fleet.ledger() == []


async def test_it_grows_to_what_is_asked_for(lab):
    """And not beyond it when it is asked again; asked to be made though it is there, it is resized."""
    async with opened(lab) as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        await fleet.resize(2)
        await fleet.create(3)
        size = await seen(fleet, lambda size: size.running == 3)
        assert (size.exists, size.wanted, size.evicted) == (True, 3, 0)
        assert len(fleet.ledger()) == 3


async def test_a_smaller_number_takes_no_machine_that_runs(lab):
    """Which of them holds work is not known to it."""
    async with opened(lab) as fleet:
        await fleet.create(3)
        await seen(fleet, lambda size: size.running == 3)
        await fleet.resize(1)
        size = await seen(fleet, lambda size: True)
        assert (size.running, size.evicted) == (3, 0)


async def test_what_was_taken_away_is_counted_and_replaced(lab):
    """By the same number again; the count never falls."""
    async with opened(lab) as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        await lab.take(fleet)
        await seen(fleet, lambda size: size.evicted == 1 and size.running == 1)
        await fleet.resize(2)
        size = await seen(fleet, lambda size: size.running == 2)
        assert size.evicted == 1
        assert sorted(one.end for one in fleet.ledger()) == ["", "", "evicted"]
        await fleet.delete()
        assert (await fleet.observe()).evicted == 1


async def test_it_ends_wholly_and_can_begin_anew(lab):
    """No fleet is no error; the ledger keeps what each machine took."""
    async with opened(lab) as fleet:
        await fleet.delete()
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        await fleet.delete()
        size = await fleet.observe()
        assert (size.exists, size.running, size.is_there, size.evicted) == (False, 0, False, 0)
        await fleet.delete()
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
        ends = [one.end for one in fleet.ledger()]
        assert sorted(ends) == ["", "deleted", "deleted"]
        now = time.time()
        assert all(one.ended_at >= one.started_at for one in fleet.ledger() if one.end)
        assert all(0 <= one.seconds(now) < 60 for one in fleet.ledger())


async def test_a_call_that_is_given_up_may_be_made_again(lab):
    """Whoever drives it may be in a hurry to leave."""
    async with opened(lab) as fleet:
        task = asyncio.create_task(fleet.create(2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)


async def test_what_outlives_its_manager_is_found_by_the_next(lab):
    """And what does not is gone with it."""
    first = lab.open()
    await first.create(2)
    await seen(first, lambda size: size.running == 2)
    await first.close()
    await first.close()
    async with opened(lab) as second:
        size = await second.observe()
        assert (size.exists, size.running) == ((True, 2) if second.outlives_manager else (False, 0))


async def test_what_can_t_be_done_is_an_error_of_the_fleet(lab):
    """Of one family, whatever the provider's own was."""
    if isinstance(lab, LocalLab):
        fleet = LocalFleet(WorkerLaunch(broker_url="sqlite:////b"), command=lambda name: ["/no/such/program"])
    elif isinstance(lab, SlurmLab):
        fleet = lab.open(partition="nosuch")
    else:
        fleet = VmssFleet(replace(lab._settings, resource_group="nosuch"), LAUNCH)
    try:
        with pytest.raises(FleetError):
            await fleet.create(1)
    finally:
        await fleet.close()
