"""The choices of a program as arguments of functions, with the names and the checks of the options of the commands."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Literal, TypedDict

from cachewarmer.choice.values import Reading, Selection
from cachewarmer.errors import UsageError
from cachewarmer.model import Transport
from cachewarmer.planning.filelist import Entry
from cachewarmer.target import parse_size, parse_span, parse_time

Place = str | os.PathLike[str]
"""A TARGET as the commands take it, or a path of this machine."""
Entries = Iterable[Entry] | AsyncIterable[Entry]
TransportName = Literal["auto", "nfs", "mount", "local"]

MOST_WINDOW = 65536
MOST_COUNT = 1 << 20


READING_ARGUMENTS = frozenset({"window", "max_window", "gentle", "connections", "patience"})
"""The arguments of ``Choosing`` that do not select files, but say how to read."""


class Choosing(TypedDict, total=False):
    """Which files, and how they are read: the arguments that ``warm``, ``scan`` and ``verify`` share."""

    include: Iterable[str]
    """Patterns of files; none: all."""
    exclude: Iterable[str]
    """Patterns of files and directories to leave out."""
    filter_from: Place | Iterable[Place]
    """Files with rules, one a line."""
    max_file_size: int | str
    """Bytes, or text such as ``"2GiB"``; larger files are left out; 0: none is."""
    min_file_size: int | str
    newer_than: float | str | datetime
    """Unix seconds, a datetime (local time unless it has a zone), or text such as ``"3d"``."""
    include_snapshots: bool
    follow_links: bool
    one_file_system: bool
    hardlink_dedup: bool
    """Whether a file with several names is read once; default: True."""
    files_from: Entries | None
    """Paths below the target instead of all that is there; ``(path, start, length)`` is a range of a file's bytes."""
    frames: Iterable[str]
    """Sequences of frames, such as ``"plates/plate.####.exr 1001-1240"``, instead of all that is there."""
    usd: Place | Iterable[Place]
    """Scenes of USD, whose files are meant instead of all that is there; as this machine sees them."""
    map: Mapping[str, str] | Iterable[str]
    """What the beginnings of the paths of a list become: ``{"P:\\\\": "/projects"}``, or ``"FROM=TO"``."""
    head: int | str
    """How many bytes at the beginning of each file are read; 0: all of it."""
    tail: int | str
    """How many bytes at the end of each file are read, in addition to ``head``; 0: all of it."""
    transport: TransportName | Transport
    uid: int | None
    """The user that NFS calls name, where the target names none; None: who runs the program."""
    gid: int | None
    window: int | Literal["auto"] | None
    """Calls in flight for one address; None: what the settings say."""
    max_window: int | None
    """The maximum that may be found."""
    gentle: bool
    """Leave half of what is found to others."""
    connections: int | None
    """TCP connections for one address."""
    patience: float | str | None
    """Seconds, or text such as ``"15m"``, that addresses may be away before the job fails; 0: forever."""


@contextmanager
def in_words_of_functions() -> Iterator[None]:
    """Errors that speak of options speak of arguments instead: ``--in-order`` is ``in_order``."""
    try:
        yield
    except UsageError as error:
        for part in ("problem", "doing", "advice"):
            setattr(error, part, _renamed(getattr(error, part)))
        raise


def _renamed(text: str) -> str:
    return re.sub(r"(?<![\w-])--(?=[a-z])([a-z-]+)", lambda found: found[1].replace("-", "_"), text)


def check_known(function: str, choosing: Choosing) -> None:
    """Raises ``TypeError`` for an argument that there is none of, as Python does."""
    for name in choosing:
        if name not in Choosing.__annotations__:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def selected(choosing: Choosing, **others: object) -> Selection:
    """Which files are meant; ``others`` are further fields, as they are.

    Raises:
        UsageError: an argument is invalid.
    """
    size = size_of
    listed = choosing.get("files_from") is not None
    made = Selection(
        include=texts(choosing.get("include", ())),
        exclude=texts(choosing.get("exclude", ())),
        filter_from=_places(choosing.get("filter_from", ())),
        max_file_bytes=size("max_file_size", choosing.get("max_file_size", 0)),
        min_file_bytes=size("min_file_size", choosing.get("min_file_size", 0)),
        newer_than=_unix_seconds(choosing.get("newer_than", 0.0)),
        snapshots=bool(choosing.get("include_snapshots", False)),
        follow_links=bool(choosing.get("follow_links", False)),
        one_file_system=bool(choosing.get("one_file_system", False)),
        hardlink_dedup=bool(choosing.get("hardlink_dedup", True)),
        files_from="" if listed else None,
        frames=texts(choosing.get("frames", ())),
        usd=_places(choosing.get("usd", ())),
        maps=_maps(choosing.get("map", ())),
        head_bytes=size("head", choosing.get("head", 0)),
        tail_bytes=size("tail", choosing.get("tail", 0)),
        transport=_transport(choosing.get("transport", "auto")),
        uid=choosing.get("uid"),
        gid=choosing.get("gid"),
    )
    return replace(made, **others)  # type: ignore[arg-type]  # fields of its own


def reading_of(choosing: Choosing) -> Reading:
    """How hard one address is read from.

    Raises:
        UsageError: an argument is invalid.
    """
    window, patience = choosing.get("window"), choosing.get("patience")
    if isinstance(window, str):
        if window != "auto":
            raise UsageError(f'window must be "auto" or between 1 and {MOST_WINDOW}, not {window!r}')
        window = 0
    elif window is not None and not 1 <= window <= MOST_WINDOW:
        raise UsageError(f'window must be "auto" or between 1 and {MOST_WINDOW}, not {window!r}')
    if isinstance(patience, str):
        patience = parse_span(patience)
    elif patience is not None and not 0 <= patience < 1e9:
        raise UsageError(f"patience must be a number of seconds, not {patience}")
    made = Reading(
        window=window,
        max_window=_count("max_window", choosing.get("max_window")),
        gentle=bool(choosing.get("gentle", False)),
        connections=_count("connections", choosing.get("connections")),
        patience=patience,
    )
    made.check()
    return made


def texts(values: Iterable[str]) -> tuple[str, ...]:
    """The texts; one that stands alone is meant as a whole."""
    return (values,) if isinstance(values, str) else tuple(values)


def size_of(name: str, value: int | str, parse: Callable[[str], int] = parse_size) -> int:
    """A number, or text that ``parse`` understands.

    Raises:
        UsageError: it is neither, or less than nothing.
    """
    number = parse(value) if isinstance(value, str) else value
    if number < 0:
        raise UsageError(f"{name} must not be negative, but is {number}")
    return number


def _places(values: Place | Iterable[Place]) -> tuple[str, ...]:
    if isinstance(values, str | os.PathLike):
        return (os.fspath(values),)
    return tuple(os.fspath(one) for one in values)


def _maps(values: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, Mapping):
        return tuple(f"{old}={new}" for old, new in values.items())
    return texts(values)


def _transport(value: TransportName | Transport) -> str:
    try:
        return Transport(value)
    except ValueError:
        raise UsageError(f"transport must be one of {', '.join(Transport)}, not {value!r}") from None


def _count(name: str, value: int | None) -> int | None:
    if value is not None and not 1 <= value < MOST_COUNT:
        raise UsageError(f"{name} must be between 1 and {MOST_COUNT - 1}, not {value}")
    return value


def _unix_seconds(value: float | str | datetime) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return parse_time(value, time.time()) if isinstance(value, str) else value
