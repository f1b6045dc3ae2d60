"""The ledger: a record of each file, and jobs that are compared with an earlier one."""

from __future__ import annotations

import argparse

from cachewarmer.choice.values import Ledger


def add_ledger(parser: argparse.ArgumentParser, *, where: str = "") -> None:
    """``--ledger``, ``--since``, ``--failed-of``; ``where``: what else is to be known of the file."""
    group = parser.add_argument_group("a record of each file")
    group.add_argument(
        "--ledger",
        default="",
        metavar="FILE",
        help="write a record of each file to FILE: its size, its times, what came of it (JSON Lines, or Parquet where its name ends in .parquet; see docs/ledger.md)"
        + where,
    )
    group.add_argument(
        "--keep-ledger",
        action="store_true",
        help="keep these records at the broker without a FILE, for cachewarmer export, --since and --failed-of",
    )
    group.add_argument(
        "--since",
        default="",
        metavar="LEDGER|JOB",
        help="read only what is new or changed since this ledger's file, or since the job of this id or name, which kept "
        "a ledger; keeps a ledger itself",
    )
    group.add_argument(
        "--failed-of",
        default="",
        metavar="JOB",
        help="read what failed in the job of this id or name, which kept a ledger; needs no TARGET",
    )


def ledger(chosen: argparse.Namespace) -> Ledger:
    """What the command line says of it.

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
