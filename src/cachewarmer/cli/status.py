"""``cachewarmer status``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cachewarmer.cli import arguments, options
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, WARM
from cachewarmer.cli.jobtable import Picked, meant, table
from cachewarmer.errors import BrokerError, NothingThere, UnknownJob, UsageError
from cachewarmer.model import JobState

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus, WorkerReport

WATCH_SECONDS = 1.0
JOB_HELP = "the job's id, the beginning of it, or the job's name (default: all jobs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """What ``status`` was told."""

    job: str = ""
    """Empty: all jobs."""
    watch: bool = False
    picked: Picked = field(default_factory=Picked)
    broker: options.BrokerChoice = field(default_factory=options.BrokerChoice)
    output: options.Output = field(default_factory=options.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help=JOB_HELP)
    parser.add_argument("--watch", action="store_true", help="keep showing it until it is done")
    parser.add_argument("--limit", type=arguments.positive, default=0, metavar="N", help="only the N newest jobs")
    parser.add_argument("--state", choices=[str(one) for one in JobState], default="", help="only jobs in this state")
    parser.add_argument(
        "--since",
        type=arguments.span,
        default=0.0,
        metavar="TIME",
        help="only jobs submitted in this time: 30m, 2h, 7d",
    )
    options.add_broker(parser)
    options.add_output(parser, quiet="show nothing: the exit code tells how the job stands")


def parse(chosen: argparse.Namespace) -> StatusOptions:
    """Makes the options."""
    if chosen.watch and not chosen.job and chosen.json:
        raise UsageError("--watch --json needs a JOB: it writes one document, that job's last report")
    picked = Picked(limit=chosen.limit, state=chosen.state, since_seconds=chosen.since)
    if chosen.job and picked != Picked():
        raise UsageError("--limit, --state and --since choose among all jobs: leave out JOB, or leave out these")
    return StatusOptions(
        job=chosen.job,
        watch=chosen.watch,
        picked=picked,
        broker=options.broker(chosen),
        output=options.output(chosen),
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
                return await _watch_all(broker, chosen, stop)
            statuses = chosen.picked.of(await broker.jobs(), time.time())
            rows = await _rows(broker)
            warnings = dict.fromkeys([await warning(broker, status) for status in statuses if not status.state.final])
    except NothingThere:
        if chosen.job or inputs.named(chosen.broker):
            raise
        statuses, rows, warnings = [], [], {}  # in the user's own file: nothing was ever warmed
    return _show_all(statuses, rows, [one for one in warnings if one], chosen)


def _show_all(
    statuses: Sequence[JobStatus], rows: Sequence[WorkerReport], warnings: Sequence[str], chosen: StatusOptions
) -> int:
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
    return WARM if show(_fitted(table(statuses, rows, time.time()))) else ERROR


async def _rows(broker: Broker) -> list[WorkerReport]:
    """What workers say of themselves; nothing where the broker can't say."""
    try:
        return await broker.workers()
    except BrokerError:
        return []


def _fitted(lines: Sequence[str]) -> str:
    """Lines that a terminal does not break."""
    import sys

    from cachewarmer.cli.streams import on_terminal
    from cachewarmer.cli.text import columns

    most = columns() if on_terminal(sys.stdout) else None
    return "\n".join([line[:most] for line in lines])


async def _meant(broker: Broker, text: str) -> str:
    """The id of the job that a user means."""
    jobs = await broker.jobs()
    try:
        return meant(text, jobs)
    except UnknownJob:
        if jobs:
            raise
        return text  # the broker says it better: no job was ever submitted


async def _one(broker: Broker, chosen: StatusOptions, stop: asyncio.Event) -> int:
    from cachewarmer.cli.managers import wait, warning
    from cachewarmer.cli.outcome import finish
    from cachewarmer.cli.progress import Progress

    job_id = await _meant(broker, chosen.job)
    if chosen.watch:
        with Progress(quiet=chosen.output.quiet) as progress:
            status = await wait(broker, job_id, progress, stop)
    else:
        status = await broker.status(job_id)
    if said := await warning(broker, status):
        status = replace(status, warnings=(*status.warnings, said))
    return finish([status], chosen.output, unfinished=INTERRUPTED if chosen.watch else WARM)


async def _watch_all(broker: Broker, chosen: StatusOptions, stop: asyncio.Event) -> int:
    """Shows the jobs, over and over on a terminal, else whenever something changed, until none is left to finish."""
    import asyncio
    import contextlib
    import sys

    from cachewarmer.cli.streams import on_terminal, show
    from cachewarmer.model import with_in_hand

    before: list[JobStatus] | None = None
    lines = 0
    terminal = on_terminal(sys.stdout)
    while True:
        now = time.time()
        statuses = chosen.picked.of(await broker.jobs(), now)
        rows = await _rows(broker)
        counted = [with_in_hand(status, rows) for status in statuses]
        if (terminal or counted != before) and not chosen.output.quiet:
            text = _fitted(table(statuses, rows, now))
            up = f"\x1b[{lines}F\x1b[J" if lines and terminal else ""
            if not show(f"{up}{text}"):
                return ERROR
            before, lines = counted, text.count("\n") + 1
        if stop.is_set() or all(status.state.final for status in statuses):
            return INTERRUPTED if stop.is_set() else WARM
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)


COMMAND = Command(
    name="status",
    summary="show one job, or all jobs",
    example="cachewarmer status --watch",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
