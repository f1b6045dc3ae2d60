"""The broker in a PostgreSQL database, for any number of machines."""

from __future__ import annotations

from cachewarmer.broker.base import Account, Broker
from cachewarmer.broker.effort import Items, statements
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import ConfigError

FORM = "postgresql://HOST/DATABASE"


def open_url(url: str, _rest: str, settings: LeaseSettings | None, _account: Account, create: bool) -> Broker:
    """Makes the broker for ``url``, a URL of libpq, without opening it. Raises ``ConfigError``, ``BrokerError``."""
    try:
        from cachewarmer.broker.postgres.broker import PostgresBroker  # noqa: PLC0415  # optional packages
    except ImportError as error:
        raise ConfigError(
            f"a PostgreSQL broker needs more packages: install cachewarmer[postgres] ({error})"
        ) from error
    return PostgresBroker(url, settings, create=create)


def item_operations(items: Items) -> int:
    """The number of SQL statements."""
    return statements(items)
