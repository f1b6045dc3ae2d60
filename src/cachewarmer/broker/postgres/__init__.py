"""The broker in a PostgreSQL database: any number of machines, any job chosen, one transaction a settlement."""

from __future__ import annotations

from cachewarmer.broker.base import Account, Broker
from cachewarmer.broker.effort import Items, statements
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import ConfigError

FORM = "postgresql://HOST/DATABASE"


def open_url(url: str, _rest: str, settings: LeaseSettings | None, _account: Account, create: bool) -> Broker:
    """The broker at ``url``, as libpq takes it, not yet opened. Raises ``ConfigError``, ``BrokerError``."""
    try:
        from cachewarmer.broker.postgres.broker import PostgresBroker  # noqa: PLC0415  # optional packages
    except ImportError as error:
        raise ConfigError(
            f"a PostgreSQL broker needs more packages: install cachewarmer[postgres] ({error})"
        ) from error
    return PostgresBroker(url, settings, create=create)


def item_operations(items: Items) -> int:
    """Statements."""
    return statements(items)
