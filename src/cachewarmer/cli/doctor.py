"""``cachewarmer doctor``."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Selection
from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, WARM
from cachewarmer.cli.options import general
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from cachewarmer.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorOptions:
    """The options of ``doctor``."""

    target: str = ""
    """If empty, the broker that the option or the environment names is checked."""
    selection: Selection = field(default_factory=Selection)
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    workers: int = 0
    """Number of VMs that the quota and the subnet should allow; 0: as in the settings."""
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("target", nargs="?", default="", metavar="TARGET", help=general.TARGET_HELP)
    general.add_ids(parser)
    general.add_broker(parser)
    parser.add_argument(
        "--workers",
        type=arguments.positive,
        default=0,
        metavar="N",
        help="with a broker on Azure: number of VMs that the quota and the subnet should allow (default: [fleet] workers)",
    )
    general.add_output(parser, quiet="show only problems")


def parse(chosen: argparse.Namespace) -> DoctorOptions:
    """Makes the options."""
    from cachewarmer.config import environment_broker_url

    broker = general.broker(chosen)
    if chosen.target and chosen.broker:
        raise UsageError("doctor checks either a TARGET or a broker: leave out TARGET or --broker")
    if not (chosen.target or chosen.broker or environment_broker_url()):
        raise UsageError(
            "doctor needs a TARGET, or --broker URL or $CACHEWARMER_BROKER (see cachewarmer doctor --help)"
        )
    if chosen.target and chosen.workers:
        raise UsageError("--workers is for a broker on Azure: leave out TARGET")
    if not chosen.target and (chosen.uid is not None or chosen.gid is not None):
        raise UsageError("--uid and --gid are for a TARGET")
    return DoctorOptions(
        target=chosen.target,
        selection=Selection(uid=chosen.uid, gid=chosen.gid),
        broker=broker,
        workers=chosen.workers,
        output=general.output(chosen),
    )


def run(chosen: DoctorOptions) -> int:
    """Checks the target or the broker, and shows the findings."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _look(chosen, stop), chosen.output)


async def _look(chosen: DoctorOptions, stop: asyncio.Event) -> int:
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.streams import show
    from cachewarmer.findings import Level

    found: list[Finding] = []
    async for one in _findings(chosen):
        found.append(one)
        if not chosen.output.json and not (chosen.output.quiet and one.level is Level.OK):
            show(line(one))
        if stop.is_set():
            break
    failed = any(one.level is Level.FAILURE for one in found)
    if chosen.output.json:
        rows = [{"check": one.check, "level": one.level, "said": one.said, "mend": one.mend} for one in found]
        target = chosen.target or inputs.broker(chosen.broker, inputs.settings(), create=False).shown
        if not show_json({"target": target, "failed": failed, "findings": rows}):
            return ERROR
    if stop.is_set():
        return INTERRUPTED
    return ERROR if failed else WARM


async def _findings(chosen: DoctorOptions) -> AsyncIterator[Finding]:
    from cachewarmer.choice.jobs import jobs_of
    from cachewarmer.cli import inputs
    from cachewarmer.doctor.around import look_around
    from cachewarmer.doctor.broker import look_at_broker
    from cachewarmer.doctor.target import here, look_at_target

    settings = inputs.settings()
    yield here()
    if chosen.target:
        (job,) = jobs_of([chosen.target], chosen.selection)
        async for one in look_at_target(job, settings):
            yield one
    else:
        async for one in look_at_broker(inputs.broker(chosen.broker, settings, create=False)):
            yield one
        async for one in look_around(inputs.broker_url(chosen.broker), settings.fleet, workers=chosen.workers):
            yield one


def line(one: Finding) -> str:
    """A finding as a line of text for the terminal."""
    from cachewarmer.cli.colours import Shade, paint
    from cachewarmer.findings import Level
    from cachewarmer.paths import printable

    shades = {Level.OK: Shade.GOOD, Level.WARNING: Shade.WARNING, Level.FAILURE: Shade.BAD}
    mend = f"; {one.mend}" if one.mend else ""
    return f"{paint(f'{one.level:<8}', shades[one.level])} {printable(f'{one.check}: {one.said}{mend}')}"


COMMAND = Command(
    name="doctor",
    summary="check a target or a broker, and say how to fix what does not work",
    example="cachewarmer doctor nfs://cache1/projects/shot42",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
