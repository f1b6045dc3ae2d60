"""What a long run tells those who operate it."""

from __future__ import annotations

import argparse

from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """What is told."""

    metrics: str = ""
    """ADDRESS:PORT; empty: nowhere."""
    token_file: str = ""
    metrics_file: str = ""


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Metrics of a service, for a Prometheus that scrapes it."""
    group = parser.add_argument_group("metrics (docs/metrics.md)")
    group.add_argument(
        "--metrics",
        default="",
        metavar="ADDRESS:PORT",
        help="serve metrics for Prometheus there, such as 127.0.0.1:9750 (default: nowhere)",
    )
    group.add_argument(
        "--metrics-token-file",
        default="",
        metavar="FILE",
        help="a file with the token that a scrape has to name (default: that of CACHEWARMER_HTTP_TOKEN, if it is set)",
    )


def add_metrics_file(parser: argparse.ArgumentParser) -> None:
    """Metrics of a command that nobody can scrape."""
    group = parser.add_argument_group("metrics (docs/metrics.md)")
    group.add_argument(
        "--metrics-file",
        default="",
        metavar="FILE",
        help="write metrics to FILE every 15 seconds and at the end, for the text collector of node_exporter",
    )


def observing(chosen: argparse.Namespace) -> Observing:
    """What the command line says of it."""
    return Observing(
        metrics=getattr(chosen, "metrics", ""),
        token_file=getattr(chosen, "metrics_token_file", ""),
        metrics_file=getattr(chosen, "metrics_file", ""),
    )
