"""Serves the page while a command runs: ``--http``."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cachewarmer.cli.options.general import BrokerChoice
from cachewarmer.cli.options.serving import Page
from cachewarmer.errors import UsageError

if TYPE_CHECKING:
    from cachewarmer.broker.counted import CallCounts
    from cachewarmer.config import Settings
    from cachewarmer.fleet.driver import FleetDriver
    from cachewarmer.web.documents import MachinePrice
    from cachewarmer.web.feed import Feed

log = logging.getLogger(__name__)

MOST_TOKEN_BYTES = 4096


@asynccontextmanager
async def served(
    chosen: Page,
    broker_url: str,
    settings: Settings,
    account: BrokerChoice,
    *,
    driver: FleetDriver | None = None,
    calls: CallCounts | None = None,
    price: MachinePrice | None = None,
    quiet: bool = False,
) -> AsyncIterator[Feed | None]:
    """Serves the page while the block runs, if that was asked for. Yields the feed that looks at the broker for it.

    The page has its own connection to the broker, so that it answers, and says what is wrong, when the broker does not.
    ``calls`` is passed on to ``WebServer``. ``price`` is the price of a machine of the fleet.

    Raises:
        UsageError: it can't be served at this address, or a package is missing.
    """
    if not chosen.address:
        if chosen.names or chosen.token_file:
            raise UsageError("--http-host and --http-token-file need --http")
        yield None
        return
    try:
        from cachewarmer.web import HttpSettings, WebServer
    except ModuleNotFoundError as error:
        raise UsageError(f"--http needs the package {error.name}", advice="pip install 'cachewarmer[web]'") from error
    from cachewarmer.broker import open_broker

    http = HttpSettings.of(chosen.address, names=chosen.names, token=token_of("--http-token-file", chosen.token_file))
    broker = open_broker(
        broker_url,
        settings.lease,
        storage_key=account.storage_key,
        resource_group=account.resource_group,
    )
    fleet = partial(fleet_of, driver, settings, price)
    async with WebServer(http, broker, settings, fleet=fleet, calls=calls) as server:
        if not quiet:
            log.info("the page is at %s", server.url)
        yield server.feed


def token_of(option: str, name: str) -> str:
    """The token in the file ``name``, else the one in the environment; empty if there is none.

    Raises:
        UsageError: the file can't be read, or is empty.
    """
    from cachewarmer.config import http_token

    if not name:
        return http_token()
    try:
        with open(name, encoding="ascii") as file:
            token = file.read(MOST_TOKEN_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option} {name}: {getattr(error, 'strerror', None) or error}") from error
    if not token:
        raise UsageError(f"{option} {name}: it is empty")
    return token


def fleet_of(
    driver: FleetDriver | None, settings: Settings, price: MachinePrice | None = None
) -> dict[str, Any] | None:
    """The document about the fleet that this process drives; None if it drives none."""
    import time

    from cachewarmer.web.documents import fleet_document

    if driver is None:
        return None
    most = settings.fleet.vmss.max_price if settings.fleet.kind == "vmss" else 0.0
    return fleet_document(driver.name, driver.size, driver.machines(), time.time(), most, price)


def price_of(path: str, kind: str) -> MachinePrice | None:
    """The price of a machine of a fleet, from a price table as for ``plan --prices``; None if there is no table.

    For a scale set, this is the price of a whole machine. In other fleets, it is that of a worker, several of which
    share a machine.

    Raises:
        ConfigError: the table can't be read.
    """
    if not path:
        return None
    from cachewarmer.forecast.prices import load_prices
    from cachewarmer.web.documents import MachinePrice

    table = load_prices(path)
    share = 1 if kind == "vmss" else table.workers_per_machine
    return MachinePrice(
        hour=table.machine_hour / share, currency=table.currency, source=f"{table.source}, {table.date}"
    )
