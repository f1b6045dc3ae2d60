"""``cachewarmer plan``."""

from __future__ import annotations

import argparse
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.cli import arguments
from cachewarmer.cli.command import Command
from cachewarmer.cli.options import general, pacing, selecting
from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import asyncio

MOST_WORKERS = 1024


NO_EFFECT = frozenset({"--name", "--allow-empty"})
"""Options of ``warm`` that are not offered: a plan is not a job, and an empty tree can't be planned for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The options of ``plan``."""

    target: str
    files: int = 0
    bytes: int = 0
    """What to plan for, instead of counting the files of the target; 0 files: count them."""
    workers: int = 8
    prices: str = ""
    """File with a price table; empty: none."""
    cache_size: int = 0
    """Bytes; 0 if unknown."""
    selection: Selection = field(default_factory=Selection)
    reading: Reading = field(default_factory=Reading)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument("target", metavar="TARGET", help=general.TARGET_HELP)
    group = parser.add_argument_group("what to plan for")
    group.add_argument(
        "--files",
        type=arguments.file_count,
        default=0,
        metavar="N",
        help="number of files to plan for, instead of counting those of TARGET; needs --bytes (default: count them)",
    )
    group.add_argument(
        "--bytes",
        type=arguments.size,
        default=0,
        metavar="SIZE",
        help="total size of the files of --files: 500G, 2TiB (default: count it)",
    )
    group.add_argument(
        "--workers",
        type=arguments.positive,
        default=8,
        metavar="N",
        help="plan for 1, 2, 4, ... N workers (default: 8)",
    )
    group.add_argument(
        "--prices",
        default="",
        metavar="FILE",
        help="price table in TOML, with what machines and broker operations cost (see docs/plan.md; default: no costs)",
    )
    group.add_argument(
        "--cache-size",
        type=arguments.size,
        default=0,
        metavar="SIZE",
        help="size of the cache, to see whether the files fit (default: unknown)",
    )
    selecting.add_selection(parser, without=NO_EFFECT)
    pacing.add_reading(parser)
    selecting.add_access(parser, metadata_only=False)
    general.add_output(parser, quiet="show no progress")


def parse(chosen: argparse.Namespace) -> PlanOptions:
    """Makes the options."""
    if bool(chosen.files) != bool(chosen.bytes):
        raise UsageError("--files and --bytes go together: how many files, and their size in all")
    if chosen.workers > MOST_WORKERS:
        raise UsageError(f"--workers must be at most {MOST_WORKERS}")
    if chosen.files and chosen.files_from is not None:
        raise UsageError("--files-from names the files that are counted: leave out --files and --bytes")
    return PlanOptions(
        target=chosen.target,
        files=chosen.files,
        bytes=chosen.bytes,
        workers=chosen.workers,
        prices=chosen.prices,
        cache_size=chosen.cache_size,
        selection=selecting.selection(chosen),
        reading=pacing.reading(chosen),
        output=general.output(chosen),
    )


def run(chosen: PlanOptions) -> int:
    """Probes TARGET, and shows what a warm-up would take."""
    from cachewarmer.cli.running import run

    return run(lambda stop: _plan(chosen, stop), chosen.output)


async def _plan(chosen: PlanOptions, stop: asyncio.Event) -> int:
    import asyncio

    from cachewarmer.choice.jobs import jobs_of, list_of
    from cachewarmer.cli import inputs
    from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, WARM
    from cachewarmer.cli.outcome import show_json
    from cachewarmer.cli.planned import Plan, document, lines, made
    from cachewarmer.cli.progress import Progress
    from cachewarmer.cli.running import until_stopped
    from cachewarmer.cli.streams import show
    from cachewarmer.forecast.looking import look
    from cachewarmer.forecast.prices import load_prices

    settings = inputs.settings(chosen.reading)
    prices = load_prices(chosen.prices) if chosen.prices else None
    (job,) = jobs_of([chosen.target], chosen.selection, resolve=True)
    with Progress(quiet=chosen.output.hides_progress) as progress:
        looking = asyncio.create_task(
            look(
                job,
                settings,
                whole=not chosen.files,
                on_scanned=progress.scanned,
                on_probing=lambda: progress.said("probing"),
                file_list=list_of(chosen.selection),
            )
        )
        if not await until_stopped(looking, stop):
            return INTERRUPTED
        looked = looking.result()
        progress.said("planning")
        plan: Plan = await asyncio.to_thread(
            made,
            job,
            looked,
            settings.nfs,
            prices,
            files=chosen.files,
            byte_count=chosen.bytes,
            workers=chosen.workers,
            cache_bytes=chosen.cache_size,
        )
    if chosen.output.json:
        return WARM if show_json(document(plan)) else ERROR
    return WARM if show("\n".join(lines(plan))) else ERROR


COMMAND = Command(
    name="plan",
    summary="estimate how long a warm-up would take, what limits it, and what it would cost",
    example="cachewarmer plan nfs://cache1/projects/shot42 --workers 16 --cache-size 2TiB",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
