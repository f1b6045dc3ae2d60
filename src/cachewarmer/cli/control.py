"""Shared by ``cancel``, ``pause`` and ``resume``, which change the state of a job."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from cachewarmer.model import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """Which job to change."""

    job: str
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("job", metavar="JOB", help=general.JOB_HELP)
    general.add_broker(parser)
    general.add_output(parser, quiet="show nothing unless it fails")


def parse(chosen: argparse.Namespace) -> ControlOptions:
    """Makes the options."""
    return ControlOptions(job=chosen.job, broker=general.broker(chosen), output=general.output(chosen))


def move(chosen: ControlOptions, state: JobState | None) -> int:
    """Moves the job to a state, or with None back to what it was doing before it was paused or failed.

    Returns the exit code.
    """
    from cachewarmer.cli.running import run

    return run(lambda _stop: _move(chosen, state), chosen.output, stop_seconds=0.0)


async def _move(chosen: ControlOptions, state: JobState | None) -> int:
    from cachewarmer.broker.find import find_job
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.streams import show
    from cachewarmer.model import Report
    from cachewarmer.submitter import resume

    async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
        job_id = await find_job(broker, chosen.job)
        status = await (resume(broker, job_id) if state is None else broker.set_state(job_id, state))
    if chosen.output.json:
        return WARM if show_json(Report.of_job(status).document()) else ERROR
    if not chosen.output.quiet:
        show(f"job {job_id} is {status.state}")
    return WARM
