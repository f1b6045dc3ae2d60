"""``cachewarmer status``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cachewarmer.cli import options
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, WARM
from cachewarmer.errors import NothingThere, UsageError

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus

WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """What ``status`` was told."""

    job: str = ""
    """Empty: all jobs."""
    watch: bool = False
    broker: options.BrokerChoice = field(default_factory=options.BrokerChoice)
    output: options.Output = field(default_factory=options.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help=f"{options.JOB_HELP} (default: all jobs)")
    parser.add_argument("--watch", action="store_true", help="keep showing it until it is done")
    options.add_broker(parser)
    options.add_output(parser, quiet="show nothing: the exit code tells how the job stands")


def parse(chosen: argparse.Namespace) -> StatusOptions:
    """Makes the options."""
    if chosen.watch and not chosen.job and chosen.json:
        raise UsageError("--watch --json needs a JOB: it writes one document, that job's last report")
    return StatusOptions(
        job=chosen.job, watch=chosen.watch, broker=options.broker(chosen), output=options.output(chosen)
    )


def run(chosen: StatusOptions) -> int:
    """Shows one job, or all of them."""
    from cachewarmer.cli.running import STOP_SECONDS, run

    seconds = STOP_SECONDS if chosen.watch else 0.0
    return run(lambda stop: _status(chosen, stop), chosen.output, stop_seconds=seconds)


async def _status(chosen: StatusOptions, stop: asyncio.Event) -> int:
    from cachewarmer.cli import inputs
    from cachewarmer.cli.managers import warning

    try:
        async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
            if chosen.job:
                return await _one(broker, chosen, stop)
            if chosen.watch:
                return await _watch_all(broker, chosen.output, stop)
            statuses = await broker.jobs()
            warnings = dict.fromkeys([await warning(broker, status) for status in statuses if not status.state.final])
    except NothingThere:
        if chosen.job or inputs.named(chosen.broker):
            raise
        statuses, warnings = [], {}  # in the user's own file: nothing was ever warmed
    return _show_all(statuses, [one for one in warnings if one], chosen)


def _show_all(statuses: Sequence[JobStatus], warnings: Sequence[str], chosen: StatusOptions) -> int:
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.streams import note, show
    from cachewarmer.model import Report

    if chosen.output.json:
        jobs = [Report.of_job(status).document() for status in statuses]
        return WARM if show_json({"jobs": jobs, "warnings": warnings}) else ERROR
    if chosen.output.quiet:
        return WARM
    for one in warnings:
        note(f"warning: {one}")
    return WARM if show(_table(statuses)) else ERROR


async def _one(broker: Broker, chosen: StatusOptions, stop: asyncio.Event) -> int:
    from cachewarmer.cli.managers import wait, warning
    from cachewarmer.cli.outcome import finish
    from cachewarmer.cli.progress import Progress

    if chosen.watch:
        with Progress(quiet=chosen.output.quiet) as progress:
            status = await wait(broker, chosen.job, progress, stop)
    else:
        status = await broker.status(chosen.job)
    if said := await warning(broker, status):
        status = replace(status, warnings=(*status.warnings, said))
    return finish([status], chosen.output, unfinished=INTERRUPTED if chosen.watch else WARM)


async def _watch_all(broker: Broker, output: options.Output, stop: asyncio.Event) -> int:
    """Shows all jobs, over and over on a terminal, else whenever something changed, until none is left to finish."""
    import asyncio
    import contextlib
    import sys

    from cachewarmer.cli.streams import on_terminal, show

    shown = ""
    lines = 0
    while True:
        statuses = await broker.jobs()
        table = _table(statuses)
        if table != shown and not output.quiet:
            up = f"\x1b[{lines}F\x1b[J" if lines and on_terminal(sys.stdout) else ""
            if not show(f"{up}{table}"):
                return ERROR
            shown, lines = table, table.count("\n") + 1
        if stop.is_set() or all(status.state.final for status in statuses):
            return INTERRUPTED if stop.is_set() else WARM
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)


def _table(statuses: Sequence[JobStatus]) -> str:
    return "\n".join(_row(status) for status in statuses) or "no jobs"


def _row(status: JobStatus) -> str:
    from cachewarmer.cli.text import size
    from cachewarmer.paths import printable

    files = sum(tally.files for tally in status.tallies)
    read = sum(tally.bytes for tally in status.tallies)
    done = f"{files:,} of {status.scan.files:,} files, {size(read)} of {size(status.scan.bytes)}"
    return f"{status.job.job_id}  {status.state:<22} {done:<48} {printable(status.job.name or status.job.label)}"


COMMAND = Command(
    name="status",
    summary="show one job, or all jobs",
    example="cachewarmer status --watch",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
