"""Validates what was read from the rows of a broker, which anyone with access to the store may have written. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from cachewarmer.errors import InvalidMessage
from cachewarmer.model import PathError, SlowPath
from cachewarmer.model.results import ScannedAddress

T = TypeVar("T")

MOST_COUNT = (1 << 63) - 1
"""The largest integer that the stores accept."""
MOST_SECONDS = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970: later times can't be shown."""


def sound(record: T) -> T:
    """Returns the record, a dataclass, if its counts, times and texts, and those of its samples, have valid values.

    Raises:
        InvalidMessage: a field has an invalid value; the error names it.
    """
    for one in fields(record):  # type: ignore[arg-type]
        can_be = _KINDS.get(str(one.type))
        if can_be is not None and not can_be(getattr(record, one.name)):
            raise InvalidMessage(f"{one.name} can't be {getattr(record, one.name)!r:.50}")
    return record


def check_count(name: str, value: object) -> None:
    """Raises ``InvalidMessage`` if a value is not a valid count."""
    if not _is_count(value):
        raise InvalidMessage(f"{name} can't be {value!r:.50}")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_COUNT


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MOST_SECONDS  # no NaN


def _is_text(value: Any) -> bool:
    return type(value) is str


def _are(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda values: all(map(kind, values))


def _is_error(value: PathError) -> bool:
    return all(map(_is_text, value))


def _is_slow(value: SlowPath) -> bool:
    return _is_text(value.path) and _is_seconds(value.seconds)


def _is_address(value: ScannedAddress) -> bool:
    return _is_text(value.address) and all(map(_is_count, value[1:]))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "int": _is_count,
    "float": _is_seconds,
    "str": _is_text,
    "bool": lambda value: type(value) is bool,
    "tuple[int, ...]": _are(_is_count),
    "tuple[str, ...]": _are(_is_text),
    "tuple[PathError, ...]": _are(_is_error),
    "tuple[SlowPath, ...]": _are(_is_slow),
    "tuple[ScannedAddress, ...]": _are(_is_address),
}
"""The check for the values of fields of each type; fields of other types are not checked."""
