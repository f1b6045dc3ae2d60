"""``cachewarmer status``."""

from __future__ import annotations

import argparse
import asyncio
import time

from cachewarmer.cli import options
from cachewarmer.cli.main import INTERRUPTED, WARM
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.report import job_lines
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.cli.text import printable, size
from cachewarmer.cli.warm import finish
from cachewarmer.errors import UsageError
from cachewarmer.model import JobStatus
from cachewarmer.submitter import wait_until_warm


def run_status(chosen: argparse.Namespace) -> int:
    """Shows one job, or all of them."""
    if chosen.watch and not chosen.job:
        raise UsageError("--watch needs a JOB")
    log_to_stderr(chosen.verbose, chosen.quiet)
    return run(lambda stop: _status(chosen, stop))


async def _status(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    async with options.broker(chosen) as broker:
        if chosen.watch:
            progress = Progress(quiet=chosen.quiet)
            try:
                status = await wait_until_warm(broker, chosen.job, progress, stop)
            finally:
                progress.close()
            return finish(chosen, [status], interrupted=stop.is_set()) if status.state.final else INTERRUPTED
        statuses = [await broker.status(chosen.job)] if chosen.job else await broker.jobs()
    reports = [status.report(time.time()) for status in statuses]
    if chosen.json:
        print_json(reports[0] if chosen.job else {"jobs": reports})
    elif chosen.job:
        print("\n".join(job_lines(reports[0])))
    else:
        print("\n".join(_row(status) for status in statuses) or "no jobs")
    return WARM


def _row(status: JobStatus) -> str:
    files = sum(tally.files for tally in status.tallies)
    read = sum(tally.bytes for tally in status.tallies)
    done = f"{files:,} of {status.scan.files:,} files, {size(read)} of {size(status.scan.bytes)}"
    return f"{status.job.job_id}  {status.state:<22} {done:<48} {printable(status.job.name or status.job.label)}"
