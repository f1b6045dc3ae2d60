"""Machines that come with the work and go with it. ``open_fleet`` makes one of the kind that is asked for."""

from __future__ import annotations

from cachewarmer.config import FleetSettings
from cachewarmer.errors import ConfigError, UsageError
from cachewarmer.fleet.base import Fleet, WorkerLaunch

KINDS = ("none", "local", "vmss")
MOST_VMS = 1000
"""What one scale set holds (Azure's limit for images of the marketplace; 600 for one's own)."""


def open_fleet(kind: str, settings: FleetSettings, launch: WorkerLaunch) -> Fleet | None:
    """The fleet of that kind, or None where there shall be none. Nothing is started, and no network is used, here.

    Raises:
        UsageError: something that this kind needs is missing, or does not make sense.
        ConfigError: the packages for it are not installed.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of fleet: give {', '.join(KINDS)}")
    if kind == "none" or not settings.workers:
        return None
    if kind == "local":
        from cachewarmer.fleet.local import LocalFleet  # noqa: PLC0415  # only one kind is ever needed

        return LocalFleet(launch)
    _check_scale_set(settings, launch)
    try:
        from cachewarmer.fleet.vmss.fleet import VmssFleet  # noqa: PLC0415  # slow to import, and optional
    except ImportError as error:
        raise ConfigError(f"a VM scale set: install cachewarmer[azure] for this ({error})") from error
    return VmssFleet(settings, launch)


def _check_scale_set(settings: FleetSettings, launch: WorkerLaunch) -> None:
    if not launch.broker_url.startswith("azure://"):
        raise UsageError(f"VMs can't reach the broker {launch.broker_url}: a scale set needs azure://ACCOUNT/PREFIX")
    if settings.workers > MOST_VMS:
        raise UsageError(f"{settings.workers} workers: a scale set holds at most {MOST_VMS} VMs")
    bootstrap = {
        "mount address": launch.bootstrap_mount_address,
        "export path": launch.bootstrap_export_path,
        "script path": launch.bootstrap_script_path,
    }
    missing = [name for name, value in bootstrap.items() if not value]
    if missing:
        raise UsageError(
            f"a scale set's VMs are set up from a bootstrap folder: its {', '.join(missing)} must be given"
        )
    if not settings.ssh_public_key and not settings.password:
        raise UsageError("a scale set needs an SSH public key, or a password in VMSS_PASSWORD")
    if not settings.vm_sizes.strip(" ,"):
        raise UsageError("a scale set needs at least one VM size")
    if settings.orchestration not in ("Flexible", "Uniform"):
        raise UsageError(f"orchestration {settings.orchestration!r}: give Flexible or Uniform")
