"""Rows of plain fields as JSON, for what a broker stores besides its accounts. Fields with their default value are not
written, and what is read is checked as something that anyone may have written.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from cachewarmer.errors import InvalidValue
from cachewarmer.paths import printable
from cachewarmer.wire import FieldReader

LONGEST_TEXT = 200

T = TypeVar("T")


def plain_values(row: Any) -> dict[str, Any]:
    """The plain fields (text, number, flag) of a dataclass object that differ from their defaults."""
    found = {one.name: getattr(row, one.name) for one in fields(row) if one.type in _KINDS}
    changed = {one.name: found[one.name] for one in fields(row) if one.name in found and found[one.name] != one.default}
    changed.pop("seen_seconds", None)
    return {name: _written(value) for name, value in changed.items()}


def _written(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return shown(value) if isinstance(value, str) else value


def shown(text: str) -> str:
    """The text as brokers write the names of tallies, without control characters, and cut to ``LONGEST_TEXT``."""
    return printable(text.encode("utf-8", "backslashreplace").decode())[:LONGEST_TEXT]


def load_plain(kind: type[T], read: FieldReader) -> T:
    """Reads the plain fields of a ``kind``. Other fields, and those that are missing, have their defaults.

    Raises:
        InvalidValue: a value is not valid; the message names the key.
    """
    values = {}
    for one in fields(kind):  # type: ignore[arg-type]  # they are dataclasses
        if one.type in _KINDS:
            values[one.name] = getattr(read, _KINDS[str(one.type)])(one.name, one.default)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = shown(value)
        elif isinstance(value, float) and value < 0:
            raise InvalidValue(f"{name} must not be negative")
    return kind(**values)


_KINDS = {"str": "text", "int": "number", "float": "real", "bool": "flag"}
"""The ``FieldReader`` method for each type of field."""
