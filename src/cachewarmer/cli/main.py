"""The command ``cachewarmer``; ``dropin`` has the first CacheWarmer's three commands."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from cachewarmer import __version__
from cachewarmer.cli import options
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, USAGE
from cachewarmer.errors import CacheWarmerError, ConfigError, Interrupted, UsageError

EPILOG = """exit codes: 0 warm, 1 error, 2 usage, 3 finished with files that could not be warmed, 4 cancelled, 130 interrupted

TARGET is a path, ADDRESS[,ADDRESS...]:/PATH, or nfs://ADDRESS[,ADDRESS...]/PATH[?nfsport=&mountport=&uid=&gid=&export=]"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``cachewarmer`` and returns its exit code."""
    return guarded(lambda: _run(sys.argv[1:] if arguments is None else list(arguments)), verbose="-v" in sys.argv)


def _run(arguments: list[str]) -> int:
    chosen = build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = chosen.run
    return run(chosen)


def manager_main() -> int:
    """Runs ``cachewarmer-manager``, with the first CacheWarmer's flags."""
    from cachewarmer.cli.dropin import manager

    return guarded(lambda: manager(sys.argv[1:]))


def worker_main() -> int:
    """Runs ``cachewarmer-worker``, with the first CacheWarmer's flags."""
    from cachewarmer.cli.dropin import worker

    return guarded(lambda: worker(sys.argv[1:]))


def jobsubmitter_main() -> int:
    """Runs ``cachewarmer-jobsubmitter``, with the first CacheWarmer's flags."""
    from cachewarmer.cli.dropin import jobsubmitter

    return guarded(lambda: jobsubmitter(sys.argv[1:]))


def multicall() -> int:
    """Runs the command that the program is called by: for the single-file bundle and its links."""
    multiprocessing.freeze_support()
    commands = {
        "cachewarmer-manager": manager_main,
        "cachewarmer-worker": worker_main,
        "cachewarmer-jobsubmitter": jobsubmitter_main,
    }
    return commands.get(os.path.basename(sys.argv[0]), main)()


def guarded(run: Callable[[], int], *, verbose: bool = False) -> int:
    """Turns an error into one line on stderr and an exit code; the traceback only with ``-v``."""
    try:
        return run()
    except (UsageError, ConfigError) as error:
        print(f"cachewarmer: {one_line(error)}", file=sys.stderr)
        return USAGE
    except Interrupted as error:
        print(f"cachewarmer: {one_line(error)}", file=sys.stderr)
        return INTERRUPTED
    except CacheWarmerError as error:
        if verbose:
            traceback.print_exc()
        print(f"cachewarmer: {one_line(error)}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # what is buffered has nowhere to go
        return ERROR


def one_line(error: BaseException) -> str:
    """An error and its causes in one line, with nothing that could act on a terminal.

    Our own causes and the system's: what a library says is put into our words where it is caught, and may quote what
    was signed, or a whole document.
    """
    from cachewarmer.paths import printable

    parts = [str(error)]
    cause = error.__cause__
    while isinstance(cause, CacheWarmerError | OSError) and str(cause) and str(cause) not in parts[-1]:
        parts.append(str(cause))
        cause = cause.__cause__
    return printable(": ".join(parts))


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; nothing heavy is imported for it."""
    parser = argparse.ArgumentParser(
        prog="cachewarmer",
        description="Fills a read-through NFS cache before a compute farm needs it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cachewarmer {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(run=_lazily(name))
        options.add_common(made)
        return made

    warm = command("warm", "scan and warm a tree from this machine")
    warm.add_argument("targets", nargs="*", metavar="TARGET")
    options.add_selection(warm)
    options.add_reading(warm)
    options.add_broker(warm)
    warm.add_argument(
        "--processes", type=int, metavar="N", help="reader processes (default: half of the cores, at most 4)"
    )
    warm.add_argument(
        "--resume", nargs="?", const="", metavar="JOB", help="go on with an interrupted job (default: the latest one)"
    )

    scan = command("scan", "count only: files, bytes, histogram")
    scan.add_argument("targets", nargs="+", metavar="TARGET")
    options.add_selection(scan)
    options.add_reading(scan)

    status = command("status", "how jobs are doing")
    status.add_argument("job", nargs="?", metavar="JOB", help="one job (default: all)")
    status.add_argument("--watch", action="store_true", help="show it until it is done")
    options.add_broker(status)

    submit = command("submit", "post a job to a broker, for a manager to take")
    submit.add_argument("targets", nargs="+", metavar="TARGET")
    options.add_selection(submit)
    options.add_broker(submit)
    submit.add_argument("--wait", action="store_true", help="wait until that job is done")

    for name, text in (
        ("cancel", "end a job"),
        ("pause", "let a job rest"),
        ("resume", "let a paused job go on"),
    ):
        control = command(name, text)
        control.add_argument("job", metavar="JOB")
        options.add_broker(control)

    manager = command("manager", "take jobs, scan them, publish their work, and run a fleet of workers for them")
    options.add_broker(manager)
    options.add_storage(manager)
    options.add_service(manager)
    options.add_reading(manager)
    options.add_fleet(manager)
    manager.add_argument("--jobs-at-once", type=int, default=4, metavar="N", help="jobs scanned at the same time (4)")

    worker = command("worker", "claim work items and read them")
    options.add_broker(worker)
    options.add_storage(worker)
    options.add_service(worker)
    worker.add_argument("--exit-on-eof", action="store_true", help="leave when standard input ends")
    options.add_reading(worker)
    worker.add_argument(
        "--transport",
        choices=("auto", "nfs", "mount"),
        default="",
        help="how this worker reads, whatever a job says (nfs: the direct reader; mount: a kernel mount)",
    )
    worker.add_argument("--max-bandwidth", type=options.size, default=0, metavar="SIZE", help="bytes per second")
    return parser


def _lazily(name: str) -> Callable[[argparse.Namespace], int]:
    """The handler of a command, imported when it runs."""

    def run(chosen: argparse.Namespace) -> int:
        import importlib

        module = importlib.import_module(f"cachewarmer.cli.{MODULES.get(name, name)}")
        handler: Callable[[argparse.Namespace], int] = getattr(module, f"run_{name}")
        return handler(chosen)

    return run


MODULES = {"cancel": "control", "pause": "control", "resume": "control", "manager": "service", "worker": "service"}
"""Commands that share a module."""
