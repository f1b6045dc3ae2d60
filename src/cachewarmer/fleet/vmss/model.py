"""The scale set of the workers in the terms of Azure's REST API: names, tags and request bodies (pure).

Reference: Microsoft.Compute/virtualMachineScaleSets, operations Create Or Update and Update. Bodies are plain JSON in
the API's own names, so that they can be compared with the reference.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from cachewarmer import __version__
from cachewarmer.config import VmssSettings
from cachewarmer.errors import ConfigError
from cachewarmer.fleet.vmss.identity import WorkerSignIn
from cachewarmer.values import dataclass

MADE_BY_TAG = "made-by"
MADE_BY = "cachewarmer"
BROKER_TAG = "cachewarmer-broker"
VERSION_TAG = "cachewarmer-version"
"""A scale set is ours if it has the first two tags, and the second one names our broker."""

NETWORK_API_VERSION = "2022-11-01"
"""API version of the network interfaces that a flexible scale set creates; the reference lists it and an older one."""
MOST_CUSTOM_DATA_BYTES = 65535
"""Maximum size before base64 (reference: osProfile.customData)."""
ORCHESTRATIONS = ("Flexible", "Uniform")
_PASSWORD_CLASSES = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the machines are created, and how they sign in."""

    location: str
    subnet_id: str
    sign_in: WorkerSignIn


def scale_set_name(account: str, prefix: str) -> str:
    """The name of the scale set of a broker: the same in every process, and different for every broker.

    It has at most 64 characters: letters, digits and hyphens, as the reference requires.
    """
    digest = hashlib.sha256(f"{account}/{prefix}".encode()).hexdigest()[:6]
    return f"cachewarmer-{prefix[:40].strip('-')}-{digest}"


def tags(broker: str) -> dict[str, str]:
    """The tags of a scale set: the program that created it, its broker, and the version of the program."""
    return {MADE_BY_TAG: MADE_BY, BROKER_TAG: broker, VERSION_TAG: __version__}


def is_ours(found: dict[str, Any], broker: str) -> bool:
    """Whether a scale set was created by this program for this broker."""
    held = found.get("tags") or {}
    return held.get(MADE_BY_TAG) == MADE_BY and held.get(BROKER_TAG) == broker


def capacity_of(found: dict[str, Any]) -> int:
    """The capacity of a scale set: the number of machines last requested."""
    return int((found.get("sku") or {}).get("capacity") or 0)


def state_of(found: dict[str, Any]) -> str:
    """The ``provisioningState`` of a scale set, in lower case."""
    return str(found["properties"].get("provisioningState") or "").lower()


def size_of(found: dict[str, Any]) -> str:
    """The VM size of the machines that a scale set will create."""
    return str((found.get("sku") or {}).get("name") or "")


def is_flexible(found: dict[str, Any]) -> bool:
    """Whether a scale set is flexible: its machines are VMs of their own."""
    return bool(found["properties"].get("orchestrationMode") == "Flexible")


def vm_sizes(settings: VmssSettings) -> list[str]:
    """The VM sizes to try, the preferred one first.

    Raises:
        ConfigError: the settings name none.
    """
    sizes = [one.strip() for one in settings.vm_sizes.split(",") if one.strip()]
    if not sizes:
        raise ConfigError("[fleet.vmss] vm_sizes names no VM size: give one or more, separated by commas")
    return sizes


def check(settings: VmssSettings) -> None:
    """Checks the settings as far as possible without asking Azure.

    Raises:
        ConfigError: a setting is invalid; the error says what would be valid.
    """
    vm_sizes(settings)
    image_reference(settings.image)
    plan(settings.image_plan)
    if settings.orchestration not in ORCHESTRATIONS:
        raise ConfigError(f"[fleet.vmss] orchestration is {settings.orchestration!r}: must be Flexible or Uniform")
    if settings.max_price != -1 and settings.max_price <= 0:
        raise ConfigError(
            f"[fleet.vmss] max_price is {settings.max_price}: must be above 0, or -1 for the price on demand"
        )
    if not settings.user_name:
        raise ConfigError("[fleet.vmss] user_name is empty: name the user of the workers")
    if settings.password:
        _check_password(settings.password)
    if settings.subnet_id and "/subnets/" not in settings.subnet_id:
        raise ConfigError(f"[fleet.vmss] subnet_id is {settings.subnet_id!r}: must be the resource id of a subnet")


def _check_password(password: str) -> None:
    # Reference: osProfile.adminPassword, for Linux.
    classes = sum(bool(re.search(one, password)) for one in _PASSWORD_CLASSES)
    if not 6 <= len(password) <= 72 or classes < 3:
        raise ConfigError(
            "the workers' password must have 6 to 72 characters of three kinds among lower case, upper case, digits "
            "and others: Azure takes no other; or give an SSH key"
        )


def image_reference(image: str) -> dict[str, str]:
    """The ``imageReference`` for a URN ``publisher:offer:sku:version``, or for the id of a managed or gallery image.

    Raises:
        ConfigError: ``image`` is neither.
    """
    if image.startswith("/"):
        kind = image.lower()
        if kind.startswith("/communitygalleries/"):
            return {"communityGalleryImageId": image}
        if kind.startswith("/sharedgalleries/"):
            return {"sharedGalleryImageId": image}
        if kind.startswith("/subscriptions/"):
            return {"id": image}
    parts = image.split(":")
    if len(parts) != 4 or not all(parts):
        raise ConfigError(
            f"[fleet.vmss] image is {image!r}: must be publisher:offer:sku:version, or the id of an image"
        )
    return dict(zip(("publisher", "offer", "sku", "version"), parts, strict=True))


def plan(text: str) -> dict[str, str] | None:
    """The ``plan`` for a marketplace plan ``publisher:product:name``; None: ``text`` is empty.

    Raises:
        ConfigError: ``text`` does not have three parts.
    """
    if not text:
        return None
    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"[fleet.vmss] image_plan is {text!r}: must be publisher:product:name")
    publisher, product, name = parts
    return {"name": name, "publisher": publisher, "product": product}


def with_subnet(subnet_id: str, name: str) -> str:
    """The resource id of the subnet ``name`` in the same network; without a name, ``subnet_id`` itself."""
    return f"{subnet_id.rpartition('/')[0]}/{name}" if name else subnet_id


def sku(size: str, workers: int) -> dict[str, Any]:
    """The ``sku`` for a VM size and a capacity."""
    return {"name": size, "tier": "Standard", "capacity": workers}


def resized(size: str, workers: int) -> dict[str, Any]:
    """The body of Update for another capacity, or for another VM size of the machines still to be created."""
    return {"sku": sku(size, workers)}


def scale_set(
    settings: VmssSettings, place: Place, *, broker: str, size: str, workers: int, custom_data: str
) -> dict[str, Any]:
    """The body of Create Or Update, for Spot machines that are deleted on eviction and receive only our custom data.

    Raises:
        ConfigError: a setting is invalid, or the custom data is too long.
    """
    # A flexible set can have only user-assigned identities, none of its own (reference: orchestration modes).
    flexible = settings.orchestration == "Flexible" and not place.sign_in.grants_at
    profile: dict[str, Any] = {
        "priority": "Spot",
        "evictionPolicy": "Delete",
        "billingProfile": {"maxPrice": settings.max_price},
        "osProfile": _os_profile(settings, custom_data),
        "storageProfile": {
            "imageReference": image_reference(settings.image),
            "osDisk": {
                "createOption": "FromImage",
                "caching": "ReadOnly",
                "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
                **({"deleteOption": "Delete"} if flexible else {}),
            },
        },
        "networkProfile": _network_profile(place.subnet_id, flexible),
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": False}},
    }
    # A flexible set has no overprovisioning and needs no upgrade policy; a uniform one overprovisions by default.
    properties: dict[str, Any] = {"singlePlacementGroup": False, "virtualMachineProfile": profile}
    if flexible:
        properties |= {"orchestrationMode": "Flexible", "platformFaultDomainCount": 1}
    else:
        properties |= {"orchestrationMode": "Uniform", "overprovision": False, "upgradePolicy": {"mode": "Manual"}}
    body: dict[str, Any] = {
        "location": place.location,
        "tags": tags(broker),
        "sku": sku(size, workers),
        "properties": properties,
    }
    if place.sign_in.grants_at:
        body["identity"] = {"type": "SystemAssigned"}
    elif identity := place.sign_in.identity_id:
        body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    if bought := plan(settings.image_plan):
        body["plan"] = bought
    return body


def _os_profile(settings: VmssSettings, custom_data: str) -> dict[str, Any]:
    raw = custom_data.encode()
    if len(raw) > MOST_CUSTOM_DATA_BYTES:
        raise ConfigError(f"the workers' custom data has {len(raw)} bytes, Azure takes {MOST_CUSTOM_DATA_BYTES}")
    profile: dict[str, Any] = {
        "computerNamePrefix": "cachewarmer",
        "adminUsername": settings.user_name,
        "customData": base64.b64encode(raw).decode(),
        "linuxConfiguration": {"disablePasswordAuthentication": bool(settings.ssh_public_key)},
    }
    if settings.password and not settings.ssh_public_key:
        profile["adminPassword"] = settings.password
    if settings.ssh_public_key:
        path = f"/home/{settings.user_name}/.ssh/authorized_keys"
        profile["linuxConfiguration"]["ssh"] = {
            "publicKeys": [{"path": path, "keyData": settings.ssh_public_key.strip()}]
        }
    return profile


def _network_profile(subnet_id: str, flexible: bool) -> dict[str, Any]:
    interface: dict[str, Any] = {
        "primary": True,
        "enableAcceleratedNetworking": True,
        "ipConfigurations": [{"name": "worker", "properties": {"primary": True, "subnet": {"id": subnet_id}}}],
    }
    if flexible:
        interface["deleteOption"] = "Delete"
    profile: dict[str, Any] = {"networkInterfaceConfigurations": [{"name": "worker", "properties": interface}]}
    if flexible:
        profile["networkApiVersion"] = NETWORK_API_VERSION
    return profile
