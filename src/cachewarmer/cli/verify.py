"""``cachewarmer verify``."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli.command import Command
from cachewarmer.cli.options import general, pacing, selecting, verifying
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio


NO_EFFECT = frozenset({"--max-bandwidth", "--in-order", "--name", "--allow-empty"})
"""Options of ``warm`` that are not offered: a verification reads its samples as they are drawn, and is not a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """The options of ``verify``."""

    targets: tuple[str, ...] = ()
    job: str = ""
    """A job whose files are verified instead of targets."""
    sampling: verifying.Sampling = field(default_factory=verifying.Sampling)
    selection: Selection = field(default_factory=Selection)
    reading: Reading = field(default_factory=Reading)
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=general.TARGET_HELP)
    parser.add_argument(
        "--job", default="", metavar="JOB", help="verify the files of this job instead of a TARGET (default: none)"
    )
    verifying.add_sampling(parser)
    selecting.add_selection(parser, without=NO_EFFECT)
    selecting.add_each_address(parser, fan_out=False)
    pacing.add_reading(parser, gentle=False)
    general.add_broker(parser, when="with --job: ")
    general.add_output(parser, quiet="show neither progress nor a report, only the exit code")


def parse(chosen: argparse.Namespace) -> VerifyOptions:
    """Makes the options."""
    if bool(chosen.targets) == bool(chosen.job):
        raise UsageError("verify needs a TARGET, or --job JOB (see cachewarmer verify --help)")
    if chosen.address_subset and not chosen.each_address:
        raise UsageError("--address-subset needs --each-address")
    selection = selecting.selection(chosen)
    if chosen.job and replace(selection, each_address=False, address_subset=()) != Selection():
        raise UsageError("--job takes the target and the choice of files from the job: leave out the options for them")
    return VerifyOptions(
        targets=tuple(chosen.targets),
        job=chosen.job,
        sampling=verifying.sampling(chosen),
        selection=selection,
        reading=pacing.reading(chosen),
        broker=general.broker(chosen),
        output=general.output(chosen),
    )


def run(chosen: VerifyOptions) -> int:
    """Verifies each TARGET, one after the other, or the files of a job."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _verify(chosen, stop), chosen.output)


async def _verify(chosen: VerifyOptions, stop: asyncio.Event) -> int:
    from cachewarmer.addresses import each_address
    from cachewarmer.broker.find import find_job
    from cachewarmer.choice.copied import CopiedList, list_of_job
    from cachewarmer.choice.jobs import jobs_of, list_of
    from cachewarmer.cli import inputs
    from cachewarmer.cli.verification import finish_verify, verify_jobs

    settings = inputs.settings(chosen.reading)
    if not chosen.job:
        jobs = jobs_of(chosen.targets, chosen.selection, resolve=True)
        with closing(CopiedList(list_of(chosen.selection), copied=chosen.selection.each_address)) as files:
            found = await verify_jobs(jobs, settings, chosen.sampling, chosen.output, stop, lambda _: files.first())
        return finish_verify(found, chosen.sampling, chosen.output)
    async with inputs.broker(chosen.broker, settings, create=False) as broker:
        job = (await broker.status(await find_job(broker, chosen.job))).job
        if chosen.selection.each_address:
            job = each_address(job, chosen.selection.address_subset)

        lists = partial(list_of_job, broker)
        found = await verify_jobs([job], settings, chosen.sampling, chosen.output, stop, lists)
    return finish_verify(found, chosen.sampling, chosen.output)


COMMAND = Command(
    name="verify",
    summary="estimate how much of a tree is warm, by reading a sample twice",
    example="cachewarmer verify nfs://cache1/projects/shot42 --expect 0.99",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
