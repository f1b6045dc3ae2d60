"""What a command is: its own arguments, the frozen options that they become, and what it does with those."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cachewarmer.cli.options.general import Output
from cachewarmer.values import dataclass


class HasOutput(Protocol):
    """Every command's options say how much is shown."""

    @property
    def output(self) -> Output: ...


Options = TypeVar("Options", bound=HasOutput)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[Options]):
    """One command of the command line. Heavy imports belong into ``run``: ``--help`` asks for all the rest."""

    name: str
    summary: str
    """One line, for the list of commands."""
    example: str
    """The line that its help ends with."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    parse: Callable[[argparse.Namespace], Options]
    """Raises ``UsageError`` for arguments that do not go together."""
    run: Callable[[Options], int]
    """Does it, and returns the exit code."""
