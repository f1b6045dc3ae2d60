"""What options become: settings, a broker, jobs, lists of files, a fleet."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cachewarmer.addresses import all_addresses, each_address
from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker
from cachewarmer.cli.options.general import BrokerChoice, Output
from cachewarmer.cli.options.pacing import Reading
from cachewarmer.cli.options.selecting import Selection
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
from cachewarmer.errors import CacheWarmerError, InvalidValue, UsageError
from cachewarmer.filters import parse_filter_file
from cachewarmer.model import Bandwidth, Priority, Transport, Wanted, WarmJob
from cachewarmer.paths import to_bytes, to_text
from cachewarmer.planning.filelist import list_chunks, scene_chunks, stored_lines
from cachewarmer.planning.frames import frame_paths
from cachewarmer.planning.pathmap import PathMap
from cachewarmer.planning.usd import check_usd
from cachewarmer.target import Target, make_job, parse_target

if TYPE_CHECKING:
    from cachewarmer.fleet.base import Fleet

log = logging.getLogger(__name__)

NO_FLEET = FleetChoice()
SLOW_BYTES_PER_SECOND = 64 * 1024
"""A limit below this is more likely a slip of the unit than what was meant."""
MAX_RULES_BYTES = 1 << 20
"""The longest file of ``--filter-from``."""


def settings(reading: Reading | None = None, fleet: FleetChoice = NO_FLEET, service: Service | None = None) -> Settings:
    """The settings file, with what the command line says on top.

    Raises:
        ConfigError: it can't be read, or a setting does not make sense.
    """
    loaded = load_settings()
    nfs, lease = loaded.nfs, loaded.lease
    if reading is not None:
        nfs = replace(
            nfs,
            window_calls=reading.window or nfs.window_calls,
            window_auto=_automatic(reading, loaded=nfs.window_auto),
            window_max_calls=reading.max_window or nfs.window_max_calls,
            gentle=reading.gentle or nfs.gentle,
            connections=reading.connections or nfs.connections,
        )
        if reading.patience is not None:
            lease = replace(lease, patience_seconds=reading.patience)
    if service is not None:
        nfs = replace(
            nfs,
            uid=nfs.uid if service.uid is None else service.uid,
            gid=nfs.gid if service.gid is None else service.gid,
        )
    return replace(loaded, nfs=nfs, lease=lease, fleet=_fleet_settings(fleet, loaded.fleet))


def _automatic(reading: Reading, *, loaded: bool | None) -> bool:
    """Whether the window is to be found; ``loaded``: what the settings file says."""
    if reading.window:
        return False
    return bool(loaded) or reading.window == 0 or reading.max_window is not None or reading.gentle


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
    """Whether somebody named the broker: it is not the user's own file."""
    return bool(choice.url or environment_broker_url())


def broker(choice: BrokerChoice, settings: Settings, *, create: bool = True) -> Broker:
    """The broker that was chosen, not yet opened; without ``create`` for those who only look or steer."""
    return open_broker(
        broker_url(choice),
        settings.lease,
        create=create,
        storage_key=choice.storage_key,
        resource_group=choice.resource_group,
    )


def shown_broker(choice: BrokerChoice, settings: Settings) -> str:
    """The option that names the broker, without the password that it may hold; empty where it was not given."""
    return broker(choice, settings, create=False).shown if choice.url else ""


def jobs(targets: Sequence[str], selection: Selection, *, resolve: bool = False) -> list[WarmJob]:
    """The job of each TARGET.

    ``resolve``: a host name is read through all of its addresses. Not for a service: it allows names as they are written.

    Raises:
        UsageError: a target or a pattern does not make sense.
    """
    _check_list(targets, selection)
    _check_addresses(selection)
    bandwidth = selection.max_bandwidth or Bandwidth()
    warn_of_slow("--max-bandwidth", bandwidth)
    wanted = _wanted(selection)
    made = [
        make_job(
            _as_user(parse_target(target), selection),
            wanted,
            name=selection.name,
            transport=Transport(selection.transport),
            bandwidth=bandwidth,
            has_file_list=has_list(selection),
            priority=Priority(selection.priority),
        )
        for target in targets
    ]
    if selection.ledger:
        made = [replace(job, ledger=True) for job in made]
    if resolve and not selection.each_address:
        made = [_resolved(target, job) for target, job in zip(targets, made, strict=True)]
    if selection.in_order:
        made = [replace(job, in_order=True) for job in made]
    if selection.access_as or selection.metadata_only:
        made = [_for_readers(job, selection) for job in made]
    if not selection.each_address:
        return made
    return [each_address(job, selection.address_subset, fan_out=selection.fan_out) for job in made]


def has_list(selection: Selection) -> bool:
    """Whether files are named one by one."""
    return selection.files_from is not None or bool(selection.frames or selection.usd)


def _check_list(targets: Sequence[str], selection: Selection) -> None:
    if has_list(selection):
        if len(targets) != 1:
            given = "--files-from" if selection.files_from is not None else "--frames" if selection.frames else "--usd"
            raise UsageError(f"{given} needs exactly one TARGET")
    elif selection.maps or selection.in_order:
        raise UsageError(f"{'--map' if selection.maps else '--in-order'} needs --files-from, --frames or --usd")
    for sequence in selection.frames:
        if frame_paths(to_bytes(sequence)) is None:
            raise UsageError(
                "not a sequence of frames",
                doing="--frames",
                subject=to_bytes(sequence),
                advice="write 'plate.####.exr 1001-1240'",
            )
    PathMap.of(selection.maps)
    for scene in selection.usd:
        check_usd(scene)


def _check_addresses(selection: Selection) -> None:
    for option, given in (("--address-subset", selection.address_subset), ("--fan-out", selection.fan_out)):
        if given and not selection.each_address:
            raise UsageError(f"{option} needs --each-address")


def _resolved(target: str, job: WarmJob) -> WarmJob:
    return job if parse_target(target).resolve_first else all_addresses(job)


def warn_of_slow(what: str, bandwidth: Bandwidth) -> None:
    """Warns of a bandwidth that hardly anybody means."""
    if 0 < bandwidth.lowest < SLOW_BYTES_PER_SECOND:
        log.warning("%s is %d bytes per second for the whole job: is the unit right?", what, bandwidth.lowest)


def _for_readers(job: WarmJob, selection: Selection) -> WarmJob:
    """The job, with what others will ask the cache."""
    if selection.access_as and (job.access.is_local or job.access.transport is Transport.MOUNT):
        raise UsageError("--access-as is for the direct NFS reader")
    try:
        return replace(job, access_as=selection.access_as, metadata_only=selection.metadata_only)
    except InvalidValue as error:
        raise UsageError.like(error) from error


def _wanted(selection: Selection) -> Wanted:
    try:
        return Wanted(
            include=selection.include,
            exclude=selection.exclude,
            rules=tuple(rule for name in selection.filter_from for rule in _rules(name)),
            max_file_bytes=selection.max_file_bytes,
            min_file_bytes=selection.min_file_bytes,
            newer_than=selection.newer_than,
            head_bytes=selection.head_bytes,
            tail_bytes=selection.tail_bytes,
            snapshots=selection.snapshots,
            follow_links=selection.follow_links,
            one_file_system=selection.one_file_system,
            hardlink_dedup=selection.hardlink_dedup,
        )
    except InvalidValue as error:
        raise UsageError.like(error) from error


def _rules(name: str) -> tuple[str, ...]:
    """The rules in a file of ``--filter-from``."""
    try:
        with open(name, "rb") as file:
            raw = file.read(MAX_RULES_BYTES + 1)
    except OSError as error:
        raise UsageError(error.strerror or str(error), doing="--filter-from", subject=os.fsencode(name)) from error
    if len(raw) > MAX_RULES_BYTES:
        raise UsageError(f"more than {MAX_RULES_BYTES} bytes", doing="--filter-from", subject=os.fsencode(name))
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return parse_filter_file(raw.decode("utf-16", "replace") if wide else to_text(raw), f"--filter-from {name}")


def _as_user(target: Target, selection: Selection) -> Target:
    """The target, with the ids of the options where it names none itself."""
    if selection.uid is None and selection.gid is None:
        return target
    if target.is_local:
        raise UsageError(
            "--uid and --gid are for NFS",
            subject=os.fsencode(target.path),
            advice="a path of this machine is read as the user who runs the command",
        )
    access = target.access
    uid = selection.uid if access.uid < 0 and selection.uid is not None else access.uid
    gid = selection.gid if access.gid < 0 and selection.gid is not None else access.gid
    return replace(target, access=replace(access, uid=uid, gid=gid))


def file_list(selection: Selection) -> AsyncIterator[bytes] | None:
    """The chunks of ``--frames``, ``--usd`` and ``--files-from``; None where none of them is given."""
    return _listed(selection) if has_list(selection) else None


async def _listed(selection: Selection) -> AsyncIterator[bytes]:
    mapped = PathMap.of(selection.maps)
    for chunk in stored_lines((to_bytes(one) for one in selection.frames), mapped):
        yield chunk
    for scene in selection.usd:
        async for chunk in scene_chunks(scene, selection.maps):
            yield chunk
    if selection.files_from is not None:
        async for chunk in _chunks(selection.files_from, null=selection.null, mapped=mapped):
            yield chunk


async def _chunks(name: str, *, null: bool, mapped: PathMap) -> AsyncIterator[bytes]:
    try:
        # Without a buffer of Python's: who reads that holds a lock that the end of the program would wait for.
        place = sys.stdin.fileno() if name == "-" else name
        with open(place, "rb", buffering=0, closefd=place is name) as source:  # noqa: ASYNC230  # opening a list is quick
            async for chunk in list_chunks(source, nul_separated=null, path_map=mapped):
                yield chunk
    except OSError as error:
        raise CacheWarmerError(f"--files-from {name}: {error.strerror}") from error


def fleet(
    choice: FleetChoice, reading: Reading, broker: BrokerChoice, settings: Settings, output: Output | None = None
) -> Fleet | None:
    """The fleet that the command line and the settings describe, checked, with nothing started yet.

    ``output``: its workers log in this format; those of this machine also to this file.

    Raises:
        UsageError: something is missing or makes no sense.
    """
    from cachewarmer.fleet import open_fleet
    from cachewarmer.fleet.base import WorkerLaunch

    kind = settings.fleet.kind
    if kind != "none" and not settings.fleet.workers:
        raise UsageError(f"a fleet of kind {kind} needs a number of workers: --workers N")
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
    """What the workers of a fleet are told on their command line, as their manager was."""
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
