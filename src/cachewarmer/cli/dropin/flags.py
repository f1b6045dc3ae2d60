"""Parses command lines as Go's ``flag`` package does: one dash or two, and the value after a space or ``=``.

Parsing stops at ``--`` and at the first argument that is not a flag; what follows is left alone. A switch takes a value
only after ``=``. Numbers are Go integer literals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.values import dataclass

TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
"""What Go's ``strconv.ParseBool`` accepts as true and as false."""
_INTEGER = re.compile(
    r"([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[oO]?((?:_?[0-7])+)|0[bB]((?:_?[01])+)|(0|[1-9](?:_?[0-9])*))", re.ASCII
)
_BASES = (16, 8, 2, 10)
_MOST = (1 << 63) - 1


class MissingFlag(CacheWarmerError):
    """A required flag is missing. Exit code 1, as in the first CacheWarmer."""


class HelpWanted(Exception):  # noqa: N818  # not an error: -h was given
    """``-h`` or ``-help`` was given: the usage should be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag of a command."""

    name: str
    text: str
    """The description in the help."""
    default: str = ""
    switch: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSet:
    """The flags of one command."""

    program: str
    summary: str
    example: str
    flags: tuple[Flag, ...]

    def parse(self, arguments: Sequence[str]) -> Values:
        """Parses the flags.

        Raises:
            HelpWanted: ``-h`` or ``-help`` was given.
            UsageError: a flag is not known, has no value, or a switch's value is neither true nor false.
            MissingFlag: a required flag is missing or empty.
        """
        known = {flag.name: flag for flag in self.flags}
        values: dict[str, str] = {}
        left = list(arguments)
        while left and len(left[0]) > 1 and left[0].startswith("-"):
            argument = left.pop(0)
            if argument == "--":
                break
            name, value = self._flag(argument, known, left)
            values[name] = value
        missing = [flag.name for flag in self.flags if flag.required and not values.get(flag.name)]
        if missing:
            raise MissingFlag(f"-{missing[0]} is required (-h lists the flags)")
        return Values(values, tuple(left))

    def _flag(self, argument: str, known: Mapping[str, Flag], left: list[str]) -> tuple[str, str]:
        """The name and value of one flag. The value is taken from ``left`` if it is a separate argument."""
        name, equals, value = argument.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {argument}")
        flag = known.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpWanted
            raise UsageError(f"flag provided but not defined: -{name}{_nearest(name, known)} (-h lists the flags)")
        if flag.switch:
            return name, _boolean(name, value) if equals else "true"
        if equals:
            return name, value
        if not left:
            raise UsageError(f"flag needs an argument: -{name}")
        return name, left.pop(0)

    def usage(self) -> str:
        """The help: every flag with its description and default."""
        lines = [f"usage: {self.program} [flags]", "", self.summary, "", "flags:"]
        for flag in self.flags:
            kind = "" if flag.switch else " VALUE"
            notes = [
                note
                for note in ("required" if flag.required else "", f"default: {flag.default}" if flag.default else "")
                if note
            ]
            lines += [f"  -{flag.name}{kind}", f"        {flag.text}" + (f" ({', '.join(notes)})" if notes else "")]
        lines += ["", "example:", f"  {self.example}"]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Values:
    """The values of the flags."""

    given: Mapping[str, str]
    rest: tuple[str, ...] = ()
    """Arguments after the flags, which are ignored."""

    def text(self, name: str) -> str:
        """The value of a flag; empty if it was not given."""
        return self.given.get(name, "")

    def switch(self, name: str) -> bool:
        """Whether a switch is on; False if it was not given."""
        return self.given.get(name) == "true"

    def csv(self, name: str) -> tuple[str, ...]:
        """The parts of a comma-separated list, without empty parts and surrounding spaces."""
        return tuple(part.strip() for part in self.text(name).split(",") if part.strip())

    def number(self, name: str, default: int = 0) -> int:
        """The value of a flag that takes a Go integer literal; ``default`` if it is not given or empty.

        Raises:
            UsageError: it is not an integer literal, or does not fit into 64 bits.
        """
        text = self.text(name)
        return integer(name, text) if text else default


def integer(name: str, text: str) -> int:
    """Parses a number as Go's ``flag.Int64`` does: ``100``, ``-1``, ``0x100``, ``0o17``, ``017``, ``0b11``, ``1_000``.

    Raises:
        UsageError: it is not an integer literal, or does not fit into 64 bits.
    """
    found = _INTEGER.fullmatch(text) if len(text) < 100 else None
    if not found:
        raise UsageError(f"invalid value {text[:100]!r} for flag -{name}: not a whole number")
    digits, base = next((part, base) for part, base in zip(found.groups()[1:], _BASES, strict=True) if part)
    value = int(digits.replace("_", ""), base) * (-1 if found[1] == "-" else 1)
    if not -_MOST - 1 <= value <= _MOST:
        raise UsageError(f"invalid value {text!r} for flag -{name}: it does not fit into 64 bits")
    return value


def _boolean(name: str, text: str) -> str:
    if text not in TRUE | FALSE:
        raise UsageError(f"invalid boolean value {text!r} for -{name}: use true or false")
    return "true" if text in TRUE else "false"


def _nearest(name: str, known: Mapping[str, Flag]) -> str:
    from cachewarmer.cli.arguments import did_you_mean

    return did_you_mean(f"-{name}", [f"-{one}" for one in known])
