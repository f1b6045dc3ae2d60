"""``cachewarmer completion``."""

from __future__ import annotations

import re
from dataclasses import field
from typing import TYPE_CHECKING

from cachewarmer.cli.command import Command
from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from cachewarmer.model import JobStatus

SHELLS = ("bash", "zsh", "fish")
JOBS = "jobs"
MOST_JOBS = 100
"""Only this many jobs are suggested, the newest ones, so that the list stays readable."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.+@%/-]{1,80}")
"""Names that need no quoting in any shell; others are not suggested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionOptions:
    """Which script to write, or that jobs should be listed."""

    what: str
    """One of ``SHELLS``, or ``JOBS``."""
    broker: general.BrokerChoice = field(default_factory=general.BrokerChoice)
    output: general.Output = field(default_factory=general.Output)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments."""
    parser.add_argument(
        "what",
        choices=[*SHELLS, JOBS],
        metavar="SHELL",
        help="bash, zsh or fish: the shell to write the script for; jobs: list the jobs that the scripts suggest",
    )
    general.add_broker(parser, when="with jobs: ")
    general.add_output(parser, json=False)


def parse(chosen: argparse.Namespace) -> CompletionOptions:
    """Makes the options."""
    return CompletionOptions(what=chosen.what, broker=general.broker(chosen), output=general.output(chosen))


def run(chosen: CompletionOptions) -> int:
    """Writes the script or the jobs to standard output."""
    if chosen.what == JOBS:
        from cachewarmer.cli.running import run

        return run(lambda _stop: _jobs(chosen), chosen.output, stop_seconds=0.0)
    from cachewarmer.cli.commands import NAMES, command
    from cachewarmer.cli.shells import SCRIPTS, words_of
    from cachewarmer.cli.streams import show

    return WARM if show(SCRIPTS[chosen.what](words_of(map(command, NAMES))).rstrip("\n")) else ERROR


async def _jobs(chosen: CompletionOptions) -> int:
    """Writes one candidate per line, followed by a tab and a description. Only jobs of a broker in a file are listed,
    because completion should not wait for a network.
    """
    from cachewarmer.cli import inputs
    from cachewarmer.cli.streams import show
    from cachewarmer.errors import NothingThere

    if not inputs.broker_url(chosen.broker).startswith("sqlite:"):
        return WARM
    try:
        async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
            jobs = (await broker.jobs())[:MOST_JOBS]
    except NothingThere:
        return WARM
    lines = dict(line for status in jobs for line in reversed(list(candidates(status))))
    return WARM if not lines or show("\n".join(f"{word}\t{what}" for word, what in lines.items())) else ERROR


def candidates(status: JobStatus) -> Iterator[tuple[str, str]]:
    """The names by which a command line can refer to a job, each with a description."""
    from cachewarmer.cli.text import shorten

    job = status.job
    yield job.job_id, f"{status.state}, {shorten(job.name or job.label, 60)}"
    if PLAIN_NAME.fullmatch(job.name) and not job.name.startswith("-"):
        yield job.name, f"{status.state}, {shorten(job.label, 60)}"


COMMAND = Command(
    name="completion",
    summary="write the completion script for bash, zsh or fish",
    example="cachewarmer completion bash",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
