"""``cachewarmer submit``."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterable, Sequence
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Ledger, Selection
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.hooks import Hooks, add_hooks, hooks_of_waiting
from cachewarmer.cli.options import general, ledgers, selecting, verifying
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus, WarmJob


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions:
    """The options of ``submit``."""

    targets: tuple[str, ...]
    selection: Selection = field(default_factory=Selection)
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)
    checking: verifying.Checking = field(default_factory=verifying.Checking)
    hooks: Hooks = field(default_factory=Hooks)
    ledger: Ledger = field(default_factory=Ledger)
    wait: bool = False
    once: bool = False
    """If another job with the same name is warm or unfinished, do not submit the job but wait for the other one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=general.TARGET_HELP)
    selecting.add_selection(parser)
    general.add_broker(parser)
    parser.add_argument(
        "--wait", action="store_true", help="wait until the jobs are done, and exit with the same codes as warm"
    )
    selecting.add_priority(parser)
    selecting.add_access(parser)
    selecting.add_each_address(parser)
    verifying.add_checking(parser)
    ledgers.add_ledger(parser, where="; needs --wait: without it, use --keep-ledger and cachewarmer export")
    add_hooks(parser)
    general.add_output(parser, quiet="show only the ids of the jobs")


def parse(chosen: argparse.Namespace) -> SubmitOptions:
    """Makes the options."""
    checking = verifying.checking(chosen)
    if checking.verify and not chosen.wait:
        raise UsageError("--verify needs --wait")
    if chosen.ledger and not chosen.wait:
        raise UsageError(
            "--ledger FILE needs --wait", advice="use --keep-ledger, and cachewarmer export JOB --ledger FILE"
        )
    if not chosen.targets and not chosen.failed_of:
        raise UsageError("submit needs a TARGET, or --failed-of (see cachewarmer submit --help)")
    return SubmitOptions(
        targets=tuple(chosen.targets),
        selection=selecting.selection(chosen),
        broker=general.broker(chosen),
        output=general.output(chosen),
        checking=checking,
        hooks=hooks_of_waiting(chosen),
        wait=chosen.wait,
        ledger=ledgers.ledger(chosen),
    )


def run(chosen: SubmitOptions) -> int:
    """Submits a job for each TARGET."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _submit(chosen, stop), chosen.output)


async def _submit(chosen: SubmitOptions, stop: asyncio.Event) -> int:
    from cachewarmer.choice.jobs import jobs_of, list_of
    from cachewarmer.choice.ledgers import compared, failed_list
    from cachewarmer.cli import inputs

    broker = partial(inputs.broker, chosen.broker, inputs.settings())
    jobs = await compared(broker, jobs_of(chosen.targets, chosen.selection), chosen.ledger)
    again = chosen.ledger.failed_of
    files = failed_list(broker, chosen.ledger) if again else list_of(chosen.selection)
    return await post(jobs, chosen, files, stop)


async def post(
    jobs: Sequence[WarmJob], chosen: SubmitOptions, files: AsyncIterable[bytes] | None, stop: asyncio.Event
) -> int:
    """Submits jobs, shows their ids, and waits for them if that was asked for. Returns the exit code."""
    from cachewarmer.choice.copied import CopiedList
    from cachewarmer.choice.ledgers import write_ledger
    from cachewarmer.cli import inputs
    from cachewarmer.cli.managers import wait
    from cachewarmer.cli.outcome import finish, show_json
    from cachewarmer.cli.progress import Progress
    from cachewarmer.cli.streams import show
    from cachewarmer.cli.warmed import verify_warmed
    from cachewarmer.submitter import submit

    settings = inputs.settings()
    copied = CopiedList(files, copied=chosen.checking.verify)
    async with inputs.broker(chosen.broker, settings) as broker:
        known = await _ids_by_name(broker) if chosen.once else {}
        ids = [known.get(job.name) or await submit(broker, job, copied.first(), stop) for job in jobs]
        if chosen.output.json:
            if not chosen.wait:
                return WARM if show_json({"job": ids[0], "jobs": ids}) else ERROR
        else:
            show("\n".join(ids))
        if not chosen.wait:
            return WARM
        statuses: list[JobStatus] = []
        with Progress(quiet=chosen.output.hides_progress) as progress:
            for job_id in ids:
                statuses.append(await wait(broker, job_id, progress, stop))
                await chosen.hooks.tell(statuses[-1], allow_empty=chosen.selection.allow_empty)
        await write_ledger(partial(inputs.broker, chosen.broker, settings), statuses, chosen.ledger.file)
        verified = await verify_warmed(statuses, copied, settings, chosen.checking, chosen.output, stop)
    return finish(
        statuses, chosen.output, allow_empty=chosen.selection.allow_empty, verified=verified, checking=chosen.checking
    )


async def _ids_by_name(broker: Broker) -> dict[str, str]:
    """The ids of the jobs that are warm or unfinished, by name."""
    from cachewarmer.model import JobState

    found = [one for one in await broker.jobs() if one.state is JobState.COMPLETED or not one.state.final]
    return {one.job.name: one.job.job_id for one in found if one.job.name}


COMMAND = Command(
    name="submit",
    summary="submit a job to a broker, for a manager to run",
    example="cachewarmer submit nfs://cache1/projects/shot42 --broker azure://ACCOUNT/PREFIX --wait",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
