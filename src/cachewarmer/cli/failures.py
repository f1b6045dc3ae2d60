"""What becomes of an error: one line on stderr, and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import replace

from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, USAGE
from cachewarmer.cli.streams import note
from cachewarmer.errors import CacheWarmerError, ConfigError, Failure, Interrupted, UsageError
from cachewarmer.paths import printable


def guarded(run: Callable[[], int], *, program: str = "cachewarmer", verbose: bool = False) -> int:
    """Runs a command; an error becomes one line on stderr and an exit code, with its traceback if ``verbose``."""
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if verbose and not isinstance(error, UsageError | Interrupted):
            note(traceback_text(error))
        note(f"{program}: {one_line(error)}")
        return exit_code(error)


def exit_code(error: BaseException) -> int:
    """The documented exit code for an error."""
    if isinstance(error, UsageError | ConfigError):
        return USAGE
    return INTERRUPTED if isinstance(error, Interrupted) else ERROR


def one_line(error: BaseException) -> str:
    """An error and its causes in one line, with nothing that could act on a terminal.

    Our own causes and the system's: what a library says is put into our words where it is caught, and may quote what
    was signed, or a whole document.
    """
    if isinstance(error, MemoryError):
        return f"out of memory{_memory_limit()}"
    if isinstance(error, OSError):
        return printable(_system_error(error))
    if not isinstance(error, CacheWarmerError):
        return printable(f"internal error: {type(error).__name__}: {error} (-v shows where)")
    return printable(_with_causes(error))


def _with_causes(error: CacheWarmerError) -> str:
    """The error's line, with what its causes add to it before the advice."""
    failure = error.failure
    line = str(replace(failure, advice=""))
    advice = failure.advice
    address, subject = failure.address, failure.subject
    cause = error.__cause__
    while isinstance(cause, CacheWarmerError | OSError):
        if isinstance(cause, CacheWarmerError):
            more = without(cause.failure, address=address, subject=subject)
            advice = advice or more.advice
            address, subject = address or more.address, subject or more.subject
            said = str(replace(more, advice=""))
        else:
            said = cause.strerror or str(cause)
        if said and said not in line:
            line = f"{line}: {said}"
        cause = cause.__cause__
    return f"{line}; {advice}" if advice else line


def without(failure: Failure, *, address: str, subject: str) -> Failure:
    """A failure without the parts that a line names already."""
    return replace(
        failure,
        address="" if failure.address == address else failure.address,
        subject="" if failure.subject == subject else failure.subject,
    )


def _system_error(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {said}" if error.filename else said


def _memory_limit() -> str:
    """Says so where the process may use only so much (``ulimit -v``)."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    return "" if most == resource.RLIM_INFINITY else f": this process may use at most {most >> 20} MiB (ulimit -v)"


def traceback_text(error: BaseException) -> str:
    """The traceback of an error and its causes; text that came from elsewhere can't act on a terminal."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "\n".join(printable(line) for line in lines)
