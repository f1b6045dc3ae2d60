"""``cachewarmer warm``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace
from functools import partial

from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import CANCELLED, ERROR, INCOMPLETE, INTERRUPTED, WARM
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.report import combine, job_lines
from cachewarmer.cli.run import log_to_stderr, print_json, run
from cachewarmer.config import default_processes
from cachewarmer.errors import UsageError
from cachewarmer.model import JobState, JobStatus, WarmJob
from cachewarmer.onemachine import warm
from cachewarmer.paths import printable

CODES = {
    JobState.COMPLETED: WARM,
    JobState.COMPLETED_WITH_ERRORS: INCOMPLETE,
    JobState.CANCELLED: CANCELLED,
    JobState.FAILED: ERROR,
}


def run_warm(chosen: argparse.Namespace) -> int:
    """Warms each TARGET, one after the other."""
    if (chosen.resume is None) == (not chosen.targets):
        raise UsageError("name a TARGET, or --resume without one")
    if chosen.processes is not None and not 1 <= chosen.processes <= 64:
        raise UsageError("--processes must be between 1 and 64")
    if chosen.files_from is not None and len(chosen.targets) != 1:
        raise UsageError("--files-from goes with exactly one TARGET")
    log_to_stderr(chosen.verbose, chosen.quiet)
    return run(lambda stop: _warm(chosen, stop))


async def _warm(chosen: argparse.Namespace, stop: asyncio.Event) -> int:
    jobs: list[WarmJob | None] = [options.job(chosen, target) for target in chosen.targets]
    if not jobs:
        jobs.append(None)
    statuses: list[JobStatus] = []
    progress = Progress(quiet=chosen.quiet)
    try:
        for job in jobs:
            if stop.is_set():
                break
            statuses.append(
                await warm(
                    job,
                    broker_url=options.broker_url(chosen),
                    settings=options.settings(chosen),
                    processes=chosen.processes or default_processes(),
                    on_status=progress,
                    stop=stop,
                    resume=chosen.resume,
                    file_list=options.file_list(chosen) if chosen.files_from is not None else None,
                    prepare=partial(log_to_stderr, chosen.verbose, chosen.quiet),
                )
            )
    finally:
        progress.close()
    if stop.is_set() and statuses and not statuses[-1].state.final and not chosen.quiet:
        print(interrupted_line(statuses[-1], progress.files), file=sys.stderr)
    return finish(chosen, statuses)


def interrupted_line(status: JobStatus, shown_files: int) -> str:
    """How to go on; and why fewer files are reported than were shown, which only counts whole items."""
    again = shown_files - sum(tally.files for tally in status.tallies)
    read_again = f"; {again:,} files of unfinished items will be read again" if again > 0 else ""
    return f"interrupted{read_again}; go on with: cachewarmer warm --resume {status.job.job_id}"


def finish(chosen: argparse.Namespace, statuses: list[JobStatus]) -> int:
    """Prints what came of the jobs, and gives the exit code: that of the worst."""
    reports = [status.report(time.time()) for status in statuses]
    if chosen.json:
        print_json(combine(reports))
    elif not chosen.quiet:
        # Of a job that failed before it found anything there is nothing to report but why.
        shown = [one for one in reports if one["state"] != JobState.FAILED or one["scanned_files"]]
        if shown:
            print("\n".join(line for report in shown for line in job_lines(report)))
    for status in statuses:
        if status.state is JobState.FAILED:
            print(f"cachewarmer: {failure_line(status)}", file=sys.stderr)
    codes = [CODES.get(status.state, INTERRUPTED) for status in statuses]
    return next((code for code in (INTERRUPTED, ERROR, CANCELLED, INCOMPLETE) if code in codes), WARM)


def failure_line(status: JobStatus) -> str:
    """Why a job failed, in one printable line; an address that the target begins with is not named again."""
    failure = status.failure
    if status.job.mount_addresses == (failure.address,):
        failure = replace(failure, address="")
    if failure.subject == status.job.full_path:
        failure = replace(failure, subject="")
    return printable(f"{status.job.label}: {failure}")
