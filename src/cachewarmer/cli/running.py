"""Runs a command's coroutine: the loop, and the signals that ask it to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from cachewarmer import eventloop
from cachewarmer.cli.exit_codes import INTERRUPTED
from cachewarmer.cli.logs import Logging
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.signals import STOP_SIGNALS
from cachewarmer.errors import Interrupted

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long a command that was told to stop may take to finish and report what it has done."""


def run(
    body: Callable[[asyncio.Event], Coroutine[Any, Any, int]],
    output: Output,
    *,
    service: bool = False,
    stop_seconds: float = STOP_SECONDS,
) -> int:
    """Runs ``body(stop)`` and returns its exit code.

    SIGINT, SIGTERM and SIGHUP set ``stop``; a second signal ends the program at once. If the body has not ended
    ``stop_seconds`` after the first, it is cancelled, whatever it is waiting for; a ``service`` is not cancelled.

    Raises:
        Interrupted: the body was cancelled.
        UsageError: the log file can't be opened.
    """
    Logging.of(output, service=service).begin()

    async def with_signals() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        asked = False

        def ask(number: int) -> None:
            nonlocal asked
            if asked:  # only for a second signal: stop may also be set for another reason, such as the end of the input
                os._exit(INTERRUPTED)  # reader processes notice that their parent is gone
            asked = True
            if service:
                log.info("%s: stopping", signal.Signals(number).name)
            stop.set()

        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup has SIGHUP ignored
                loop.add_signal_handler(number, ask, number)
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
        running.close()  # nothing else has closed it if no loop could be made


async def until_stopped(working: asyncio.Task[Any], stop: asyncio.Event, seconds: float = 0.0) -> bool:
    """Waits for the task until ``stop`` is set, and then for up to this many seconds more.

    Returns whether the task ended; if it did not, it is cancelled.
    """
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done() and seconds:
            await asyncio.wait({working}, timeout=seconds)
        return working.done()
    finally:
        await eventloop.end_tasks(stopping, *(() if working.done() else (working,)))
