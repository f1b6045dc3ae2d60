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
"""Writes an error, or a warning if the flag is set, to the log; None if there is no log other than standard error.
Returns whether that replaces the line on standard error.
"""


def tell(text: str, *, warning: bool = False, program: str = "cachewarmer") -> None:
    """Writes a command's outcome, which is one printable line, to standard error, and to the log if there is one."""
    if logged is None or not logged(text, warning):
        note(text if not program else prefixed(program, text, Shade.WARNING if warning else Shade.BAD))


def guarded(run: Callable[[], int], *, program: str = "cachewarmer", verbose: bool = False) -> int:
    """Runs a command. An error becomes one line on stderr, with its traceback if ``verbose``, and an exit code."""
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
    """An error and its causes in one line, without any control characters.

    Only causes of our own and of the system are included. Errors of libraries are translated where they are caught, and
    their own texts might quote signed requests or whole documents.
    """
    if not isinstance(error, CacheWarmerError):
        error = _translated(error)
    return printable(_with_causes(error))


def _with_causes(error: CacheWarmerError) -> str:
    """The line for an error: its own text, what its causes add, and the advice."""
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
    """A failure without the parts that a line already names."""
    return replace(
        failure,
        address="" if failure.address == address else failure.address,
        subject="" if failure.subject == subject else failure.subject,
    )


def _translated(error: BaseException) -> CacheWarmerError:
    """Turns another exception into one of ours."""
    met: BaseException | None = error
    while met is not None:  # errors that follow while the program cleans up say nothing about what it lacked
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
    """Advice if the memory of the process is limited, else empty."""
    most = most_memory()
    return "" if most is None else f"this process may use at most {most >> 20} MiB (ulimit -v)"


def traceback_text(error: BaseException) -> str:
    """The traceback of an error and its causes, with control characters made printable."""
    lines = "".join(traceback.format_exception(error)).rstrip("\n").split("\n")
    return "\n".join(printable(line) for line in lines)
