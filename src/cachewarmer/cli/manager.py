"""``cachewarmer manager``."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading
from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.hooks import Hooks, add_hooks, hooks
from cachewarmer.cli.options import general, observing, pacing, serving
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.broker.counted import CallCounts
    from cachewarmer.config import Settings
    from cachewarmer.fleet.base import Fleet
    from cachewarmer.fleet.driver import FleetDriver
    from cachewarmer.targets.pool import SessionPool
    from cachewarmer.web.feed import Feed
    from cachewarmer.web.metrics import Seen

JOBS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """The options of ``manager``."""

    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    service: serving.Service = field(default_factory=serving.Service)
    reading: Reading = field(default_factory=Reading)
    fleet: serving.FleetChoice = field(default_factory=serving.FleetChoice)
    page: serving.Page = field(default_factory=serving.Page)
    hooks: Hooks = field(default_factory=Hooks)
    observing: observing.Observing = field(default_factory=observing.Observing)
    output: general.Output = field(default_factory=general.Output)
    prices: str = ""
    """File with a price table, for showing the cost of the fleet on the page; empty: none."""
    jobs_at_once: int = JOBS_AT_ONCE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    general.add_broker(parser)
    general.add_storage(parser)
    serving.add_service(parser)
    parser.add_argument(
        "--jobs-at-once",
        type=arguments.positive,
        default=JOBS_AT_ONCE,
        metavar="N",
        help=f"maximum number of jobs to scan at the same time (default: {JOBS_AT_ONCE})",
    )
    pacing.add_reading(parser)
    serving.add_fleet(parser)
    add_hooks(parser)
    serving.add_page(parser).add_argument(
        "--prices",
        default="",
        metavar="FILE",
        help="price table in TOML (see docs/plan.md), for the page to show what the fleet has cost so far (default: none)",
    )
    observing.add_stats(parser, default="[log] stats_seconds, which is never")
    observing.add_metrics(parser)
    general.add_output(parser, quiet="log only errors", json=False)


def parse(chosen: argparse.Namespace) -> ManagerOptions:
    """Makes the options."""
    if chosen.prices and not chosen.http:
        raise UsageError("--prices needs --http: what the fleet costs is shown on the page")
    return ManagerOptions(
        broker=general.broker(chosen),
        service=serving.service(chosen),
        reading=pacing.reading(chosen),
        fleet=serving.fleet(chosen),
        page=serving.page(chosen),
        hooks=hooks(chosen),
        observing=observing.observing(chosen),
        output=general.output(chosen),
        prices=chosen.prices,
        jobs_at_once=chosen.jobs_at_once,
    )


def run(chosen: ManagerOptions) -> int:
    """Runs the manager until it is stopped."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _manage(chosen, stop), chosen.output, service=True)


async def _manage(chosen: ManagerOptions, stop: asyncio.Event) -> int:
    import asyncio

    from cachewarmer import notify
    from cachewarmer.broker.counted import CallCounts, counted
    from cachewarmer.cli import inputs
    from cachewarmer.cli.logs import this_is
    from cachewarmer.cli.observing import stats_seconds
    from cachewarmer.cli.page import price_of, served
    from cachewarmer.cli.running import until_stopped
    from cachewarmer.cli.starting import say_start
    from cachewarmer.cli.stats import look_at_broker, stats_told
    from cachewarmer.config import process_name
    from cachewarmer.manager import Manager
    from cachewarmer.targets import open_session
    from cachewarmer.targets.policy import check_of, within_transports
    from cachewarmer.targets.pool import SessionPool
    from cachewarmer.warming import steered

    settings = inputs.settings(chosen.reading, chosen.fleet, chosen.service)
    fleet = inputs.fleet(chosen.fleet, chosen.reading, chosen.broker, settings, chosen.output)
    price = price_of(chosen.prices, settings.fleet.kind) if chosen.prices else None
    calls = CallCounts()
    broker = counted(inputs.broker(chosen.broker, settings), calls)
    name = chosen.service.name or process_name()
    this_is(manager=name)
    scans, workers = f"at most {chosen.jobs_at_once} scans at once", f"of at most {settings.fleet.workers} workers"
    say_start(
        f"manager {name}", broker, settings, scans, f"fleet {settings.fleet.kind} {workers if fleet else ''}".rstrip()
    )
    pool = SessionPool(
        settings,
        within_transports(open_session),
        check=check_of(settings, local_too=broker.is_private),
    )
    driver = _driver(broker, fleet, settings, pool) if fleet is not None else None
    try:
        # Before the service is reported as ready: what can't work should fail at the start.
        if driver is not None:
            await driver.check()  # the manager opens the broker, and can wait for it
        else:
            opening = asyncio.create_task(broker.open())
            if not await until_stopped(opening, stop):
                return WARM
            opening.result()
        page = served(
            chosen.page,
            inputs.broker_url(chosen.broker),
            settings,
            chosen.broker,
            driver=driver,
            calls=calls,
            price=price,
        )
        async with (
            notify.service(),
            pool,
            steered(pool),
            page as feed,
            _metrics(chosen, settings, calls, driver, feed),
            stats_told(stats_seconds(chosen.observing, settings), lambda: look_at_broker(broker)),
        ):
            await Manager(
                broker,
                settings,
                pool,
                name=name,
                fleet_driver=driver,
                jobs_at_once=chosen.jobs_at_once,
                exit_when_idle=chosen.service.exit_when_idle,
                on_end=lambda job_id: chosen.hooks.tell_of(broker, job_id),
            ).run(stop)
    finally:
        await broker.close()
    return WARM


@asynccontextmanager
async def _metrics(
    chosen: ManagerOptions,
    settings: Settings,
    calls: CallCounts,
    driver: FleetDriver | None,
    page: Feed | None,
) -> AsyncIterator[None]:
    """Serves metrics if that was asked for: from the page's feed, or from a feed of their own if there is no page."""
    from cachewarmer.cli import inputs
    from cachewarmer.cli.observing import fed, metrics_served
    from cachewarmer.cli.page import fleet_of

    def own_feed() -> Feed:
        from cachewarmer.web.feed import Feed

        return Feed(inputs.broker(chosen.broker, settings), fleet=lambda: fleet_of(driver, settings))

    async with fed(own_feed, wanted=bool(chosen.observing.metrics) and page is None) as feed:
        looking = page or feed

        def seen() -> Seen:
            assert looking is not None
            return replace(looking.seen(), calls=calls)

        async with metrics_served(chosen.observing, seen):
            yield


def _driver(broker: Broker, fleet: Fleet, settings: Settings, pool: SessionPool) -> FleetDriver:
    """The driver of ``fleet``, with a worker in this process for what needs no machine."""
    from cachewarmer.config import process_name
    from cachewarmer.fleet.driver import FleetDriver
    from cachewarmer.worker import Worker

    async def work_beside(stop: asyncio.Event) -> None:
        await Worker(broker, settings, pool, name=f"{process_name()}.beside").run(stop)

    return FleetDriver(broker, fleet, settings.fleet, beside=work_beside)


COMMAND = Command(
    name="manager",
    summary="scan submitted jobs, publish their work, and run a fleet of workers",
    example="cachewarmer manager --broker azure://ACCOUNT/PREFIX --fleet local --workers 4",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
