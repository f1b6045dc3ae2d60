"""What ``doctor`` says of Azure around the broker: the metadata service, the quota, the workers' subnet."""

import asyncio
import json
import os
import sys

import pytest

from cachewarmer.config import FleetSettings
from cachewarmer.fleet.vmss import surroundings
from cachewarmer.fleet.vmss.surroundings import look_around
from tests.azure_standin.cloud import CLIENT_ID, NETWORK, OTHER_SUBNET, SUBNET, SUBSCRIPTION, azure
from tests.azure_standin.fixtures import settings, trust
from tests.servers.ports import NO_IMDS


@pytest.fixture
def cloud(monkeypatch):
    with azure() as made:
        trust(made, monkeypatch)
        yield made


async def look(workers=10, kind="vmss", **given):
    fleet = FleetSettings(kind=kind, workers=workers, vmss=settings(**given))
    return {one.check: one async for one in look_around(fleet)}


async def test_room_for_the_workers_on_the_managers_own_vm(cloud):
    """All from the metadata service and the resource manager, which are asked for reads alone."""
    found = await look()
    assert {one.level for one in found.values()} == {"ok"}, found
    assert "manager (westeurope, resource group render, 10.0.1.0/24)" in found["metadata service"].said
    assert found["managed identity"].said == "the VM's gets tokens"
    assert found["quota"].said.startswith("4 of 100 Spot cores of westeurope are in use: room for 48 VMs")
    assert "farm/workers (10.0.1.0/24): 250 of 251 addresses are free; 10 are wanted" in found["subnet"].said
    assert {method for method, _, _ in cloud.arm.requests} == {"GET"}
    assert not any("extensions" in path or "listKeys" in path for _, path, _ in cloud.arm.requests)


async def test_too_little_of_each(cloud):
    """Fifty workers of two cores, a subnet of 11 addresses; then none at all."""
    found = await look(workers=50, subnet_name="spare")
    assert (found["quota"].level, found["subnet"].level) == ("warning", "warning")
    assert "room for 48 VMs of Standard_D2s_v5, and 50 are wanted (100 cores)" in found["quota"].said
    assert "10 of 11 addresses are free, and 50 are wanted" in found["subnet"].said
    cloud.arm.usages["lowPriorityCores"] = (100, 100)
    cloud.arm.others[OTHER_SUBNET]["properties"]["ipConfigurations"] *= 11
    found = await look(workers=1, subnet_name="spare")
    assert (found["quota"].level, found["subnet"].level) == ("failure", "failure")
    assert found["quota"].mend
    assert found["subnet"].mend


async def test_what_may_not_be_looked_at_is_a_warning(cloud):
    """The manager's role has neither action; it works all the same."""
    cloud.arm.denied |= {"Microsoft.Compute/locations/usages/read", "Microsoft.Network/virtualNetworks/subnets/read"}
    found = await look()
    assert (found["quota"].level, found["subnet"].level) == ("warning", "warning")
    assert "Microsoft.Compute/locations/usages/read" in found["quota"].said
    assert "Reader" in found["quota"].mend


async def test_what_is_not_there_is_a_failure(cloud):
    """A region, a subnet, a VM size."""
    found = await look(location="atlantis", subnet_id=f"{NETWORK}/subnets/nosuch")
    assert (found["quota"].level, found["subnet"].level) == ("failure", "failure")
    assert "farm/nosuch" in found["subnet"].said
    found = await look(vm_sizes="Standard_Nosuch")
    assert found["quota"].level == "failure"
    assert "vm_sizes" in found["quota"].mend
    found = await look(vm_sizes="Standard_Nosuch,Standard_D4s_v5")
    assert found["quota"].level == "warning"
    assert "room for 24 VMs of Standard_D4s_v5" in found["quota"].said


async def test_a_vm_without_an_identity(cloud):
    cloud.metadata.machines["manager"].identities.clear()
    found = await look()
    assert found["managed identity"].level == "warning"
    assert found["quota"].level == "failure"
    assert "sign in" in found["quota"].said


async def test_not_on_azure(monkeypatch):
    """A closed port in place of the metadata service; nothing else is asked where nothing says whom."""
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", NO_IMDS)
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    found = await look(kind="none", workers=0)
    assert {check: one.level for check, one in found.items()} == {
        "metadata service": "warning",
        "quota": "ok",
        "subnet": "ok",
    }
    assert "not checked" in found["quota"].said
    found = await look()
    assert found["subnet"].level == "failure"
    assert "AZURE_SUBSCRIPTION_ID" in found["subnet"].mend


async def test_an_operators_own_machine_that_is_told_where(cloud, monkeypatch):
    """Signed in otherwise, and all is named in the settings: no metadata service is needed."""
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", NO_IMDS)
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)
    found = await look(location="westeurope", resource_group="render", subnet_id=SUBNET)
    assert {one.level for one in found.values()} == {"ok"}, found
    found = await look(location="westeurope")
    assert (found["quota"].level, found["subnet"].level) == ("ok", "warning")


async def test_each_line_is_bounded_in_time(cloud, monkeypatch):
    """A resource manager that asks to be asked again later, and again."""
    monkeypatch.setattr(surroundings, "LOOK_SECONDS", 0.5)
    cloud.arm.throttled = 1000
    found = await look()
    assert found["quota"].level == found["subnet"].level == "failure"
    assert "no answer within 0.5 s" in found["quota"].said


async def test_the_command(cloud, azurite_connection):
    """As an operator starts it: a broker where nothing was submitted yet, and the place around it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", "doctor", "--broker", "azure://warmtest/neverused"),
        *("--workers", "300", "--json"),
        env={**os.environ, "AZURE_STORAGE_CONNECTION_STRING": azurite_connection, "AZURE_CLIENT_ID": CLIENT_ID},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    found = {one["check"]: one for one in json.loads(out)["findings"]}
    assert (err, process.returncode) == (b"", 0), found
    assert found["open"]["level"] == "warning"
    assert CLIENT_ID in found["managed identity"]["said"]
    assert "300 are wanted (600 cores)" in found["quota"]["said"]
    assert found["subnet"]["level"] == "warning"
