"""Checks of Azure around the broker: the metadata service, and whether there is room for the workers of [fleet.vmss].

All requests only read, each within ``LOOK_SECONDS``. REST reference: "Azure Instance Metadata Service", "Usage - List"
and "Virtual Machine Sizes - List" (Microsoft.Compute), "Subnets - Get" (Microsoft.Network).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cachewarmer.azure.endpoints import azure_environment
from cachewarmer.azure.metadata import Imds, Instance
from cachewarmer.config import FleetSettings, VmssSettings
from cachewarmer.errors import CacheWarmerError, FleetDenied, FleetError, MetadataAbsent
from cachewarmer.findings import Finding, failure, ok, warning

if TYPE_CHECKING:
    from cachewarmer.fleet.vmss.arm import Clients

T = TypeVar("T")

LOOK_SECONDS = 20.0
"""Time limit of each check."""
SPOT_CORES = "lowPriorityCores"
"""The name, in the usages of a region, of the quota for the cores of Spot VMs of all sizes."""
KEPT_ADDRESSES = 5
"""Addresses that Azure reserves in each IPv4 prefix of a subnet: the first four and the last."""
STORAGE = "Microsoft.Storage"


class Space(NamedTuple):
    """How many addresses of a subnet, or cores of a quota, may be used in all, and how many are."""

    usable: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.usable - self.used)


async def look_around(fleet: FleetSettings, *, workers: int = 0) -> AsyncIterator[Finding]:
    """Checks this machine, and the place for ``workers`` Spot VMs (0: as many as ``fleet`` says); yields findings."""
    own: Instance | None = None
    async with Imds() as imds:
        try:
            own = await _within(imds.instance())
            yield ok("metadata service", _described(own))
            yield await _managed_identity()
        except MetadataAbsent as error:
            yield _no_metadata(error, fleet.vmss)
        except CacheWarmerError as error:
            yield Finding.of("metadata service", error)
    async for found in _look_at_place(fleet.vmss, own, workers or fleet.workers, wanted=fleet.kind == "vmss"):
        yield found


# -- this machine ------------------------------------------------------------------------------------------------------


def _described(own: Instance) -> str:
    parts = [
        own.location,
        own.zone and f"zone {own.zone}",
        own.resource_group and f"resource group {own.resource_group}",
        own.scale_set and f"scale set {own.scale_set}",
        *own.subnet_prefixes[:1],
    ]
    return f"this is the VM {own.name} ({', '.join(part for part in parts if part)})"


def _no_metadata(error: MetadataAbsent, settings: VmssSettings) -> Finding:
    """The finding without a metadata service: only a manager needs one, unless the settings say where workers go."""
    given = (settings.location, settings.resource_group, settings.subnet_id, azure_environment().subscription_id)
    if all(given):
        return ok("metadata service", f"{error.problem}; the settings say where the workers go")
    return warning(
        "metadata service",
        error.problem,
        "only a manager that starts VMs needs it: run that one on an Azure VM, or give [fleet.vmss] location, "
        "resource_group and subnet_id, and AZURE_SUBSCRIPTION_ID",
    )


async def _managed_identity() -> Finding:
    """Checks whether the VM's identity gets a token, whatever its roles are."""
    try:
        from azure.identity.aio import ManagedIdentityCredential  # noqa: PLC0415  # slow to import, and optional
    except ImportError:
        return _not_installed("managed identity")
    from cachewarmer.azure.endpoints import management_endpoint, quiet_sdk  # noqa: PLC0415
    from cachewarmer.fleet.vmss.arm import FOREIGN  # noqa: PLC0415  # as above

    quiet_sdk()
    client_id = azure_environment().client_id
    which = f"{client_id} (AZURE_CLIENT_ID)" if client_id else "the VM's"
    try:
        async with asyncio.timeout(LOOK_SECONDS), ManagedIdentityCredential(client_id=client_id or None) as credential:
            await credential.get_token(f"{management_endpoint()}/.default")
    except FOREIGN as error:
        why = "no answer in time" if isinstance(error, TimeoutError) else _first_line(error)
        return warning(
            "managed identity",
            f"{which} gets no token: {why}",
            "give the VM an identity, name one of several in AZURE_CLIENT_ID, or sign in by another way (az login, a key)",
        )
    return ok("managed identity", f"{which} gets tokens")


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _not_installed(check: str) -> Finding:
    return failure(check, "the packages for Azure are not installed", "pip install cachewarmer[azure]")


# -- the place for the workers -----------------------------------------------------------------------------------------


async def _look_at_place(
    settings: VmssSettings, own: Instance | None, workers: int, *, wanted: bool
) -> AsyncIterator[Finding]:
    """Checks the quota and the subnet, if they are known. ``wanted``: the settings ask for a scale set."""
    subscription = azure_environment().subscription_id or (own.subscription_id if own else "")
    location = settings.location or (own.location if own else "")
    missing = [
        name for name, it in (("AZURE_SUBSCRIPTION_ID", subscription), ("[fleet.vmss] location", location)) if not it
    ]
    if missing:
        said = "not checked: it is unknown where the workers will be"
        for check in ("quota", "subnet"):
            yield failure(check, said, f"set {' and '.join(missing)}") if wanted else ok(check, said)
        return
    try:
        from cachewarmer.fleet.vmss.arm import Clients  # noqa: PLC0415  # slow to import, and optional
    except ImportError:
        yield _not_installed("quota")
        return
    clients = Clients.open(subscription)
    try:
        yield await _found("quota", _quota(clients, location, settings, workers))
        yield await _found("subnet", _subnet(clients, own, settings, workers))
    finally:
        await clients.close()


async def _found(check: str, looking: Awaitable[Finding]) -> Finding:
    """The finding of a check, with a timeout. A denial is a warning, since the manager does not need this access."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await looking
    except TimeoutError:
        return failure(check, f"no answer within {LOOK_SECONDS:g} s", "check the network and proxies")
    except FleetDenied as error:
        return warning(
            check, error.problem, "a manager works without it; the role Reader on the subscription is enough to look"
        )
    except FleetError as error:
        return Finding.of(check, error)


async def _quota(clients: Clients, location: str, settings: VmssSettings, workers: int) -> Finding:
    """Compares the Spot cores that are in use and those that the workers need with the quota."""
    from cachewarmer.fleet.vmss.arm import asked, plain  # noqa: PLC0415  # imported by now
    from cachewarmer.fleet.vmss.model import vm_sizes  # noqa: PLC0415  # as above

    what = f"looking at the VM sizes and quotas of {location}"
    offered = {
        str(size.get("name")): int(size.get("numberOfCores") or 0)
        for size in map(plain, await asked(what, _all(clients.compute.virtual_machine_sizes.list(location))))
    }
    quotas = map(plain, await asked(what, _all(clients.compute.usage.list(location))))
    spot = next((one for one in quotas if (one.get("name") or {}).get("value") == SPOT_CORES), None)
    if spot is None:
        return warning(
            "quota", f"{location} reports no quota of Spot cores", f"check with: az vm list-usage -l {location}"
        )
    used, limit = int(spot.get("currentValue") or 0), int(spot.get("limit") or 0)
    return judged_quota(location, offered, vm_sizes(settings), Space(limit, used), workers)


def judged_quota(
    location: str, offered: Mapping[str, int], sizes: Sequence[str], cores: Space, workers: int
) -> Finding:
    """Judges whether ``workers`` VMs fit into the Spot ``cores`` of ``location``.

    ``offered`` are the cores of each VM size there, by name. The VMs are of the first of ``sizes`` that is among them.
    """
    lower = {name.lower(): count for name, count in offered.items()}
    absent = [size for size in sizes if not lower.get(size.lower())]
    first = next((size for size in sizes if size not in absent), None)
    if first is None:
        said = f"{location} offers none of {', '.join(sizes)}"
        return failure("quota", said, f"name others in [fleet.vmss] vm_sizes: az vm list-sizes -o table -l {location}")
    each = lower[first.lower()]
    room = cores.free // each
    said = f"{cores.used} of {cores.usable} Spot cores of {location} are in use: room for {room} VMs of {first}"
    more = f"ask for more quota of Spot cores in {location} (portal: Quotas), or have fewer workers"
    if workers > room:
        said = f"{said}, and {workers} are wanted ({each * workers} cores)"
        return failure("quota", said, more) if not room else warning("quota", said, more)
    if not room:
        return warning("quota", said, more)
    if absent:
        return warning("quota", f"{said}; {location} does not offer {', '.join(absent)}", "see [fleet.vmss] vm_sizes")
    return ok("quota", f"{said}; {workers} are wanted" if workers else said)


async def _subnet(clients: Clients, own: Instance | None, settings: VmssSettings, workers: int) -> Finding:
    """Checks the free addresses of the workers' subnet, and its way to the storage account."""
    from cachewarmer.fleet.vmss.arm import asked, plain  # noqa: PLC0415  # imported by now
    from cachewarmer.fleet.vmss.model import with_subnet  # noqa: PLC0415  # as above
    from cachewarmer.fleet.vmss.place import get_machine, last, part, subnet_of  # noqa: PLC0415  # as above

    subnet_id = settings.subnet_id
    if not subnet_id:
        if own is None:
            return warning("subnet", "not checked: it is not known", "set [fleet.vmss] subnet_id")
        subnet_id = await subnet_of(clients, await get_machine(clients, own))
    subnet_id = with_subnet(subnet_id, settings.subnet_name)
    network, name = part(subnet_id, "virtualNetworks"), last(subnet_id)
    found = await asked(
        f"looking at the subnet {network}/{name}",
        clients.network.subnets.get(part(subnet_id, "resourceGroups"), network, name),
    )
    return judged_subnet(f"{network}/{name}", plain(found).get("properties") or {}, workers)


def judged_subnet(name: str, about: Mapping[str, Any], workers: int) -> Finding:
    """Judges a subnet by its properties ``about``: free addresses, delegation, and the way to the storage account."""
    space = space_of(about)
    prefixes = ", ".join(_prefixes(about))
    said = f"{name} ({prefixes}): {space.free:,} of {space.usable:,} addresses are free"
    if given := [str((one.get("properties") or {}).get("serviceName")) for one in about.get("delegations") or []]:
        said = f"{said}; it is delegated to {', '.join(given)}"
        return failure("subnet", said, "VMs can't go there: name another one in [fleet.vmss] subnet_name")
    if workers > space.free:
        said = f"{said}, and {workers} are wanted"
        mend = "use a larger subnet ([fleet.vmss] subnet_name), or have fewer workers"
        return warning("subnet", said, mend) if space.free else failure("subnet", said, mend)
    way, mend = _way_to_storage(about)
    said = f"{said}; {workers} are wanted; {way}" if workers else f"{said}; {way}"
    return warning("subnet", said, mend) if mend else ok("subnet", said)


def _way_to_storage(about: Mapping[str, Any]) -> tuple[str, str]:
    """How the workers may reach the storage account, and what to check if only a private endpoint is left."""
    services = [str(one.get("service")) for one in about.get("serviceEndpoints") or []]
    if any(one == STORAGE or one.startswith(f"{STORAGE}.") for one in services):
        return f"service endpoint of {STORAGE}", ""
    if about.get("natGateway"):
        return f"no service endpoint of {STORAGE}, but a NAT gateway", ""
    if about.get("defaultOutboundAccess") is False:
        return (
            f"no service endpoint of {STORAGE}, no NAT gateway and no default outbound access",
            "the storage account must have a private endpoint that this subnet reaches",
        )
    return f"no service endpoint of {STORAGE}: by a private endpoint, or as Azure routes by default", ""


def space_of(about: Mapping[str, Any]) -> Space:
    """The IPv4 addresses of a subnet with these properties, without those that Azure reserves."""
    usable = 0
    for prefix in _prefixes(about):
        try:
            network = ipaddress.ip_network(prefix, strict=False)
        except ValueError:
            continue
        if network.version == 4:
            usable += max(0, network.num_addresses - KEPT_ADDRESSES)
    return Space(usable, len(about.get("ipConfigurations") or []))


def _prefixes(about: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in about.get("addressPrefixes") or [about.get("addressPrefix")] if one]


async def _all(entries: AsyncIterable[Any]) -> list[Any]:
    return [one async for one in entries]


async def _within(call: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await call
    except TimeoutError as error:
        raise FleetError(f"no answer within {LOOK_SECONDS:g} s") from error
