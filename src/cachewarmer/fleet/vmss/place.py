"""Where the scale set is created: as the settings say, else where the manager's own VM is."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from cachewarmer.azure.endpoints import azure_environment
from cachewarmer.azure.metadata import Imds, Instance
from cachewarmer.config import VmssSettings
from cachewarmer.errors import FleetError, MetadataAbsent
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.vmss.arm import FOREIGN, Clients, plain, translated
from cachewarmer.fleet.vmss.identity import find_sign_in
from cachewarmer.fleet.vmss.model import Place, with_subnet
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

FIRST_GENERATION = "cwvmss"
"""The name that the first CacheWarmer gives its only scale set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The resource group of the scale set, and whatever else is needed to find it."""

    subscription_id: str
    resource_group: str
    location: str
    own: Instance | None
    """The manager's own VM; None: the settings made it unnecessary."""


async def find_group(settings: VmssSettings, imds: Imds) -> Group:
    """Finds the resource group from the settings, completed by the metadata service of the manager's VM.

    Raises:
        FleetError: the settings are not complete, and there is no metadata service.
    """
    named = azure_environment().subscription_id
    identity = settings.identity or settings.worker_key
    given = (settings.location, settings.resource_group, settings.subnet_id, identity)
    own: Instance | None = None
    if not named or not all(given):
        try:
            own = await imds.instance()
        except MetadataAbsent as error:
            names = ("[fleet.vmss] location", "resource_group", "subnet_id", "identity")
            wanted = {"AZURE_SUBSCRIPTION_ID": named, **dict(zip(names, given, strict=True))}
            missing = ", ".join(name for name, value in wanted.items() if not value)
            raise FleetError(f"unknown where to create the workers: {error}; set {missing}") from error
    return Group(
        subscription_id=named or (own.subscription_id if own else ""),
        resource_group=settings.resource_group or (own.resource_group if own else ""),
        location=settings.location or (own.location if own else ""),
        own=own,
    )


async def find_place(settings: VmssSettings, launch: WorkerLaunch, clients: Clients, group: Group) -> Place:
    """Finds the location, the subnet, and how the workers sign in.

    Raises:
        FleetError: something does not exist, or may not be read. FleetUnavailable: see ``arm.translated``.
    """
    machine: dict[str, Any] = {}
    if group.own is not None and not (settings.subnet_id and (settings.identity or settings.worker_key)):
        machine = await get_machine(clients, group.own)
    subnet = settings.subnet_id or await subnet_of(clients, machine)
    return Place(
        location=group.location,
        subnet_id=with_subnet(subnet, settings.subnet_name),
        sign_in=await find_sign_in(settings, launch, clients, group.subscription_id, machine),
    )


async def warn_of_first_generation(clients: Clients, group: Group) -> None:
    """Logs a warning if the manager of the first CacheWarmer has left its scale set in the resource group.

    The workers of that scale set take work from the same queues and lose it when they are evicted, and nobody deletes
    the scale set.
    """
    with contextlib.suppress(*FOREIGN):
        await clients.compute.virtual_machine_scale_sets.get(group.resource_group, FIRST_GENERATION)
        log.warning(
            "there is a scale set %s in the resource group %s that the first CacheWarmer created: stop its manager and "
            "delete the scale set (az vmss delete -g %s -n %s), because its workers lose the work that they take",
            *(FIRST_GENERATION, group.resource_group, group.resource_group, FIRST_GENERATION),
        )


async def get_machine(clients: Clients, own: Instance) -> dict[str, Any]:
    """The manager's own VM as the resource manager describes it (Virtual Machines - Get).

    Raises:
        FleetError: it belongs to a scale set, does not exist, or may not be read.
    """
    what = f"looking at the manager's own VM {own.name}"
    if own.scale_set:
        raise FleetError(
            f"{what}: it belongs to the scale set {own.scale_set}; set [fleet.vmss] subnet_id and identity"
        )
    try:
        return plain(await clients.compute.virtual_machines.get(own.resource_group, own.name))
    except FOREIGN as error:
        raise translated(error, what) from error


async def subnet_of(clients: Clients, machine: dict[str, Any]) -> str:
    """The resource id of the subnet of a VM's primary network interface.

    Raises:
        FleetError: the interface is in no subnet, or may not be read.
    """
    interfaces = machine["properties"]["networkProfile"]["networkInterfaces"]
    primary = next((one for one in interfaces if (one.get("properties") or {}).get("primary")), interfaces[0])
    interface_id = str(primary["id"])
    what = f"looking at the manager's network interface {interface_id.rpartition('/')[2]}"
    try:
        found = plain(
            await clients.network.network_interfaces.get(part(interface_id, "resourceGroups"), last(interface_id))
        )
    except FOREIGN as error:
        raise translated(error, what) from error
    for one in found["properties"].get("ipConfigurations") or []:
        subnet = (one.get("properties") or {}).get("subnet") or {}
        if subnet.get("id"):
            return str(subnet["id"])
    raise FleetError(f"{what}: it is in no subnet; set [fleet.vmss] subnet_id")


def part(resource_id: str, kind: str) -> str:
    """The segment of a resource id after ``kind``, which is compared without regard to case, as Azure does."""
    parts = resource_id.split("/")
    lower = [one.lower() for one in parts]
    return parts[lower.index(kind.lower()) + 1]


def last(resource_id: str) -> str:
    """The name at the end of a resource id."""
    return resource_id.rstrip("/").rpartition("/")[2]
