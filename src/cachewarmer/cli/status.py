"""``cachewarmer status``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING

from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, WARM
from cachewarmer.cli.options import general
from cachewarmer.errors import NothingThere, UsageError
from cachewarmer.likeness import did_you_mean
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobState, JobStatus, WorkerReport
    from cachewarmer.rates import Rate, Rates

WATCH_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions:
    """The options of ``status``."""

    job: str = ""
    """Empty: all jobs."""
    watch: bool = False
    states: tuple[JobState, ...] = ()
    """Only jobs in one of these states; empty: in any."""
    since: float = 0.0
    """Only jobs submitted at this time or later, in Unix seconds."""
    limit: int = 0
    """Only this many jobs, the newest ones; 0: all."""
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)

    def picks(self, statuses: Sequence[JobStatus]) -> list[JobStatus]:
        """The selected jobs. The order is that of ``statuses``, which must be newest first."""
        found = [
            one
            for one in statuses
            if (not self.states or one.state in self.states) and max(one.submitted_at, one.started_at) >= self.since
        ]
        return found[: self.limit] if self.limit else found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help=f"{general.JOB_HELP} (default: all jobs)")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep the output up to date until all jobs are done; with --json: write one event per line",
    )
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="STATE",
        help="show only jobs in this state, such as warming or failed; may be repeated (default: all)",
    )
    parser.add_argument(
        "--since",
        type=arguments.past,
        default=0.0,
        metavar="TIME",
        help="show only jobs submitted since TIME, a date or an age such as 2d (default: all)",
    )
    parser.add_argument(
        "--limit", type=arguments.positive, default=0, metavar="N", help="show only the N newest jobs (default: all)"
    )
    general.add_broker(parser)
    general.add_output(parser, quiet="show nothing: the exit code gives the state of the job")


def parse(chosen: argparse.Namespace) -> StatusOptions:
    """Makes the options."""
    if chosen.job and (chosen.state or chosen.since or chosen.limit):
        raise UsageError("--state, --since and --limit choose among all jobs: leave out JOB")
    return StatusOptions(
        job=chosen.job,
        watch=chosen.watch,
        states=_states(chosen.state),
        since=chosen.since,
        limit=chosen.limit,
        broker=general.broker(chosen),
        output=general.output(chosen),
    )


def _states(names: Sequence[str]) -> tuple[JobState, ...]:
    from cachewarmer.model import JobState

    known = [str(state) for state in JobState]
    for name in names:
        if name not in known:
            raise UsageError(
                f"unknown state {name!r}; the states are {', '.join(known)}", advice=did_you_mean(name, known)
            )
    return tuple(JobState(name) for name in names)


def run(chosen: StatusOptions) -> int:
    """Shows one job, or all of them."""
    from cachewarmer.cli.running import STOP_SECONDS, run

    seconds = STOP_SECONDS if chosen.watch else 0.0
    return run(lambda stop: _status(chosen, stop), chosen.output, stop_seconds=seconds)


async def _status(chosen: StatusOptions, stop: asyncio.Event) -> int:
    from cachewarmer.cli import inputs

    try:
        async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
            if chosen.job:
                return await _one(broker, chosen, stop)
            if chosen.watch:
                return await _watch_all(broker, chosen, stop)
            return await _all(broker, chosen)
    except NothingThere:
        if chosen.job or inputs.named(chosen.broker):
            raise
    # The user's own file does not exist, so nothing was ever warmed.
    return _show_all([], "no jobs", [], chosen)


async def _all(broker: Broker, chosen: StatusOptions) -> int:
    import time

    from cachewarmer.cli.jobs_table import table
    from cachewarmer.cli.managers import warning
    from cachewarmer.model import with_in_hand
    from cachewarmer.rates import average

    statuses = chosen.picks(await broker.jobs())
    warnings = dict.fromkeys([await warning(broker, status) for status in statuses if not status.state.final])
    workers = await broker.workers() if any(not status.state.final for status in statuses) else []
    now = time.time()
    text = table(statuses, workers, now, lambda status: average(status, now))
    shown = [with_in_hand(status, workers) for status in statuses]
    return _show_all(shown, text, [one for one in warnings if one], chosen)


def _show_all(statuses: Sequence[JobStatus], text: str, warnings: Sequence[str], chosen: StatusOptions) -> int:
    from cachewarmer.cli.colours import Shade, prefixed
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.streams import note, show
    from cachewarmer.model import Report

    if chosen.output.json:
        jobs = [Report.of_job(status).document() for status in statuses]
        return WARM if show_json({"jobs": jobs, "warnings": warnings}) else ERROR
    if chosen.output.quiet:
        return WARM
    for one in warnings:
        note(prefixed("warning", one, Shade.WARNING))
    return WARM if show(text) else ERROR


async def _one(broker: Broker, chosen: StatusOptions, stop: asyncio.Event) -> int:
    from cachewarmer.broker.find import find_job
    from cachewarmer.cli.events import events_to
    from cachewarmer.cli.jobs_table import worker_lines
    from cachewarmer.cli.managers import wait, warning
    from cachewarmer.cli.outcome import code_of, finish
    from cachewarmer.cli.progress import Progress
    from cachewarmer.cli.streams import show
    from cachewarmer.model import with_in_hand

    job_id = await find_job(broker, chosen.job)
    if chosen.watch and chosen.output.json:
        with events_to("-") as events:
            status = await wait(broker, job_id, events, stop)
            events.end(status)
        return code_of(status, INTERRUPTED)
    if chosen.watch:
        with Progress(quiet=chosen.output.hides_progress) as progress:
            status = await wait(broker, job_id, progress, stop)
    else:
        status = await broker.status(job_id)
    if said := await warning(broker, status):
        status = replace(status, warnings=(*status.warnings, said))
    workers = [] if status.state.final or chosen.output.quiet else await broker.workers(job_id)
    unfinished = INTERRUPTED if chosen.watch else WARM
    code = finish([with_in_hand(status, workers)], chosen.output, unfinished=unfinished)
    lines = [] if chosen.output.json else worker_lines(status, workers)
    return ERROR if lines and not show("\n".join(lines)) else code


async def _watch_all(broker: Broker, chosen: StatusOptions, stop: asyncio.Event) -> int:
    """Shows all jobs, and again whenever something has changed, until all of them have ended."""
    import asyncio
    import contextlib

    from cachewarmer.submitter import LiveRows

    rows = LiveRows(broker)
    show = _EventLines() if chosen.output.json else _Table(quiet=chosen.output.quiet)
    while True:
        statuses = chosen.picks(await broker.jobs())
        workers = await rows.of() if any(not status.state.final for status in statuses) else []
        if not show(statuses, workers):
            return ERROR
        if stop.is_set() or all(status.state.final for status in statuses):
            return INTERRUPTED if stop.is_set() else WARM
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_SECONDS)


class _Table:
    """Shows a table of all jobs: always in the same place on a terminal, otherwise one below the other."""

    def __init__(self, *, quiet: bool) -> None:
        import sys

        from cachewarmer.cli.streams import on_terminal

        self._quiet = quiet
        self._terminal = on_terminal(sys.stdout)
        self._shown = ""
        self._rates: dict[str, Rates] = {}

    def __call__(self, statuses: Sequence[JobStatus], workers: Sequence[WorkerReport]) -> bool:
        """Shows the jobs if the table has changed. Returns whether it could be written."""
        import shutil
        import time

        from cachewarmer.cli.jobs_table import cut, redrawn, table
        from cachewarmer.cli.streams import show

        text = table(statuses, workers, time.time(), self._rate)
        if self._terminal:
            text = cut(text, max(2, shutil.get_terminal_size().lines - 1))
        before, self._shown = self._shown, text
        if self._quiet or self._shown == before:
            return True
        return show(redrawn(before, self._shown) if self._terminal else self._shown)

    def _rate(self, status: JobStatus) -> Rate:
        import time

        from cachewarmer.rates import Rate, Rates

        if status.state.final:
            return Rate()
        rates = self._rates.setdefault(status.job.job_id, Rates())
        return rates.add(time.monotonic(), status.total("files"), status.total("bytes"))


class _EventLines:
    """Writes events about the jobs that are unfinished, or end meanwhile."""

    def __init__(self) -> None:
        import sys

        from cachewarmer.cli.events import EventFile, Events

        self._events = Events(EventFile(sys.stdout))
        self._old: set[str] | None = None
        """Ids of the jobs that were over at the first look; None before that."""

    def __call__(self, statuses: Sequence[JobStatus], workers: Sequence[WorkerReport]) -> bool:
        """Writes the events. Always returns True: that the stream is gone is noticed elsewhere."""
        from cachewarmer.model import with_in_hand

        if self._old is None:
            self._old = {status.job.job_id for status in statuses if status.state.final}
        for status in reversed(statuses):
            if status.job.job_id in self._old:
                continue
            mine = sum(one.at_work and one.in_hand(status.job.job_id) is not None for one in workers)
            self._events(with_in_hand(status, workers), mine)
            if status.state.final:
                self._events.end(status)
        return True


COMMAND = Command(
    name="status",
    summary="show the state of one job or of all jobs",
    example="cachewarmer status --watch",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
