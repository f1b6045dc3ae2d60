"""Runs a command's coroutine: the loop, the signals that ask it to stop, and its messages."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from cachewarmer import eventloop
from cachewarmer.cli import streams
from cachewarmer.cli.colours import Shade, paint
from cachewarmer.cli.exit_codes import INTERRUPTED
from cachewarmer.cli.failures import one_line, traceback_text
from cachewarmer.cli.main import STOP_SIGNALS
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.text import CLEAR_LINE
from cachewarmer.errors import CacheWarmerError, Interrupted
from cachewarmer.paths import printable
from cachewarmer.values import dataclass

STOP_SECONDS = 5.0
"""How long a command that was told to stop may take to report what it has done."""


def run(
    body: Callable[[asyncio.Event], Coroutine[Any, Any, int]],
    output: Output,
    *,
    service: bool = False,
    stop_seconds: float = STOP_SECONDS,
) -> int:
    """Runs ``body(stop)`` and returns its exit code.

    SIGINT, SIGTERM and SIGHUP set ``stop``; a second one ends the program at once. A body that has not ended
    ``stop_seconds`` after the first is cancelled, whatever it waits for; that of a service ends by itself.
    """
    Logging.of(output, service=service).begin()

    async def with_signals() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask() -> None:
            if stop.is_set():
                os._exit(INTERRUPTED)  # readers notice that we are gone
            stop.set()

        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks not to be ended by SIGHUP
                loop.add_signal_handler(number, ask)
        if service:
            return await body(stop)
        working = asyncio.create_task(body(stop))
        if not await until_stopped(working, stop, stop_seconds):
            raise Interrupted("interrupted")
        return working.result()

    running = with_signals()
    try:
        return eventloop.run(running)
    finally:
        running.close()  # where no loop could be made, nobody has


async def until_stopped(working: asyncio.Task[Any], stop: asyncio.Event, seconds: float = 0.0) -> bool:
    """Whether the task ended before ``stop`` was set, or within so many seconds after; else it is cancelled."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and seconds:
            await asyncio.wait({working}, timeout=seconds)
        return working.done()
    finally:
        await eventloop.end_tasks(stopping, *(() if working.done() else (working,)))


@dataclass(frozen=True, slots=True)
class Logging:
    """How messages are shown; a value that further processes of the same command get."""

    verbose: bool
    quiet: bool
    service: bool

    @classmethod
    def of(cls, output: Output, *, service: bool = False) -> Logging:
        """For a command with these options."""
        return cls(output.verbose, output.quiet, service)

    def begin(self) -> None:
        """Sets logging up in this process: warnings for a command, the course of things for a service."""
        streams.prepare()
        log_to_stderr(self.verbose, self.quiet, self.service)


class _OneLine(logging.Formatter):
    """One line an event, whatever the path or the message in it holds; a traceback follows on lines of its own.

    ``before`` is written first: what makes room on a terminal. ``verbose`` shows tracebacks of every error, else only
    those of faults of this program are shown.
    """

    def __init__(self, form: str, before: str, *, verbose: bool) -> None:
        super().__init__(form)
        self._before = before
        self._verbose = verbose

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        line = printable(super().formatMessage(record))
        if record.levelno >= logging.WARNING:
            # Of a service's line, which begins with its level, that word; else the message is all there is.
            head, blank, rest = line.partition(" ") if line.startswith(record.levelname) else (line, "", "")
            shade = Shade.BAD if record.levelno >= logging.ERROR else Shade.WARNING
            line = f"{paint(head, shade, sys.stderr)}{blank}{rest}"
        return self._before + line

    def formatException(self, ei: Any) -> str:  # noqa: N802  # the name is logging's
        error = ei[1]
        if self._verbose or not isinstance(error, CacheWarmerError | OSError | MemoryError):
            return traceback_text(error)
        return one_line(error)


def log_to_stderr(verbose: bool, quiet: bool = False, service: bool = False) -> None:
    """Sets logging up: warnings for a command, the course of things for a service."""
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO if service else logging.WARNING
    form = "%(levelname)s %(name)s: %(message)s" if service else "%(message)s"
    handler = logging.StreamHandler(sys.stderr)
    # On a terminal the progress line stands there.
    before = CLEAR_LINE if not service and streams.on_terminal(sys.stderr) else ""
    handler.setFormatter(_OneLine(form, before, verbose=verbose))
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=level)
    if not service and not verbose:
        # A job's failure is what the command itself ends with.
        logging.getLogger("cachewarmer.manager").setLevel(logging.CRITICAL)
    for noisy in ("asyncio", "urllib3", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if not verbose:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        if not service:
            # Tasks that end while the command does, after its own error: that one is what counts.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
