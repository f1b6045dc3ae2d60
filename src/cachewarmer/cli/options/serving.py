"""Options for managers and workers, for the page, and for the fleet."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The options that managers and workers share."""

    name: str = ""
    """Name of the process; empty: host name and process id."""
    exit_when_idle: float | None = None
    """Seconds without work before it exits; None: never."""
    uid: int | None = None
    gid: int | None = None
    """Ids for jobs that do not name any; None: as in the settings."""


def add_service(parser: argparse.ArgumentParser) -> None:
    """Registers the options that managers and workers share."""
    parser.add_argument(
        "--exit-when-idle",
        type=arguments.seconds,
        metavar="SECONDS",
        help="exit after this many seconds without work (default: never)",
    )
    parser.add_argument(
        "--name", default="", metavar="NAME", help="name of this process (default: host name and process id)"
    )
    general.add_ids(parser)


def service(chosen: argparse.Namespace) -> Service:
    """Makes the value from the parsed command line."""
    return Service(name=chosen.name, exit_when_idle=chosen.exit_when_idle, uid=chosen.uid, gid=chosen.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where to serve the page."""

    address: str = ""
    """ADDRESS:PORT; empty: nowhere."""
    names: tuple[str, ...] = ()
    """Further host names under which browsers reach it."""
    token_file: str = ""
    """File with the token for requests; empty: none."""


def add_page(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Registers the options for the page. Returns the group, for further options of a command."""
    group = parser.add_argument_group("the page (docs/web.md)")
    group.add_argument(
        "--http",
        default="",
        metavar="ADDRESS:PORT",
        help="address to serve the page on, such as 127.0.0.1:8750 (default: none)",
    )
    group.add_argument(
        "--http-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another host name under which browsers reach the page, such as that of a proxy; may be repeated (default: none)",
    )
    general.add_token_file(group, "--http", "every request")
    return group


def page(chosen: argparse.Namespace) -> Page:
    """Makes the value from the parsed command line."""
    return Page(address=chosen.http, names=tuple(chosen.http_host), token_file=chosen.http_token_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChoice:
    """The fleet as the command line describes it. What is empty or 0 is taken from the settings file."""

    kind: str = ""
    workers: int = 0
    bootstrap_address: str = ""
    bootstrap_export: str = ""
    bootstrap_script: str = ""
    user_name: str = ""
    password: str = field(default="", repr=False)
    ssh_public_key: str = ""
    subnet_name: str = ""
    options: tuple[str, ...] = ()
    """Options to pass to the provider (sbatch), in addition to those in the settings."""


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Registers the options for the fleet that a manager runs; the settings file has more."""
    group = parser.add_argument_group("the fleet of workers (docs/operations.md)")
    group.add_argument(
        "--fleet",
        choices=("none", "local", "slurm", "vmss"),
        default="",
        help="where to run workers; local: as processes on this machine; slurm: as job arrays of a Slurm cluster; vmss: on "
        "Spot VMs of an Azure scale set (default: none)",
    )
    group.add_argument(
        "--workers",
        type=arguments.positive,
        default=0,
        metavar="N",
        help="maximum number of workers (default: [fleet] workers)",
    )
    group.add_argument(
        "--fleet-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="slurm: an option to pass to sbatch, such as --fleet-option=--partition=render; may be repeated (default: none)",
    )
    group.add_argument(
        "--bootstrap-address",
        default="",
        metavar="ADDRESS",
        help="vmss: NFS server with the bootstrap folder (default: [fleet] bootstrap_address)",
    )
    group.add_argument(
        "--bootstrap-export",
        default="",
        metavar="PATH",
        help="vmss: export of the bootstrap folder (default: [fleet] bootstrap_export)",
    )
    group.add_argument(
        "--bootstrap-script",
        default="",
        metavar="PATH",
        help="vmss: path in that folder of the script that installs a worker (default: [fleet] bootstrap_script)",
    )


def fleet(chosen: argparse.Namespace) -> FleetChoice:
    """Makes the value from the parsed command line."""
    return FleetChoice(
        kind=chosen.fleet,
        workers=chosen.workers,
        bootstrap_address=chosen.bootstrap_address,
        bootstrap_export=chosen.bootstrap_export,
        bootstrap_script=chosen.bootstrap_script,
        options=tuple(chosen.fleet_option),
    )
