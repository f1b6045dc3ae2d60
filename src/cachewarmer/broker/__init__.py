"""Brokers: where jobs, work items, leases and receipts are kept. ``open_broker`` chooses one by its URL."""

from __future__ import annotations

import re

from cachewarmer.broker.base import Broker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import ConfigError, UsageError

FORMS = "sqlite:///FILE or azure://ACCOUNT/PREFIX"


def open_broker(
    url: str,
    settings: LeaseSettings | None = None,
    *,
    storage_key: str = "",
    resource_group: str = "",
    connection_string: str = "",
    endpoint_suffix: str = "",
) -> Broker:
    """The broker at ``url``, not yet opened: enter it as an async context manager.

    The credential options are for Azure: an account key; the account's resource group, in which its key is looked up
    when we have no data role; a connection string (else ``AZURE_STORAGE_CONNECTION_STRING``); and the endpoint suffix
    of a sovereign cloud (else ``AZURE_STORAGE_ENDPOINT_SUFFIX``, else ``core.windows.net``).

    Raises:
        UsageError: the URL is of no known form, or the prefix is none that Azure takes.
        ConfigError: the Azure packages are not installed.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return _sqlite(url, rest, settings)
    if scheme == "azure":
        account, _, prefix = rest.partition("/")
        if not re.fullmatch(r"[a-z0-9]{3,24}", account):
            raise UsageError(f"{url}: an Azure storage account is 3 to 24 lower-case letters and digits ({FORMS})")
        try:
            from cachewarmer.broker.azure.broker import AzureBroker  # noqa: PLC0415  # slow to import, and optional
        except ImportError as error:
            raise ConfigError(f"{url}: install cachewarmer[azure] for this ({error})") from error
        return AzureBroker(
            account,
            prefix.rstrip("/"),
            settings,
            storage_key=storage_key,
            resource_group=resource_group,
            connection_string=connection_string,
            endpoint_suffix=endpoint_suffix,
        )
    raise UsageError(f"{url!r} is no broker: give {FORMS}")


def _sqlite(url: str, rest: str, settings: LeaseSettings | None) -> Broker:
    from cachewarmer.broker.sqlite.broker import SqliteBroker  # noqa: PLC0415  # only one of the brokers is ever needed

    if not rest.startswith("/") or len(rest) < 2:  # noqa: PLR2004  # the slash and at least one letter
        raise UsageError(f"{url}: name a file, with three slashes: sqlite:///FILE")
    # sqlite:////abs/file and sqlite:///abs/file mean the same: a broker in "the current directory" helps nobody.
    return SqliteBroker("/" + rest.lstrip("/"), settings)
