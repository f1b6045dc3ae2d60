"""Turns options into settings, a broker and a fleet."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker
from cachewarmer.choice.reading import with_reading
from cachewarmer.choice.values import Reading
from cachewarmer.cli.options.general import BrokerChoice, Output
from cachewarmer.cli.options.serving import FleetChoice, Service
from cachewarmer.config import (
    FleetSettings,
    Settings,
    bootstrap_environment,
    default_broker_url,
    environment_broker_url,
    load_settings,
    vmss_password,
    wire_environment,
)
from cachewarmer.errors import UsageError

if TYPE_CHECKING:
    from cachewarmer.fleet.base import Fleet

log = logging.getLogger(__name__)

NO_FLEET = FleetChoice()


def settings(reading: Reading | None = None, fleet: FleetChoice = NO_FLEET, service: Service | None = None) -> Settings:
    """The settings file, overridden by the command line.

    Raises:
        ConfigError: it can't be read, or a setting is invalid.
    """
    loaded = load_settings()
    nfs, lease = loaded.nfs, loaded.lease
    if reading is not None:
        loaded = with_reading(loaded, reading)
        nfs, lease = loaded.nfs, loaded.lease
    if service is not None:
        nfs = replace(
            nfs,
            uid=nfs.uid if service.uid is None else service.uid,
            gid=nfs.gid if service.gid is None else service.gid,
        )
    return replace(loaded, nfs=nfs, lease=lease, fleet=_fleet_settings(fleet, loaded.fleet))


def _fleet_settings(fleet: FleetChoice, loaded: FleetSettings) -> FleetSettings:
    vmss = replace(
        loaded.vmss,
        user_name=fleet.user_name or loaded.vmss.user_name,
        ssh_public_key=fleet.ssh_public_key or loaded.vmss.ssh_public_key,
        subnet_name=fleet.subnet_name or loaded.vmss.subnet_name,
        password=fleet.password or loaded.vmss.password or vmss_password(),
    )
    slurm = replace(loaded.slurm, options=(*loaded.slurm.options, *fleet.options))
    return replace(
        loaded, kind=fleet.kind or loaded.kind, workers=fleet.workers or loaded.workers, vmss=vmss, slurm=slurm
    )


def broker_url(choice: BrokerChoice) -> str:
    """The broker's URL: the option's, else the environment's, else the user's own file."""
    return choice.url or default_broker_url()


def named(choice: BrokerChoice) -> bool:
    """Whether the broker was named explicitly, and is not the default, the user's own file."""
    return bool(choice.url or environment_broker_url())


def broker(choice: BrokerChoice, settings: Settings, *, create: bool = True) -> Broker:
    """The chosen broker, not opened yet. ``create`` is False for commands that only look at jobs or control them."""
    return open_broker(
        broker_url(choice),
        settings.lease,
        create=create,
        storage_key=choice.storage_key,
        resource_group=choice.resource_group,
    )


def shown_broker(choice: BrokerChoice, settings: Settings) -> str:
    """The URL of ``--broker`` without the password that it may contain; empty if the option was not given."""
    return broker(choice, settings, create=False).shown if choice.url else ""


def fleet(
    choice: FleetChoice, reading: Reading, broker: BrokerChoice, settings: Settings, output: Output | None = None
) -> Fleet | None:
    """The fleet that the command line and the settings describe; None if there is none. Nothing is started yet.

    The workers log in the format of ``output``, and those on this machine also to its log file.

    Raises:
        UsageError: something is missing or not valid.
    """
    from cachewarmer.fleet import open_fleet
    from cachewarmer.fleet.base import WorkerLaunch

    kind = settings.fleet.kind
    if kind != "none" and not settings.fleet.workers:
        raise UsageError(f"a fleet of kind {kind} needs the number of workers: --workers N")
    if kind == "none" and choice.workers:
        raise UsageError(f"--workers {choice.workers} needs a kind of fleet: --fleet local, slurm or vmss")
    if choice.options and kind != "slurm":
        raise UsageError(f"--fleet-option {choice.options[0]} is for --fleet slurm")
    return open_fleet(
        kind,
        settings.fleet,
        WorkerLaunch(
            broker_url=broker_url(broker),
            storage_resource_group=broker.resource_group,
            bootstrap_mount_address=choice.bootstrap_address or settings.fleet.bootstrap_address,
            bootstrap_export_path=choice.bootstrap_export or settings.fleet.bootstrap_export,
            bootstrap_script_path=choice.bootstrap_script or settings.fleet.bootstrap_script,
            environment={**bootstrap_environment(), **wire_environment(settings.nfs)},
            bootstrap_mount_options=settings.fleet.bootstrap_options,
            local_options=_worker_options(reading, output or Output(), kind),
        ),
    )


def _worker_options(reading: Reading, output: Output, kind: str) -> tuple[str, ...]:
    """The options that the manager passes on to the workers of its fleet."""
    values = (
        ("--window", "auto" if reading.window == 0 else reading.window),
        ("--max-window", reading.max_window),
        ("--connections", reading.connections),
        ("--patience", reading.patience),
        ("--log-format", output.log_format or None),
        ("--log-file", (output.log_file or None) if kind == "local" else None),
    )
    told = [text for flag, value in values if value is not None for text in (flag, str(value))]
    return (*told, *(("--gentle",) if reading.gentle else ()))
