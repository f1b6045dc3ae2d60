"""What Azure refuses in a scale set though it has the right shape: the rules that the REST reference gives in words."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection, Mapping
from typing import Any

from tests.azure_standin.schema import Mismatch, conform

SIZES = (
    "Standard_D2s_v5",
    "Standard_D2as_v5",
    "Standard_D2ds_v5",
    "Standard_D4s_v5",
    "Standard_A2_v2",
)
IMAGES = {
    "Canonical:ubuntu-24_04-lts:server": None,
    "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2": None,
    "openlogic:priced:lts": "priced-plan",
}
"""Images of the marketplace, and the plan of those that have one."""
RESERVED_USERS = {"admin", "administrator", "root", "user", "guest", "test", "support", "backup"}
LOCATIONS = ("westeurope", "northeurope", "eastus")


class ArmError(Exception):
    """A refusal: HTTP status, code and message."""

    def __init__(self, status: int, code: str, message: str, target: str = "") -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.target = status, code, message, target

    @property
    def body(self) -> dict[str, Any]:
        """As every service of the resource manager writes it."""
        about = {"code": self.code, "message": self.message}
        return {"error": about | ({"target": self.target} if self.target else {})}


def invalid(target: str, message: str) -> ArmError:
    return ArmError(400, "InvalidParameter", message, target)


def require(true: object, target: str, message: str) -> None:
    if not true:
        raise invalid(target, message)


def check_update(body: Any) -> None:
    """The body of Virtual Machine Scale Sets - Update."""
    _check_shape(body, "VirtualMachineScaleSetUpdate")
    _check_sku(body.get("sku") or {"name": SIZES[0], "capacity": 0})


def check_scale_set(body: Any, subnets: Collection[str], identities: Mapping[str, Any]) -> None:
    """The body of Virtual Machine Scale Sets - Create Or Update."""
    _check_shape(body, "VirtualMachineScaleSet")
    if body["location"] not in LOCATIONS:
        raise ArmError(400, "LocationNotAvailableForResourceType", f"no location {body['location']!r}")
    for name, value in (body.get("tags") or {}).items():
        require(
            len(name) <= 512 and len(value) <= 256, "tags", "a tag's name has 512 characters at most, its value 256"
        )
    require("sku" in body, "sku", "Required parameter 'sku' is missing (null).")
    _check_sku(body["sku"])
    properties = body.get("properties") or {}
    flexible = properties.get("orchestrationMode") == "Flexible"
    _check_orchestration(properties, flexible)
    profile = properties.get("virtualMachineProfile")
    require(profile, "virtualMachineProfile", "Required parameter 'virtualMachineProfile' is missing (null).")
    _check_spot(profile)
    _check_os(profile.get("osProfile") or {})
    _check_storage(profile.get("storageProfile") or {}, body.get("plan"), flexible)
    _check_network(profile.get("networkProfile") or {}, subnets, flexible)
    _check_identity(body.get("identity"), identities, flexible)


def _check_shape(body: Any, model: str) -> None:
    try:
        conform(body, model)
    except Mismatch as error:
        raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {error}") from error


def _check_sku(sku: Mapping[str, Any]) -> None:
    require(sku.get("name") in SIZES, "sku.name", f"The value {sku.get('name')} provided for the VM size is not valid.")
    require(0 <= sku.get("capacity", 0) <= 1000, "sku.capacity", "The capacity must be between 0 and 1000.")
    require(sku.get("tier", "Standard") == "Standard", "sku.tier", "The tier must be Standard.")


def _check_orchestration(properties: Mapping[str, Any], flexible: bool) -> None:
    if flexible:
        for name in ("overprovision", "upgradePolicy"):
            require(name not in properties, name, f"'{name}' is not allowed for Flexible orchestration mode.")
        require(
            "platformFaultDomainCount" in properties,
            "platformFaultDomainCount",
            "Required for Flexible orchestration mode.",
        )
        require(not properties.get("singlePlacementGroup"), "singlePlacementGroup", "Must be false for Flexible.")
    else:
        mode = (properties.get("upgradePolicy") or {}).get("mode")
        require(mode, "upgradePolicy.mode", "Required parameter 'upgradePolicy.mode' is missing (null).")


def _check_spot(profile: Mapping[str, Any]) -> None:
    spot = profile.get("priority") == "Spot"
    require(spot or "evictionPolicy" not in profile, "evictionPolicy", "Only for Azure Spot Virtual Machines.")
    require(spot or "billingProfile" not in profile, "billingProfile", "Only for Azure Spot Virtual Machines.")
    price = (profile.get("billingProfile") or {}).get("maxPrice", -1)
    require(price == -1 or price > 0, "billingProfile.maxPrice", "Must be -1 or above 0.")


def _check_os(os: Mapping[str, Any]) -> None:
    require(os, "osProfile", "Required parameter 'osProfile' is missing (null).")
    require(1 <= len(os.get("computerNamePrefix") or "") <= 58, "osProfile.computerNamePrefix", "1 to 58 characters.")
    user, password = os.get("adminUsername") or "", os.get("adminPassword")
    ok = 1 <= len(user) <= 64 and user not in RESERVED_USERS and re.fullmatch(r"[a-z_][a-z0-9_-]*", user)
    require(ok, "adminUsername", "The Admin Username specified is not allowed.")
    linux = os.get("linuxConfiguration") or {}
    keys = (linux.get("ssh") or {}).get("publicKeys") or []
    if linux.get("disablePasswordAuthentication"):
        require(keys, "linuxConfiguration.ssh.publicKeys", "Required when password authentication is disabled.")
        require(password is None, "adminPassword", "Not allowed when password authentication is disabled.")
    else:
        require(password, "adminPassword", "Required when password authentication is not disabled.")
    if password is not None:
        kinds = sum(bool(re.search(one, password)) for one in ("[a-z]", "[A-Z]", "[0-9]", r"[^A-Za-z0-9]"))
        require(6 <= len(password) <= 72 and kinds >= 3, "adminPassword", "The password does not meet the rules.")
    for key in keys:
        require(key.get("path") == f"/home/{user}/.ssh/authorized_keys", "publicKeys.path", "Must be the admin's own.")
        require(re.match(r"(ssh-rsa|ssh-ed25519) \S+", key.get("keyData") or ""), "publicKeys.keyData", "Not a key.")
    try:
        custom = base64.b64decode(os.get("customData") or "", validate=True)
    except binascii.Error as error:
        raise invalid("customData", "Custom data in OSProfile must be in Base64 encoding.") from error
    require(len(custom) <= 65535, "customData", "Custom data in OSProfile has 65535 bytes at most.")


def _check_storage(storage: Mapping[str, Any], plan: Mapping[str, str] | None, flexible: bool) -> None:
    image = storage.get("imageReference") or {}
    if "publisher" in image:
        require(set(image) == {"publisher", "offer", "sku", "version"}, "imageReference", "Not the four of a URN.")
        urn = f"{image['publisher']}:{image['offer']}:{image['sku']}"
        if urn not in IMAGES:
            raise ArmError(
                404, "PlatformImageNotFound", f"The platform image '{urn}:{image['version']}' is not available."
            )
        if IMAGES[urn] and (plan or {}).get("name") != IMAGES[urn]:
            raise ArmError(
                400,
                "VMMarketplaceInvalidInput",
                "Creating a virtual machine from Marketplace image requires Plan information in the request.",
            )
    else:
        kinds = {"id", "communityGalleryImageId", "sharedGalleryImageId"}
        require(len(image) == 1 and set(image) <= kinds, "imageReference", "Required parameter is missing (null).")
        if "nosuch" in next(iter(image.values())):
            raise ArmError(404, "GalleryImageNotFound", "The gallery image was not found.")
    disk = storage.get("osDisk") or {}
    require(disk.get("createOption") == "FromImage", "osDisk.createOption", "Must be FromImage for an image.")
    require(flexible or "deleteOption" not in disk, "osDisk.deleteOption", "Only for Flexible orchestration mode.")


def _check_network(network: Mapping[str, Any], subnets: Collection[str], flexible: bool) -> None:
    require(
        ("networkApiVersion" in network) == flexible,
        "networkApiVersion",
        "Must be specified for Flexible orchestration mode, and only for it.",
    )
    interfaces = network.get("networkInterfaceConfigurations") or []
    primary = [one for one in interfaces if (one.get("properties") or {}).get("primary")]
    require(len(primary) == 1, "networkInterfaceConfigurations", "Exactly one must be primary.")
    for interface in interfaces:
        about = interface["properties"]
        require(flexible or "deleteOption" not in about, "deleteOption", "Only for Flexible orchestration mode.")
        require(about.get("ipConfigurations"), "ipConfigurations", "There must be at least one.")
        for one in about["ipConfigurations"]:
            subnet = ((one.get("properties") or {}).get("subnet") or {}).get("id")
            if subnet not in subnets:
                raise ArmError(
                    400, "InvalidResourceReference", f"Resource {subnet} referenced by the scale set was not found."
                )


def _check_identity(identity: Mapping[str, Any] | None, identities: Mapping[str, Any], flexible: bool) -> None:
    if identity is None:
        return
    own = "SystemAssigned" in identity.get("type", "")
    require(not (own and flexible), "identity.type", "Flexible orchestration mode takes user-assigned identities only.")
    assigned = identity.get("userAssignedIdentities") or {}
    require(("UserAssigned" in identity.get("type", "")) == bool(assigned), "identity", "Type and identities disagree.")
    for one in assigned:
        if one not in identities:
            raise ArmError(
                400, "FailedIdentityOperation", f"Identity operation for resource failed: '{one}' not found."
            )
