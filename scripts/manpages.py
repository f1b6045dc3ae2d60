"""Writes the manual page cachewarmer.1 and the completion for bash from the commands and their options.

usage: python -m scripts.manpages DIRECTORY      the completion goes to DIRECTORY/bash
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cachewarmer import __version__
from cachewarmer.cli.command import Command
from cachewarmer.cli.commands import EXIT_CODES, NAMES, command

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


def parser_of(command: Command[object]) -> argparse.ArgumentParser:
    """The command's own parser."""
    parser = argparse.ArgumentParser(prog=f"cachewarmer {command.name}", add_help=False)
    command.add_arguments(parser)
    return parser


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What its help would list."""
    return [one for one in parser._actions if one.help != argparse.SUPPRESS]


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


def completion() -> str:
    """The completion for bash: commands, and the options of each."""
    cases = []
    for name in NAMES:
        names = [text for one in arguments_of(parser_of(command(name))) for text in one.option_strings]
        cases.append(f"    {name}) words='{' '.join(['--help', *names])}' ;;")
    return "\n".join(
        [
            "_cachewarmer() {",
            '  local word=${COMP_WORDS[COMP_CWORD]} words=""',
            "  case ${COMP_WORDS[1]-} in",
            *cases,
            "  esac",
            f'  [ "$COMP_CWORD" -gt 1 ] || words="--help --version {" ".join(NAMES)}"',
            '  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")',
            "}",
            "complete -o default -F _cachewarmer cachewarmer",
            "",
        ]
    )


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "cachewarmer.1").write_text("\n".join(page()) + "\n", "utf-8")
    (place / "bash" / "cachewarmer").write_text(completion(), "utf-8")
