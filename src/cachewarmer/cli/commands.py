"""The command ``cachewarmer``. Each of its commands is a module of this package, and is listed here by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from cachewarmer import __version__
from cachewarmer.cli.arguments import Parser, did_you_mean
from cachewarmer.cli.command import Command
from cachewarmer.cli.failures import guarded
from cachewarmer.errors import UsageError

NAMES = (
    "warm",
    "watch",
    "scan",
    "verify",
    "doctor",
    "plan",
    "submit",
    "status",
    "cancel",
    "pause",
    "resume",
    "limit",
    "export",
    "manager",
    "worker",
    "completion",
)
"""The commands in the order of ``--help``. Each is ``COMMAND`` in the module of that name."""

EXIT_CODES = (
    "exit codes: 0 warm, 1 error, 2 usage, 3 finished with files that could not be warmed, 4 cancelled, 130 interrupted"
)


def run(arguments: list[str]) -> int:
    """Parses the command line, runs the command, and returns its exit code."""
    return guarded(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments:
        raise UsageError("a COMMAND is missing, such as warm TARGET (see cachewarmer --help)")
    name = arguments[0]
    if not name.startswith("-") and name not in NAMES:
        raise UsageError(f"unknown command {name!r}{did_you_mean(name, NAMES)} (see cachewarmer --help)")
    if name.startswith("-") and not any(one in NAMES for one in arguments):
        parser = build_parser(())
        if name not in parser.options:
            parser.refuse(name)
    # Importing the other commands would only take time.
    chosen, unknown = build_parser([name] if name in NAMES else NAMES).parse_known_args(arguments)
    asked: Command[Any] = chosen.command
    if unknown:
        chosen.parser.refuse(unknown[0])
    options = asked.parse(chosen)
    return guarded(lambda: asked.run(options), verbose=options.output.verbose)


def command(name: str) -> Command[Any]:
    """Imports the command with one of the ``NAMES``."""
    found: Command[Any] = importlib.import_module(f"cachewarmer.cli.{name}").COMMAND
    return found


def build_parser(names: Iterable[str] = NAMES) -> Parser:
    """The parser of the command line with these commands. Nothing heavy is imported for it."""
    parser = Parser(
        prog="cachewarmer",
        description="Fill a read-through NFS cache before a compute farm needs it.",
        epilog=f"{EXIT_CODES}\n\nexample:\n  cachewarmer warm nfs://cache1,cache2/projects/shot42",
    )
    parser.add_argument(
        "--version", action="version", version=f"cachewarmer {__version__}", help="show the version and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for one in map(command, names):
        made = commands.add_parser(
            one.name,
            prog=f"cachewarmer {one.name}",
            help=one.summary,
            description=one.summary[0].upper() + one.summary[1:] + ".",
            epilog=f"example:\n  {one.example}",
        )
        one.add_arguments(made)
        made.finish()
        made.set_defaults(command=one, parser=made)
    return parser
