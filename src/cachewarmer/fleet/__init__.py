"""Fleets: machines that are started when there is work and deleted when there is none. ``open_fleet`` opens one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cachewarmer.config import FleetSettings
from cachewarmer.errors import UsageError
from cachewarmer.fleet.base import Fleet, WorkerLaunch

NONE = "none"
"""The kind of fleet of a manager that starts no machines."""


def open_fleet(kind: str, settings: FleetSettings, launch: WorkerLaunch) -> Fleet | None:
    """Opens the fleet of this kind, without starting anything or using the network; None: there is to be no fleet.

    Raises:
        UsageError: there is no such kind, or something that it needs is missing or invalid.
        ConfigError: the packages for it are not installed.
    """
    if kind != NONE and kind not in FLEETS:
        raise UsageError(f"{kind!r} is not a kind of fleet: use one of {', '.join((NONE, *FLEETS))}")
    if kind == NONE or not settings.workers:
        return None
    return FLEETS[kind](settings, launch)


def _local(_settings: FleetSettings, launch: WorkerLaunch) -> Fleet:
    from cachewarmer.fleet.local import LocalFleet  # noqa: PLC0415  # only one kind is ever needed

    return LocalFleet(launch)


def _vmss(settings: FleetSettings, launch: WorkerLaunch) -> Fleet:
    from cachewarmer.fleet.vmss import open_scale_set  # noqa: PLC0415  # only one kind is ever needed

    return open_scale_set(settings, launch)


def _slurm(settings: FleetSettings, launch: WorkerLaunch) -> Fleet:
    from cachewarmer.fleet.slurm import open_slurm  # noqa: PLC0415  # only one kind is ever needed

    return open_slurm(settings, launch)


FLEETS: Mapping[str, Callable[[FleetSettings, WorkerLaunch], Fleet]] = {
    "local": _local,
    "slurm": _slurm,
    "vmss": _vmss,
}
"""The function that opens a fleet of each kind. A new kind must pass ``tests/conformance/test_fleets.py``."""
