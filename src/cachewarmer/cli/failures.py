"""Turns an error into a line on stderr and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import replace

from cachewarmer.cli.colours import Shade, prefixed
from cachewarmer.cli.exit_codes import ERROR, INTERRUPTED, USAGE
from cachewarmer.cli.streams import note
from cachewarmer.errors import (
    CacheWarmerError,
    ConfigError,
    Failure,
    Interrupted,
    UsageError,
    own_resource_error,
)
from cachewarmer.memory import most_memory
from cachewarmer.paths import printable

logged: Callable[[str, bool], bool] | None = None
"""Writes a warning or an error to the log, if there is one apart from standard error. Returns whether that replaces the
line on standard error.
"""


def tell(text: str, *, warning: bool = False, program: str = "cachewarmer") -> None:
    """Writes the outcome of the command in one printable line: to standard error, and to the log if there is one."""
    if logged is None or not logged(text, warning):
        note(text if not program else prefixed(program, text, Shade.WARNING if warning else Shade.BAD))


def guarded(run: Callable[[], int], *, program: str = "cachewarmer", verbose: bool = False) -> int:
    """Runs a command; an error becomes one line on stderr and an exit code, with its traceback if ``verbose``."""
    try:
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if verbose and not isinstance(error, UsageError | Interrupted):
            note(traceback_text(error))
        tell(one_line(error), program=program)
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
    if not isinstance(error, CacheWarmerError):
        error = _translated(error)
    return printable(_with_causes(error))


def _with_causes(error: CacheWarmerError) -> str:
    """The line of an error, with what its causes add, followed by the advice."""
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


def _translated(error: BaseException) -> CacheWarmerError:
    """Turns another exception into one of ours."""
    met: BaseException | None = error
    while met is not None:  # what is raised while a program that lacks something clears up tells nothing
        lacking = own_resource_error(met)
        if lacking is not None:
            if not isinstance(met, OSError):
                lacking.advice = _memory_limit() or lacking.advice
            return lacking
        met = met.__cause__ or met.__context__
    if isinstance(error, OSError):
        said = error.strerror or str(error) or type(error).__name__
        return CacheWarmerError(said, subject=os.fsencode(str(error.filename or "")))
    return CacheWarmerError(f"internal error: {type(error).__name__}: {error}", advice="-v shows where")


def _memory_limit() -> str:
    """Advice if the memory of the process is limited, else nothing."""
    most = most_memory()
    return "" if most is None else f"this process may use at most {most >> 20} MiB (ulimit -v)"


def traceback_text(error: BaseException) -> str:
    """The traceback of an error and its causes; text that came from elsewhere can't act on a terminal."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "\n".join(printable(line) for line in lines)
