"""The parser of the command line. Errors are one line, and suggest the option or command that was probably meant."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

from cachewarmer.errors import UsageError

if TYPE_CHECKING:
    from cachewarmer.model import Bandwidth

MOST_ID = (1 << 32) - 1
ASPECTS = ("data", "attributes", "access")
"""What can be verified about files."""


class HelpFormat(argparse.RawDescriptionHelpFormatter):
    """Formats help so that lines don't break within the name of an option."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        import textwrap

        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Raises ``UsageError`` where ``argparse`` would print the whole usage and exit. Options can't be abbreviated."""

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=HelpFormat,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help="show this help and exit")

    def finish(self) -> None:
        """Call this when all arguments are registered. It makes the usage line, without the options, which are listed
        below it anyway.
        """
        # Because -0 is an option, argparse would take -1 for one too, and say that a value is missing.
        self._has_negative_number_optionals.clear()
        operands = [_operand(action) for action in self._actions if not action.option_strings]
        self.usage = " ".join([self.prog, "[OPTION...]", *operands])

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    @property
    def options(self) -> list[str]:
        """All names of the options of this command."""
        return [text for action in self._actions for text in action.option_strings]

    def refuse(self, unknown: str) -> NoReturn:
        """Raises ``UsageError`` for an argument that this command doesn't have."""
        name = unknown.partition("=")[0]
        if not name.startswith("-"):
            self.error(f"unexpected argument {unknown!r}")
        if name in self.options:
            self.error(f"option {name} must come after the command")
        self.error(f"unknown option {name}{did_you_mean(name, self.options)}")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """Does the same as in ``argparse``, but with our own message."""
        if action.choices is not None and value not in action.choices:
            known = [str(one) for one in action.choices]
            text = f"{value!r} is not one of {', '.join(known)}{did_you_mean(str(value), known)}"
            raise argparse.ArgumentError(action, text)


def _operand(action: argparse.Action) -> str:
    """How the usage shows an argument that isn't an option."""
    name = str(action.metavar or action.dest.upper())
    return {"*": f"[{name}...]", "+": f"{name}...", "?": f"[{name}]"}.get(str(action.nargs), name)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, or empty if no known word is similar."""
    from cachewarmer import likeness

    meant = likeness.did_you_mean(text, known)
    return f"; {meant}" if meant else ""


# -- types of values -----------------------------------------------------------------------------------------------


def size(text: str) -> int:
    """Parses a size to bytes.

    Like all functions below, this raises ``argparse.ArgumentTypeError`` if the text is not valid.
    """
    from cachewarmer.target import parse_size

    try:
        return parse_size(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def part_size(text: str) -> int:
    """The size of a part of a file, in bytes; at least one."""
    parsed = size(text)
    if not parsed:
        raise argparse.ArgumentTypeError("it must be at least one byte")
    return parsed


def rate(text: str) -> int:
    """A rate in bytes per second."""
    from cachewarmer.target import parse_rate

    try:
        return parse_rate(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def bandwidth(text: str) -> Bandwidth:
    """A rate, or rates by the time of day."""
    from cachewarmer.target import parse_bandwidth

    try:
        return parse_bandwidth(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def moment(text: str) -> float:
    """The earliest modification time that a file may have, in Unix seconds; in the past."""
    return _past(text, "no file is newer than that")


def past(text: str) -> float:
    """A time in the past, in Unix seconds."""
    return _past(text, "give a time that is over")


def _past(text: str, advice: str) -> float:
    from cachewarmer.target import parse_time

    now = time.time()
    try:
        parsed = parse_time(text, now)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if parsed > now:
        raise argparse.ArgumentTypeError(f"{text!r} is in the future: {advice}")
    return parsed


def positive(text: str) -> int:
    """A count of at least one."""
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and 0 < int(text) < 1 << 20):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def file_count(text: str) -> int:
    """A number of files."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 15 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of files between 1 and 999999999999999")
    return int(text)


def window(text: str) -> int:
    """A number of calls; 0 for ``auto``."""
    return 0 if text == "auto" else positive(text)


def processes(text: str) -> int:
    """A number of reader processes."""
    if not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"must be between 1 and 64, not {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def span(text: str) -> float:
    """A length of time, in seconds: a number of them, or a number with a unit."""
    from cachewarmer.target import parse_span

    try:
        return parse_span(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def interval(text: str) -> float:
    """A length of time of at least a second; 0: never."""
    found = span(text)
    if 0 < found < 1:
        raise argparse.ArgumentTypeError("must be at least 1 second, or 0 for never")
    return found


def share(text: str) -> float:
    """A fraction from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction between 0 and 1")
    return value


def half_width(text: str) -> float:
    """Half the width of a confidence interval."""
    value = share(text)
    if not 0.005 <= value <= 0.3:
        raise argparse.ArgumentTypeError(f"must be between 0.005 and 0.3, not {text!r}")
    return value


def seed(text: str) -> int:
    """A whole number that is not negative."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at most 18 digits")
    return int(text)


def aspects(text: str) -> tuple[str, ...]:
    """What to verify about files, separated by commas; see ``ASPECTS``."""
    chosen = tuple(dict.fromkeys(text.split(",")))
    if not chosen or not set(chosen) <= set(ASPECTS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of data, attributes and access")
    return chosen


def identity(text: str) -> tuple[int, int, tuple[int, ...]]:
    """A user id, a group id and supplementary groups. The default for the group id is the user id."""
    user, colon, groups = text.partition(":")
    uid = user_id(user)
    ids = [user_id(one) for one in groups.split(",")] if colon else [uid]
    if len(ids) > 17:
        raise argparse.ArgumentTypeError("AUTH_SYS takes one group and at most 16 more")
    return uid, ids[0], tuple(ids[1:])


def identity_text(text: str) -> str:
    """The text of a valid ``identity``, as it was written."""
    identity(text)
    return text


def words(text: str) -> tuple[str, ...]:
    """Words separated by commas, without duplicates."""
    found = tuple(dict.fromkeys(one.strip() for one in text.split(",")))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty part")
    return found


def user_id(text: str) -> int:
    """A numeric user or group id."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MOST_ID):
        raise argparse.ArgumentTypeError(f"{text!r} is not a numeric id")
    return int(text)
