"""``cachewarmer watch``."""

from __future__ import annotations

import argparse
from contextlib import AsyncExitStack
from dataclasses import field, replace
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import WARM
from cachewarmer.cli.options import general, pacing, selecting
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.model import JobStatus, WarmJob

LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options of ``watch``."""

    target: str
    every: float = 1800.0
    """Seconds from the start of one round to the start of the next."""
    once: bool = False
    selection: Selection = field(default_factory=Selection)
    reading: Reading = field(default_factory=Reading)
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)
    processes: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("target", metavar="TARGET", help=general.TARGET_HELP)
    parser.add_argument(
        "--every",
        type=arguments.span,
        default=1800.0,
        metavar="TIME",
        help="time from the start of one round to the start of the next: 90, 30m, 2h; a round that is due while the "
        "previous one is still running is skipped (default: 30m)",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="do one round and exit, for use with a timer; do nothing if another process is watching the target",
    )
    pacing.add_processes(parser)
    selecting.add_selection(parser, without={*selecting.LISTS, "--allow-empty"})
    selecting.add_each_address(parser)
    pacing.add_reading(parser)
    general.add_broker(parser)
    general.add_output(parser, quiet="show only errors and warnings", json=False)


def parse(chosen: argparse.Namespace) -> WatchOptions:
    """Makes the options."""
    if chosen.every < LEAST_SECONDS:
        raise UsageError("--every must be at least 1 second")
    return WatchOptions(
        target=chosen.target,
        every=chosen.every,
        once=chosen.once,
        selection=selecting.selection(chosen),
        reading=pacing.reading(chosen),
        broker=general.broker(chosen),
        output=general.output(chosen),
        processes=chosen.processes,
    )


def run(chosen: WatchOptions) -> int:
    """Warms what has changed, round by round."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _watch(chosen, stop), chosen.output, service=True)


async def _watch(chosen: WatchOptions, stop: asyncio.Event) -> int:
    from cachewarmer.broker import open_broker
    from cachewarmer.choice.jobs import jobs_of
    from cachewarmer.cli import inputs
    from cachewarmer.cli.failures import tell
    from cachewarmer.cli.logs import Logging
    from cachewarmer.cli.outcome import code_of
    from cachewarmer.cli.streams import show
    from cachewarmer.config import default_processes
    from cachewarmer.onemachine import warm
    from cachewarmer.watching import Busy, alone, one_round, watch

    settings = inputs.settings(chosen.reading)
    settings = replace(settings, nfs=replace(settings.nfs, gentle=True))
    url = inputs.broker_url(chosen.broker)
    (job,) = jobs_of([chosen.target], chosen.selection, resolve=True)

    async def warm_one(job: WarmJob | None, resume: str | None) -> JobStatus:
        return await warm(
            job,
            broker_url=url,
            settings=settings,
            processes=chosen.processes or default_processes(),
            on_status=lambda _: None,
            stop=stop,
            resume=resume,
            prepare=Logging.of(chosen.output).begin,
        )

    def on_round(status: JobStatus) -> None:
        if not chosen.output.quiet:
            show(round_line(status))

    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(alone(job, url))
        except Busy as busy:
            if not chosen.once:
                raise
            tell(f"{busy}: nothing is done", warning=True)
            return WARM
        broker = await stack.enter_async_context(open_broker(url, settings.lease))
        if not chosen.once:
            await watch(broker, job, warm_one, chosen.every, on_round, stop)
            return WARM
        status = await one_round(broker, job, warm_one)
        on_round(status)
        return WARM if stop.is_set() else code_of(status)


def round_line(status: JobStatus) -> str:
    """The outcome of a round, in one line."""
    from cachewarmer.amounts import duration, size
    from cachewarmer.model import Report
    from cachewarmer.paths import printable

    report = Report.of_job(status)
    failed = f", {report.failed_files:,} failed" if report.failed_files else ""
    return (
        f"{printable(report.target)}: {report.state.replace('_', ' ')}: {report.files:,} files read, {size(report.bytes)}; "
        f"{report.unchanged_files:,} unchanged{failed}; {duration(report.seconds)}"
    )


COMMAND = Command(
    name="watch",
    summary="warm what has changed in a tree, at regular intervals",
    example="cachewarmer watch nfs://cache1/projects/shot42 --every 30m",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
