"""READs for tests of sessions: made together, and waited for together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from cachewarmer.targets.base import ReadRequest

Wait = Callable[[], Awaitable[list[ReadRequest]]]


def requests_for(*wanted: tuple[bytes, int, int], **more: Any) -> tuple[list[ReadRequest], Wait]:
    """Requests for (path, start, stop), with ``more`` of their fields, and what waits until all of them are done."""
    done = asyncio.Event()
    left = len(wanted)

    def on_done(_: ReadRequest) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    made = [ReadRequest(path, b"", start, stop, on_done, **more) for path, start, stop in wanted]

    async def wait() -> list[ReadRequest]:
        async with asyncio.timeout(30):
            await done.wait()
        return made

    return made, wait
