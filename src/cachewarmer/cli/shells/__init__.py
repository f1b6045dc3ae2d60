"""Shell completion, generated from the parsers of the commands: what can be completed, and a script for each shell."""

from __future__ import annotations

from collections.abc import Callable

from cachewarmer.cli.shells import bash, fish, zsh
from cachewarmer.cli.shells.grammar import Words, words_of

SCRIPTS: dict[str, Callable[[list[Words]], str]] = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
"""For each shell, the function that makes its script from the words of all commands."""

__all__ = ["SCRIPTS", "Words", "words_of"]
