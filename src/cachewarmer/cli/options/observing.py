"""Options for monitoring a long run."""

from __future__ import annotations

import argparse

from cachewarmer.cli import arguments
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """The chosen statistics and metrics."""

    metrics: str = ""
    """ADDRESS:PORT to serve metrics on; empty: nowhere."""
    token_file: str = ""
    """File with the token for scrapes; empty: none."""
    metrics_file: str = ""
    """File to write metrics to; empty: none."""
    stats: float | None = None
    """Seconds between two lines of statistics; None: as in the settings."""


def add_stats(parser: argparse.ArgumentParser, *, default: str = "never") -> None:
    """Registers ``--stats``, which logs lines of statistics."""
    parser.add_argument(
        "--stats",
        type=arguments.interval,
        metavar="INTERVAL",
        help="log a line with what was done since the last one, every INTERVAL such as 30s or 1m, while there is work; "
        f"0: never (default: {default})",
    )


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Registers the options for metrics of a service, which Prometheus scrapes."""
    group = parser.add_argument_group("metrics (docs/metrics.md)")
    group.add_argument(
        "--metrics",
        default="",
        metavar="ADDRESS:PORT",
        help="address to serve Prometheus metrics on, such as 127.0.0.1:9750 (default: none)",
    )
    general.add_token_file(group, "--metrics", "a scrape")


def add_metrics_file(parser: argparse.ArgumentParser) -> None:
    """Registers the option for writing metrics to a file, for commands that do not serve them."""
    group = parser.add_argument_group("metrics (docs/metrics.md)")
    group.add_argument(
        "--metrics-file",
        default="",
        metavar="FILE",
        help="write metrics to FILE every 15 seconds and at the end, for the textfile collector of node_exporter (default: "
        "none)",
    )


def observing(chosen: argparse.Namespace) -> Observing:
    """Makes the value from the parsed command line."""
    return Observing(
        metrics=getattr(chosen, "metrics", ""),
        token_file=getattr(chosen, "metrics_token_file", ""),
        metrics_file=getattr(chosen, "metrics_file", ""),
        stats=chosen.stats,
    )
