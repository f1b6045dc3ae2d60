"""Signs in to a storage account and creates the clients of its queue and table services.

The first of these is used: a connection string that was given, a key that was given,
``AZURE_STORAGE_CONNECTION_STRING``, and ``DefaultAzureCredential`` (environment, workload identity, managed identity,
``az login``). With a resource group, an identity that has no data role falls back to the account's key, as in the first
CacheWarmer. No ``repr``, log line or error contains a secret.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueServiceClient

from cachewarmer.azure.calls import NO_RETRIES, doing, is_transient, translated
from cachewarmer.azure.endpoints import (
    azure_environment,
    management_endpoint,
    queue_endpoint,
    quiet_sdk,
    table_endpoint,
)
from cachewarmer.azure.metadata import Imds
from cachewarmer.errors import BrokerError, ConfigError, FleetError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential


@dataclass(slots=True, repr=False)
class SignIn:
    """How to sign in to one account; see the module for the order.

    Raises:
        ConfigError: the connection string is for another account, or a key is not base64.
    """

    account: str
    key: str = ""
    resource_group: str = ""
    connection_string: str = ""
    endpoint_suffix: str = ""

    def __post_init__(self) -> None:
        quiet_sdk()
        environment = azure_environment()
        self.endpoint_suffix = self.endpoint_suffix or environment.endpoint_suffix
        if not self.connection_string and not self.key and environment.connection_string:
            self.connection_string = environment.connection_string
        if self.connection_string:
            self._check_connection_string()
        elif not _is_base64(self.key):
            raise ConfigError(f"the key of the storage account {self.account} is not base64")

    def __repr__(self) -> str:
        return f"<SignIn {self.account}.{self.endpoint_suffix}>"

    def _check_connection_string(self) -> None:
        parts = dict(part.split("=", 1) for part in self.connection_string.split(";") if "=" in part)
        named = parts.get("AccountName") or ("devstoreaccount1" if "UseDevelopmentStorage" in parts else "")
        if named and named != self.account:
            raise ConfigError(f"the connection string is for the account {named}, the broker URL names {self.account}")
        if not _is_base64(parts.get("AccountKey", "")):
            raise ConfigError("the connection string's AccountKey is not base64")

    @property
    def account_key(self) -> str:
        """The account's key, if one was given or looked up; else empty."""
        parts = dict(part.split("=", 1) for part in self.connection_string.split(";") if "=" in part)
        return self.key or parts.get("AccountKey", "")

    @property
    def uses_identity(self) -> bool:
        """Whether an identity with roles signs in, not a secret of the account."""
        return not self.key and not self.connection_string

    def clients(self) -> Clients:
        """Creates the clients, without sending anything.

        Raises:
            ConfigError: the connection string or the key is not valid.
        """
        options: dict[str, Any] = dict(NO_RETRIES)
        try:
            if self.connection_string:
                return Clients(
                    QueueServiceClient.from_connection_string(self.connection_string, **options),
                    TableServiceClient.from_connection_string(self.connection_string, **options),
                )
            queues = queue_endpoint(self.account, self.endpoint_suffix)
            tables = table_endpoint(self.account, self.endpoint_suffix)
            if self.key:
                named = AzureNamedKeyCredential(self.account, self.key)
                return Clients(
                    QueueServiceClient(queues, credential=named, **options),
                    TableServiceClient(tables, credential=named, **options),
                )
        except (ValueError, TypeError) as error:
            # The SDK's text may quote the secret; its type and ours are enough.
            raise ConfigError(f"the connection string or key of {self.account} can't be understood") from (
                None if isinstance(error, ValueError) else error
            )
        identity = default_credential()
        return Clients(
            QueueServiceClient(queues, credential=identity, **options),
            TableServiceClient(tables, credential=identity, **options),
            identity,
        )

    async def _own_subscription(self) -> str:
        """The id of the subscription of the VM that this process runs on."""
        advice = f"to look up the key of {self.account}, set AZURE_SUBSCRIPTION_ID"
        try:
            async with Imds() as imds:
                subscription = (await imds.instance()).subscription_id
        except FleetError as error:
            raise ConfigError(f"{advice} ({error})") from error
        if not subscription:
            raise ConfigError(f"{advice} (the metadata service does not say)")
        return subscription

    def _no_key(self, error: BaseException, what: str) -> BrokerError:
        if isinstance(error, HttpResponseError | ClientAuthenticationError) and not is_transient(error):
            return BrokerError(
                f"{what}: {translated(error, self.account)}; or Storage Account Key Operator Service Role"
            )
        return translated(error, what)

    async def look_up_key(self) -> None:
        """Fetches the account's key from the resource manager, and signs in with it from now on.

        REST reference: Microsoft.Storage, Storage Accounts - List Keys.

        Raises:
            BrokerError: the identity may not do so, or there is no such account in the resource group.
            ConfigError: no subscription is named, and the metadata service does not name one either.
        """
        subscription = azure_environment().subscription_id or await self._own_subscription()
        what = f"looking up the key of {self.account} in resource group {self.resource_group}"
        from azure.mgmt.storage.aio import StorageManagementClient  # noqa: PLC0415  # slow to import, seldom needed

        options: dict[str, Any] = dict(NO_RETRIES)
        manager = management_endpoint(self.endpoint_suffix)
        async with (
            default_credential() as identity,
            StorageManagementClient(
                identity, subscription, base_url=manager, credential_scopes=[f"{manager}/.default"], **options
            ) as client,
        ):
            with doing(what, self._no_key) as call:
                found = await call(client.storage_accounts.list_keys, self.resource_group, self.account)
        # As plain JSON: the model's attribute is called otherwise in later versions of the package.
        listed: list[dict[str, Any]] = found.as_dict().get("keys") or []
        self.key = next((str(key["value"]) for key in listed if key.get("value")), "")
        if not self.key:
            raise BrokerError(f"{what}: the account has no key that may be read")


@dataclass(slots=True, repr=False)
class Clients:
    """The clients of the queue and the table service, and the identity that they sign in with, if any."""

    queues: QueueServiceClient
    tables: TableServiceClient
    identity: DefaultAzureCredential | None = None

    async def close(self) -> None:
        await self.queues.close()
        await self.tables.close()
        if self.identity is not None:
            await self.identity.close()


def _is_base64(key: str) -> bool:
    try:
        base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def default_credential() -> DefaultAzureCredential:
    """The identity of this machine or user, as the SDK finds it."""
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415  # slow to import; a key needs none of it

    return DefaultAzureCredential()
