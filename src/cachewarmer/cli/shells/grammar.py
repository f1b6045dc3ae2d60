"""What can follow ``cachewarmer`` on a command line, read from the parsers of its commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from cachewarmer.cli.arguments import ASPECTS
from cachewarmer.cli.command import Command
from cachewarmer.values import dataclass

BRIEF = 70
"""Maximum number of characters in a description."""
SHORT = 12
"""A text before a colon that is not longer than this only says when the rest applies, as in ``vmss: NFS server …``."""
PROGRAM_OPTIONS = (("-h", "--help", "show this help and exit"), ("", "--version", "show the version and exit"))
"""Options that need no command: short name, long name, and what they do."""


class Kind(StrEnum):
    """What completes a value."""

    TEXT = "text"
    """Nothing: only the user can know the value."""
    CHOICE = "choice"
    FILE = "file"
    PROGRAM = "program"
    JOB = "job"


KINDS = {"FILE": Kind.FILE, "TARGET": Kind.FILE, "JOB": Kind.JOB, "COMMAND": Kind.PROGRAM}
"""How to complete a value, by its name in the help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The value of an option, or an operand."""

    label: str
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    optional: bool = False
    repeated: bool = False
    """An operand that may be given several times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a command."""

    names: tuple[str, ...]
    brief: str
    value: Value | None = None
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What can follow the name of a command."""

    name: str
    summary: str
    options: tuple[Option, ...]
    operands: tuple[Value, ...]


def parser_of(command: Command[Any]) -> argparse.ArgumentParser:
    """A parser with the command's own arguments, without the help option that every command has."""
    parser = argparse.ArgumentParser(prog=f"cachewarmer {command.name}", add_help=False)
    command.add_arguments(parser)
    return parser


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments that the help of a parser lists."""
    return [one for one in parser._actions if one.help != argparse.SUPPRESS]  # noqa: SLF001  # argparse offers no other way


def words_of(commands: Iterable[Command[Any]]) -> list[Words]:
    """What can follow the name of each of the commands."""
    return [_words(command) for command in commands]


def _words(command: Command[Any]) -> Words:
    known = arguments_of(parser_of(command))
    options = [
        Option(
            names=tuple(one.option_strings),
            brief=brief(one.help or ""),
            value=None if one.nargs == 0 else _value(one),
            repeated=isinstance(one, argparse._AppendAction),  # noqa: SLF001
        )
        for one in known
        if one.option_strings
    ]
    return Words(
        name=command.name,
        summary=command.summary,
        options=(Option(names=("-h", "--help"), brief="show this help and exit"), *options),
        operands=tuple(_value(one) for one in known if not one.option_strings),
    )


def _value(action: argparse.Action) -> Value:
    label = str(action.metavar or action.dest.upper())
    choices = tuple(map(str, action.choices)) if action.choices is not None else _choices(label, action)
    return Value(
        label=label,
        kind=Kind.CHOICE if choices else KINDS.get(label, Kind.TEXT),
        choices=choices,
        optional=action.nargs == "?",
        repeated=action.nargs in ("*", "+"),
    )


def _choices(label: str, action: argparse.Action) -> tuple[str, ...]:
    """The words to suggest for a value whose parser has no choices; empty if there are none."""
    if label == "STATE":
        from cachewarmer.model import JobState

        return tuple(map(str, JobState))
    if "--what" in action.option_strings:
        return ASPECTS
    return tuple(word for word in label.split("|") if word.islower())


def brief(text: str) -> str:
    """The first clause of an option's help, short enough to be shown next to a candidate."""
    text = " ".join(text.replace("%%", "%").split())
    for end in ("; ", " (default", " (may be", ": "):
        head = text.partition(end)[0]
        if len(head) > SHORT and not head.startswith("with "):
            text = head
    if len(text) > BRIEF:
        text = text[: BRIEF - 3].rpartition(" ")[0].rstrip(",") + "..."
    return text
