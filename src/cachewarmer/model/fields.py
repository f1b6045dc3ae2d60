"""The JSON keys of a dataclass: each field states its key, its kind and its limits, once.

``keyed`` makes such a field. Reading (``read_fields``), writing (``write_fields``), checking objects that Python code
made (``check_fields``) and parsing the parameters of a TARGET (``from_texts``) all follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any

from cachewarmer.errors import InvalidValue
from cachewarmer.values import dataclass
from cachewarmer.wire import FieldReader

_KEY = "json"


@dataclass(frozen=True, slots=True)
class Key:
    """How a field appears in JSON."""

    name: str
    """The key, written in PascalCase; upper and lower case are equal when it is read."""
    kind: str
    """The name of the ``FieldReader`` method that reads it."""
    absent: Any
    """The value that a missing key stands for; the key is left out if the field has this value."""
    always: bool
    """Whether the key is written in any case, because the first CacheWarmer has it."""
    limits: Mapping[str, Any]
    """Keyword arguments for the method."""


_SAME: Any = object()
_keys: dict[type, Sequence[tuple[Field[Any], Key]]] = {}
"""Cached results of ``keys``, which is called for every ``Access`` that is made."""


def keyed(name: str, kind: str, default: Any, *, absent: Any = _SAME, always: bool = False, **limits: Any) -> Any:
    """Makes a dataclass field with a JSON key; see ``Key`` for the arguments.

    Give ``absent`` if a missing key stands for something other than the default.
    """
    key = Key(name, kind, default if absent is _SAME else absent, always, limits)
    return field(default=default, metadata={_KEY: key})


def keys(kind: type) -> Sequence[tuple[Field[Any], Key]]:
    """The fields of a dataclass that have a key."""
    found = _keys.get(kind)
    if found is None:
        found = _keys[kind] = [(one, one.metadata[_KEY]) for one in fields(kind) if _KEY in one.metadata]
    return found


def read_fields(kind: type, read: FieldReader) -> dict[str, Any]:
    """Reads the values of a dataclass's fields from JSON. A missing key, or null, stands for ``Key.absent``.

    Raises:
        InvalidValue: a value is not valid; the message names the key.
    """
    return {one.name: getattr(read, key.kind)(key.name, key.absent, **key.limits) for one, key in keys(kind)}


def write_fields(value: Any, *, always: bool) -> dict[str, Any]:
    """The JSON of an object's fields.

    With ``always``, these are the fields whose keys are always written; otherwise they are the others, without those
    whose value is what a missing key stands for.
    """
    written = {}
    for one, key in keys(type(value)):
        if key.always is always:
            held = getattr(value, one.name)
            if always or held != key.absent:
                written[key.name] = _plain(held)
    return written


def check_fields(value: Any) -> None:
    """Checks the fields of an object that Python code has made, by the same rules as for JSON.

    Raises:
        InvalidValue: a value is not valid; the message names the key.
    """
    for one, key in keys(type(value)):
        held = getattr(value, one.name)
        if held != key.absent:
            getattr(FieldReader({key.name: _plain(held)}), key.kind)(key.name, key.absent, **key.limits)


def from_texts(kind: type, texts: Mapping[str, str], others: Sequence[str] = ()) -> dict[str, Any]:
    """Parses the values of fields from texts by lower-case key, as in a URL. The result is by field name.

    ``others`` are valid keys that are not fields; they are only suggested if a key is unknown.

    Raises:
        InvalidValue: there is no such key, or its value is not valid.
    """
    known = {key.name.lower(): (one, key) for one, key in keys(kind) if key.kind in _FROM_TEXT}
    made = {}
    for name, text in texts.items():
        if name not in known:
            from cachewarmer.likeness import did_you_mean

            raise InvalidValue(
                f"unknown key {name!r} (known: {', '.join(known)})", advice=did_you_mean(name, [*known, *others])
            )
        one, key = known[name]
        try:
            value = _FROM_TEXT[key.kind](text)
        except ValueError:
            raise InvalidValue(f"{name} can't be {text!r}") from None
        made[one.name] = getattr(FieldReader({name: value}), key.kind)(name, key.absent, **key.limits)
    return made


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        raise ValueError(text)
    return int(text)


def _numbers(text: str) -> list[int]:
    return [_number(one) for one in text.split(",")]


_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {"number": _number, "ids": _numbers}
"""The kinds of fields that a URL can set, and how their texts are parsed."""
