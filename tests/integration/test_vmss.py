"""The scale set's whole life against a strict stand-in for Azure, and everything that Azure may refuse."""

import asyncio
import base64
import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cachewarmer.azure.metadata import Imds
from cachewarmer.errors import CapacityError, ConfigError, FleetError, FleetUnavailable
from cachewarmer.fleet.vmss import arm
from cachewarmer.fleet.vmss.fleet import VmssFleet
from tests.azure_standin.cloud import CLIENT_ID, GROUP, IDENTITY, OTHER_SUBNET, PROVIDERS, SUBNET, SUBSCRIPTION, azure
from tests.azure_standin.fixtures import LAUNCH, SIZES, opened, run, seen, settings, trust
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]
QUOTA = (
    "OperationNotAllowed",
    "Operation could not be completed as it results in exceeding approved LowPriorityCores quota.",
)


@pytest.fixture
def cloud(monkeypatch):
    with azure() as made:
        trust(made, monkeypatch)
        yield made


def the_set(cloud):
    (found,) = cloud.sets.sets.values()
    return found


def asked(cloud, method):
    """The bodies of the requests with that method."""
    return [body for how, _, body in cloud.arm.requests if how == method]


def custom_data(cloud):
    raw = the_set(cloud).record["properties"]["virtualMachineProfile"]["osProfile"]["customData"]
    text = base64.b64decode(raw).decode()
    values = base64.b64decode(text.rpartition("content: ")[2].split()[0]).decode()
    return text, values


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- from the first machine to the last --------------------------------------------------------------------------------


@pytest.mark.parametrize("orchestration", ["Flexible", "Uniform"])
async def test_from_nothing_to_nothing(cloud, orchestration):
    """Created, evicted in part, replaced and deleted; each machine is in the ledger with its end."""
    async with opened(orchestration=orchestration) as fleet:
        assert (await fleet.observe()).exists is False
        await fleet.create(5)
        size = await seen(fleet, lambda size: size.running == 5)
        assert (size.exists, size.wanted, size.evicted) == (True, 5, 0)
        for vm in cloud.vms[:2]:
            await run(cloud, cloud.evict(vm))
        assert (await seen(fleet, lambda size: size.evicted == 2)).running == 3
        await fleet.resize(5)
        await seen(fleet, lambda size: size.running == 5)
        await fleet.delete()
        assert (await fleet.observe()).exists is False
        assert sorted(one.end for one in fleet.ledger()) == ["deleted"] * 5 + ["evicted"] * 2
        assert all(0 < one.seconds(one.ended_at) < 60 for one in fleet.ledger())
    assert not cloud.sets.sets


async def test_the_machines_are_spot_and_carry_no_key(cloud):
    """What was asked for: Spot, deleted on eviction, up to the price on demand, no boot diagnostics, our tags, the
    manager's subnet, and the identity in place of a key.
    """
    async with opened() as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
    (body,) = asked(cloud, "PUT")
    properties = body["properties"]
    profile = properties["virtualMachineProfile"]
    assert body["tags"]["made-by"] == "cachewarmer"
    assert body["tags"]["cachewarmer-broker"] == "azure://account/prefix"
    assert body["sku"] == {"name": SIZES[0], "tier": "Standard", "capacity": 1}
    assert body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    assert (properties["orchestrationMode"], "overprovision" in properties) == ("Flexible", False)
    assert (profile["priority"], profile["evictionPolicy"]) == ("Spot", "Delete")
    assert profile["billingProfile"] == {"maxPrice": -1.0}
    assert profile["diagnosticsProfile"] == {"bootDiagnostics": {"enabled": False}}
    assert profile["storageProfile"]["imageReference"]["offer"] == "ubuntu-24_04-lts"
    (interface,) = profile["networkProfile"]["networkInterfaceConfigurations"]
    assert interface["properties"]["ipConfigurations"][0]["properties"]["subnet"] == {"id": SUBNET}
    text, values = custom_data(cloud)
    assert "KEY" not in values
    assert f"AZURE_CLIENT_ID={CLIENT_ID}\n" in values
    assert text.startswith("#cloud-config\n")


async def test_a_uniform_set_does_not_over_provision(cloud):
    """Which it would unless told."""
    async with opened(orchestration="Uniform") as fleet:
        await fleet.create(1)
    (body,) = asked(cloud, "PUT")
    assert body["properties"]["overprovision"] is False


async def test_a_key_that_the_settings_give_is_used_whatever_else_there_is(cloud):
    """And then no identity is given away."""
    async with opened(worker_key="c2VjcmV0") as fleet:
        await fleet.create(1)
    assert "STORAGE_KEY=c2VjcmV0\n" in custom_data(cloud)[1]
    assert "identity" not in asked(cloud, "PUT")[0]


async def test_what_is_given_is_not_looked_up(cloud, monkeypatch):
    """Place and identity from the settings: no metadata service is needed, nor the manager's VM."""
    monkeypatch.setenv("CACHEWARMER_IMDS_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION)
    given = {"location": "northeurope", "resource_group": "network", "subnet_id": SUBNET, "subnet_name": "spare"}
    async with opened(identity=IDENTITY, **given) as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
    (body,) = asked(cloud, "PUT")
    assert body["location"] == "northeurope"
    assert OTHER_SUBNET in str(body)
    assert "/resourceGroups/network/" in the_set(cloud).id
    assert f"AZURE_CLIENT_ID={CLIENT_ID}\n" in custom_data(cloud)[1], "of the identity that is named"


IMAGES = {
    "another URN": {"image": "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:22.04.202401010"},
    "with a plan": {"image": "openlogic:priced:lts:latest", "image_plan": "openlogic:priced:priced-plan"},
    "managed or gallery": {"image": f"{PROVIDERS}/Microsoft.Compute/galleries/farm/images/node/versions/1.0.0"},
    "community": {"image": "/CommunityGalleries/farm-1234/Images/node/Versions/latest"},
    "shared": {"image": "/SharedGalleries/farm-1234/Images/node/Versions/latest"},
}


@pytest.mark.parametrize("given", IMAGES.values(), ids=IMAGES)
async def test_images(cloud, given):
    """By URN, by id, with a plan, from each kind of gallery."""
    async with opened(**given) as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)


@pytest.mark.parametrize("key", [True, False])
async def test_a_password(cloud, key):
    """It lets somebody in only where there is no key, and is shown to nobody afterwards."""
    async with opened(password="Correct-Horse-7", **({} if key else {"ssh_public_key": ""})) as fleet:
        await fleet.create(1)
        await seen(fleet, lambda size: size.running == 1)
        assert "Correct-Horse-7" not in repr(fleet) + repr(fleet._settings)
    os = asked(cloud, "PUT")[0]["properties"]["virtualMachineProfile"]["osProfile"]
    assert os["linuxConfiguration"]["disablePasswordAuthentication"] is key
    assert ("adminPassword" in os) is not key


# -- what is there already ---------------------------------------------------------------------------------------------


async def test_a_new_manager_goes_on_with_what_the_last_one_made(cloud):
    """Found by name and tag in the middle of its creation, and counted from when each machine was made."""
    cloud.sets.operation_seconds = 1.0
    async with opened() as first:
        await first.create(3)
    async with opened() as second:
        assert (await second.observe()).exists is True
        await second.create(3)
        await seen(second, lambda size: size.running == 3)
        created = {vm.name: vm.created for vm in cloud.vms}
        assert {one.name for one in second.ledger()} == set(created)
        await second.delete()
    assert len(asked(cloud, "PUT")) == 1
    assert asked(cloud, "PATCH") == [], "it was at it already"
    assert not cloud.sets.sets


async def test_somebody_elses_scale_set_is_never_touched(cloud):
    """One of that name without our tag: every call says so, and nothing but looking is done."""
    async with opened() as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
    the_set(cloud).record["tags"]["cachewarmer-broker"] = "azure://other/prefix"
    before = len(cloud.arm.requests)
    async with opened() as fleet:
        for call in (fleet.observe, fleet.delete, lambda: fleet.create(1), lambda: fleet.resize(1)):
            with pytest.raises(FleetError, match=r"was not made by cachewarmer .* is left alone: rename") as caught:
                await call()
            assert not caught.value.transient
    assert {method for method, _, _ in cloud.arm.requests[before:]} == {"GET"}
    assert len(cloud.vms) == 2


async def test_another_manager_made_it_in_between(cloud):
    """The creation is refused, not carried out over the other's, and the next try finds it."""
    async with opened() as one, opened() as other:
        await other.create(2)
        one._find = lambda: asyncio.sleep(0)  # it looked before that
        with pytest.raises(FleetUnavailable, match="PreconditionFailed"):
            await one.create(5)
        del one._find
        await seen(other, lambda size: size.running == 2)
        await one.resize(3)
        await seen(one, lambda size: size.running == 3)


async def test_no_running_machine_is_taken_away(cloud):
    """Which of them hold work is not known; what has not come is given up."""
    cloud.sets.room = dict.fromkeys(SIZES, 2)
    async with opened(vm_sizes=SIZES[0]) as fleet:
        await fleet.create(4)
        await seen(fleet, lambda size: size.running == 2)
        await fleet.resize(1)
        await seen(fleet, lambda size: size.wanted == 2)
        assert the_set(cloud).capacity == 2
        assert len(cloud.vms) == 2


async def test_evicted_machines_are_replaced_where_azure_goes_on_counting_them(cloud):
    """Asked for the same capacity again it would do nothing, so its count is first brought down to what is there."""
    cloud.sets.capacity_follows_evictions = False
    async with opened() as fleet:
        await fleet.create(3)
        await seen(fleet, lambda size: size.running == 3)
        kept = cloud.vms[0].name
        for vm in cloud.vms[1:]:
            await run(cloud, cloud.evict(vm))
        await seen(fleet, lambda size: size.evicted == 2)
        await fleet.resize(3)
        await seen(fleet, lambda size: size.running == 3)
        assert kept in {vm.name for vm in cloud.vms}


# -- no room -----------------------------------------------------------------------------------------------------------


PRICE = (
    "OperationNotAllowed",
    "Unable to perform operation since the provided max price '0.01 USD' is lower than the current spot price '0.02 USD'.",
)
NO_ROOM = {
    "size": (("SkuNotAvailable", "The requested size is not available."), "no room (SkuNotAvailable)"),
    "quota": (QUOTA, "the quota is used up (OperationNotAllowed)"),
    "price": (PRICE, "Spot costs more than [fleet.vmss] max_price now (OperationNotAllowed)"),
}


@pytest.mark.parametrize(("refusal", "reason"), NO_ROOM.values(), ids=NO_ROOM)
async def test_a_size_that_is_refused_at_once(cloud, caplog, refusal, reason):
    """The next one on the list is asked for, and it is said."""
    cloud.sets.refused[SIZES[0]] = refusal
    async with opened() as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
    assert {vm.size for vm in cloud.vms} == {SIZES[1]}
    (line,) = warnings(caplog)
    assert line == f"creating scale set {fleet.name} of {SIZES[0]}: {reason}; trying {SIZES[1]} instead"


@pytest.mark.parametrize("leave_failed", [False, True])
@pytest.mark.parametrize("orchestration", ["Flexible", "Uniform"])
async def test_a_size_that_has_no_room_for_all(cloud, caplog, leave_failed, orchestration):
    """Known only when the operation ends, with some machines made: those stay, failed ones go, the next size fills up."""
    cloud.sets.room[SIZES[0]] = 2
    cloud.sets.leave_failed = leave_failed
    async with opened(orchestration=orchestration) as fleet:
        await fleet.create(5)
        await seen(fleet, lambda size: size.running == 5)
        await asyncio.sleep(0)
        assert sorted(vm.size for vm in cloud.vms) == sorted([SIZES[0]] * 2 + [SIZES[1]] * 3)
        assert {one.end for one in fleet.ledger()} <= {"", "failed"}
    assert any("no room (OverconstrainedAllocationRequest); trying" in line for line in warnings(caplog))


async def test_no_room_in_any_size_at_once(cloud):
    """One line names each size with its reason and what to do; nothing is left."""
    cloud.sets.refused = dict.fromkeys(SIZES, QUOTA)
    async with opened() as fleet:
        with pytest.raises(CapacityError) as caught:
            await fleet.create(4)
        assert (await fleet.observe()).exists is False
    assert str(caught.value) == (
        "no room for 4 Spot machines in any VM size of the list (Standard_D2s_v5: the quota is used up (OperationNotAllowed), "
        "Standard_D2as_v5: the quota is used up (OperationNotAllowed), Standard_D2ds_v5: the quota is used up "
        "(OperationNotAllowed)): add sizes to [fleet.vmss] vm_sizes, ask for more Spot quota, or wait"
    )
    assert not cloud.sets.sets


async def test_no_room_in_any_size_in_the_end(cloud, caplog):
    """The half-made scale set is gone on with when there is room again."""
    cloud.sets.room = dict.fromkeys(SIZES, 0)
    async with opened() as fleet:
        await fleet.create(2)
        while not any("in any VM size" in line for line in warnings(caplog)):
            assert (await fleet.observe()).running == 0
            await asyncio.sleep(0.05)
        cloud.sets.room.clear()
        await fleet.resize(2)
        await seen(fleet, lambda size: size.running == 2)
    assert len(asked(cloud, "PUT")) == 1


# -- a bad day ---------------------------------------------------------------------------------------------------------


async def test_throttled(cloud, caplog):
    """It waits as long as it is told to, and says so."""
    async with opened() as fleet:
        await fleet.observe()
        cloud.arm.throttled = 1
        started = asyncio.get_running_loop().time()
        await fleet.create(1)
        assert asyncio.get_running_loop().time() - started >= 1
        await seen(fleet, lambda size: size.running == 1)
        cloud.arm.throttled = 1
        await fleet.resize(2)
        await seen(fleet, lambda size: size.running == 2)
    assert warnings(caplog) == ["Azure Resource Manager has had too many requests: asking again in 1 s"] * 2


async def test_a_deletion_that_fails_once(cloud):
    """One line, and the next try deletes it."""
    cloud.sets.failing_deletions = 1
    async with opened() as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        with pytest.raises(FleetUnavailable) as caught:
            await fleet.delete()
        assert str(caught.value) == (
            f"deleting scale set {fleet.name}: Azure is busy or unavailable (InternalExecutionError)"
        )
        await fleet.delete()
        assert [one.end for one in fleet.ledger()] == ["deleted"] * 2
    assert not cloud.sets.sets


async def test_a_set_that_does_not_go_while_it_has_machines(cloud):
    """It is emptied first."""
    cloud.sets.keeps_machines = True
    async with opened() as fleet:
        await fleet.create(2)
        await seen(fleet, lambda size: size.running == 2)
        await fleet.delete()
    assert not cloud.sets.sets
    assert not cloud.vms


async def test_no_metadata_service(cloud):
    """Elsewhere than on an Azure VM, with nothing given: one line says what to set."""
    fleet = VmssFleet(settings(), LAUNCH, imds=Imds(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(FleetError) as caught:
        await fleet.observe()
    await fleet.close()
    line = str(caught.value)
    assert "\n" not in line
    assert "no instance metadata service answers" in line
    assert line.endswith("; set AZURE_SUBSCRIPTION_ID, [fleet.vmss] location, resource_group, subnet_id, identity")


async def test_nobody_to_sign_in_as(cloud):
    """The manager's VM has two identities, and none of them is chosen."""
    cloud.metadata.machines["manager"].identities.append({"clientId": "other"})
    async with opened() as fleet:
        with pytest.raises(FleetError) as caught:
            await fleet.observe()
    assert str(caught.value) == (
        f"looking at scale set {fleet.name}: could not sign in to Azure: give the manager's VM a managed "
        "identity (AZURE_CLIENT_ID names one of several), or run `az login`"
    )


async def test_the_identity_that_the_environment_names_is_the_workers_too(cloud, monkeypatch):
    """Where the manager's VM has several."""
    cloud.arm.identities[IDENTITY + "2"] = {"clientId": "other"}
    cloud.metadata.machines["manager"].identities.append({"clientId": "other"})
    held = cloud.arm.others[f"{PROVIDERS}/Microsoft.Compute/virtualMachines/manager"]["identity"]
    held["userAssignedIdentities"][IDENTITY + "2"] = {"clientId": "other"}
    monkeypatch.setenv("AZURE_CLIENT_ID", "other")
    async with opened() as fleet:
        await fleet.create(1)
    assert list(asked(cloud, "PUT")[0]["identity"]["userAssignedIdentities"]) == [IDENTITY + "2"]
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT_ID)
    held["userAssignedIdentities"] = {IDENTITY + "2": {"clientId": "2"}, IDENTITY + "3": {"clientId": "3"}}
    async with opened() as fleet:
        with pytest.raises(
            FleetError, match=r"the manager's VM has 2 user-assigned identities; set \[fleet\.vmss\] identity"
        ):
            await fleet.check()


async def test_azure_cannot_be_reached(cloud, monkeypatch):
    """It may pass, so it is tried again by whoever drives the fleet."""
    monkeypatch.setenv("AZURE_RESOURCE_MANAGER_ENDPOINT", f"https://127.0.0.1:{free_port()}")
    monkeypatch.setattr(arm, "CLIENT_OPTIONS", arm.CLIENT_OPTIONS | {"retry_total": 0})
    async with opened() as fleet:
        with pytest.raises(
            FleetUnavailable, match=r"Azure can't be reached \(.*\); check the network and proxies"
        ) as caught:
            await fleet.observe()
    assert "\n" not in str(caught.value)


async def test_a_scale_set_that_is_being_deleted(cloud):
    """It is there until it is gone; nothing is asked of it meanwhile, and its machines were not evicted."""
    cloud.sets.operation_seconds = 1.0
    async with opened() as one, opened() as other:
        await one.create(2)
        await seen(one, lambda size: size.running == 2)
        await other.observe()
        deleting = asyncio.create_task(one.delete())
        await run(cloud, until(lambda: the_set(cloud).record["properties"]["provisioningState"] == "Deleting"))
        assert (await other.observe()).exists is True
        with pytest.raises(FleetUnavailable, match="is being deleted: creating it again when it is gone"):
            await other.create(2)
        await deleting
        assert (await other.observe()).exists is False
        assert [one.end for one in other.ledger()] == ["deleted"] * 2


async def until(true):
    while not true():
        await asyncio.sleep(0.01)


ROLES = {
    "Microsoft.Compute/virtualMachineScaleSets/write": "Virtual Machine Contributor on the resource group",
    "Microsoft.Compute/virtualMachineScaleSets/read": "Virtual Machine Contributor on the resource group",
    "Microsoft.Compute/virtualMachines/read": "Virtual Machine Contributor on the resource group",
    "Microsoft.Network/virtualNetworks/subnets/join/action": "Network Contributor on the subnet",
    "Microsoft.Network/networkInterfaces/read": "Network Contributor on the subnet",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action": "Managed Identity Operator",
}


@pytest.mark.parametrize("action", ROLES)
async def test_a_missing_role_is_named(cloud, action):
    """With the action and the scope of the role, in one line."""
    cloud.arm.denied.add(action)
    async with opened() as fleet:
        with pytest.raises(FleetError, match=r"not allowed \((Linked)?AuthorizationFailed\)") as caught:
            await fleet.create(1)
    assert f"lacks the action {action}; give it {ROLES[action]}" in str(caught.value)
    assert not caught.value.transient


async def test_the_documented_role_is_what_is_asked_for(cloud):
    """Every action of a fleet's life in both modes, failed machines and evictions included, and not one more."""
    cloud.sets.leave_failed = True
    for orchestration in ("Flexible", "Uniform"):
        cloud.sets.room = {SIZES[0]: 1}
        async with opened(orchestration=orchestration, identity=IDENTITY) as fleet:
            await fleet.create(2)
            await seen(fleet, lambda size: size.running == 2)
            await fleet.delete()
    documented = re.search(r"```json\n(.*?)```", (ROOT / "docs/fleet.md").read_text(), re.DOTALL).group(1)
    assert json.loads(documented)["Actions"] == sorted(cloud.arm.used)


REFUSALS = {
    "resource group": ({"resource_group": "nosuch"}, r"\(ResourceGroupNotFound\): name a resource group that exists"),
    "subnet": ({"subnet_name": "nosuch"}, r"\(InvalidResourceReference\): look at \[fleet\.vmss\] subnet_id"),
    "image": ({"image": "Canonical:nosuch:server:latest"}, r"\(PlatformImageNotFound\): look at \[fleet\.vmss\] image"),
    "plan": (
        {"image": "openlogic:priced:lts:latest"},
        r"\(VMMarketplaceInvalidInput\): .* set \[fleet\.vmss\] image_plan",
    ),
    "identity": (
        {"identity": IDENTITY + "x"},
        r"looking at the workers' identity warmerx: refused \(ResourceNotFound\)",
    ),
    "VM size": ({"vm_sizes": "Standard_Nosuch"}, r"\(InvalidParameter\): The value Standard_Nosuch .* is not valid"),
    "user": ({"user_name": "root"}, r"\(InvalidParameter\): The Admin Username specified is not allowed"),
}


@pytest.mark.parametrize(("given", "line"), REFUSALS.values(), ids=REFUSALS)
async def test_what_azure_refuses_is_one_line(cloud, given, line):
    """With its code, and what to do."""
    async with opened(**given) as fleet:
        with pytest.raises(FleetError, match=line) as caught:
            await fleet.create(1)
    assert "\n" not in str(caught.value)
    assert not cloud.sets.sets


SETTINGS = {
    "size": ({"vm_sizes": " , "}, "names no VM size"),
    "image": ({"image": "ubuntu"}, "must be publisher:offer:sku:version"),
    "plan": ({"image_plan": "a:b"}, "must be publisher:product:name"),
    "orchestration": ({"orchestration": "flexible"}, "must be Flexible or Uniform"),
    "price": ({"max_price": 0.0}, "must be above 0, or -1"),
    "user": ({"user_name": ""}, "name the user of the workers"),
    "password": ({"password": "secret"}, "6 to 72 characters of three kinds"),
    "subnet": ({"subnet_id": "workers"}, "must be the resource id of a subnet"),
}


@pytest.mark.parametrize(("given", "line"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_makes_no_sense(given, line):
    """Said before anything is asked of Azure; no secret is in it."""
    with pytest.raises(ConfigError, match=line) as caught:
        VmssFleet(settings(**given), LAUNCH)
    assert "secret" not in str(caught.value)


def test_what_no_machine_could_use_is_refused():
    """A broker that VMs can't reach, and a bootstrap folder that is not named."""
    with pytest.raises(ConfigError, match="azure://ACCOUNT/PREFIX, not sqlite:///x"):
        VmssFleet(settings(), replace(LAUNCH, broker_url="sqlite:///x"))
    with pytest.raises(ConfigError, match="BOOTSTRAP_SCRIPT"):
        VmssFleet(settings(), replace(LAUNCH, bootstrap_script_path=""))


async def test_custom_data_that_is_too_long(cloud):
    """Azure takes 64 KiB; nothing is made."""
    async with opened(worker_key="x" * 60_000) as fleet:
        with pytest.raises(FleetError, match=r"custom data has \d+ bytes, Azure takes 65535"):
            await fleet.create(1)
    assert asked(cloud, "PUT") == []


def test_each_broker_has_a_name_of_its_own():
    """The same every time, within what Azure lets a scale set be called."""
    long = "a" * 56
    urls = [f"azure://{account}/{prefix}" for account in ("one", "two") for prefix in ("p", "q", long, long[:-1])]
    names = [VmssFleet(settings(), replace(LAUNCH, broker_url=url)).name for url in urls]
    assert len(set(names)) == len(names)
    assert names == [VmssFleet(settings(), replace(LAUNCH, broker_url=url)).name for url in urls]
    assert all(len(name) <= 64 for name in names)
    assert GROUP not in names[0]
