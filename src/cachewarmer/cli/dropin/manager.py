"""``cachewarmer-manager``."""

from __future__ import annotations

from collections.abc import Sequence

from cachewarmer.cli import manager
from cachewarmer.cli.dropin.common import DEBUGGING, STORAGE, broker_choice, run_flags
from cachewarmer.cli.dropin.flags import Flag, FlagSet, MissingFlag, Values
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.serving import FleetChoice

WORKERS = 12
"""The first CacheWarmer's default."""
FLAGS = FlagSet(
    program="cachewarmer-manager",
    summary="Scans submitted jobs, publishes their work, and runs a VM scale set of workers while there is work.",
    example="cachewarmer-manager -storageAccountName ACCOUNT -queueNamePrefix PREFIX -workerCount 0",
    flags=(
        DEBUGGING,
        Flag(name="bootstrapMountAddress", text="NFS server with the bootstrap folder"),
        Flag(name="bootstrapExportPath", text="export of the bootstrap folder"),
        Flag(name="bootstrapScriptPath", text="path below the export of the script that installs a worker"),
        Flag(
            name="workerCount",
            default=str(WORKERS),
            text="maximum number of VMs in the scale set; 0: no scale set, unless the settings file describes a fleet",
        ),
        *STORAGE,
        Flag(name="vmssUserName", default="azureuser", text="user name on the VMs"),
        Flag(name="vmssPassword", text="password on the VMs; $VMSS_PASSWORD is safer"),
        Flag(name="vmssSshPublicKey", text="SSH public key for the VMs"),
        Flag(name="vmssSubnetName", text="subnet of the VMs (default: that of the manager)"),
    ),
)
BOOTSTRAP = {
    "bootstrapMountAddress": "bootstrap_address",
    "bootstrapExportPath": "bootstrap_export",
    "bootstrapScriptPath": "bootstrap_script",
}
"""Flags that a scale set needs, and the settings that can replace them."""


def run(arguments: Sequence[str]) -> int:
    """Reads the flags and runs the command."""
    return run_flags(FLAGS, arguments, lambda values: manager.run(parse(values)))


def parse(values: Values) -> manager.ManagerOptions:
    """Makes the options."""
    return manager.ManagerOptions(
        broker=broker_choice(values),
        fleet=_fleet(values),
        output=Output(verbose=values.switch("enableDebugging")),
    )


def _fleet(values: Values) -> FleetChoice:
    """A scale set, unless the number of workers is 0 or the settings file describes another kind of fleet.

    Raises:
        MissingFlag: a scale set needs a flag that is missing.
    """
    from cachewarmer.config import load_settings

    settings = load_settings().fleet
    workers = values.number("workerCount", 0 if settings.kind != "none" else WORKERS)
    if workers <= 0:
        return FleetChoice()
    for flag, setting in BOOTSTRAP.items():
        if not values.text(flag) and not getattr(settings, setting):
            raise MissingFlag(f"-{flag} is required for a scale set of {workers} VMs (-workerCount 0: no scale set)")
    return FleetChoice(
        kind="vmss",
        workers=workers,
        bootstrap_address=values.text("bootstrapMountAddress"),
        bootstrap_export=values.text("bootstrapExportPath"),
        bootstrap_script=values.text("bootstrapScriptPath"),
        user_name=values.text("vmssUserName"),
        password=values.text("vmssPassword"),
        ssh_public_key=values.text("vmssSshPublicKey"),
        subnet_name=values.text("vmssSubnetName"),
    )
