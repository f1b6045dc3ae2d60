"""What tests of a fleet in this process share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cachewarmer.config import VmssSettings
from cachewarmer.fleet.base import FleetSize, WorkerLaunch
from cachewarmer.fleet.vmss import arm
from cachewarmer.fleet.vmss.fleet import VmssFleet
from tests.azure_standin.cloud import Cloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDA farm@render"
LAUNCH = WorkerLaunch(
    broker_url="azure://account/prefix",
    bootstrap_mount_address="10.0.1.7",
    bootstrap_export_path="/bootstrap",
    bootstrap_script_path="/bootstrap.cachewarmer-worker.sh",
)
SIZES = ("Standard_D2s_v5", "Standard_D2as_v5", "Standard_D2ds_v5")


def trust(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process takes ``cloud`` for Azure."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(arm, "CLIENT_OPTIONS", arm.CLIENT_OPTIONS | {"connection_verify": str(cloud.certificate)})


def settings(**given: Any) -> VmssSettings:
    return VmssSettings(**{"ssh_public_key": KEY, "vm_sizes": ",".join(SIZES), **given})


@contextlib.asynccontextmanager
async def opened(launch: WorkerLaunch = LAUNCH, **given: Any) -> AsyncIterator[VmssFleet]:
    """A fleet until the block ends; the machines stay."""
    fleet = VmssFleet(settings(**given), launch)
    try:
        yield fleet
    finally:
        await fleet.close()


async def seen(fleet: VmssFleet, true: Callable[[FleetSize], bool], seconds: float = 20) -> FleetSize:
    """The size of a fleet once it is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        size = await fleet.observe()
        if true(size):
            return size
        assert time.monotonic() < deadline, size
        await asyncio.sleep(0.05)


async def run(cloud: Cloud, work: Any) -> Any:
    """Something on the cloud's own loop."""
    return await asyncio.wrap_future(cloud.begin(work))
