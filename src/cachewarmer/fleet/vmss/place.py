"""Where the scale set goes: what the settings say, and for the rest what the manager's own VM has."""

from __future__ import annotations

from typing import Any

from azure.core.rest import HttpRequest

from cachewarmer.azure.metadata import Imds, Instance
from cachewarmer.config import VmssSettings, azure_environment
from cachewarmer.errors import FleetError, MetadataAbsent
from cachewarmer.fleet.vmss.arm import FOREIGN, Clients, plain, translated
from cachewarmer.fleet.vmss.model import Place, with_subnet

IDENTITY_API_VERSION = "2023-01-31"
"""Of Microsoft.ManagedIdentity/userAssignedIdentities, Get."""


async def subscription(settings: VmssSettings, imds: Imds) -> tuple[str, Instance | None]:
    """The subscription, and the manager's VM where it had to be asked for.

    Raises:
        FleetError: there is no metadata service, and the settings leave something to it.
    """
    named = azure_environment().subscription_id
    given = (settings.location, settings.resource_group, settings.subnet_id, settings.identity or settings.worker_key)
    if named and all(given):
        return named, None
    try:
        instance = await imds.instance()
    except MetadataAbsent as error:
        wanted = {
            "AZURE_SUBSCRIPTION_ID": named,
            "[fleet.vmss] location": settings.location,
            "resource_group": settings.resource_group,
            "subnet_id": settings.subnet_id,
            "identity": given[3],
        }
        missing = ", ".join(name for name, value in wanted.items() if not value)
        raise FleetError(f"where the workers go is not known: {error}; else set {missing}") from error
    return named or instance.subscription_id, instance


async def find_place(settings: VmssSettings, clients: Clients, subscription_id: str, own: Instance | None) -> Place:
    """The place as the settings say, completed from ``own``, the manager's VM.

    Raises:
        FleetError: something is not there, or may not be looked at. FleetUnavailable: see ``arm.translated``.
    """
    machine: dict[str, Any] = {}
    if own is not None and not (settings.subnet_id and (settings.identity or settings.worker_key)):
        machine = await _get_machine(clients, own)
    subnet = settings.subnet_id or await _subnet_of(clients, machine)
    identity, client_id = settings.identity, ""
    if identity:
        client_id = await _client_id(clients, identity)
    elif not settings.worker_key:
        identity, client_id = _identity_of(machine)
    return Place(
        subscription_id=subscription_id,
        resource_group=settings.resource_group or (own.resource_group if own else ""),
        location=settings.location or (own.location if own else ""),
        subnet_id=with_subnet(subnet, settings.subnet_name),
        identity_id=identity,
        client_id=client_id,
    )


async def _get_machine(clients: Clients, own: Instance) -> dict[str, Any]:
    what = f"looking at the manager's own VM {own.name}"
    if own.scale_set:
        raise FleetError(
            f"{what}: it belongs to the scale set {own.scale_set}; set [fleet.vmss] subnet_id and identity"
        )
    try:
        return plain(await clients.compute.virtual_machines.get(own.resource_group, own.name))
    except FOREIGN as error:
        raise translated(error, what) from error


async def _subnet_of(clients: Clients, machine: dict[str, Any]) -> str:
    interfaces = machine["properties"]["networkProfile"]["networkInterfaces"]
    primary = next((one for one in interfaces if (one.get("properties") or {}).get("primary")), interfaces[0])
    interface_id = str(primary["id"])
    what = f"looking at the manager's network interface {interface_id.rpartition('/')[2]}"
    try:
        found = plain(
            await clients.network.network_interfaces.get(_part(interface_id, "resourceGroups"), _last(interface_id))
        )
    except FOREIGN as error:
        raise translated(error, what) from error
    for one in found["properties"].get("ipConfigurations") or []:
        subnet = (one.get("properties") or {}).get("subnet") or {}
        if subnet.get("id"):
            return str(subnet["id"])
    raise FleetError(f"{what}: it is in no subnet; set [fleet.vmss] subnet_id")


def _identity_of(machine: dict[str, Any]) -> tuple[str, str]:
    """The manager's user-assigned identity: the one that it signs in with, or its only one."""
    held: dict[str, Any] = (machine.get("identity") or {}).get("userAssignedIdentities") or {}
    found = [(one, str((about or {}).get("clientId", ""))) for one, about in held.items()]
    mine = azure_environment().client_id
    if mine:
        found = [one for one in found if one[1] == mine] or found
    if len(found) == 1:
        return found[0]
    has = f"has {len(found)} user-assigned identities" if found else "has no user-assigned identity"
    raise FleetError(
        f"which identity the workers sign in with is not known: the manager's VM {has}; set [fleet.vmss] identity"
    )


async def _client_id(clients: Clients, identity: str) -> str:
    """The client id of an identity, by its resource id."""
    what = f"looking at the workers' identity {_last(identity)}"
    request = HttpRequest("GET", identity, params={"api-version": IDENTITY_API_VERSION})
    try:
        response = await clients.compute.send_request(request)
        response.raise_for_status()
        return str(response.json()["properties"]["clientId"])
    except (KeyError, ValueError) as error:
        raise FleetError(
            f"{what}: [fleet.vmss] identity must be the resource id of a user-assigned identity"
        ) from error
    except FOREIGN as error:
        raise translated(error, what) from error


def _part(resource_id: str, kind: str) -> str:
    """The segment after ``kind`` of a resource id; Azure does not keep the case of these names."""
    parts = resource_id.split("/")
    lower = [one.lower() for one in parts]
    return parts[lower.index(kind.lower()) + 1]


def _last(resource_id: str) -> str:
    return resource_id.rstrip("/").rpartition("/")[2]
