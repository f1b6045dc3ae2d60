"""The type, range and allowed words of each setting. Pure; ``config`` checks every value of a file with it.

A setting has the range that its table below gives, or else that of its unit, which stands at the end of its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, cast

from cachewarmer.wire import MAX_GIDS, MAX_ID, MAX_PORT, MOST_FILES

YEARS_SECONDS = 10 * 365 * 24 * 3600
MOST_BYTES = 1 << 62
MOST_COUNT = 1 << 31
MOST_LEASE_SECONDS = 7 * 24 * 3600
"""The longest lease: as long as a storage queue hides a message."""
MOUNT_OPTION = r"[A-Za-z0-9_][A-Za-z0-9_.:=/@+-]*"
"""An option of mount(8) that can't be taken for something else on its command line."""
_SLURM_WORD = r"|[A-Za-z0-9_][\w.,@+-]*"

LIMITS: Mapping[str, tuple[float, float]] = {
    "nfs.window_calls": (1, 65536),
    "nfs.window_bytes": (4096, MOST_BYTES),
    "nfs.window_max_calls": (1, 65536),
    "nfs.connections": (1, 256),
    "nfs.port": (0, MAX_PORT),
    "nfs.mount_port": (0, MAX_PORT),
    "nfs.max_read_bytes": (512, 16 << 20),
    "nfs.connect_seconds": (0.01, 3600),
    "nfs.reply_seconds": (0.01, 24 * 3600),
    "nfs.sessions": (1, 65536),
    "nfs.uid": (0, MAX_ID),
    "nfs.gid": (0, MAX_ID),
    "nfs.gids": (0, MAX_ID),
    "local.threads": (1, 4096),
    "local.read_bytes": (512, 1 << 30),
    "local.reply_seconds": (0.01, 24 * 3600),
    "local.fill_threads": (0, 4096),
    "mount.nconnect": (0, 16),
    "plan.item_files": (1, MOST_FILES),
    "plan.depth": (1, 4096),
    "plan.pending_memory_bytes": (64 * 1024, MOST_BYTES),
    "plan.item_bytes": (1, MOST_BYTES),
    "plan.range_bytes": (1, MOST_BYTES),
    "plan.directories_in_flight": (1, 65536),
    "lease.lease_seconds": (0.1, MOST_LEASE_SECONDS),
    "lease.max_deliveries": (1, 10_000),
    "lease.poll_seconds": (0.001, 3600),
    "fleet.look_seconds": (0.001, 3600),
    "fleet.items_per_worker": (1, MOST_COUNT),
    "fleet.worker_bytes_per_second": (1, MOST_BYTES),
    "fleet.worker_files_per_second": (1, MOST_COUNT),
    "fleet.slurm.cpus": (1, 4096),
    "fleet.vmss.max_price": (-1, 1_000_000),
}
"""The minimum and maximum of a setting, by table and name."""
WORDS: Mapping[str, tuple[str, ...]] = {
    "fleet.kind": ("none", "local", "slurm", "vmss"),
    "targets.allow_transports": ("nfs", "mount"),
    "log.format": ("text", "json"),
}
"""Settings that take one of a few words."""
PATTERNS: Mapping[str, tuple[str, str]] = {
    "mount.vers": (r"|[234](\.[0-9])?", "an NFS version such as 3 or 4.2"),
    "mount.sec": (r"|[a-z0-9]{1,16}", "a security flavor such as krb5p"),
    "mount.options": (
        rf"(?:\s*(?:{MOUNT_OPTION})?\s*(?:,|$))*",
        "options of mount(8), separated by commas",
    ),
    "fleet.slurm.account": (_SLURM_WORD, "a name"),
    "fleet.slurm.partition": (_SLURM_WORD, "a name, or names separated by commas"),
    "fleet.slurm.constraint": (r"|[^\s-][^\s]*", "features as sbatch takes them"),
    "fleet.slurm.memory": (r"|\d+[KMGT]?", "a size such as 2G"),
    "fleet.slurm.time_limit": (r"|[\d:-]{1,32}|UNLIMITED", "a time as sbatch takes it, such as 2:00:00"),
    "fleet.slurm.program": (r"|/[^\n]*", "an absolute path"),
    "fleet.slurm.environment_file": (r"|/[^\n]*", "an absolute path"),
    "fleet.slurm.log_directory": (r"|/[^\n%]*", "an absolute path without %"),
    "log.file": (r"|/[^\n]*", "an absolute path"),
    "targets.allow_exports": (r"(?s)/.*", "absolute paths"),
    "targets.allow_local": (r"(?s)/.*", "absolute paths"),
}
"""Settings whose text has a form."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "bool | None": (bool,),
    "tuple[int, ...]": (list,),
    "tuple[str, ...]": (list,),
}
_NAMES = {
    "int": "a whole number",
    "int | None": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "bool | None": "true or false",
    "tuple[int, ...]": "a list of whole numbers",
    "tuple[str, ...]": "a list of texts",
}


def limits(setting: str, kind: str) -> tuple[float, float] | None:
    """The least and the greatest value of a setting (``table.name``); None: it is not a number."""
    if not kind.startswith(("int", "float", "tuple[int")):
        return None
    if setting in LIMITS:
        return LIMITS[setting]
    if setting.endswith("_seconds"):
        return (0, YEARS_SECONDS)
    return (0, MOST_BYTES if "_bytes" in setting else MOST_COUNT)


def problem_of(setting: str, kind: str, value: Any) -> str:
    """What is wrong with the value of a setting, as ``must be …``; empty: nothing."""
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and "bool" not in kind):
        return f"must be {_NAMES[kind]}"
    if isinstance(value, list):
        if kind == "tuple[int, ...]" and len(value) > MAX_GIDS:
            return f"must hold at most {MAX_GIDS} numbers"
        element = kind.removeprefix("tuple[").partition(",")[0]
        return next((problem for one in value if (problem := problem_of(setting, element, one))), "")
    if isinstance(value, str):
        return _text_problem(setting, value)
    return "" if isinstance(value, bool) else _range_problem(setting, kind, cast("float", value))


def _text_problem(setting: str, value: str) -> str:
    words = WORDS.get(setting)
    if words and value not in words:
        return f"must be one of {', '.join(words)}"
    if setting in PATTERNS:
        pattern, name = PATTERNS[setting]
        if not re.fullmatch(pattern, value):
            return f"must be {name}"
    return "must not hold a NUL character" if "\0" in value else ""


def _range_problem(setting: str, kind: str, value: float) -> str:
    least, most = limits(setting, kind) or (-math.inf, math.inf)
    if least <= value <= most:
        return ""
    unit = next((unit for unit in ("seconds", "bytes") if setting.endswith("_" + unit)), "")
    return f"must be from {least:,.15g} to {most:,.15g} {unit}".strip()
