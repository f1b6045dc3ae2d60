"""The entry points of the commands. Heavy imports come later, when an interrupt can end the program cleanly."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED
from cachewarmer.cli.signals import STOP_SIGNALS


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``cachewarmer`` and returns its exit code."""
    return _start(lambda: _cachewarmer(sys.argv[1:] if arguments is None else list(arguments)))


def _cachewarmer(arguments: list[str]) -> int:
    from cachewarmer.cli.commands import run

    return run(arguments)


def manager_main() -> int:
    """Runs ``cachewarmer-manager``, with the first CacheWarmer's flags."""
    return _start(lambda: _drop_in("manager"))


def worker_main() -> int:
    """Runs ``cachewarmer-worker``, with the first CacheWarmer's flags."""
    return _start(lambda: _drop_in("worker"))


def jobsubmitter_main() -> int:
    """Runs ``cachewarmer-jobsubmitter``, with the first CacheWarmer's flags."""
    return _start(lambda: _drop_in("jobsubmitter"))


def _drop_in(name: str) -> int:
    from cachewarmer.cli.dropin import run

    return run(name, sys.argv[1:])


def multicall() -> int:
    """Runs the command whose name the program was called by: for the single-file bundle and links to it."""
    import multiprocessing

    multiprocessing.freeze_support()
    commands = {
        "cachewarmer-manager": manager_main,
        "cachewarmer-worker": worker_main,
        "cachewarmer-jobsubmitter": jobsubmitter_main,
    }
    return commands.get(os.path.basename(sys.argv[0]), main)()


def _start(run: Callable[[], int]) -> int:
    """Runs a command and returns its exit code.

    Until there is a job to stop, an interrupt ends the program at once; after the command, signals are ignored so that
    they can't change the exit code. SIGTERM ends the program by default, which service managers take for a clean end.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup has it ignored
            signal.signal(number, _end)
    gc.disable()  # until the loop runs, because imported modules stay anyway
    try:
        from cachewarmer.cli import streams

        streams.prepare()
        return run()
    except Exception as error:  # what can still fail here lacks memory or descriptors, so this is all that can be said
        os.write(2, f"cachewarmer: {type(error).__name__}: {ascii(str(error))[1:-1]}\n".encode())
        return ERROR
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        gc.freeze()  # else the interpreter would search everything it has loaded for cycles before it exits
        gc.enable()


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
