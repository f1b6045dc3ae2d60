"""Settings from a TOML file: the one module that reads TOML."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from typing import Any

from cachewarmer.bounds import problem_of
from cachewarmer.config.environment import wire_ids
from cachewarmer.config.settings import TABLES, TABLES_WITHIN, NfsSettings, Settings, VmssSettings
from cachewarmer.errors import ConfigError

log = logging.getLogger(__name__)


def load_settings(environment: dict[str, str] | None = None) -> Settings:
    """Settings from the TOML file that ``CACHEWARMER_CONFIG`` names, if any: one table for each group above.

    Raises:
        ConfigError: the file can't be read, or a key or value in it is wrong.
    """
    values = os.environ if environment is None else environment
    path = values.get("CACHEWARMER_CONFIG")
    if not path:
        return Settings(nfs=NfsSettings(window_auto=True, **wire_ids(values)))
    import tomllib

    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"configuration file {path}: {error}") from error
    made: dict[str, Any] = {}
    tables.setdefault("nfs", {})
    for name, table in tables.items():
        group = TABLES.get(name)
        if group is None or not isinstance(table, dict):
            from cachewarmer.likeness import did_you_mean

            raise ConfigError(
                f"configuration file {path}: no such table [{name}] (known: {', '.join(TABLES)})",
                advice=did_you_mean(name, TABLES),
            )
        made[name] = _group(path, name, group, _with_vmss_table(path, table) if name == "fleet" else table)
    nfs = replace(made["nfs"], **wire_ids(values, tables["nfs"]))
    if nfs.window_auto is None:
        nfs = replace(nfs, window_auto="window_calls" not in tables["nfs"])
    return Settings(**{**made, "nfs": nfs})


_told: set[tuple[str, str]] = set()
"""The files and keys that a warning was given for."""


def _with_vmss_table(path: str, table: dict[str, Any]) -> dict[str, Any]:
    """``[fleet]`` with the scale set's settings in a table of their own: earlier versions had all of them in one."""
    moved = [one.name for one in fields(VmssSettings) if one.name in table]
    inner = table.get("vmss", {})
    if not moved or not isinstance(inner, dict):
        return table
    for key in moved:
        if (path, key) not in _told:
            _told.add((path, key))
            log.warning("configuration file %s: [fleet] %s is now in [fleet.vmss]: move it there", path, key)
    return {key: value for key, value in table.items() if key not in moved} | {
        "vmss": {key: table[key] for key in moved} | inner
    }


def _group(path: str, name: str, group: Any, table: dict[str, Any]) -> Any:
    """The settings of one table, checked."""
    known = {one.name: str(one.type) for one in fields(group)}
    made: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            from cachewarmer.likeness import did_you_mean

            raise ConfigError(
                f"configuration file {path}: [{name}] has no setting {key!r}", advice=did_you_mean(key, known)
            )
        within = TABLES_WITHIN.get(known[key])
        if within is not None and isinstance(value, dict):
            made[key] = _group(path, f"{name}.{key}", within, value)
            continue
        problem = problem_of(f"{name}.{key}", known[key], value) if within is None else "must be a table"
        if problem:
            raise ConfigError(f"configuration file {path}: [{name}] {key} can't be {repr(value)[:100]}: it {problem}")
        made[key] = tuple(value) if isinstance(value, list) else value
    return group(**made)
