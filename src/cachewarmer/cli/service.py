"""``cachewarmer manager`` and ``cachewarmer worker``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace

from cachewarmer import notify
from cachewarmer.broker.base import Broker
from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.run import log_to_stderr, run
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import UsageError
from cachewarmer.fleet.base import Fleet
from cachewarmer.fleet.driver import FleetDriver
from cachewarmer.fleet.vmss.notices import eviction_notices
from cachewarmer.manager import Manager
from cachewarmer.model import Transport
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import Opener
from cachewarmer.worker.worker import Worker

log = logging.getLogger(__name__)


def run_manager(chosen: argparse.Namespace) -> int:
    """Takes jobs until it is told to stop."""
    log_to_stderr(chosen.verbose, chosen.quiet, service=True)
    return run(lambda stop: _manage(chosen, stop))


async def _manage(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    settings = options.settings(chosen)
    fleet = options.fleet(chosen, settings)
    broker = options.broker(chosen)
    try:
        if fleet is None:
            await broker.open()  # before we say that we are ready; with a fleet the manager has to wait for it
        async with notify.service():
            await Manager(
                broker,
                settings,
                name=chosen.name,
                fleet_driver=_driver(broker, fleet, settings) if fleet is not None else None,
                jobs_at_once=max(1, chosen.jobs_at_once),
                exit_when_idle=chosen.exit_when_idle,
            ).run(stop)
    finally:
        await broker.close()
    return WARM


def _driver(broker: Broker, fleet: Fleet, settings: Settings) -> FleetDriver:
    """Drives ``fleet``, with a worker of this process for what needs no machine."""

    async def work_beside(stop: asyncio.Event) -> None:
        await Worker(broker, settings, name=f"{process_name()}.beside").run(stop)

    return FleetDriver(broker, fleet, settings.fleet, beside=work_beside)


def run_worker(chosen: argparse.Namespace) -> int:
    """Claims and reads until it is told to stop."""
    log_to_stderr(chosen.verbose, chosen.quiet, service=True)
    return run(lambda stop: _work(chosen, stop))


def _opener(transport: str) -> Opener:
    """Opens sessions as the job says, or by this worker's own transport."""
    if not transport:
        return open_session
    return lambda mount, settings: open_session(
        replace(mount, transport=Transport(transport)) if mount.address else mount, settings
    )


async def _work(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    settings = options.settings(chosen)
    async with options.broker(chosen) as broker, notify.service():
        worker = Worker(
            broker,
            settings,
            name=chosen.name,
            exit_when_idle=chosen.exit_when_idle,
            max_bandwidth=chosen.max_bandwidth,
            opener=_opener(chosen.transport),
        )
        async with _stop_on_eof(stop, watched=chosen.exit_on_eof), _notices(broker, worker):
            await worker.run(stop)
    return WARM


def _notices(broker: Broker, worker: Worker) -> AbstractAsyncContextManager[None]:
    """Hands back what the worker holds before its VM is taken away. A broker on this very machine goes with it."""
    return eviction_notices(worker.evict) if broker.url.startswith("azure://") else nullcontext()


@asynccontextmanager
async def _stop_on_eof(stop: asyncio.Event, *, watched: bool) -> AsyncIterator[None]:
    """Sets ``stop`` when standard input ends: whoever started us and held its other end is gone."""
    if not watched:
        yield
        return
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def look() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            log.info("standard input has ended: leaving")
            stop.set()

    try:
        loop.add_reader(descriptor, look)
    except OSError as error:
        raise UsageError("--exit-on-eof: standard input is no pipe, socket or terminal") from error
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
