"""The options that commands share, and what they become."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cachewarmer.errors import CacheWarmerError, InvalidValue, UsageError

if TYPE_CHECKING:
    from cachewarmer.broker.base import Broker
    from cachewarmer.config import FleetSettings, Settings
    from cachewarmer.fleet.base import Fleet
    from cachewarmer.model import WarmJob


def size(text: str) -> int:
    """An argparse type for sizes."""
    from cachewarmer.target import parse_size

    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def moment(text: str) -> float:
    """An argparse type for times."""
    from cachewarmer.target import parse_time

    try:
        return parse_time(text, time.time())
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    """An argparse type for counts of at least one."""
    if not text.isdecimal() or not 0 < int(text) < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command has."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress and no report")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell more; tracebacks with errors")


def add_broker(parser: argparse.ArgumentParser) -> None:
    """Where jobs and work are kept."""
    parser.add_argument(
        "--broker",
        metavar="URL",
        help="sqlite:///FILE (default: in the user's state directory) or azure://ACCOUNT/PREFIX",
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """How manager and worker find an account's key where their identity has no role on its data."""
    parser.add_argument(
        "--storage-resource-group",
        dest="resource_group",
        default="",
        metavar="NAME",
        help="where the storage account's key is looked up, if there is no role on its data",
    )


def add_fleet(parser: argparse.ArgumentParser) -> None:
    """Which machines the manager starts; the rest of it is in the settings file."""
    group = parser.add_argument_group("the fleet of workers (docs/operations.md)")
    group.add_argument(
        "--fleet",
        choices=("none", "local", "vmss"),
        help="none; local: processes on this machine; vmss: Spot VMs of Azure (none)",
    )
    group.add_argument("--workers", type=positive, metavar="N", help="most workers")
    group.add_argument("--bootstrap-address", metavar="ADDRESS", help="vmss: the NFS server with the bootstrap folder")
    group.add_argument("--bootstrap-export", metavar="PATH", help="vmss: its export")
    group.add_argument("--bootstrap-script", metavar="PATH", help="vmss: the script below it that installs a worker")


def fleet(chosen: argparse.Namespace, settings: Settings) -> Fleet | None:
    """The fleet that the command line and the settings describe, checked, with nothing started yet.

    Raises:
        UsageError: something is missing or makes no sense.
    """
    from cachewarmer.fleet import open_fleet
    from cachewarmer.fleet.base import WorkerLaunch

    kind = settings.fleet.kind
    if kind != "none" and not settings.fleet.workers:
        raise UsageError(f"a fleet of kind {kind} needs a number of workers")
    if kind == "none" and chosen.workers:
        raise UsageError(f"{chosen.workers} workers of which kind? Give --fleet local or --fleet vmss")
    reading = [("--window", chosen.window), ("--connections", chosen.connections)]
    return open_fleet(
        kind,
        settings.fleet,
        WorkerLaunch(
            broker_url=broker_url(chosen),
            storage_resource_group=chosen.resource_group,
            bootstrap_mount_address=chosen.bootstrap_address or settings.fleet.bootstrap_address,
            bootstrap_export_path=chosen.bootstrap_export or settings.fleet.bootstrap_export,
            bootstrap_script_path=chosen.bootstrap_script or settings.fleet.bootstrap_script,
            bootstrap_mount_options=settings.fleet.bootstrap_options,
            local_options=tuple(text for flag, value in reading if value for text in (flag, str(value))),
        ),
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which files: shared by warm, scan and submit."""
    group = parser.add_argument_group("which files")
    group.add_argument(
        "--include", action="append", default=[], metavar="PATTERN", help="only these (Go's filepath.Match)"
    )
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="not these; a / matches the path, ** any depth",
    )
    group.add_argument("--max-file-size", type=size, default=0, metavar="SIZE", help="no larger files: 500M, 2GiB")
    group.add_argument("--min-file-size", type=size, default=0, metavar="SIZE", help="no smaller files")
    group.add_argument("--newer-than", type=moment, default=0.0, metavar="TIME", help="modified since: 2026-11-01, 3d")
    group.add_argument("--files-from", metavar="FILE", help="these paths instead of a walk, one a line; - is stdin")
    group.add_argument("-0", "--null", action="store_true", help="the list is separated by NUL")
    group.add_argument(
        "--transport", default="auto", choices=["auto", "nfs", "mount", "local"], help="how to read (auto)"
    )
    group.add_argument(
        "--max-bandwidth", type=size, default=0, metavar="SIZE", help="bytes per second for the whole job"
    )
    group.add_argument("--name", default="", help="a name for the job")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How hard the reader works."""
    group = parser.add_argument_group("how to read")
    group.add_argument("--window", type=positive, metavar="N", help="calls in flight for one address (16)")
    group.add_argument("--connections", type=positive, metavar="N", help="TCP connections for one address")


def add_service(parser: argparse.ArgumentParser) -> None:
    """What manager and worker share."""
    parser.add_argument("--exit-when-idle", type=float, metavar="SECONDS", help="leave after this long without work")
    if not any(action.dest == "name" for action in parser._actions):  # noqa: SLF001  # argparse has no public view
        parser.add_argument("--name", default="", help="what this process is called (host and pid)")


def settings(chosen: argparse.Namespace) -> Settings:
    """The settings file, with what the command line says on top."""
    from cachewarmer.config import load_settings

    loaded = load_settings()
    nfs = loaded.nfs
    if getattr(chosen, "window", None):
        nfs = replace(nfs, window_calls=chosen.window)
    if getattr(chosen, "connections", None):
        nfs = replace(nfs, connections=chosen.connections)
    return replace(loaded, nfs=nfs, fleet=_fleet_settings(chosen, loaded.fleet))


def _fleet_settings(chosen: argparse.Namespace, loaded: FleetSettings) -> FleetSettings:
    """The fleet's settings, with what the command line says of it on top."""
    from cachewarmer.config import vmss_password

    def given(names: dict[str, str]) -> dict[str, Any]:
        values = {name: getattr(chosen, option, None) for name, option in names.items()}
        return {name: value for name, value in values.items() if value}

    password = getattr(chosen, "vmss_password", "") or loaded.vmss.password or vmss_password()
    vmss = replace(loaded.vmss, **given(FLEET_FLAGS), password=password)
    return replace(loaded, **given({"kind": "fleet", "workers": "workers"}), vmss=vmss)


FLEET_FLAGS = {
    "user_name": "vmss_user_name",
    "ssh_public_key": "vmss_ssh_public_key",
    "subnet_name": "vmss_subnet_name",
}
"""Settings that the first CacheWarmer's flags say."""


def broker_url(chosen: argparse.Namespace) -> str:
    """The broker's URL: the option, else the environment's, else the user's own file."""
    from cachewarmer.config import default_broker_url

    return chosen.broker or default_broker_url()


def broker(chosen: argparse.Namespace) -> Broker:
    """The broker that the command line names, not yet opened."""
    from cachewarmer.broker import open_broker

    return open_broker(
        broker_url(chosen),
        settings(chosen).lease,
        storage_key=getattr(chosen, "account_key", ""),
        resource_group=getattr(chosen, "resource_group", ""),
    )


def job(chosen: argparse.Namespace, target: str) -> WarmJob:
    """The job for one TARGET."""
    from cachewarmer.model import Transport, Wanted
    from cachewarmer.target import make_job, parse_target

    try:
        wanted = Wanted(
            include=tuple(chosen.include),
            exclude=tuple(chosen.exclude),
            max_file_bytes=chosen.max_file_size,
            min_file_bytes=chosen.min_file_size,
            newer_than=chosen.newer_than,
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error
    return make_job(
        parse_target(target),
        wanted,
        name=chosen.name,
        transport=Transport(chosen.transport),
        max_bandwidth=chosen.max_bandwidth,
        has_file_list=chosen.files_from is not None,
    )


async def file_list(chosen: argparse.Namespace) -> AsyncIterator[bytes]:
    """The chunks of ``--files-from``."""
    from cachewarmer.planning.filelist import list_chunks

    try:
        # Without a buffer of Python's: who reads that holds a lock that the end of the program would wait for.
        place = sys.stdin.fileno() if chosen.files_from == "-" else chosen.files_from
        with open(place, "rb", buffering=0, closefd=place is chosen.files_from) as source:  # noqa: ASYNC230  # opening a list is quick
            async for chunk in list_chunks(source, nul_separated=chosen.null):
                yield chunk
    except OSError as error:
        raise CacheWarmerError(f"--files-from {chosen.files_from}: {error.strerror}") from error
