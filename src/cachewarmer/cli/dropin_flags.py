"""The flags of the first CacheWarmer's three commands: single or double dash, value by space or ``=``."""

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
