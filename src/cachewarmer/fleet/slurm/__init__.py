"""Fleets whose workers are the elements of Slurm job arrays. ``open_slurm`` checks the settings and opens one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cachewarmer.config import FleetSettings
from cachewarmer.errors import UsageError
from cachewarmer.fleet.base import Fleet, WorkerLaunch

OWN_OPTIONS = frozenset(
    "array chdir cluster clusters error export export-file get-user-env help input job-name no-requeue output parsable "
    "quiet requeue test-only uid usage verbose version wait wrap".split()
)
"""Options of sbatch that the fleet sets itself, or that would change the meaning of its output."""
OWN_LETTERS = frozenset("aDeiJoMQVvWh")


def open_slurm(settings: FleetSettings, launch: WorkerLaunch) -> Fleet:
    """Opens the fleet of the broker that ``launch`` names, without starting anything or asking Slurm.

    Raises:
        UsageError: the broker can't be shared by the nodes, or an option of sbatch is not allowed.
    """
    if launch.broker_url.startswith("sqlite:"):
        raise UsageError(
            f"the nodes of a cluster can't share the broker {launch.broker_url}",
            advice="use postgresql://HOST/DATABASE or azure://ACCOUNT/PREFIX",
        )
    check_options(settings.slurm.options)
    from cachewarmer.fleet.slurm.fleet import SlurmFleet  # noqa: PLC0415  # only one kind is ever needed

    return SlurmFleet(settings.slurm, launch)


def check_options(options: Sequence[str]) -> None:
    """Checks that these options may be given to sbatch in addition to the fleet's own.

    Raises:
        UsageError: one of them is not allowed, or is not an option.
    """
    for option in options:
        matched = re.fullmatch(r"--([a-z][a-z-]*)(=.*)?|-([A-Za-z])(.*)", option, re.DOTALL)
        if matched is None or "\n" in option or "\0" in option:
            raise UsageError(
                f"{option!r} is not an option of sbatch",
                doing="the fleet",
                advice="write it as one word, such as --fleet-option=--qos=low",
            )
        name, letter = matched[1], matched[3]
        # sbatch accepts any unique prefix of a name.
        if letter in OWN_LETTERS or (name and any(own.startswith(name) for own in OWN_OPTIONS)):
            raise UsageError(f"{option}: the fleet sets this option itself", doing="the fleet")
