"""The stand-in for Azure refuses what Azure would: else what is proved with it would prove little."""

import copy
import time

import aiohttp
import pytest

from cachewarmer.fleet.vmss import model as vmss_model
from cachewarmer.fleet.vmss.identity import WorkerSignIn
from tests.azure_standin.cloud import CLIENT_ID, IDENTITY, SUBNET, SUBSCRIPTION, azure
from tests.azure_standin.fixtures import SIZES, settings
from tests.azure_standin.rules import ArmError, check_scale_set, check_update

PLACE = vmss_model.Place(location="westeurope", subnet_id=SUBNET, sign_in=WorkerSignIn(identity_id=IDENTITY))
PROFILE = ("properties", "virtualMachineProfile")
OS = (*PROFILE, "osProfile")
LINUX = (*OS, "linuxConfiguration")
DISK = (*PROFILE, "storageProfile", "osDisk")
NETWORK = (*PROFILE, "networkProfile")
INTERFACE = (*NETWORK, "networkInterfaceConfigurations", 0)
MISSING = object()


def body(**given):
    return vmss_model.scale_set(
        settings(**given), PLACE, broker="azure://a/p", size=SIZES[0], workers=3, custom_data="#cloud-config\n"
    )


def changed(whole, path, value):
    whole = copy.deepcopy(whole)
    place = whole
    for step in path[:-1]:
        place = place[step] if isinstance(step, int) else place.setdefault(step, {})
    if value is MISSING:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return whole


def look(whole):
    check_scale_set(whole, {SUBNET}, {IDENTITY: {"clientId": CLIENT_ID}})


@pytest.mark.parametrize("orchestration", ["Flexible", "Uniform"])
@pytest.mark.parametrize("login", [{}, {"password": "Correct-Horse-7", "ssh_public_key": ""}])
def test_what_the_program_asks_for_is_right(orchestration, login):
    """Or every case below would be refused for another reason."""
    look(body(orchestration=orchestration, **login))


FLEXIBLE = {
    "an unknown property": (("properties", "spot"), True, "no such property"),
    "one in the wrong place": (("properties", "priority"), "Spot", "no such property"),
    "one that only the service sets": (("properties", "provisioningState"), "Succeeded", "only the service sets it"),
    "no location": (("location",), MISSING, "location"),
    "a location that is none": (("location",), "atlantis", "LocationNotAvailable"),
    "a capacity in words": (("sku", "capacity"), "3", "a whole number"),
    "a capacity beyond the limit": (("sku", "capacity"), 1001, "between 0 and 1000"),
    "no VM size": (("sku",), MISSING, "sku"),
    "a VM size that is none": (("sku", "name"), "Standard_Nosuch", "VM size is not valid"),
    "a tag that is no text": (("tags", "count"), 3, "str, not 3"),
    "a mode that is none": (("properties", "orchestrationMode"), "flexible", "one of"),
    "over-provisioning": (("properties", "overprovision"), False, "not allowed for Flexible"),
    "an upgrade policy": (("properties", "upgradePolicy"), {"mode": "Manual"}, "not allowed for Flexible"),
    "no fault domains": (("properties", "platformFaultDomainCount"), MISSING, "Required for Flexible"),
    "one placement group": (("properties", "singlePlacementGroup"), True, "Must be false"),
    "eviction without Spot": ((*PROFILE, "priority"), "Regular", "Only for Azure Spot"),
    "a price without Spot": (PROFILE, {"billingProfile": {"maxPrice": 1.0}}, "Only for Azure Spot"),
    "a price of nothing": ((*PROFILE, "billingProfile", "maxPrice"), 0.0, "Must be -1 or above 0"),
    "a price in words": ((*PROFILE, "billingProfile", "maxPrice"), "1", "a number"),
    "an eviction policy that is none": ((*PROFILE, "evictionPolicy"), "Remove", "one of"),
    "no network version": ((*NETWORK, "networkApiVersion"), MISSING, "Must be specified for Flexible"),
    "a network version that is none": ((*NETWORK, "networkApiVersion"), "2024-01-01", "one of"),
    "no primary interface": ((*INTERFACE, "properties", "primary"), False, "Exactly one must be primary"),
    "no address": ((*INTERFACE, "properties", "ipConfigurations"), [], "at least one"),
    "custom data in plain text": ((*OS, "customData"), "#cloud-config", "Base64"),
    "a reserved user": ((*OS, "adminUsername"), "admin", "not allowed"),
    "no host name": ((*OS, "computerNamePrefix"), "", "1 to 58"),
    "a password that is not used": ((*OS, "adminPassword"), "Correct-Horse-7", "Not allowed when"),
    "neither key nor password": ((*LINUX, "ssh"), MISSING, "Required when password"),
    "a key for another user": (
        (*LINUX, "ssh", "publicKeys"),
        [{"path": "/root/.ssh/authorized_keys", "keyData": "ssh-rsa A"}],
        "Must be the admin's own",
    ),
    "no disk to make": ((*DISK, "createOption"), "Empty", "FromImage"),
    "a disk kind that is none": ((*DISK, "managedDisk", "storageAccountType"), "Cheap_LRS", "one of"),
    "no image": ((*PROFILE, "storageProfile", "imageReference"), {}, "Required parameter is missing"),
    "an identity that is none": (("identity", "userAssignedIdentities"), {"/x": {}}, "FailedIdentityOperation"),
    "identities of the wrong kind": (("identity", "type"), "None", "disagree"),
    "an identity of its own": (("identity",), {"type": "SystemAssigned"}, "user-assigned identities only"),
}
UNIFORM = {
    "no upgrade policy": (("properties", "upgradePolicy"), MISSING, "upgradePolicy.mode"),
    "a network version": ((*NETWORK, "networkApiVersion"), "2020-11-01", "only for it"),
    "a disk to delete": ((*DISK, "deleteOption"), "Delete", "Only for Flexible"),
    "an interface to delete": ((*INTERFACE, "properties", "deleteOption"), "Delete", "Only for Flexible"),
}


@pytest.mark.parametrize(("path", "value", "why"), FLEXIBLE.values(), ids=FLEXIBLE)
def test_a_flexible_set_that_azure_would_refuse(path, value, why):
    """By its shape, or by a rule that the reference gives in words."""
    with pytest.raises(ArmError, match=f"(?s){why}"):
        look(changed(body(), path, value))


@pytest.mark.parametrize(("path", "value", "why"), UNIFORM.values(), ids=UNIFORM)
def test_a_uniform_set_that_azure_would_refuse(path, value, why):
    """The two modes take different things."""
    with pytest.raises(ArmError, match=why):
        look(changed(body(orchestration="Uniform"), path, value))


def test_an_update_is_looked_at_too():
    """It has a shape of its own."""
    check_update(vmss_model.resized(SIZES[1], 4))
    with pytest.raises(ArmError, match="location: no such property"):
        check_update({"location": "westeurope"})


@pytest.fixture
def cloud():
    with azure() as made:
        yield made


async def test_nobody_is_let_in_without_a_token_a_version_and_a_header(cloud):
    """As the resource manager and the metadata service demand."""
    environment = cloud.environment
    resources = f"{environment['AZURE_RESOURCE_MANAGER_ENDPOINT']}/subscriptions/{SUBSCRIPTION}/resourceGroups/render"
    one = f"{resources}/providers/Microsoft.Compute/virtualMachineScaleSets/one"
    events = f"{environment['CACHEWARMER_IMDS_URL']}/metadata"
    cloud.metadata.tokens["token"] = CLIENT_ID
    token, header = {"Authorization": "Bearer token"}, {"Metadata": "true"}
    wanted = [
        (f"{one}?api-version=2024-11-01", {}, 401, "AuthenticationFailed"),
        (f"{one}?api-version=2024-11-01", {"Authorization": "Bearer other"}, 401, "AuthenticationFailed"),
        (one, token, 400, "NoRegisteredProviderFound"),
        (f"{one}?api-version=1999-01-01", token, 400, "NoRegisteredProviderFound"),
        (f"{one}?api-version=2024-11-01", token, 404, "ResourceNotFound"),
        (f"{one.replace('render', 'nosuch')}?api-version=2024-11-01", token, 404, "ResourceGroupNotFound"),
        (f"{events}/instance?api-version=2021-02-01", {}, 400, "header"),
        (f"{events}/instance", header, 400, "api-version"),
        (f"{events}/instance?api-version=2021-02-01", header | {"X-Forwarded-For": "a"}, 400, "header"),
        (f"{events}/scheduledevents?api-version=2020-07-01", header, 200, "DocumentIncarnation"),
    ]
    async with aiohttp.ClientSession() as session:
        for url, headers, status, text in wanted:
            async with session.get(url, headers=headers, ssl=False) as response:
                assert (response.status, text in await response.text()) == (status, True), url


async def test_an_event_is_acknowledged_by_its_id(cloud):
    """An unknown one is refused; the document's number changes with every change."""
    metadata = cloud.metadata.machines["manager"]
    event = metadata.announce("Preempt", "manager", 30)
    url = f"{cloud.environment['CACHEWARMER_IMDS_URL']}/metadata/scheduledevents?api-version=2020-07-01"
    before, started = metadata.incarnation, time.monotonic()
    async with aiohttp.ClientSession(headers={"Metadata": "true"}) as session:
        for wanted, status in (("other", 400), (event["EventId"], 200)):
            async with session.post(url, json={"StartRequests": [{"EventId": wanted}]}) as response:
                assert response.status == status
    assert (metadata.incarnation, event["EventStatus"]) == (before + 1, "Started")
    assert time.monotonic() - started < 30
