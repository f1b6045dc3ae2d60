"""``cachewarmer export``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cachewarmer.cli.command import Command
from cachewarmer.cli.control import ControlOptions, parse
from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.options import general

if TYPE_CHECKING:
    import argparse

    from cachewarmer.model import JobStatus

VERSION = 1
"""Of the document. Keys may be added, a ledger of the files for one; this changes when one changes its meaning."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments. The result is JSON, and nothing but the result."""
    parser.add_argument("job", metavar="JOB", help=general.JOB_HELP)
    general.add_broker(parser)
    general.add_output(parser, json=False)


def document(status: JobStatus) -> dict[str, Any]:
    """All that a broker keeps of a job, whichever broker it is. Times are Unix seconds, 0: not yet."""
    from cachewarmer.model import Report

    return {
        "cachewarmer_export": VERSION,
        "job": json.loads(status.job.to_json()),
        "submitted_at": status.submitted_at,
        "started_at": status.started_at,
        "finished_at": status.finished_at,
        "report": Report.of_job(status).document(),
        "workers": [
            {key: value for key, value in asdict(tally).items() if key not in ("errors", "slowest")}
            for tally in status.tallies
        ],
    }


def run(chosen: ControlOptions) -> int:
    """Writes what is kept of a job, as one JSON document."""
    from cachewarmer.cli.running import run

    return run(lambda _stop: _export(chosen), chosen.output, stop_seconds=0.0)


async def _export(chosen: ControlOptions) -> int:
    from cachewarmer.broker.find import find_job
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import show_json

    async with inputs.broker(chosen.broker, inputs.settings(), create=False) as broker:
        status = await broker.status(await find_job(broker, chosen.job))
    return WARM if show_json(document(status)) else ERROR


COMMAND = Command(
    name="export",
    summary="write a job's report and all that the broker keeps of it as JSON",
    example="cachewarmer export j0123456789abcdef",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
