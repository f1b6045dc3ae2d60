"""``cachewarmer scan``."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli.command import Command
from cachewarmer.cli.options import general, pacing, selecting
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio


HELPS = {
    "--max-bandwidth": "accepted for compatibility with warm, but has no effect: a scan reads no files (default: no limit)",
    "--name": "name shown in the report (default: none)",
}
"""A scan takes the options of ``warm``, so that the same command line can be used to count first and then to warm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanOptions:
    """The options of ``scan``."""

    targets: tuple[str, ...]
    selection: Selection = field(default_factory=Selection)
    reading: Reading = field(default_factory=Reading)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("targets", nargs="+", metavar="TARGET", help=general.TARGET_HELP)
    selecting.add_selection(parser, helps=HELPS)
    pacing.add_reading(parser)
    general.add_output(parser, quiet="show neither progress nor a report")


def parse(chosen: argparse.Namespace) -> ScanOptions:
    """Makes the options."""
    return ScanOptions(
        targets=tuple(chosen.targets),
        selection=selecting.selection(chosen),
        reading=pacing.reading(chosen),
        output=general.output(chosen),
    )


def run(chosen: ScanOptions) -> int:
    """Counts the files of each TARGET, one after the other."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _scan(chosen, stop), chosen.output)


async def _scan(chosen: ScanOptions, stop: asyncio.Event) -> int:
    from cachewarmer.choice.jobs import jobs_of, list_of
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import finish_scan
    from cachewarmer.cli.progress import Progress
    from cachewarmer.model import Report
    from cachewarmer.onemachine import scan

    settings = inputs.settings(chosen.reading)
    jobs = jobs_of(chosen.targets, chosen.selection)
    reports: list[Report] = []
    with Progress(quiet=chosen.output.hides_progress) as progress:
        for job in jobs:
            files = list_of(chosen.selection)
            found = await scan(job, settings, on_progress=progress.scanned, stop=stop, file_list=files)
            reports.append(Report.of_scan(job, found.totals, found.largest, found.seconds))
    return finish_scan(
        reports,
        jobs,
        chosen.output,
        interrupted=stop.is_set(),
        allow_empty=chosen.selection.allow_empty,
    )


COMMAND = Command(
    name="scan",
    summary="count what would be warmed: files, bytes and a histogram of sizes",
    example="cachewarmer scan cache1:/projects/shot42 --include '*.exr' --json",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
