"""Runs the program's coroutines on the fastest event loop available, waits for sockets, and ends tasks."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from cachewarmer.blocking import prepare

T = TypeVar("T")

GC_THRESHOLDS = (50_000, 10, 10)
"""Entries, items and requests come by the million, live briefly and form no cycles: to look for those among them less
often than Python would saves a tenth of the time."""

CANCEL_AGAIN_SECONDS = 5.0
"""After this a task that was cancelled, and has not ended, is cancelled once more; most clean up in less."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, on uvloop if it is installed. Call it once in a process.

    Raises:
        OwnResourceError: this process may use too little memory to begin.
    """
    prepare()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def exact_clock(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock, as exact as the machine has it: that of uvloop has whole milliseconds, and calls take less."""
    return time.monotonic if type(loop).__module__.startswith("uvloop") else loop.time


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancels tasks and returns when all of them have ended, in whatever way.

    One that continues is cancelled again: a cancellation gets lost where what a task awaits comes at the same moment, as
    in ``asyncio.wait_for`` before Python 3.12 and in the libraries that use it.
    """
    pending = [task for task in tasks if not task.done()]
    if pending:
        timers: list[asyncio.TimerHandle] = []
        _cancel(pending, timers)
        try:
            await asyncio.gather(*pending, return_exceptions=True)
        finally:
            timers.pop().cancel()
    for task in tasks:
        if not task.cancelled():
            task.exception()  # or asyncio would complain that nobody asked for it


def _cancel(tasks: Sequence[asyncio.Future[Any]], timers: list[asyncio.TimerHandle]) -> None:
    """Cancels tasks now and again later, until the timer that is put into ``timers`` is cancelled.

    Not a closure: it would refer to itself, and keep the tasks with their results until the next search for cycles.
    """
    for task in tasks:
        task.cancel()
    timers[:] = [asyncio.get_running_loop().call_later(CANCEL_AGAIN_SECONDS, _cancel, tasks, timers)]


async def readable(sock: socket.socket) -> None:
    """Waits until a socket has something to read, or an error to tell. Nothing else may wait to read it meanwhile."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


async def writable(sock: socket.socket) -> None:
    """Waits until a socket takes bytes, or has an error to tell: a connection is made, or not."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(sock, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
