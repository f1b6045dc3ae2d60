"""``cachewarmer warm``."""

from __future__ import annotations

import argparse
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Ledger, Reading, Selection
from cachewarmer.cli.command import Command
from cachewarmer.cli.hooks import Hooks, add_hooks, hooks
from cachewarmer.cli.options import general, ledgers, observing, pacing, selecting, serving, verifying
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence

    from cachewarmer.choice.ledgers import Opened
    from cachewarmer.model import JobStatus, WarmJob
    from cachewarmer.targets.breaker import Outage


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmOptions:
    """The options of ``warm``."""

    targets: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    reading: Reading = field(default_factory=Reading)
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)
    checking: verifying.Checking = field(default_factory=verifying.Checking)
    page: serving.Page = field(default_factory=serving.Page)
    hooks: Hooks = field(default_factory=Hooks)
    observing: observing.Observing = field(default_factory=observing.Observing)
    processes: int | None = None
    resume: str | None = None
    """The id of the job to resume; empty: the latest one; None: do not resume a job."""
    ledger: Ledger = field(default_factory=Ledger)
    events: str = ""
    """The file that events are written to, one per line; ``-``: standard output; empty: none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=general.TARGET_HELP)
    selecting.add_selection(parser)
    pacing.add_reading(parser)
    pacing.add_processes(parser)
    selecting.add_priority(parser)
    selecting.add_access(parser)
    selecting.add_each_address(parser)
    verifying.add_checking(parser)
    general.add_broker(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="JOB",
        help="resume an interrupted or failed job (default: the latest one, or the latest one of TARGET if given)",
    )
    parser.add_argument(
        "--events",
        default="",
        metavar="FILE",
        help="write events to FILE as JSON, one object per line; -: to standard output (see docs/events.md; default: none)",
    )
    ledgers.add_ledger(parser)
    add_hooks(parser)
    serving.add_page(parser)
    observing.add_stats(parser)
    observing.add_metrics_file(parser)
    general.add_output(parser, quiet="show neither progress nor a report")


def parse(chosen: argparse.Namespace) -> WarmOptions:
    """Makes the options."""
    targets, resume = tuple(chosen.targets), chosen.resume
    if resume and not resume.isalnum():  # not an id: a TARGET follows --resume
        targets, resume = (*targets, resume), ""
    if resume is None and not targets and not chosen.failed_of:
        raise UsageError("warm needs a TARGET, or --resume (see cachewarmer warm --help)")
    if resume and targets:
        raise UsageError("give a TARGET or the JOB to resume, not both: TARGET --resume resumes the job of that target")
    if chosen.events == "-" and chosen.json:
        raise UsageError("--events - and --json both write to standard output: give --events a file")
    return WarmOptions(
        targets=targets,
        selection=selecting.selection(chosen),
        reading=pacing.reading(chosen),
        checking=verifying.checking(chosen),
        broker=general.broker(chosen),
        output=general.output(chosen),
        page=serving.page(chosen),
        hooks=hooks(chosen),
        observing=observing.observing(chosen),
        processes=chosen.processes,
        resume=resume,
        ledger=ledgers.ledger(chosen),
        events=chosen.events,
    )


def run(chosen: WarmOptions) -> int:
    """Warms each TARGET, one after the other, or resumes a job."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _warm(chosen, stop), chosen.output)


def _list_of(chosen: WarmOptions, broker: Opened) -> AsyncIterator[bytes] | None:
    """The list of files that the options name; None if they name none."""
    from cachewarmer.choice.jobs import list_of
    from cachewarmer.choice.ledgers import failed_list

    return failed_list(broker, chosen.ledger) if chosen.ledger.failed_of else list_of(chosen.selection)


async def _warm(chosen: WarmOptions, stop: asyncio.Event) -> int:
    from cachewarmer.broker import open_broker
    from cachewarmer.choice.copied import CopiedList
    from cachewarmer.choice.jobs import jobs_of
    from cachewarmer.choice.ledgers import compared, write_ledger
    from cachewarmer.cli import inputs
    from cachewarmer.cli.events import events_to
    from cachewarmer.cli.failures import tell
    from cachewarmer.cli.logs import Logging
    from cachewarmer.cli.observing import JobMetrics
    from cachewarmer.cli.outcome import finish, interrupted_line
    from cachewarmer.cli.page import served
    from cachewarmer.cli.progress import Progress
    from cachewarmer.cli.starting import JobLog
    from cachewarmer.cli.state import State
    from cachewarmer.cli.warmed import verify_warmed
    from cachewarmer.config import default_processes
    from cachewarmer.onemachine import warm

    settings = inputs.settings(chosen.reading)
    jobs = jobs_of(chosen.targets, chosen.selection, resolve=True)
    state = State(chosen.broker)
    broker = partial(open_broker, state.url, settings.lease)
    files = CopiedList(_list_of(chosen, broker), copied=chosen.checking.verify)
    statuses: list[JobStatus] = []
    metrics = JobMetrics(state.url, chosen.broker, settings)
    course = JobLog()
    try:
        with Progress(quiet=chosen.output.hides_progress) as progress, events_to(chosen.events) as events:

            def on_status(status: JobStatus) -> None:
                course(status)
                progress(status)
                events(status)
                metrics(status)

            def on_outages(outages: Sequence[Outage]) -> None:
                progress.outages(outages)
                events.outages(outages)

            to_warm: list[WarmJob | None] = [*await compared(broker, jobs, chosen.ledger)]
            page = served(
                chosen.page, state.url, settings, chosen.broker, calls=metrics.calls, quiet=chosen.output.quiet
            )
            async with page, metrics.written(chosen.observing.metrics_file), metrics.told(chosen.observing.stats):
                for job in to_warm or [None]:
                    if stop.is_set():
                        break
                    status = await warm(
                        job,
                        broker_url=state.url,
                        settings=settings,
                        processes=chosen.processes or (1 if chosen.selection.in_order else default_processes()),
                        on_status=on_status,
                        on_outages=on_outages,
                        stop=stop,
                        resume=chosen.resume,
                        file_list=files.first(),
                        prepare=Logging.of(chosen.output).begin,
                        calls=metrics.calls,
                    )
                    metrics(status)
                    statuses.append(status)
                    events(status)
                    events.end(status)
                    course.end(status)
                    await chosen.hooks.tell(status, allow_empty=chosen.selection.allow_empty)
            await write_ledger(broker, statuses, chosen.ledger.file)
        verified = await verify_warmed(statuses, files, settings, chosen.checking, chosen.output, stop)
    finally:
        files.close()
        unfinished = [status for status in statuses if not status.state.final]
        state.close(keep=bool(unfinished))
    if stop.is_set() and unfinished and not chosen.output.quiet:
        named = state.url if state.temporary else inputs.shown_broker(chosen.broker, settings)
        tell(interrupted_line(unfinished[-1], progress.files, named), warning=True, program="")
    output = replace(chosen.output, quiet=True) if chosen.events == "-" else chosen.output
    return finish(
        statuses, output, allow_empty=chosen.selection.allow_empty, verified=verified, checking=chosen.checking
    )


COMMAND = Command(
    name="warm",
    summary="scan and warm a tree from this machine",
    example="cachewarmer warm nfs://cache1,cache2/projects/shot42 --exclude '*.tmp' --max-bandwidth 200M",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
