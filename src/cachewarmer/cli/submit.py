"""``cachewarmer submit``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence

from cachewarmer.broker.base import Broker
from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.cli.warm import finish
from cachewarmer.errors import UsageError
from cachewarmer.model import JobStatus, WarmJob
from cachewarmer.submitter import submit, wait_until_warm


def run_submit(chosen: argparse.Namespace) -> int:
    """Posts a job for each TARGET."""
    if chosen.files_from is not None and len(chosen.targets) != 1:
        raise UsageError("--files-from goes with exactly one TARGET")
    log_to_stderr(chosen.verbose, chosen.quiet)
    return run(lambda stop: _submit(chosen, stop))


async def _submit(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    jobs = [options.job(chosen, target) for target in chosen.targets]
    files = options.file_list(chosen) if chosen.files_from is not None else None
    async with options.broker(chosen) as broker:
        return await post(broker, jobs, files, chosen, stop)


async def post(
    broker: Broker,
    jobs: Sequence[WarmJob],
    files: AsyncIterator[bytes] | None,
    chosen: argparse.Namespace,
    stop: asyncio.Event,
) -> int:
    """Posts jobs, prints their ids, and waits for them when told to."""
    ids = [await submit(broker, job, files, stop) for job in jobs]
    if not chosen.wait:
        if chosen.json:
            print_json({"job": ids[0], "jobs": ids})
        else:
            print("\n".join(ids))
        return WARM
    if not chosen.json:
        print("\n".join(ids), flush=True)
    progress = Progress(quiet=chosen.quiet)
    statuses: list[JobStatus] = []
    try:
        for job_id in ids:
            statuses.append(await wait_until_warm(broker, job_id, progress, stop))
    finally:
        progress.close()
    return finish(chosen, statuses)
