"""The boundary to Azure Resource Manager: its clients, their retries, and its errors turned into ours.

Retries are left to the SDK's policy, which waits as long as ``Retry-After`` says (429, 503). The text of an error is
one line with the service's code and advice; the service's own message stays in the cause.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aiohttp
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.polling import AsyncLROPoller
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.network.aio import NetworkManagementClient

from cachewarmer.azure.calls import CONNECT_SECONDS, error_code, is_transient
from cachewarmer.azure.endpoints import management_endpoint, quiet_sdk
from cachewarmer.azure.sign_in import default_credential
from cachewarmer.errors import CapacityError, FleetDenied, FleetError, FleetUnavailable
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

T = TypeVar("T")

CLIENT_OPTIONS: dict[str, Any] = {
    "retry_total": 4,
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": 60.0,
    "polling_interval": 5.0,  # between two polls of a long operation, unless the service sends ``Retry-After``
}

FOREIGN = (AzureError, aiohttp.ClientError, OSError, TimeoutError)
"""The exceptions that a call of the SDK may raise."""

CAPACITY_CODES = frozenset(
    {
        "SkuNotAvailable",
        "AllocationFailed",
        "ZonalAllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
        "AllocationTimeout",
        "QuotaExceeded",
        "ResourceQuotaExceeded",
        "SpotQuotaExceeded",
        "VMSizeIsNotPermittedToEnableAcceleratedNetworking",
        "VMSizeNotSupported",
    }
)
"""There is no room for this VM size, or the machine is not possible with it: the next size of the list may work."""
OTHER_CODE = "OperationNotAllowed"
"""The code for exceeding a quota or the maximum price, but also for much else; only the message tells them apart."""
CONFLICT_CODES = frozenset(
    {
        "AnotherOperationInProgress",
        "CanceledAndSupersededDueToAnotherOperation",
        "Conflict",
        "OperationPreempted",
        "PreconditionFailed",
        "RetryableErrorDueToAnotherOperation",
    }
)
"""Another operation on the same resource is in progress, or has replaced this one."""
PASSING_CODES = frozenset(
    {
        "InternalExecutionError",
        "InternalOperationError",
        "InternalServerError",
        "NetworkingInternalOperationError",
        "OperationTimedOut",
        "RetryableError",
        "ServerTimeout",
        "ServiceUnavailable",
    }
)
"""Transient failures of a long operation, whose HTTP status does not show them."""

ADVICE = {
    "ResourceGroupNotFound": "name a resource group that exists in [fleet.vmss] resource_group",
    "SubscriptionNotFound": "set AZURE_SUBSCRIPTION_ID to a subscription that this identity may see",
    "InvalidResourceReference": "look at [fleet.vmss] subnet_id, subnet_name, image and identity: one of them is not there",
    "SubnetNotFound": "look at [fleet.vmss] subnet_id and subnet_name",
    "SubnetIsFull": "the subnet has too few free addresses: use a larger one, or fewer workers",
    "PlatformImageNotFound": "look at [fleet.vmss] image",
    "ImageNotFound": "look at [fleet.vmss] image",
    "GalleryImageNotFound": "look at [fleet.vmss] image",
    "MarketplacePurchaseEligibilityFailed": "accept the image's terms once: az vm image terms accept --urn URN",
    "ResourcePurchaseValidationFailed": "accept the image's terms once: az vm image terms accept --urn URN",
    "VMMarketplaceInvalidInput": "the image has a marketplace plan: set [fleet.vmss] image_plan",
    "RequestDisallowedByPolicy": "a policy of the subscription forbids it: ask who keeps it",
    "ScopeLocked": "a lock on the resource group forbids it",
    "FailedIdentityOperation": "look at [fleet.vmss] identity: it must be the resource id of a user-assigned identity",
    "MissingSubscriptionRegistration": "register the provider once: az provider register --namespace Microsoft.Compute",
    "InvalidAuthenticationTokenTenant": "sign in to the tenant of the subscription",
}
"""Advice for each of the service's codes."""

ROLES = (
    ("microsoft.network/", "Network Contributor on the subnet, or a role with its join action"),
    ("microsoft.managedidentity/", "Managed Identity Operator on the workers' identity"),
    ("microsoft.compute/", "Virtual Machine Contributor on the resource group"),
)
"""The built-in role that permits an action, by the provider at the beginning of the action."""
_ACTION = re.compile(
    r"Microsoft\.[A-Za-z]+(?:/[A-Za-z]+)+/action|Microsoft\.[A-Za-z]+(?:/[A-Za-z]+)*/(?:read|write|delete)"
)


@dataclass(slots=True)
class Clients:
    """The clients for compute and network resources, signed in as the manager."""

    compute: ComputeManagementClient
    network: NetworkManagementClient
    credential: Any

    @classmethod
    def open(cls, subscription_id: str) -> Clients:
        """Creates the clients, without sending anything."""
        quiet_sdk()
        endpoint = management_endpoint()
        credential: Any = default_credential()
        options: dict[str, Any] = {
            "base_url": endpoint,
            "credential_scopes": [f"{endpoint}/.default"],
            "raw_response_hook": _say_throttled,
            **CLIENT_OPTIONS,
        }
        return cls(
            ComputeManagementClient(credential, subscription_id, **options),
            NetworkManagementClient(credential, subscription_id, **options),
            credential,
        )

    async def close(self) -> None:
        await self.compute.close()
        await self.network.close()
        await self.credential.close()


def _say_throttled(response: Any) -> None:
    if response.http_response.status_code == 429:
        seconds = response.http_response.headers.get("Retry-After", "some")
        log.warning("Azure Resource Manager has had too many requests: asking again in %s s", seconds)


def detail(error: BaseException) -> tuple[str, str]:
    """The innermost code and message of an error, since the code of an operation says only that it failed."""
    code, message = error_code(error), str(getattr(error, "message", "") or error)
    found = getattr(error, "error", None)
    while found is not None:
        code = str(getattr(found, "code", None) or code)
        message = str(getattr(found, "message", None) or message)
        inner = getattr(found, "details", None) or []
        found = inner[0] if inner else None
    return code, message


def capacity_reason(code: str, message: str) -> str:
    """Why there is no room for machines of this VM size; empty if the error is of another kind."""
    text = message.lower()
    if code == OTHER_CODE and "quota" in text:
        return f"the quota is used up ({code})"
    if code == OTHER_CODE and "max price" in text:
        return f"Spot costs more than [fleet.vmss] max_price now ({code})"
    return f"no room ({code})" if code in CAPACITY_CODES else ""


def translated(error: BaseException, what: str) -> FleetError:
    """Our exception for a foreign one; ``what`` names the operation and its object, for the message.

    ``CapacityError``: another VM size may have room. ``FleetDenied``: a role is missing. ``FleetUnavailable``: the
    failure is transient. ``FleetError``: any other.
    """
    code, message = detail(error)
    if reason := capacity_reason(code, message):
        return CapacityError(f"{what}: {reason}")
    if isinstance(error, ClientAuthenticationError) and not getattr(error, "status_code", None):
        return FleetError(
            f"{what}: could not sign in to Azure: give the manager's VM a managed identity (AZURE_CLIENT_ID names "
            f"one of several), or run `az login`"
        )
    refused = getattr(error, "status_code", None) in (401, 403)
    if "AuthorizationFailed" in code or (refused and code not in ADVICE):
        return FleetDenied(f"{what}: not allowed ({code}): {_missing_role(message)}")
    if code in CONFLICT_CODES:
        return FleetUnavailable(f"{what}: another operation goes on there ({code})")
    if is_transient(error) or code in PASSING_CODES:
        if isinstance(error, HttpResponseError):
            return FleetUnavailable(f"{what}: Azure is busy or unavailable ({code})")
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return FleetUnavailable(f"{what}: Azure can't be reached ({why}); check the network and proxies")
    advice = ADVICE.get(code) or " ".join(message.split())[:300]
    return FleetError(f"{what}: refused ({code}): {advice}")


def _missing_role(message: str) -> str:
    found = _ACTION.search(message)
    if found is None:
        return "the manager's identity needs Virtual Machine Contributor on the resource group; see docs/operations.md"
    action = found.group(0)
    role = next((name for start, name in ROLES if action.lower().startswith(start)), "a role that holds it")
    return f"the manager's identity lacks the action {action}; give it {role}"


def plain(model: Any) -> dict[str, Any]:
    """A reply as plain JSON in the API's names, because attribute names differ between versions of the SDK."""
    found: dict[str, Any] = dict(model) if isinstance(model, Mapping) else model.as_dict()
    return found


async def done(what: str, begin: Awaitable[AsyncLROPoller[Any]]) -> None:
    """Begins a long operation and returns at its end.

    Raises:
        FleetError: see ``translated``.
    """
    poller = await asked(what, begin)
    await asked(what, poller.result())


async def asked(what: str, answer: Awaitable[T]) -> T:
    """Returns the answer to a request.

    Raises:
        FleetError: see ``translated``.
    """
    try:
        return await answer
    except FOREIGN as error:
        raise translated(error, what) from error


__all__ = [
    "FOREIGN",
    "Clients",
    "ResourceNotFoundError",
    "asked",
    "capacity_reason",
    "detail",
    "done",
    "plain",
    "translated",
]
