"""The embedded broker: one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cachewarmer.broker.base import Account, Broker
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import UsageError

if TYPE_CHECKING:
    from cachewarmer.broker.effort import Items

FORM = "sqlite:///FILE"


def open_url(url: str, rest: str, settings: LeaseSettings | None, _account: Account, create: bool) -> Broker:
    """Makes the broker for ``sqlite://`` + ``rest``, without opening it. Raises ``UsageError``."""
    from cachewarmer.broker.sqlite.broker import SqliteBroker  # noqa: PLC0415  # only one of the brokers is ever needed

    if not rest.startswith("/") or not rest.strip("/"):
        raise UsageError(f"{url}: name a file, with three slashes: {FORM}")
    # sqlite:////abs/file and sqlite:///abs/file mean the same: a path relative to the current directory is no use.
    return SqliteBroker("/" + rest.lstrip("/"), settings, create=create)


def item_operations(items: Items) -> int:
    """The number of SQL statements."""
    from cachewarmer.broker.effort import statements

    return statements(items)
