"""One table of what a dataclass has in JSON: each field says its key, its kind and its limits, once.

``keyed`` makes such a field. From it come the reading (``read_fields``), the writing (``write_fields``), the checks
however the object was made (``check_fields``), and the values that people write in a TARGET (``from_texts``).
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
    """A field's place in JSON."""

    name: str
    """In PascalCase, as it is written; it is read without regard to case."""
    kind: str
    """The method of ``FieldReader`` that reads it."""
    absent: Any
    """What it means that the key is missing; the key is left out where the field has this value."""
    always: bool
    """Whether the key is written all the same: the first CacheWarmer has it."""
    limits: Mapping[str, Any]
    """Arguments of the method."""


_SAME: Any = object()
_keys: dict[type, Sequence[tuple[Field[Any], Key]]] = {}
"""The results of ``keys``, which is called for every ``Access`` that is made."""


def keyed(name: str, kind: str, default: Any, *, absent: Any = _SAME, always: bool = False, **limits: Any) -> Any:
    """A dataclass field with a JSON key; ``absent`` is given where a missing key means something else than the default."""
    key = Key(name, kind, default if absent is _SAME else absent, always, limits)
    return field(default=default, metadata={_KEY: key})


def keys(kind: type) -> Sequence[tuple[Field[Any], Key]]:
    """The fields of a dataclass that have a key."""
    found = _keys.get(kind)
    if found is None:
        found = _keys[kind] = [(one, one.metadata[_KEY]) for one in fields(kind) if _KEY in one.metadata]
    return found


def read_fields(kind: type, read: FieldReader) -> dict[str, Any]:
    """The values of a dataclass's fields from JSON; a missing key, or null, gives what ``absent`` says.

    Raises:
        InvalidValue: says which key is wrong.
    """
    return {one.name: getattr(read, key.kind)(key.name, key.absent, **key.limits) for one, key in keys(kind)}


def write_fields(value: Any, *, always: bool) -> dict[str, Any]:
    """The JSON of an object's fields: those with ``always``, or of the others what a missing key does not say."""
    written = {}
    for one, key in keys(type(value)):
        if key.always is always:
            held = getattr(value, one.name)
            if always or held != key.absent:
                written[key.name] = _plain(held)
    return written


def check_fields(value: Any) -> None:
    """Checks what Python code has put into an object by the rules that hold for JSON.

    Raises:
        InvalidValue: says which key is wrong.
    """
    for one, key in keys(type(value)):
        held = getattr(value, one.name)
        if held != key.absent:
            getattr(FieldReader({key.name: _plain(held)}), key.kind)(key.name, key.absent, **key.limits)


def from_texts(kind: type, texts: Mapping[str, str], others: Sequence[str] = ()) -> dict[str, Any]:
    """The values of fields from their keys in lower case and the text of each, as a URL has them.

    ``others``: keys beside them that are not fields, for advice.

    Raises:
        InvalidValue: there is no such key, or its value is wrong.
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
"""The kinds that may stand in a URL."""
