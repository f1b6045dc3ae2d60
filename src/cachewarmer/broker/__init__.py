"""Brokers, which keep jobs, work items, leases and receipts. ``open_broker`` chooses one by its URL."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from cachewarmer.broker.base import Account, Broker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import UsageError

if TYPE_CHECKING:
    from cachewarmer.broker.effort import Items

SCHEMES = {
    "sqlite": "cachewarmer.broker.sqlite",
    "azure": "cachewarmer.broker.azure",
    "postgresql": "cachewarmer.broker.postgres",
}
"""The package for each URL scheme. It defines ``FORM`` (the form of its URLs), ``open_url`` and ``item_operations``. It
is imported when it is needed, and imports slow or optional modules only in ``open_url``.
"""

OpenUrl = Callable[[str, str, LeaseSettings | None, Account, bool], Broker]


def open_broker(
    url: str,
    settings: LeaseSettings | None = None,
    *,
    create: bool = True,
    storage_key: str = "",
    resource_group: str = "",
    connection_string: str = "",
    endpoint_suffix: str = "",
) -> Broker:
    """Makes the broker for ``url``, to be opened as an async context manager.

    With ``create=False``, nothing that is missing is created, and opening raises ``NothingThere``; this is for callers
    that only read or change existing jobs. The other arguments are for a broker in a cloud: see ``Account``.

    Raises:
        UsageError: the URL does not have a known form, or names something that is not allowed.
        ConfigError: the packages that this kind of broker needs are not installed.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or "://" not in url:
        forms = " or ".join(import_module(package).FORM for package in SCHEMES.values())
        raise UsageError(f"{url!r} is not a broker: use {forms}")
    open_url: OpenUrl = import_module(SCHEMES[scheme]).open_url
    account = Account(storage_key, resource_group, connection_string, endpoint_suffix)
    return open_url(url, rest, settings, account, create)


def item_operations(items: Items) -> dict[str, int]:
    """Estimates how many operations it takes to publish, claim and settle the items of a job, by URL scheme."""
    return {scheme: import_module(package).item_operations(items) for scheme, package in SCHEMES.items()}
