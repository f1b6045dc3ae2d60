"""``cachewarmer cancel``, ``pause`` and ``resume``."""

from __future__ import annotations

import argparse
import asyncio
import time

from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.model import JobState


def run_cancel(chosen: argparse.Namespace) -> int:
    """Ends a job."""
    return run(lambda stop: _set(chosen, stop, JobState.CANCELLED))


def run_pause(chosen: argparse.Namespace) -> int:
    """Lets a job rest."""
    return run(lambda stop: _set(chosen, stop, JobState.PAUSED))


def run_resume(chosen: argparse.Namespace) -> int:
    """Lets a paused job go on."""
    return run(lambda stop: _set(chosen, stop, None))


async def _set(chosen: argparse.Namespace, _stop: asyncio.Event, state: JobState | None) -> int:
    log_to_stderr(chosen.verbose, chosen.quiet)
    async with options.broker(chosen) as broker:
        if state is None:
            state = (await broker.status(chosen.job)).resumed
        status = await broker.set_state(chosen.job, state)
    if chosen.json:
        print_json(status.report(time.time()))
    elif not chosen.quiet:
        print(f"job {chosen.job} is {status.state}")
    return WARM
