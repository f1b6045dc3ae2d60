"""``cachewarmer resume``."""

from __future__ import annotations

from cachewarmer.cli.command import Command
from cachewarmer.cli.control import ControlOptions, add_arguments, move, parse


def run(chosen: ControlOptions) -> int:
    """Resumes a job that was paused or failed."""
    return move(chosen, None)


COMMAND = Command(
    name="resume",
    summary="resume a job that was paused, or that failed",
    example="cachewarmer resume j0123456789abcdef",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
