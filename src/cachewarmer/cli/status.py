"""``cachewarmer status``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence

from cachewarmer.broker.base import Broker
from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import INTERRUPTED, WARM
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.report import job_lines
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.cli.text import size
from cachewarmer.cli.warm import finish
from cachewarmer.errors import UsageError
from cachewarmer.model import JobStatus
from cachewarmer.paths import printable
from cachewarmer.submitter import wait_until_warm

WATCH_SECONDS = 1.0


def run_status(chosen: argparse.Namespace) -> int:
    """Shows one job, or all of them."""
    if chosen.watch and not chosen.job and chosen.json:
        raise UsageError("--watch --json needs a JOB: it prints one document, that job's last report")
    log_to_stderr(chosen.verbose, chosen.quiet)
    return run(lambda stop: _status(chosen, stop))


async def _status(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    async with options.broker(chosen) as broker:
        if chosen.watch and not chosen.job:
            return await _watch_all(broker, stop)
        if chosen.watch:
            progress = Progress(quiet=chosen.quiet)
            try:
                status = await wait_until_warm(broker, chosen.job, progress, stop)
            finally:
                progress.close()
            return finish(chosen, [status]) if status.state.final else INTERRUPTED
        statuses = [await broker.status(chosen.job)] if chosen.job else await broker.jobs()
    reports = [status.report(time.time()) for status in statuses]
    if chosen.json:
        print_json(reports[0] if chosen.job else {"jobs": reports})
    elif chosen.job:
        print("\n".join(job_lines(reports[0])))
    else:
        print(_table(statuses))
    return WARM


async def _watch_all(broker: Broker, stop: asyncio.Event) -> int:
    """Shows all jobs, over and over on a terminal, else whenever something changed, until none is going on."""
    shown = ""
    lines = 0
    while True:
        statuses = await broker.jobs()
        table = _table(statuses)
        if table != shown:
            up = f"\x1b[{lines}F\x1b[J" if lines and sys.stdout.isatty() else ""
            print(f"{up}{table}", flush=True)
            shown, lines = table, table.count("\n") + 1
        if stop.is_set() or all(status.state.final for status in statuses):
            return INTERRUPTED if stop.is_set() else WARM
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)


def _table(statuses: Sequence[JobStatus]) -> str:
    return "\n".join(_row(status) for status in statuses) or "no jobs"


def _row(status: JobStatus) -> str:
    files = sum(tally.files for tally in status.tallies)
    read = sum(tally.bytes for tally in status.tallies)
    done = f"{files:,} of {status.scan.files:,} files, {size(read)} of {size(status.scan.bytes)}"
    return f"{status.job.job_id}  {status.state:<22} {done:<48} {printable(status.job.name or status.job.label)}"
