"""The first CacheWarmer's three commands, flag for flag: single or double dash, value by space or ``=``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cachewarmer.errors import UsageError

STORAGE = ("storageAccountResourceGroup", "storageAccountName", "queueNamePrefix")
JOBSUBMITTER = (
    "warmTargetMountAddresses",
    "warmTargetExportPath",
    "warmTargetPath",
    "inclusionCsv",
    "exclusionCsv",
    "maxFileSizeBytes",
    *STORAGE,
)
JOBSUBMITTER_SWITCHES = ("enableDebugging", "blockUntilWarm")
MANAGER = (
    "bootstrapMountAddress",
    "bootstrapExportPath",
    "bootstrapScriptPath",
    "workerCount",
    *STORAGE,
    "vmssUserName",
    "vmssPassword",
    "vmssSshPublicKey",
    "vmssSubnetName",
)
WORKER = (*STORAGE, "storageKey")
SWITCHES = ("enableDebugging",)


def parse(program: str, flags: Sequence[str], switches: Sequence[str], arguments: Sequence[str]) -> argparse.Namespace:
    """Parses as Go's flag package does: a flag takes the next argument, whatever it looks like; a switch only after ``=``."""
    parser = argparse.ArgumentParser(prog=program, allow_abbrev=False)
    for flag in flags:
        parser.add_argument(f"-{flag}", f"--{flag}", dest=flag, default="", metavar="VALUE")
    for switch in switches:
        parser.add_argument(f"-{switch}", f"--{switch}", dest=switch, action="store_true")
    plain: list[str] = []
    values: dict[str, str] = {}
    left = iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        known = name.removeprefix("-").removeprefix("-") if name.startswith("-") else ""
        if known in flags:
            if not equals:
                if (following := next(left, None)) is None:
                    raise UsageError(f"{name} needs a value")
                value = following
            values[known] = value
        elif known in switches and equals:
            if value.lower() not in ("true", "false", "1", "0", "t", "f"):
                raise UsageError(f"{name} must be true or false, not {value!r}")
            if value.lower() in ("true", "1", "t"):
                plain.append(f"--{known}")
        else:
            plain.append(argument)
    return parser.parse_args(plain, argparse.Namespace(**values))


def broker_url(chosen: argparse.Namespace) -> str:
    """The broker that the storage flags name."""
    if not chosen.storageAccountName or not chosen.queueNamePrefix:
        raise UsageError("-storageAccountName and -queueNamePrefix are needed")
    return f"azure://{chosen.storageAccountName}/{chosen.queueNamePrefix}"


def split_csv(text: str) -> list[str]:
    """A comma-separated list without its empty parts."""
    return [part.strip() for part in text.split(",") if part.strip()]


def whole_number(chosen: argparse.Namespace, flag: str) -> int:
    """A flag's number; 0 where it is not given."""
    text = getattr(chosen, flag) or "0"
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004  # what a message's number may hold
        raise UsageError(f"-{flag} must be a whole number below 10^18, not {text!r}")
    return int(text)


def jobsubmitter(arguments: Sequence[str]) -> int:
    """``cachewarmer-jobsubmitter``."""
    chosen = parse("cachewarmer-jobsubmitter", JOBSUBMITTER, JOBSUBMITTER_SWITCHES, arguments)
    from cachewarmer.cli.submit_dropin import run_jobsubmitter

    return run_jobsubmitter(chosen)


def manager(arguments: Sequence[str]) -> int:
    """``cachewarmer-manager``. A worker count above 0 means a VM scale set; 0 leaves it to the settings file."""
    chosen = parse("cachewarmer-manager", MANAGER, SWITCHES, arguments)
    chosen.workers = whole_number(chosen, "workerCount")
    chosen.fleet = "vmss" if chosen.workers else None
    chosen.bootstrap_address = chosen.bootstrapMountAddress
    chosen.bootstrap_export = chosen.bootstrapExportPath
    chosen.bootstrap_script = chosen.bootstrapScriptPath
    chosen.vmss_user_name, chosen.vmss_password = chosen.vmssUserName, chosen.vmssPassword
    chosen.vmss_ssh_public_key, chosen.vmss_subnet_name = chosen.vmssSshPublicKey, chosen.vmssSubnetName
    return _service("manager", chosen)


def worker(arguments: Sequence[str]) -> int:
    """``cachewarmer-worker``."""
    return _service("worker", parse("cachewarmer-worker", WORKER, SWITCHES, arguments))


def _service(kind: str, chosen: argparse.Namespace) -> int:
    from cachewarmer.cli import service

    chosen.broker = broker_url(chosen)
    chosen.resource_group = chosen.storageAccountResourceGroup
    chosen.account_key = getattr(chosen, "storageKey", "")
    chosen.verbose, chosen.quiet = chosen.enableDebugging, False
    chosen.transport, chosen.window, chosen.connections, chosen.exit_on_eof = "", None, None, False
    chosen.name, chosen.exit_when_idle, chosen.jobs_at_once, chosen.max_bandwidth = "", None, 4, 0
    return service.run_manager(chosen) if kind == "manager" else service.run_worker(chosen)
