"""``cachewarmer limit``."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from cachewarmer.model import Bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """Which job to change, and its new limit."""

    job: str
    bandwidth: Bandwidth
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("job", metavar="JOB", help=general.JOB_HELP)
    parser.add_argument(
        "bandwidth",
        type=arguments.bandwidth,
        metavar="RATE",
        help="new maximum rate of the whole job: 200M, 100MB/s or 800Mbit; by the time of day: 08:00-20:00=200Mbit,=2Gbit; "
        "none: no limit",
    )
    general.add_broker(parser)
    general.add_output(parser, quiet="show nothing unless it fails")


def parse(chosen: argparse.Namespace) -> LimitOptions:
    """Makes the options."""
    return LimitOptions(
        job=chosen.job, bandwidth=chosen.bandwidth, broker=general.broker(chosen), output=general.output(chosen)
    )


def run(chosen: LimitOptions) -> int:
    """Changes a job's bandwidth limit while it runs."""
    from cachewarmer.cli.running import run

    return run(lambda _stop: _limit(chosen), chosen.output, stop_seconds=0.0)


async def _limit(chosen: LimitOptions) -> int:
    from cachewarmer.broker.find import find_job
    from cachewarmer.choice.jobs import warn_of_slow
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.streams import show
    from cachewarmer.cli.text import bandwidth
    from cachewarmer.model import Report

    warn_of_slow("RATE", chosen.bandwidth)
    async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
        job_id = await find_job(broker, chosen.job)
        status = await broker.limit(job_id, chosen.bandwidth)
    if chosen.output.json:
        return WARM if show_json(Report.of_job(status).document()) else ERROR
    if not chosen.output.quiet:
        show(f"job {job_id}: {bandwidth(chosen.bandwidth)}")
    return WARM


COMMAND = Command(
    name="limit",
    summary="change the bandwidth limit of a job while it runs",
    example="cachewarmer limit j0123456789abcdef 200Mbit",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
