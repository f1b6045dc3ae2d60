"""What managers and workers share, the page, and the fleet."""

from __future__ import annotations

import argparse
from dataclasses import field

from cachewarmer.cli import arguments
from cachewarmer.cli.options import general
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What manager and worker share."""

    name: str = ""
    exit_when_idle: float | None = None
    uid: int | None = None
    gid: int | None = None
    """For jobs that name none; None: as the settings say."""


def add_service(parser: argparse.ArgumentParser) -> None:
    """What manager and worker share."""
    parser.add_argument(
        "--exit-when-idle",
        type=arguments.seconds,
        metavar="SECONDS",
        help="exit after this long without work (default: never)",
    )
    parser.add_argument(
        "--name", default="", metavar="NAME", help="what this process is called (default: host name and process id)"
    )
    general.add_ids(parser)


def service(chosen: argparse.Namespace) -> Service:
    """What the command line says of it."""
    return Service(name=chosen.name, exit_when_idle=chosen.exit_when_idle, uid=chosen.uid, gid=chosen.gid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where the page is served."""

    address: str = ""
    """Empty: nowhere."""
    names: tuple[str, ...] = ()
    token_file: str = ""


def add_page(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """The page and its API; the group is for what a command has besides."""
    group = parser.add_argument_group("the page (docs/web.md)")
    group.add_argument(
        "--http",
        default="",
        metavar="ADDRESS:PORT",
        help="serve the page there, such as 127.0.0.1:8750 (default: nowhere)",
    )
    group.add_argument(
        "--http-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further host name that browsers know it under, such as that of a proxy; may be repeated",
    )
    general.add_token_file(group, "--http", "every request")
    return group


def page(chosen: argparse.Namespace) -> Page:
    """What the command line says of it."""
    return Page(address=chosen.http, names=tuple(chosen.http_host), token_file=chosen.http_token_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetChoice:
    """What the command line says of the fleet; what it leaves empty is in the settings file."""

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
    """For the provider, beside those of the settings."""


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Which machines the manager starts; the rest is in the settings file."""
    group = parser.add_argument_group("the fleet of workers (docs/operations.md)")
    group.add_argument(
        "--fleet",
        choices=("none", "local", "slurm", "vmss"),
        default="",
        help="what runs the workers: local, processes on this machine; slurm, job arrays of a Slurm cluster; vmss, Spot VMs "
        "of an Azure scale set (default: none)",
    )
    group.add_argument("--workers", type=arguments.positive, default=0, metavar="N", help="maximum number of workers")
    group.add_argument(
        "--fleet-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="slurm: an option for sbatch, such as --fleet-option=--partition=render; may be repeated",
    )
    group.add_argument(
        "--bootstrap-address",
        default="",
        metavar="ADDRESS",
        help="vmss: the NFS server that holds the bootstrap folder",
    )
    group.add_argument(
        "--bootstrap-export", default="", metavar="PATH", help="vmss: the export of the bootstrap folder"
    )
    group.add_argument(
        "--bootstrap-script", default="", metavar="PATH", help="vmss: the script in it that installs a worker"
    )


def fleet(chosen: argparse.Namespace) -> FleetChoice:
    """What the command line says of it."""
    return FleetChoice(
        kind=chosen.fleet,
        workers=chosen.workers,
        bootstrap_address=chosen.bootstrap_address,
        bootstrap_export=chosen.bootstrap_export,
        bootstrap_script=chosen.bootstrap_script,
        options=tuple(chosen.fleet_option),
    )
