"""``cachewarmer manager`` and ``cachewarmer worker``."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import replace

from cachewarmer import notify
from cachewarmer.cli import options
from cachewarmer.cli.main import WARM
from cachewarmer.cli.run import log_to_stderr, run
from cachewarmer.manager import Manager
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import Opener
from cachewarmer.worker import Worker


def run_manager(chosen: argparse.Namespace) -> int:
    """Takes jobs until it is told to stop."""
    log_to_stderr(chosen.verbose, chosen.quiet, service=True)
    return run(lambda stop: _manage(chosen, stop))


async def _manage(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    settings = options.settings(chosen)
    async with options.broker(chosen) as broker, notify.service():
        await Manager(
            broker,
            settings,
            name=chosen.name,
            jobs_at_once=max(1, chosen.jobs_at_once),
            exit_when_idle=chosen.exit_when_idle,
        ).run(stop)
    return WARM


def run_worker(chosen: argparse.Namespace) -> int:
    """Claims and reads until it is told to stop."""
    log_to_stderr(chosen.verbose, chosen.quiet, service=True)
    return run(lambda stop: _work(chosen, stop))


def _opener(transport: str) -> Opener:
    """Opens sessions as the job says, or by this worker's own transport."""
    if not transport:
        return open_session
    return lambda mount, settings: open_session(
        replace(mount, transport=transport) if mount.address else mount, settings
    )


async def _work(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    settings = options.settings(chosen)
    async with options.broker(chosen) as broker, notify.service():
        await Worker(
            broker,
            settings,
            name=chosen.name,
            exit_when_idle=chosen.exit_when_idle,
            max_bandwidth=chosen.max_bandwidth,
            opener=_opener(chosen.transport),
        ).run(stop)
    return WARM
