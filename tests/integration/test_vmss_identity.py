"""How the workers sign in where the manager's VM has only a system-assigned identity, as every VM of the first
CacheWarmer's examples has: with an identity of their own, else with the key, else the manager's start says why not.
"""

import base64
import logging
import subprocess
import sys
from dataclasses import replace

import pytest

from cachewarmer.config import FleetSettings
from cachewarmer.errors import FleetError
from cachewarmer.fleet.driver import FleetDriver
from tests.azure_standin.authorization import CONTRIBUTOR, OWNER, USER_ACCESS_ADMINISTRATOR, StorageAccount
from tests.azure_standin.cloud import ACCOUNT, GROUP, PROVIDERS, azure
from tests.azure_standin.fixtures import LAUNCH, opened, run, seen, trust

IN_GROUP = replace(LAUNCH, storage_resource_group=GROUP)
NO_WAY = "the workers would have no way to sign in to the storage account"
SET = f"{PROVIDERS}/Microsoft.Compute/virtualMachineScaleSets"


@pytest.fixture
def cloud(monkeypatch):
    """The manager's VM has a system-assigned identity alone, and there is a storage account that it may do nothing on."""
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    with azure() as made:
        trust(made, monkeypatch)
        made.arm.others[f"{PROVIDERS}/Microsoft.Compute/virtualMachines/manager"]["identity"] = {
            "type": "SystemAssigned",
            "principalId": "0",
        }
        made.arm.authorization.accounts[ACCOUNT] = StorageAccount()
        made.arm.denied.add("Microsoft.Storage/storageAccounts/listKeys/action")
        yield made


def account(cloud):
    return cloud.arm.authorization.accounts[ACCOUNT]


def made(cloud):
    """The body that the scale set was asked for with, and the values in its custom data."""
    (body,) = [
        body for method, path, body in cloud.arm.requests if method == "PUT" and "/virtualMachineScaleSets/" in path
    ]
    text = base64.b64decode(body["properties"]["virtualMachineProfile"]["osProfile"]["customData"]).decode()
    return body, base64.b64decode(text.rpartition("content: ")[2].split()[0]).decode()


@pytest.mark.parametrize("permissions", [[OWNER], [CONTRIBUTOR, USER_ACCESS_ADMINISTRATOR]])
async def test_a_manager_that_may_grant_roles_gives_the_scale_set_an_identity_of_its_own(cloud, permissions):
    """With the roles that docs/azure.md lists and no others; they go when it goes, and no key is anywhere."""
    account(cloud).permissions = permissions
    async with opened(IN_GROUP) as fleet:
        await fleet.check()
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        body, values = made(cloud)
        assert body["identity"] == {"type": "SystemAssigned"}
        assert body["properties"]["orchestrationMode"] == "Uniform", "a flexible set can't have one"
        assert "KEY" not in values
        assert "CLIENT_ID" not in values
        (principal,) = cloud.arm.authorization.principals
        given = {
            (one["scope"].removeprefix(ACCOUNT), one["roleDefinitionId"].rpartition("/")[2])
            for one in assignments(cloud)
        }
        assert given == {
            ("/queueServices/default/queues/prefixwork", "974c5e8b-45b9-4653-ba55-5f855dd0fe88"),
            ("/queueServices/default/queues/prefixpoison", "974c5e8b-45b9-4653-ba55-5f855dd0fe88"),
            ("", "19e7f393-937e-4f77-808e-94535e297925"),
            ("", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
        }
        assert {one["principalId"] for one in assignments(cloud)} == {principal}
        await fleet.delete()
        assert not assignments(cloud)


def assignments(cloud):
    return list(cloud.arm.authorization.assignments.values())


async def test_a_role_that_is_refused_after_all_leaves_no_machines_behind(cloud):
    """A condition on what the manager may grant shows only when it grants."""
    account(cloud).permissions = [OWNER]
    cloud.arm.denied.add("Microsoft.Authorization/roleAssignments/write")
    async with opened(IN_GROUP) as fleet:
        await fleet.check()
        with pytest.raises(FleetError, match=r"granting the workers' roles on account .* not allowed"):
            await fleet.create(2)
        assert (await fleet.observe()).exists is False
    assert not cloud.sets.sets


async def test_a_key_that_may_be_looked_up_is_used_and_said_loudly(cloud, caplog):
    """As the first CacheWarmer did, but not in silence."""
    cloud.arm.denied.clear()
    account(cloud).permissions = [CONTRIBUTOR]
    async with opened(IN_GROUP) as fleet:
        await fleet.check()
        (said,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        assert "KEY in their custom data" in said
        assert "worker_key" in said
        assert account(cloud).key not in caplog.text
        assert account(cloud).key not in repr(fleet._place)
        await fleet.create(1)
    body, values = made(cloud)
    assert f"STORAGE_KEY={account(cloud).key}\n" in values
    assert "identity" not in body


async def test_a_key_that_is_given_is_used_too(cloud, monkeypatch):
    """The manager's own connection string has it; no resource group is needed."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=account;AccountKey=Z2l2ZW4=")
    async with opened() as fleet:
        await fleet.create(1)
    assert "STORAGE_KEY=Z2l2ZW4=\n" in made(cloud)[1]


async def test_a_key_that_the_account_does_not_take_is_no_way(cloud):
    """Workers with it would come up and never read a byte."""
    cloud.arm.denied.clear()
    account(cloud).shared_keys = False
    async with opened(IN_GROUP) as fleet:
        with pytest.raises(FleetError, match=NO_WAY):
            await fleet.check()


async def test_with_no_way_at_all_the_check_says_what_would_be_one_and_nothing_is_made(cloud):
    """An identity, a role for the manager, or the key."""
    async with opened(IN_GROUP) as fleet:
        with pytest.raises(FleetError, match=NO_WAY) as caught:
            await fleet.check()
        for mend in ("user-assigned identity", "[fleet.vmss] identity", "-storageAccountResourceGroup", "worker_key"):
            assert mend in str(caught.value)
        assert (await fleet.observe()).exists is False
    assert {method for method, _, _ in cloud.arm.requests} <= {"GET", "POST"}


def manager(cloud, **environment):
    """The drop-in manager's process, run to its end."""
    command = [sys.executable, "-m", "cachewarmer", "manager", "--broker", "azure://account/prefix", "--workers", "3"]
    options = [
        "--fleet",
        "vmss",
        "--bootstrap-address",
        "10.0.1.7",
        "--bootstrap-export",
        "/b",
        "--bootstrap-script",
        "/b.sh",
    ]
    return subprocess.run(
        [*command, *options, "--storage-resource-group", GROUP],
        env={"PATH": "/usr/bin:/bin", "VMSS_PASSWORD": "Correct-Horse-7", **cloud.environment, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_service_ends_at_its_start_with_the_mend(cloud):
    """One line, an exit code that is not 0, no word of a fleet that never was, and nothing left open."""
    done = manager(cloud)
    assert done.returncode == 1, done.stderr
    assert NO_WAY in done.stderr
    assert "stays" not in done.stderr
    assert "Unclosed" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_fleet_that_is_there_already_is_looked_after_all_the_same(cloud, caplog):
    """Its manager's VM lost its identity meanwhile: were the manager to end, nobody would delete the machines."""
    account(cloud).permissions = [OWNER]
    async with opened(IN_GROUP) as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
    account(cloud).permissions = []
    async with opened(IN_GROUP) as fleet:
        driver = FleetDriver(None, fleet, FleetSettings(workers=1))
        await driver.check()
        assert NO_WAY in caplog.text
        await fleet.delete()
    assert not cloud.sets.sets


async def test_a_scale_set_of_the_first_generation_is_named_at_the_start(cloud, caplog):
    """Its workers take work from the same queues."""
    account(cloud).permissions = [OWNER]
    async with opened(IN_GROUP) as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
        (ours,) = cloud.sets.sets.values()
        old = f"{SET}/cwvmss"
        await run(cloud, add(cloud, old, ours))
        caplog.clear()
        await fleet.check()
    (said,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert "cwvmss" in said
    assert f"az vmss delete -g {GROUP} -n cwvmss" in said


async def add(cloud, name, like):
    cloud.sets.sets[name.lower()] = replace(like, id=name, vms={}, running=None)
