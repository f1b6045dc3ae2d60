"""``cachewarmer export``."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from cachewarmer.cli.command import Command
from cachewarmer.cli.control import ControlOptions
from cachewarmer.cli.exit_codes import ERROR, WARM
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    import argparse

    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus

VERSION = 1
"""Version of the document. It increases when a key changes its meaning, but not when keys are added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions(ControlOptions):
    """Which job to export, and where to write its ledger."""

    ledger: str = ""
    """Separate file for the ledger; if empty, the ledger is part of the document."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Registers the arguments. There is no ``--json``, because the result is always JSON."""
    parser.add_argument("job", metavar="JOB", help=general.JOB_HELP)
    parser.add_argument(
        "--ledger",
        default="",
        metavar="FILE",
        help="write the record of each file to FILE, as warm --ledger does (default: include the records in the document)",
    )
    general.add_broker(parser)
    general.add_output(parser, json=False)


def parse(chosen: argparse.Namespace) -> ExportOptions:
    """Makes the options. Raises ``UsageError`` if the file for the ledger can't be written."""
    if chosen.ledger:
        from cachewarmer.ledger.files import check_writable

        check_writable(chosen.ledger)
    output = general.output(chosen)
    return ExportOptions(job=chosen.job, broker=general.broker(chosen), output=output, ledger=chosen.ledger)


def document(status: JobStatus) -> dict[str, Any]:
    """Everything that a broker knows about a job, in the same form for all brokers.

    Times are in Unix seconds; 0: not yet.
    """
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


def run(chosen: ExportOptions) -> int:
    """Writes everything that is known about a job as one JSON document."""
    from cachewarmer.cli.running import run

    return run(lambda _stop: _export(chosen), chosen.output, stop_seconds=0.0)


async def _export(chosen: ExportOptions) -> int:
    from cachewarmer.broker.find import find_job
    from cachewarmer.choice.ledgers import write_ledger
    from cachewarmer.cli import inputs
    from cachewarmer.cli.outcome import show_json

    opened = partial(inputs.broker, chosen.broker, inputs.settings(), create=False)
    async with opened() as broker:
        status = await broker.status(await find_job(broker, chosen.job))
        if status.job.ledger and not chosen.ledger:
            return WARM if await _show_with_ledger(broker, status) else ERROR
    await write_ledger(opened, [status], chosen.ledger)
    return WARM if show_json(document(status)) else ERROR


async def _show_with_ledger(broker: Broker, status: JobStatus) -> bool:
    """Writes the document with the records of the ledger as the broker delivers them; returns whether that worked."""
    from cachewarmer.cli.streams import show
    from cachewarmer.ledger.records import lines

    head = json.dumps(document(status), indent=1).removesuffix("\n}")
    written, before = show(f'{head},\n "ledger": ['), ""
    async for text in lines(broker.ledger(status.job.job_id), each_address=status.job.each_address):
        if text and written:
            written = show(before + text.rstrip("\n").replace("}\n{", "},\n{"))  # strings in JSON contain no line ends
            before = ","
    return written and show("]}")


COMMAND = Command(
    name="export",
    summary="write everything that the broker knows about a job as JSON",
    example="cachewarmer export j0123456789abcdef",
    add_arguments=add_arguments,
    parse=parse,
    run=run,
)
