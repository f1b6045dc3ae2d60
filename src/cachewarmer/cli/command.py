"""What a command consists of: its arguments, the frozen options they are parsed into, and a function that runs it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cachewarmer.cli.options.general import Output
from cachewarmer.values import dataclass


class HasOutput(Protocol):
    """The options of every command include how much to show."""

    @property
    def output(self) -> Output: ...


Options = TypeVar("Options", bound=HasOutput)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[Options]):
    """One command. Heavy imports belong in ``run``, because ``--help`` needs everything else."""

    name: str
    summary: str
    """One line, for the list of commands."""
    example: str
    """The line that its help ends with."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    parse: Callable[[argparse.Namespace], Options]
    """Makes the options. Raises ``UsageError`` for arguments that can't be combined."""
    run: Callable[[Options], int]
    """Runs the command and returns its exit code."""
