"""Runs calls that may block forever beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from cachewarmer.errors import own_resource_error

T = TypeVar("T")


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

    try:
        threading.Thread(target=run, daemon=True, name="blocking call").start()
    except (RuntimeError, MemoryError) as error:
        raise own_resource_error(error) or error from error
    return await future
