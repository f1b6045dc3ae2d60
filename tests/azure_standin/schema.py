"""Holds a request's body against the published schema, as the models of the installed management package have it.

The models are generated from the REST API's specification: names, types, enumerations, what is required and what only
the service may set. Stricter than Azure itself, which ignores some of what it does not know.
"""

from __future__ import annotations

import datetime as dt
import enum
import types
import typing
from typing import Any

from azure.mgmt.compute import models
from azure.mgmt.compute.models import _models


class Mismatch(Exception):
    """A body that the schema would reject; the text says where and why."""


def conform(body: Any, model: str) -> None:
    """Raises Mismatch unless ``body`` is what the API calls ``model``."""
    _look(body, getattr(models, model), "$")


def _look(value: Any, hint: Any, where: str) -> None:
    if hint is Any:
        return
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        _look_at_union(value, typing.get_args(hint), where)
    elif origin in (list, typing.List):  # noqa: UP006
        _want(isinstance(value, list), where, f"an array, not {value!r}")
        for number, one in enumerate(value):
            _look(one, typing.get_args(hint)[0], f"{where}[{number}]")
    elif origin in (dict, typing.Dict):  # noqa: UP006
        _want(isinstance(value, dict), where, f"an object, not {value!r}")
        for key, one in value.items():
            _look(one, typing.get_args(hint)[1], f"{where}.{key}")
    elif hasattr(hint, "_attr_to_rest_field") or issubclass(hint, models._models._Model):
        _look_at_model(value, hint, where)
    elif issubclass(hint, enum.Enum):
        _want(value in [one.value for one in hint], where, f"one of {[one.value for one in hint]}, not {value!r}")
    elif hint is float:
        _want(isinstance(value, int | float) and not isinstance(value, bool), where, f"a number, not {value!r}")
    elif hint is int:
        _want(isinstance(value, int) and not isinstance(value, bool), where, f"a whole number, not {value!r}")
    elif hint in (dt.datetime, dt.timedelta, dt.date, bytes):
        _want(isinstance(value, str), where, f"a string, not {value!r}")
    else:
        _want(isinstance(value, hint), where, f"{hint.__name__}, not {value!r}")


def _look_at_union(value: Any, hints: tuple[Any, ...], where: str) -> None:
    kinds = [one for one in hints if one is not type(None)]
    # "str or an enumeration" leaves room for values to come; what is published today is what counts here.
    enums = [one for one in kinds if isinstance(one, type) and issubclass(one, enum.Enum)]
    for kind in enums or kinds:
        try:
            _look(value, kind, where)
        except Mismatch as error:
            last = error
        else:
            return
    raise last


def _look_at_model(value: Any, model: Any, where: str) -> None:
    _want(isinstance(value, dict), where, f"an object, not {value!r}")
    model({})  # fills in the table of fields
    hints = typing.get_type_hints(model, {**vars(_models), "_models": models})
    fields = {field._rest_name: (field, hints[name]) for name, field in model._attr_to_rest_field.items()}
    for name, one in value.items():
        _want(name in fields, f"{where}.{name}", "no such property")
        field, hint = fields[name]
        _want(field._visibility != ["read"], f"{where}.{name}", "no such property: only the service sets it")
        _look(one, hint, f"{where}.{name}")
    for name, (field, hint) in fields.items():
        optional = type(None) in typing.get_args(hint) or field._visibility == ["read"]
        _want(optional or name in value, f"{where}.{name}", "it, and it is missing")


def _want(true: bool, where: str, what: str) -> None:
    if not true:
        raise Mismatch(f"{where}: wants {what}" if not what.startswith("no such") else f"{where}: {what}")
