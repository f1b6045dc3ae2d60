"""The command ``cachewarmer``: a command is one file and one entry here."""

from __future__ import annotations

from typing import Any

from cachewarmer import __version__
from cachewarmer.cli import cancel, doctor, export, manager, pause, resume, scan, status, submit, verify, warm, worker
from cachewarmer.cli.arguments import Parser, did_you_mean
from cachewarmer.cli.command import Command
from cachewarmer.cli.failures import guarded
from cachewarmer.errors import UsageError

COMMANDS: tuple[Command[Any], ...] = (
    warm.COMMAND,
    scan.COMMAND,
    verify.COMMAND,
    doctor.COMMAND,
    submit.COMMAND,
    status.COMMAND,
    cancel.COMMAND,
    pause.COMMAND,
    resume.COMMAND,
    export.COMMAND,
    manager.COMMAND,
    worker.COMMAND,
)

EXIT_CODES = (
    "exit codes: 0 warm, 1 error, 2 usage, 3 finished with files that could not be warmed, 4 cancelled, 130 interrupted"
)


def run(arguments: list[str]) -> int:
    """Parses the command line, runs the command, and returns its exit code."""
    return guarded(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    names = [command.name for command in COMMANDS]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in names:
        raise UsageError(
            f"unknown command {arguments[0]!r}{did_you_mean(arguments[0], names)} (see cachewarmer --help)"
        )
    chosen, unknown = build_parser().parse_known_args(arguments)
    command: Command[Any] = chosen.command
    if unknown:
        chosen.parser.refuse(unknown[0])
    options = command.parse(chosen)
    return guarded(lambda: command.run(options), verbose=options.output.verbose)


def build_parser() -> Parser:
    """The whole command line; nothing heavy is imported for it."""
    parser = Parser(
        prog="cachewarmer",
        description="Fills a read-through NFS cache before a compute farm needs it.",
        epilog=f"{EXIT_CODES}\n\nexample:\n  cachewarmer warm nfs://cache1,cache2/projects/shot42",
    )
    parser.add_argument(
        "--version", action="version", version=f"cachewarmer {__version__}", help="show the version and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        made = commands.add_parser(
            command.name,
            prog=f"cachewarmer {command.name}",
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"example:\n  {command.example}",
        )
        command.add_arguments(made)
        made.set_defaults(command=command, parser=made)
    return parser
