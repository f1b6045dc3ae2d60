"""Runs a coroutine as a command: the loop, and the signals that ask it to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from cachewarmer import eventloop
from cachewarmer.cli.text import CLEAR_LINE
from cachewarmer.paths import printable


def run(body: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Runs ``body(stop)``; SIGINT and SIGTERM set ``stop``, a second one ends the program at once. Returns its code."""

    async def with_signals() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask() -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ask)
        return await body(stop)

    return eventloop.run(with_signals())


def print_json(document: Any) -> None:
    """The one document that ``--json`` puts on stdout."""
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")
    sys.stdout.flush()


class _OneLine(logging.Formatter):
    """One line an event, whatever the path or the message in it holds; a traceback follows on lines of its own.

    ``before`` is written first: what makes room on a terminal.
    """

    def __init__(self, form: str, before: str) -> None:
        super().__init__(form)
        self._before = before

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return self._before + printable(super().formatMessage(record))


def log_to_stderr(verbose: bool, quiet: bool = False, service: bool = False) -> None:
    """Sets logging up: warnings for a command, the course of things for a service."""
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO if service else logging.WARNING
    form = "%(levelname)s %(name)s: %(message)s" if service else "%(message)s"
    handler = logging.StreamHandler(sys.stderr)
    # On a terminal the progress line stands there.
    handler.setFormatter(_OneLine(form, before=CLEAR_LINE if sys.stderr.isatty() and not service else ""))
    logging.basicConfig(handlers=[handler], level=level)
    if not service and not verbose:
        # A job's failure is what the command itself ends with.
        logging.getLogger("cachewarmer.manager").setLevel(logging.CRITICAL)
    for noisy in ("azure", "asyncio", "urllib3", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
