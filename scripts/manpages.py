"""Writes the manual page cachewarmer.1 and the completion for each shell from the commands and their options.

usage: python -m scripts.manpages DIRECTORY      the completion goes to DIRECTORY/bash, zsh and fish
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from cachewarmer import __version__
from cachewarmer.cli.command import Command
from cachewarmer.cli.commands import EXIT_CODES, NAMES, command
from cachewarmer.cli.shells import SCRIPTS, words_of
from cachewarmer.cli.shells.grammar import arguments_of, parser_of

FILES = {"bash": "cachewarmer", "zsh": "_cachewarmer", "fish": "cachewarmer.fish"}
"""What each shell calls the file that it looks for."""
INTRODUCTION = (
    "fills a read-through NFS cache before a compute farm needs it: it scans a tree through the addresses of the cache and "
    "reads every byte once. It runs as one command on one machine, or as a manager with a fleet of workers."
)
OLD_COMMANDS = (
    "cachewarmer-manager, cachewarmer-worker and cachewarmer-jobsubmitter are the same program, and take the flags of the "
    "first CacheWarmer. Call them with -h for a list."
)


def escaped(text: str) -> str:
    """Text as roff takes it: no line is a request, no dash a hyphen."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.splitlines())


def section(command: Command[object]) -> Iterator[str]:
    """The lines about one command."""
    known = arguments_of(parser_of(command))
    operands = " ".join(str(one.metavar or one.dest.upper()) for one in known if not one.option_strings)
    yield f".SS cachewarmer {command.name} {escaped(operands)}".rstrip()
    yield f"{escaped(command.summary)}."
    for one in known:
        names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in one.option_strings)
        value = "" if one.nargs == 0 else str(one.metavar or "|".join(one.choices or ()) or one.dest.upper())
        yield ".TP"
        yield " ".join(part for part in (names, f"\\fI{escaped(value)}\\fR" if value else "") if part)
        yield escaped(" ".join((one.help or "").replace("%%", "%").split())) or "\\&"
    yield from (".PP", "Example:", ".PP", f".RS\n{escaped(command.example)}\n.RE")


def page() -> Iterator[str]:
    """The lines of the manual page."""
    yield f'.TH CACHEWARMER 1 "" "cachewarmer {__version__}" "User Commands"'
    yield from (".SH NAME", "cachewarmer \\- warm a read\\-through NFS cache")
    yield from (".SH SYNOPSIS", ".B cachewarmer", "\\fICOMMAND\\fR [\\fIOPTION\\fR...]")
    yield from (".SH DESCRIPTION", f"cachewarmer {escaped(INTRODUCTION)}")
    yield ".SH COMMANDS"
    for name in NAMES:
        yield from section(command(name))
    yield from (".SH EXIT STATUS", escaped(EXIT_CODES.removeprefix("exit codes: ")) + ".")
    yield ".SH ENVIRONMENT"
    yield from (".TP", ".B CACHEWARMER_BROKER", "The broker where no option names one.")
    yield from (".TP", ".B CACHEWARMER_CONFIG", "A TOML file of settings.")
    yield from (".SH NOTES", escaped(OLD_COMMANDS))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "cachewarmer.1").write_text("\n".join(page()) + "\n", "utf-8")
    words = words_of(map(command, NAMES))
    for shell, name in FILES.items():
        (place / shell).mkdir(exist_ok=True)
        (place / shell / name).write_text(SCRIPTS[shell](words), "utf-8")
