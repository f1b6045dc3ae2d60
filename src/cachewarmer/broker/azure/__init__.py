"""The broker on an Azure storage account: queues for the work, a table for the results."""

from __future__ import annotations

import re

from cachewarmer.broker.base import Account, Broker
from cachewarmer.broker.effort import CLAIMED, SETTLED, Items
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import ConfigError, UsageError

FORM = "azure://ACCOUNT/PREFIX"


def open_url(url: str, rest: str, settings: LeaseSettings | None, account: Account, create: bool) -> Broker:
    """The broker at ``azure://`` + ``rest``, not yet opened. Raises ``UsageError``, ``ConfigError``."""
    name, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[a-z0-9]{3,24}", name):
        raise UsageError(f"{url}: the name of a storage account is 3 to 24 lower-case letters and digits ({FORM})")
    try:
        from cachewarmer.broker.azure.broker import AzureBroker  # noqa: PLC0415  # slow to import, and optional
    except ImportError as error:
        raise ConfigError(f"{url}: install cachewarmer[azure] for this ({error})") from error
    return AzureBroker(
        name,
        prefix.rstrip("/"),
        settings,
        create=create,
        storage_key=account.key,
        resource_group=account.resource_group,
        connection_string=account.connection_string,
        endpoint_suffix=account.endpoint_suffix,
    )


ITEM_BYTES = 48 * 1024
"""Maximum size of an item's message in a queue. Items are smaller than at other brokers."""


def item_operations(items: Items) -> int:
    """An item is a message put and a message deleted; those that are claimed together come with one call. Items are
    settled with entity-group transactions, counted as an operation a row: a receipt for each, and the tally.
    """
    count = max(items.number, -(-items.message_bytes // ITEM_BYTES))
    return 3 * count + -(-count // CLAIMED) + -(-count // SETTLED)
