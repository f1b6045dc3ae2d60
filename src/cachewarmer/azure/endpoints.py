"""The endpoints of Azure's services, as the environment sets them, and the log level of the SDK."""

from __future__ import annotations

import logging
import os
from dataclasses import field

from cachewarmer.values import dataclass

PUBLIC_STORAGE = "core.windows.net"
MANAGEMENT = {
    PUBLIC_STORAGE: "https://management.azure.com",
    "core.usgovcloudapi.net": "https://management.usgovcloudapi.net",
    "core.chinacloudapi.cn": "https://management.chinacloudapi.cn",
}
"""The resource manager of each cloud, by the cloud's storage endpoint suffix."""
METADATA_SERVICE = "http://169.254.169.254"


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureEnvironment:
    """The settings of Azure in the environment. ``repr`` leaves out the connection string, which is a secret."""

    connection_string: str = field(default="", repr=False)
    """``AZURE_STORAGE_CONNECTION_STRING``."""
    endpoint_suffix: str = PUBLIC_STORAGE
    """``AZURE_STORAGE_ENDPOINT_SUFFIX``, which differs for a sovereign cloud."""
    subscription_id: str = ""
    """``AZURE_SUBSCRIPTION_ID``: where the key of an account is looked up and machines are started."""
    resource_manager: str = ""
    """``AZURE_RESOURCE_MANAGER_ENDPOINT``, for a cloud that ``MANAGEMENT`` lacks; empty: by the storage suffix."""
    client_id: str = ""
    """``AZURE_CLIENT_ID``: which of several managed identities this process signs in with."""
    imds_url: str = METADATA_SERVICE
    """``CACHEWARMER_IMDS_URL``: the instance metadata service, if it is not at Azure's own address."""


def azure_environment(environment: dict[str, str] | None = None) -> AzureEnvironment:
    """Reads the settings from ``environment`` (None: that of this process); unset ones take their defaults."""
    values = os.environ if environment is None else environment
    return AzureEnvironment(
        connection_string=values.get("AZURE_STORAGE_CONNECTION_STRING", ""),
        endpoint_suffix=values.get("AZURE_STORAGE_ENDPOINT_SUFFIX") or PUBLIC_STORAGE,
        subscription_id=values.get("AZURE_SUBSCRIPTION_ID", ""),
        resource_manager=values.get("AZURE_RESOURCE_MANAGER_ENDPOINT", "").rstrip("/"),
        client_id=values.get("AZURE_CLIENT_ID", ""),
        imds_url=(values.get("CACHEWARMER_IMDS_URL") or METADATA_SERVICE).rstrip("/"),
    )


def management_endpoint(endpoint_suffix: str = "") -> str:
    """The URL of the resource manager that the environment names, else of the cloud with this storage suffix."""
    environment = azure_environment()
    suffix = endpoint_suffix or environment.endpoint_suffix
    return environment.resource_manager or MANAGEMENT.get(suffix, MANAGEMENT[PUBLIC_STORAGE])


def queue_endpoint(account: str, endpoint_suffix: str) -> str:
    """The URL of the queue service of an account."""
    return f"https://{account}.queue.{endpoint_suffix}"


def table_endpoint(account: str, endpoint_suffix: str) -> str:
    """The URL of the table service of an account."""
    return f"https://{account}.table.{endpoint_suffix}"


def quiet_sdk() -> None:
    """Keeps the SDK from logging: it logs each request, and a traceback for a reply whose body is empty.

    Our errors hold what matters. A level that was set for the SDK's logger before is kept.
    """
    sdk = logging.getLogger("azure")
    if sdk.level == logging.NOTSET:
        sdk.setLevel(logging.CRITICAL)
