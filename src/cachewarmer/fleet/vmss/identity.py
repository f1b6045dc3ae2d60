"""How the workers sign in to the storage account, and the roles that an identity of their own needs for that.

The first of these is used: a key that the settings give on purpose; the identity that the settings name; the only
user-assigned identity of the manager's own VM; the system-assigned identity of the scale set, if the manager may grant
it its roles; the account's key, if one is known. Without any of these there can't be workers, which is reported when
the manager starts.

REST reference: Microsoft.Authorization, permissions (List For Resource) and roleAssignments (Create, Delete).
"""

from __future__ import annotations

import fnmatch
import logging
import uuid
from dataclasses import field
from typing import Any

from azure.core.rest import HttpRequest

from cachewarmer.azure.endpoints import azure_environment
from cachewarmer.azure.sign_in import SignIn
from cachewarmer.config import VmssSettings
from cachewarmer.errors import FleetError
from cachewarmer.fleet.base import WorkerLaunch
from cachewarmer.fleet.vmss.arm import FOREIGN, Clients, detail, translated
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

IDENTITY_API_VERSION = "2023-01-31"
"""API version of Microsoft.ManagedIdentity/userAssignedIdentities, Get."""
AUTHORIZATION_API_VERSION = "2022-04-01"
STORAGE_API_VERSION = "2023-05-01"
ASSIGN = "Microsoft.Authorization/roleAssignments/write"

QUEUE_CONTRIBUTOR = "974c5e8b-45b9-4653-ba55-5f855dd0fe88"
QUEUE_READER = "19e7f393-937e-4f77-808e-94535e297925"
TABLE_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
"""Ids of built-in roles: Storage Queue Data Contributor and Reader, Storage Table Data Contributor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSignIn:
    """How the workers sign in: with an identity, with an identity of the scale set, or with a key."""

    identity_id: str = ""
    """Resource id of a user-assigned identity."""
    client_id: str = ""
    """The client id of that identity."""
    grants_at: str = ""
    """Resource id of the storage account on which the scale set's own identity is granted its roles."""
    key: str = field(default="", repr=False)
    """The account's key, which is then part of the custom data."""


async def find_sign_in(
    settings: VmssSettings, launch: WorkerLaunch, clients: Clients, subscription_id: str, machine: dict[str, Any]
) -> WorkerSignIn:
    """Finds out how the workers sign in.

    ``machine`` is the manager's own VM as the resource manager describes it; empty if the settings make it unnecessary.

    Raises:
        FleetError: there is no way for the workers to sign in; the error names possible ways.
        FleetUnavailable: see ``arm.translated``.
    """
    if settings.worker_key:
        return WorkerSignIn(key=settings.worker_key)
    if settings.identity:
        return WorkerSignIn(identity_id=settings.identity, client_id=await _client_id(clients, settings.identity))
    held = _held_identities(machine)
    if len(held) == 1:
        return WorkerSignIn(identity_id=held[0][0], client_id=held[0][1])
    if held:
        raise FleetError(
            f"unknown which identity the workers should sign in with: the manager's VM has {len(held)} user-assigned "
            f"identities; set [fleet.vmss] identity"
        )
    account = account_id(launch, subscription_id)
    if account and await _may_grant(clients, account):
        log.info("the workers sign in with an identity of the scale set's own, which is given its roles on %s", account)
        return WorkerSignIn(grants_at=account)
    if key := await _known_key(launch, clients, account):
        log.warning(
            "the workers carry the storage account's KEY in their custom data, where everything that runs on them can "
            "read it: the manager's VM has no user-assigned identity, and this one may not grant roles. Give the VM a "
            "user-assigned identity (docs/operations.md), or set [fleet.vmss] worker_key to say that the key is meant"
        )
        return WorkerSignIn(key=key)
    raise FleetError(
        "the workers would have no way to sign in to the storage account: the manager's VM has no user-assigned "
        "identity, the manager may not grant roles, and no key of the account is known. Give the VM a user-assigned "
        "identity with the workers' roles, or name one in [fleet.vmss] identity; or let the manager look the key up "
        "(-storageAccountResourceGroup), or set [fleet.vmss] worker_key"
    )


def _held_identities(machine: dict[str, Any]) -> list[tuple[str, str]]:
    """The resource id and the client id of each user-assigned identity of the manager's VM.

    If the environment names one of them for the manager itself, only that one.
    """
    held: dict[str, Any] = (machine.get("identity") or {}).get("userAssignedIdentities") or {}
    found = [(one, str((about or {}).get("clientId", ""))) for one, about in held.items()]
    mine = azure_environment().client_id
    return [one for one in found if mine and one[1] == mine] or found


async def _client_id(clients: Clients, identity: str) -> str:
    """The client id of the identity with this resource id."""
    what = f"looking at the workers' identity {identity.rstrip('/').rpartition('/')[2]}"
    try:
        return str((await _call(clients, "GET", identity, IDENTITY_API_VERSION))["properties"]["clientId"])
    except KeyError as error:
        raise FleetError(
            f"{what}: [fleet.vmss] identity must be the resource id of a user-assigned identity"
        ) from error
    except FOREIGN as error:
        raise translated(error, what) from error


def account_id(launch: WorkerLaunch, subscription_id: str) -> str:
    """The resource id of the storage account; empty if its resource group is not named."""
    group, (account, _) = launch.storage_resource_group, _broker_parts(launch)
    if not group:
        return ""
    own = azure_environment().subscription_id or subscription_id
    return f"/subscriptions/{own}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{account}"


def _broker_parts(launch: WorkerLaunch) -> tuple[str, str]:
    account, _, prefix = launch.broker_url.removeprefix("azure://").partition("/")
    return account, prefix


async def _call(clients: Clients, method: str, path: str, version: str, body: Any = None) -> dict[str, Any]:
    """Makes a request to the resource manager; an answer that is not a JSON object counts as an empty one."""
    request = HttpRequest(method, path, params={"api-version": version}, json=body)
    response = await clients.compute.send_request(request)
    response.raise_for_status()
    try:
        found = response.json()
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


# -- an identity of the scale set's own --------------------------------------------------------------------------------


async def _may_grant(clients: Clients, account: str) -> bool:
    """Whether the manager may assign roles on the storage account; False also if that can't be found out."""
    path = f"{account}/providers/Microsoft.Authorization/permissions"
    try:
        permissions = (await _call(clients, "GET", path, AUTHORIZATION_API_VERSION)).get("value") or []
    except FOREIGN as error:
        log.debug("looking at what the manager may do on %s: %s", account, error)
        return False
    return any(
        _holds(one.get("actions") or [], ASSIGN) and not _holds(one.get("notActions") or [], ASSIGN)
        for one in permissions
    )


def _holds(actions: list[str], action: str) -> bool:
    # Only * is a wildcard in actions, and case does not matter.
    return any(
        fnmatch.fnmatchcase(action.lower(), one.lower().replace("[", "[[]").replace("?", "[?]")) for one in actions
    )


@dataclass(frozen=True, slots=True)
class _Assignment:
    """One role of one identity. Its id is derived from its contents, so that creating it is idempotent."""

    scope: str
    role: str
    principal: str

    @property
    def path(self) -> str:
        name = uuid.uuid5(uuid.NAMESPACE_URL, f"cachewarmer:{self.scope.lower()}:{self.role}:{self.principal}")
        return f"{self.scope}/providers/Microsoft.Authorization/roleAssignments/{name}"

    @property
    def body(self) -> dict[str, Any]:
        definition = f"{self.scope.partition('/resourceGroups/')[0]}/providers/Microsoft.Authorization/roleDefinitions"
        return {
            "properties": {
                "roleDefinitionId": f"{definition}/{self.role}",
                "principalId": self.principal,
                "principalType": "ServicePrincipal",  # without it, Azure looks up the principal, which may be too new
            }
        }


def _assignments(launch: WorkerLaunch, account: str, principal: str) -> list[_Assignment]:
    """The workers' roles, as docs/operations.md lists them."""
    _, prefix = _broker_parts(launch)
    queues = f"{account}/queueServices/default/queues"
    return [
        _Assignment(f"{queues}/{prefix}work", QUEUE_CONTRIBUTOR, principal),
        _Assignment(f"{queues}/{prefix}poison", QUEUE_CONTRIBUTOR, principal),
        _Assignment(account, QUEUE_READER, principal),
        _Assignment(account, TABLE_CONTRIBUTOR, principal),
    ]


async def grant(clients: Clients, launch: WorkerLaunch, account: str, found: dict[str, Any]) -> None:
    """Grants a scale set's own identity the roles of the workers, unless it has them already.

    Raises:
        FleetError: the request was refused. FleetUnavailable: see ``arm.translated``.
    """
    what = f"granting the workers' roles on {account.rpartition('/')[2]} to the scale set's identity"
    principal = _principal_of(found)
    if not principal:
        raise FleetError(f"{what}: the scale set has no identity")
    for one in _assignments(launch, account, principal):
        try:
            await _call(clients, "PUT", one.path, AUTHORIZATION_API_VERSION, one.body)
        except FOREIGN as error:
            if detail(error)[0] != "RoleAssignmentExists":
                raise translated(error, what) from error
    log.info("the scale set's identity has its roles; they may take some minutes to take effect")


async def revoke(clients: Clients, launch: WorkerLaunch, account: str, found: dict[str, Any]) -> None:
    """Removes the roles of a scale set's own identity, which would remain otherwise. Failures are only logged."""
    if not (principal := _principal_of(found)):
        return
    for one in _assignments(launch, account, principal):
        try:
            await _call(clients, "DELETE", one.path, AUTHORIZATION_API_VERSION)
        except FOREIGN as error:
            log.warning("%s", translated(error, f"removing the role assignment {one.path}"))


def _principal_of(found: dict[str, Any]) -> str:
    return str((found.get("identity") or {}).get("principalId") or "")


# -- the account's key -------------------------------------------------------------------------------------------------


async def _known_key(launch: WorkerLaunch, clients: Clients, resource_id: str) -> str:
    """The account's key, given or looked up; empty if there is none, or the account does not allow keys."""
    account, _ = _broker_parts(launch)
    sign_in = SignIn(account)
    if sign_in.account_key or sign_in.connection_string or not resource_id:
        return sign_in.account_key
    try:
        about = await _call(clients, "GET", resource_id, STORAGE_API_VERSION)
        if (about.get("properties") or {}).get("allowSharedKeyAccess") is False:
            return ""
        listed = await _call(clients, "POST", f"{resource_id}/listKeys", STORAGE_API_VERSION)
    except FOREIGN as error:
        log.info("%s", translated(error, f"looking up the key of {account}"))
        return ""
    return next((str(one["value"]) for one in listed.get("keys") or [] if one.get("value")), "")
