"""Dataclasses that cost nothing until they are used, because a command imports many more than it uses.

``dataclasses.dataclass`` writes and compiles up to eight methods for each class, which was a sixth of what starting a
command took. Here ``__init__`` is compiled when a class has made some objects, and the other methods are shared. Type checkers
see the standard decorator; ``fields``, ``replace``, ``asdict``, ``copy`` and ``pickle`` work as with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["dataclass"]

_Wanted: TypeAlias = tuple[str, bool, Any, Any, Any]
"""Of a field: its name, whether ``__init__`` takes it, only by name, its default, and what makes its default."""
PLAIN_OBJECTS = 12
"""This many of a class are made without a compiled ``__init__``: to compile it takes as long as to make twenty."""
_MARKERS = ("ClassVar", "InitVar", "KW_ONLY")
"""Annotations that aren't the type of a field; the standard decorator must see them."""

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from dataclasses import dataclass as _dataclass

    def dataclass(
        cls: type | None = None,
        /,
        *,
        frozen: bool = False,
        slots: bool = False,
        kw_only: bool = False,
        eq: bool = True,
        repr: bool = True,  # noqa: A002 -- the standard's name
    ) -> Any:
        """What ``dataclasses.dataclass`` makes of a class, later. A method that the class has itself is kept."""

        def made(kind: type) -> type:
            _share_methods(kind, frozen=frozen, slots=slots, eq=eq, repr=repr)
            kind = _with_fields(kind, slots=slots, kw_only=kw_only)
            if "__init__" not in kind.__dict__:
                _init_later(kind, frozen=frozen)
            return kind

        return made if cls is None else made(cls)

    def _with_fields(kind: type, *, slots: bool, kw_only: bool) -> type:
        """Has the standard decorator find the fields.

        It searches each annotation that is text for the markers, by three regular expressions: half of its time.
        """
        texts = inspect.get_annotations(kind)
        kind.__annotations__ = {
            name: text if any(one in str(text) for one in _MARKERS) else object for name, text in texts.items()
        }
        kind = _dataclass(kind, init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)
        kind.__annotations__ = texts
        for name, one in kind.__dataclass_fields__.items():
            if name in texts:
                one.type = texts[name]
        return kind


def _share_methods(kind: Any, *, frozen: bool, slots: bool, eq: bool, repr: bool) -> None:  # noqa: A002
    own = kind.__dict__
    if repr and "__repr__" not in own:
        kind.__repr__ = _repr
    if eq:
        if "__eq__" not in own:
            kind.__eq__ = _eq
        if own.get("__hash__") is None:  # None beside an __eq__ of its own
            kind.__hash__ = _hash if frozen else None
    if frozen:
        kind.__setattr__, kind.__delattr__ = _refuse_set, _refuse_delete
        if slots and "__getstate__" not in own:  # what is read back would be refused, too
            kind.__getstate__, kind.__setstate__ = _state, _restore


def _init_later(kind: Any, *, frozen: bool) -> None:
    left = PLAIN_OBJECTS
    put: Callable[[object, str, Any], None] = object.__setattr__ if frozen else setattr
    after = hasattr(kind, "__post_init__")
    wanted: list[_Wanted] = []

    def __init__(self: object, *args: Any, **values: Any) -> None:  # noqa: N807
        nonlocal left
        left -= 1
        if not wanted:
            wanted.extend([(one.name, one.init, one.kw_only, one.default, one.default_factory) for one in fields(kind)])
        found = _values(wanted, args, values) if left >= 0 else None
        if found is None:
            kind.__init__ = _compiled_init(kind, frozen=frozen)
            kind.__init__(self, *args, **values)
            return
        for name, value in found:
            put(self, name, value)
        if after:
            self.__post_init__()  # type: ignore[attr-defined]

    __init__.__qualname__ = f"{kind.__qualname__}.__init__"
    kind.__init__ = __init__


def _values(wanted: list[_Wanted], args: tuple[Any, ...], given: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """The value of each field; None: the arguments are wrong, which a compiled ``__init__`` says in Python's words."""
    at, used, found = 0, 0, list[tuple[str, Any]]()
    for name, is_parameter, by_name, default, factory in wanted:
        if is_parameter and not by_name and at < len(args):
            if name in given:
                return None
            value = args[at]
            at += 1
        elif is_parameter and name in given:
            value = given[name]
            used += 1
        elif default is not MISSING:
            value = default
        elif factory is not MISSING:
            value = factory()
        elif is_parameter:
            return None
        else:
            continue
        found.append((name, value))
    return found if at == len(args) and used == len(given) else None


def _compiled_init(kind: Any, *, frozen: bool) -> Callable[..., None]:
    """The method that the standard decorator would have made."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING, "__name__": kind.__module__}
    positional, by_name, body = ["self"], list[str](), list[str]()
    for one in fields(kind):
        value = _value_of(one, names)
        if one.init:
            (by_name if one.kw_only else positional).append(_parameter(one, names))
        if value:
            body.append(f"_set(self, {one.name!r}, {value})" if frozen else f"self.{one.name} = {value}")
    if hasattr(kind, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join([*positional, *(["*", *by_name] if by_name else [])])
    exec(f"def __init__({parameters}):\n  " + "\n  ".join(body or ["pass"]), names)  # noqa: S102 -- of our own names
    made: Callable[..., None] = names["__init__"]
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    return made


def _parameter(one: Field[Any], names: dict[str, Any]) -> str:
    if one.default is not MISSING:
        names[f"_default_{one.name}"] = one.default
        return f"{one.name}=_default_{one.name}"
    return one.name if one.default_factory is MISSING else f"{one.name}=_missing"


def _value_of(one: Field[Any], names: dict[str, Any]) -> str:
    """What is written to the field, as an expression; empty: nothing."""
    if one.default_factory is not MISSING:
        names[f"_make_{one.name}"] = one.default_factory
        return f"_make_{one.name}() if {one.name} is _missing else {one.name}" if one.init else f"_make_{one.name}()"
    if one.init:
        return one.name
    if one.default is not MISSING:
        names[f"_default_{one.name}"] = one.default
        return f"_default_{one.name}"
    return ""


# -- the methods that all of them share ------------------------------------------------------------------------------


def _compared(value: Any) -> tuple[Any, ...]:
    return tuple([getattr(value, one.name) for one in fields(value) if one.compare])


def _eq(self: Any, other: object) -> Any:
    return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_compared(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_set(_self: object, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(_self: object, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)
