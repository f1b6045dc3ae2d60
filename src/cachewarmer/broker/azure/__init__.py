"""The broker in an Azure storage account, with queues for the work and a table for the results."""

from __future__ import annotations

import re

from cachewarmer.broker.base import Account, Broker
from cachewarmer.broker.effort import CLAIMED, SETTLED, Items
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import ConfigError, UsageError

FORM = "azure://ACCOUNT/PREFIX"


def open_url(url: str, rest: str, settings: LeaseSettings | None, account: Account, create: bool) -> Broker:
    """Makes the broker for ``azure://`` + ``rest``, without opening it. Raises ``UsageError``, ``ConfigError``."""
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
    """The number of operations that Azure counts for the items.

    For each item, a message is put and deleted, and a row is written; items that are claimed together take one call.
    Items are settled in entity-group transactions, which count as one operation for each row: the receipts and the
    tally.
    """
    count = max(items.number, -(-items.message_bytes // ITEM_BYTES))
    return 3 * count + -(-count // CLAIMED) + -(-count // SETTLED)
