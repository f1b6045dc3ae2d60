"""The project's own ``dataclass`` against the standard one: whatever is asked of an object, both answer the same."""

import copy
import dataclasses
import pickle
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from cachewarmer import values

made_now: Callable[..., Any] = dataclasses.dataclass
made_later: Callable[..., Any] = values.dataclass
KINDS = [
    {},
    {"eq": False},
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True},
    {"slots": True},
    {"slots": True, "eq": False},
    {"slots": True, "repr": False},
]


def classes(decorate: Callable[..., Any], options: dict[str, bool]) -> tuple[Any, Any]:
    """A class and one that inherits from it."""

    @decorate(**options)
    class Base:
        """A base."""

        number: int
        name: str = dataclasses.field(default="a", repr=False)
        made: list[int] = dataclasses.field(default_factory=list, compare=False)
        fixed: int = dataclasses.field(default=7, init=False)
        filled: tuple[int, ...] = dataclasses.field(default_factory=tuple, init=False)

        @property
        def twice(self) -> int:
            return self.number * 2

    @decorate(**options)
    class Below(Base):
        """What inherits."""

        last: bool = dataclasses.field(default=False, kw_only=True)

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError("negative")

    return Base, Below


def outcome(do: Callable[[], object]) -> object:
    """What comes of it, an error with its words."""
    try:
        return do()
    except Exception as error:
        return type(error), str(error)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, "b", [2]), {}),
    ((1, "b", [2], 7), {}),
    ((), {"number": 1}),
    ((), {"number": 2, "name": "b", "made": [1]}),
    ((), {"number": -1}),
    ((), {"number": 1, "last": True}),
    ((), {"number": 1, "fixed": 2}),
    ((), {"number": 1, "unknown": 2}),
]


@pytest.mark.parametrize("plain", [0, values.PLAIN_OBJECTS])
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_objects_are_made_shown_and_compared_as_by_the_standard_one(
    options: dict[str, bool], plain: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "PLAIN_OBJECTS", plain)
    for standard, ours in zip(classes(made_now, options), classes(made_later, options), strict=True):
        for args, named in CALLS:
            assert outcome(lambda: made(standard, args, named)) == outcome(lambda: made(ours, args, named))  # noqa: B023
        one, same, other = ours(number=1), ours(number=1, made=[3]), ours(number=2)
        theirs = standard(number=1), standard(number=1, made=[3]), standard(number=2)
        assert (one == same, one == other, one == 1) == (theirs[0] == theirs[1], theirs[0] == theirs[2], False)
        assert outcome(lambda: hash(one) == hash(same)) == outcome(lambda: hash(theirs[0]) == hash(theirs[1]))  # noqa: B023
        assert one.made is not same.made
        assert dataclasses.asdict(one) == dataclasses.asdict(theirs[0])
        assert [field.name for field in dataclasses.fields(one)] == [
            field.name for field in dataclasses.fields(theirs[0])
        ]
        assert ours.__match_args__ == standard.__match_args__
        assert hasattr(one, "__dict__") == hasattr(theirs[0], "__dict__")
        assert dataclasses.replace(one, number=5).twice == 10
        assert outcome(lambda: dataclasses.replace(one, fixed=5)) == outcome(  # noqa: B023
            lambda: dataclasses.replace(theirs[0], fixed=5)  # noqa: B023
        )


def made(kind: Any, args: tuple[Any, ...], named: dict[str, Any]) -> object:
    """What is seen of an object."""
    one = kind(*args, **named)
    return repr(one) if type(one).__repr__ is not object.__repr__ else "", dataclasses.astuple(one)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_what_is_frozen_can_not_be_changed(options: dict[str, bool]) -> None:
    for standard, ours in zip(classes(made_now, options), classes(made_later, options), strict=True):
        one, theirs = ours(number=1), standard(number=1)
        assert outcome(lambda: setattr(one, "number", 2)) == outcome(lambda: setattr(theirs, "number", 2))  # noqa: B023
        assert outcome(lambda: delattr(one, "name")) == outcome(lambda: delattr(theirs, "name"))  # noqa: B023
        assert one.number == theirs.number


@values.dataclass(frozen=True, slots=True)
class Sent:
    """An object that is sent to another process."""

    number: int
    parts: tuple[str, ...] = ()


@values.dataclass
class Kept:
    """One with methods of its own."""

    number: int

    def __repr__(self) -> str:
        return "kept"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept)

    def __hash__(self) -> int:
        return 3


def test_copies_and_pickles_are_equal() -> None:
    one = Sent(1, ("a",))
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert again is not one


def test_methods_of_the_class_are_kept() -> None:
    assert repr(Kept(1)) == "kept"
    assert Kept(1) == Kept(2)
    assert hash(Kept(1)) == 3


def test_a_class_of_many_objects_gets_a_compiled_init() -> None:
    _, ours = classes(made_later, {"frozen": True, "slots": True})
    before = [ours(number) for number in range(values.PLAIN_OBJECTS)]
    assert ours.__init__.__code__.co_varnames[0] == "self"
    assert ours.__init__.__code__.co_flags & 4
    after = [ours(number) for number in range(values.PLAIN_OBJECTS)]
    assert not ours.__init__.__code__.co_flags & 4
    assert before == after


def marked(decorate: Callable[..., Any]) -> Any:
    """A class with a class variable, annotated as modules do that have their annotations as text."""

    @decorate(slots=True)
    class Marked:
        """A class."""

        number: "int"
        parts: "tuple[str, ...]" = ()
        most: "ClassVar[int]" = 5
        real: ClassVar[int] = 6

    return Marked


def test_fields_know_their_types_and_class_variables_are_no_fields() -> None:
    """Settings and rows are read by them."""
    standard, ours = marked(made_now), marked(made_later)
    types = {one.name: one.type for one in dataclasses.fields(ours)}
    assert types == {one.name: one.type for one in dataclasses.fields(standard)}
    assert types == {"number": "int", "parts": "tuple[str, ...]"}
    assert ours.__annotations__ == standard.__annotations__
    assert (ours.most, ours.real) == (5, 6)


def test_nothing_is_compiled_before_an_object_is_made() -> None:
    code = "from cachewarmer import config; import sys; sys.exit(config.VmssSettings.__init__.__code__.co_flags & 4)"
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 4  # *args: not yet compiled
