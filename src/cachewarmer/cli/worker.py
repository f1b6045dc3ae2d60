"""``cachewarmer worker``."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import field, replace
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading
from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.options import general, observing, pacing, serving
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.targets.policy import Opener
    from cachewarmer.web.metrics import Seen
    from cachewarmer.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The options of ``worker``."""

    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    service: serving.Service = field(default_factory=serving.Service)
    reading: Reading = field(default_factory=Reading)
    observing: observing.Observing = field(default_factory=observing.Observing)
    output: general.Output = field(default_factory=general.Output)
    exit_on_eof: bool = False
    transport: str = ""
    """Empty: as each job specifies."""
    max_bandwidth: int = 0
    """The worker's own limit in bytes per second; 0: none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    general.add_broker(parser)
    general.add_storage(parser)
    serving.add_service(parser)
    parser.add_argument("--exit-on-eof", action="store_true", help="exit when standard input is closed")
    pacing.add_reading(parser)
    parser.add_argument(
        "--transport",
        choices=("auto", "nfs", "mount"),
        default="",
        help="how this worker reads, whatever the job specifies; nfs: the direct reader; mount: a kernel mount "
        "(default: as the job specifies)",
    )
    parser.add_argument(
        "--max-bandwidth",
        type=arguments.rate,
        default=0,
        metavar="RATE",
        help="maximum rate of this worker, for all jobs together: 200M, 100MB/s or 800Mbit (default: no limit)",
    )
    observing.add_stats(parser, default="[log] stats_seconds, which is never")
    observing.add_metrics(parser)
    general.add_output(parser, quiet="log only errors", json=False)


def parse(chosen: argparse.Namespace) -> WorkerOptions:
    """Makes the options."""
    return WorkerOptions(
        broker=general.broker(chosen),
        service=serving.service(chosen),
        reading=pacing.reading(chosen),
        observing=observing.observing(chosen),
        output=general.output(chosen),
        exit_on_eof=chosen.exit_on_eof,
        transport=chosen.transport,
        max_bandwidth=chosen.max_bandwidth,
    )


def run(chosen: WorkerOptions) -> int:
    """Claims and reads work items until it is told to stop."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _work(chosen, stop), chosen.output, service=True)


async def _work(chosen: WorkerOptions, stop: asyncio.Event) -> int:
    import asyncio

    from cachewarmer import notify
    from cachewarmer.broker.counted import CallCounts, counted
    from cachewarmer.broker.patience import outage_log
    from cachewarmer.cli import inputs
    from cachewarmer.cli.logs import this_is
    from cachewarmer.cli.observing import metrics_served, stats_seconds
    from cachewarmer.cli.running import until_stopped
    from cachewarmer.cli.starting import say_start
    from cachewarmer.cli.stats import Look, look_at, stats_told
    from cachewarmer.config import process_name
    from cachewarmer.targets.policy import check_of, within_transports
    from cachewarmer.targets.pool import SessionPool
    from cachewarmer.warming import steered
    from cachewarmer.worker import Worker
    from cachewarmer.worker.course import Course

    settings = inputs.settings(chosen.reading, service=chosen.service)
    calls = CallCounts()
    broker = counted(inputs.broker(chosen.broker, settings), calls)
    name = chosen.service.name or process_name()
    this_is(worker=name)
    say_start(f"worker {name}", broker, settings, chosen.transport and f"always reading by {chosen.transport}")
    try:
        opening = asyncio.create_task(broker.open())
        if not await until_stopped(opening, stop):
            return WARM
        opening.result()
        opener, check = within_transports(_opener(chosen.transport)), check_of(settings, local_too=broker.is_private)
        async with notify.service(), SessionPool(settings, opener, check=check) as pool, steered(pool):
            worker = Worker(
                broker,
                settings,
                pool,
                name=name,
                exit_when_idle=chosen.service.exit_when_idle,
                max_bandwidth=chosen.max_bandwidth,
                course=Course(),
            )

            def seen() -> Seen:
                from cachewarmer.web.metrics import Seen

                away = outage_log(broker).lasting
                return Seen(away=away, workers=(worker.report(),), calls=calls, has_jobs=False)

            async def look() -> Look:
                return look_at([worker.report()])

            metrics = metrics_served(chosen.observing, seen)
            stats = stats_told(stats_seconds(chosen.observing, settings), look)
            async with _stop_on_eof(stop, watched=chosen.exit_on_eof), _notices(broker, worker), metrics, stats:
                await worker.run(stop)
    finally:
        await broker.close()
    return WARM


def _opener(transport: str) -> Opener:
    """The function that opens sessions: with the transport that the job specifies, or with this worker's own."""
    from cachewarmer.model import Transport
    from cachewarmer.targets import open_session

    if not transport:
        return open_session
    return lambda mount, settings: open_session(
        replace(mount, transport=Transport(transport)) if mount.address else mount, settings
    )


def _notices(broker: Broker, worker: Worker) -> AbstractAsyncContextManager[None]:
    """Makes the worker hand back what it holds before its VM is evicted. Does nothing if the broker's workers never run
    on rented VMs, as with a broker on the same machine.
    """
    from cachewarmer.fleet.vmss.notices import eviction_notices

    return eviction_notices(worker.evict) if broker.workers_are_rented else nullcontext()


@asynccontextmanager
async def _stop_on_eof(stop: asyncio.Event, *, watched: bool) -> AsyncIterator[None]:
    """Sets ``stop`` when standard input ends, because the process that held its other end is then gone."""
    import asyncio
    import logging
    import os
    import sys

    if not watched:
        yield
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            logging.getLogger(__name__).info("standard input was closed: exiting")
            stop.set()

    try:
        loop.add_reader(descriptor, look)
    except OSError as error:
        raise UsageError("--exit-on-eof: standard input is not a pipe, socket or terminal") from error
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


COMMAND = Command(
    name="worker",
    summary="claim work items and read them",
    example="cachewarmer worker --broker azure://ACCOUNT/PREFIX --exit-when-idle 600",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
