"""Threads, for calls that may block forever beside the event loop.

Where this process may use only so much memory (``ulimit -v``), each thread takes a small stack of it, and none is started
that would have next to nothing left. In a thread that can't even get the memory for an exception, CPython tries to raise
one forever, and lets no other thread run: no signal would be heard any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from cachewarmer.errors import OwnResourceError, own_resource_error
from cachewarmer.memory import memory_left, most_memory

T = TypeVar("T")

STACK_BYTES = 1 << 20
"""Of a thread where memory is limited. Usually 8 MiB of address space are set aside for each, and hardly used."""
LEAST_BYTES = 64 << 20
"""A process that has less left than this, when its program is loaded, does not begin."""
LEAST_THREAD_BYTES = STACK_BYTES + (6 << 20)
"""Nor does a thread: Python takes memory from the system 1 MiB at a time."""


def prepare() -> None:
    """Sees to it that threads have room. Call it once in a process, before the first thread.

    Raises:
        OwnResourceError: too little memory is left to begin.
    """
    most, left = most_memory(), memory_left()
    if most is None:
        return
    threading.stack_size(STACK_BYTES)
    if left is not None and left < LEAST_BYTES:
        raise OwnResourceError(
            f"too little memory: this process may use {most >> 20} MiB (ulimit -v)",
            advice=f"at least {-(-(most - left + LEAST_BYTES) >> 20)} MiB are needed to begin",
        )


def start_thread(run: Callable[[], object], name: str) -> None:
    """Starts a thread that the program does not wait for at its end.

    Raises:
        OwnResourceError: no further thread can be started.
    """
    try:
        left = memory_left()
        if left is not None and left < LEAST_THREAD_BYTES:
            raise MemoryError
        threading.Thread(target=run, daemon=True, name=name).start()
    except (RuntimeError, MemoryError) as error:
        own = own_resource_error(error)
        if own is None:
            raise
        raise own from error


async def in_daemon_thread(call: Callable[[], T]) -> T:
    """What ``call`` returns or raises, from a thread of its own.

    Unlike with ``asyncio.to_thread``, the program can end while the call still blocks: a name that no server resolves,
    a pipe that nobody writes to.

    Raises:
        OwnResourceError: no further thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # whoever waited was cancelled
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # T may itself be Optional

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as problem:
            error = problem
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    start_thread(run, "blocking call")
    return await future
