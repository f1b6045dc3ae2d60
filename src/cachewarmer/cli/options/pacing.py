"""Options for how to read from the addresses of a target."""

from __future__ import annotations

import argparse

from cachewarmer.choice.values import Reading
from cachewarmer.cli import arguments


def add_reading(parser: argparse.ArgumentParser, *, gentle: bool = True) -> None:
    """Registers the options for the window and connections.

    ``gentle`` is whether ``--gentle`` is offered, which makes sense only if the command searches for a window.
    """
    group = parser.add_argument_group("how to read")
    group.add_argument(
        "--window",
        type=arguments.window,
        metavar="N|auto",
        help="number of calls in flight for each address; auto: as many as the cache can take before other clients have to "
        "wait (default: auto)",
    )
    group.add_argument(
        "--max-window",
        type=arguments.positive,
        metavar="N",
        help="upper limit for --window auto (default: 1024)",
    )
    if gentle:
        group.add_argument(
            "--gentle",
            action="store_true",
            help="with --window auto: use only half of the window that is found, and back off at half the delay",
        )
    group.add_argument(
        "--connections", type=arguments.positive, metavar="N", help="TCP connections to each address (default: 2)"
    )
    group.add_argument(
        "--patience",
        type=arguments.span,
        metavar="TIME",
        help="how long to wait for addresses that do not answer before the job fails, in seconds or with a unit: 90, 15m, "
        "2h; 0: forever (default: 15m)",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Registers ``--processes``, for commands that start the reader processes themselves."""
    parser.add_argument(
        "--processes",
        type=arguments.processes,
        metavar="N",
        help="number of reader processes (default: half the number of cores, but at most 4)",
    )


def reading(chosen: argparse.Namespace) -> Reading:
    """Makes the value from the parsed command line. Raises ``UsageError`` if options contradict each other."""
    made = Reading(
        window=chosen.window,
        max_window=chosen.max_window,
        gentle=getattr(chosen, "gentle", False),
        connections=chosen.connections,
        patience=chosen.patience,
    )
    made.check()
    return made
