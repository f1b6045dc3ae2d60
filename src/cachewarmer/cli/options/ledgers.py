"""The ledger: a record of each file, and jobs that are compared with an earlier one."""

from __future__ import annotations

import argparse

from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What is kept of each file, and what of an earlier job is made use of."""

    file: str = ""
    """The file that gets a record of each file."""
    since: str = ""
    """A ledger's file, or a job: what it holds as read is left out."""
    failed_of: str = ""
    """A job: the files that failed are warmed."""


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
    made = Ledger(file=chosen.ledger, since=chosen.since, failed_of=chosen.failed_of)
    if made.file:
        from cachewarmer.ledger.files import check_writable

        check_writable(made.file)
    for option, given in (
        ("--ledger", made.file),
        ("--keep-ledger", chosen.keep_ledger),
        ("--since", made.since),
        ("--failed-of", made.failed_of),
    ):
        if given and chosen.metadata_only:
            raise UsageError(f"{option} is about what was read, and --metadata-only reads nothing: give one of them")
    if made.failed_of:
        others = (("a TARGET", chosen.targets), ("--files-from", chosen.files_from), ("--since", made.since))
        for what, given in others:
            if given:
                raise UsageError(
                    f"--failed-of takes the target and the files from the job: {what} can't be given as well"
                )
    return made
