"""A price table in a file: what machines and broker operations cost. No price is built in."""

from __future__ import annotations

import datetime as dt
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from cachewarmer.broker import SCHEMES
from cachewarmer.errors import ConfigError
from cachewarmer.values import dataclass

MOST_FILE_BYTES = 1 << 16
MOST_PRICE = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What things cost, by somebody's table."""

    source: str
    date: str
    """The source and date of the prices, in the user's words, shown beside every cost."""
    currency: str = "USD"
    machine_hour: float = 0.0
    workers_per_machine: int = 1
    per_million_operations: Mapping[str, float] = field(default_factory=dict)
    """Prices by the scheme of a broker's URL."""


def load_prices(path: str) -> Prices:
    """Reads a price table.

    Raises:
        ConfigError: the file can't be read, or says what is invalid; names the key.
    """
    subject = os.fsencode(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), doing="reading the price table", subject=subject) from error
    try:
        if len(raw) > MOST_FILE_BYTES:
            raise ValueError(f"more than {MOST_FILE_BYTES} bytes")
        table = tomllib.loads(raw.decode())
        return _prices(table)
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(error), doing="reading the price table", subject=subject) from error


def _prices(table: dict[str, Any]) -> Prices:
    known = {"source", "date", "currency", "machine_hour", "workers_per_machine", "per_million_operations"}
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {key!r} (known: {', '.join(sorted(known))})")
    operations = table.get("per_million_operations", {})
    if not isinstance(operations, dict) or not set(operations) <= set(SCHEMES):
        raise ValueError(f"per_million_operations is a table with prices for {', '.join(SCHEMES)}")
    workers = table.get("workers_per_machine", 1)
    if type(workers) is not int or not 1 <= workers <= 1024:
        raise ValueError("workers_per_machine must be a whole number between 1 and 1024")
    return Prices(
        source=_text(table, "source"),
        date=_text(table, "date"),
        currency=_text(table, "currency") if "currency" in table else "USD",
        machine_hour=_price("machine_hour", table.get("machine_hour", 0.0)),
        workers_per_machine=workers,
        per_million_operations={name: _price(name, value) for name, value in operations.items()},
    )


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    text = value.isoformat() if isinstance(value, dt.date) else value
    if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable():
        raise ValueError(
            f"{key} must be given, as a text of at most 200 characters: where the prices are from, and of when"
        )
    return text


def _price(key: str, value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= MOST_PRICE:  # type: ignore[arg-type,operator]
        raise ValueError(f"{key} must be a price between 0 and {MOST_PRICE:g}")
    return float(value)  # type: ignore[arg-type]
