"""``cachewarmer pause``."""

from __future__ import annotations

from cachewarmer.cli.command import Command
from cachewarmer.cli.control import ControlOptions, add_arguments, move, parse


def run(chosen: ControlOptions) -> int:
    """Pauses a job."""
    from cachewarmer.model import JobState

    return move(chosen, JobState.PAUSED)


COMMAND = Command(
    name="pause",
    summary="pause a job",
    example="cachewarmer pause j0123456789abcdef",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
