"""Options for the ledger: a record of each file, and jobs that are compared with an earlier ledger."""

from __future__ import annotations

import argparse

from cachewarmer.choice.values import Ledger


def add_ledger(parser: argparse.ArgumentParser, *, where: str = "") -> None:
    """Registers the options. ``where`` is added to the help of ``--ledger``."""
    group = parser.add_argument_group("a record of each file")
    group.add_argument(
        "--ledger",
        default="",
        metavar="FILE",
        help="write a record of each file to FILE, with its size, times and outcome, as JSON Lines, or as Parquet if the name "
        f"ends in .parquet (see docs/ledger.md){where} (default: none)",
    )
    group.add_argument(
        "--keep-ledger",
        action="store_true",
        help="keep these records only at the broker, for cachewarmer export, --since and --failed-of",
    )
    group.add_argument(
        "--since",
        default="",
        metavar="LEDGER|JOB",
        help="read only files that are new or changed since this ledger, a file or a job that kept one; also keeps a ledger "
        "(default: read all files)",
    )
    group.add_argument(
        "--failed-of",
        default="",
        metavar="JOB",
        help="read the files that failed in this job, which must have kept a ledger; needs no TARGET (default: none)",
    )


def ledger(chosen: argparse.Namespace) -> Ledger:
    """Makes the value from the parsed command line.

    Raises:
        UsageError: the file can't be written, or options contradict each other.
    """
    made = Ledger(file=chosen.ledger, keep=chosen.keep_ledger, since=chosen.since, failed_of=chosen.failed_of)
    made.check(
        metadata_only=chosen.metadata_only,
        has_target=bool(chosen.targets),
        has_list=bool(chosen.files_from),
        resumes=getattr(chosen, "resume", None) is not None,
    )
    return made
