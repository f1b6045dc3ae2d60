"""Fleets of Spot VMs in an Azure VM scale set. ``open_scale_set`` checks the settings and opens one."""

from __future__ import annotations

from cachewarmer.config import FleetSettings, VmssSettings
from cachewarmer.errors import ConfigError, UsageError
from cachewarmer.fleet.base import Fleet, WorkerLaunch

MAX_VMS = 1000
"""Maximum number of VMs of a scale set (Azure's limit for marketplace images; 600 for custom ones)."""


def open_scale_set(settings: FleetSettings, launch: WorkerLaunch) -> Fleet:
    """Opens the fleet of the broker that ``launch`` names, without starting anything or using the network.

    Raises:
        UsageError: a setting is missing or invalid.
        ConfigError: the packages for it are not installed.
    """
    if settings.workers > MAX_VMS:
        raise UsageError(f"{settings.workers} workers: a scale set holds at most {MAX_VMS} VMs")
    _check(settings.vmss, launch)
    try:
        from cachewarmer.fleet.vmss.fleet import VmssFleet  # noqa: PLC0415  # slow to import, and optional
    except ImportError as error:
        raise ConfigError(f"a VM scale set: install cachewarmer[azure] for this ({error})") from error
    return VmssFleet(settings.vmss, launch)


def _check(settings: VmssSettings, launch: WorkerLaunch) -> None:
    if not launch.broker_url.startswith("azure://"):
        raise UsageError(f"VMs can't reach the broker {launch.broker_url}: a scale set needs azure://ACCOUNT/PREFIX")
    bootstrap = {
        "mount address": launch.bootstrap_mount_address,
        "export path": launch.bootstrap_export_path,
        "script path": launch.bootstrap_script_path,
    }
    missing = [name for name, value in bootstrap.items() if not value]
    if missing:
        raise UsageError(f"a scale set's VMs are set up from a bootstrap folder: give its {', '.join(missing)}")
    if not settings.ssh_public_key and not settings.password:
        raise UsageError("a scale set needs an SSH public key, or a password in VMSS_PASSWORD")
    if not settings.vm_sizes.strip(" ,"):
        raise UsageError("a scale set needs at least one VM size")
    if settings.orchestration not in ("Flexible", "Uniform"):
        raise UsageError(f"orchestration {settings.orchestration!r}: give Flexible or Uniform")
