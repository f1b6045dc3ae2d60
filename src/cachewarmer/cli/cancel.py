"""``cachewarmer cancel``."""

from __future__ import annotations

from cachewarmer.cli.command import Command
from cachewarmer.cli.control import ControlOptions, add_arguments, move, parse


def run(chosen: ControlOptions) -> int:
    """Ends a job."""
    from cachewarmer.model import JobState

    return move(chosen, JobState.CANCELLED)


COMMAND = Command(
    name="cancel",
    summary="end a job",
    example="cachewarmer cancel j0123456789abcdef",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
