"""``cachewarmer manager`` and ``cachewarmer worker``."""

from __future__ import annotations

import argparse
import asyncio

from cachewarmer import notify
from cachewarmer.cli import options
from cachewarmer.cli.main import WARM
from cachewarmer.cli.run import log_to_stderr, run
from cachewarmer.manager import Manager
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


async def _work(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    settings = options.settings(chosen)
    async with options.broker(chosen) as broker, notify.service():
        await Worker(
            broker,
            settings,
            name=chosen.name,
            exit_when_idle=chosen.exit_when_idle,
            max_bandwidth=chosen.max_bandwidth,
        ).run(stop)
    return WARM
