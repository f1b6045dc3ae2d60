"""Publishes the items of a scan: many of them in one call to the broker if they come quickly."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from cachewarmer.errors import TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import WorkItem

MOST_ITEMS = 32
"""Maximum number of items in one call."""
MOST_WAITING = 4096
"""The scan waits while more than this many items and files, added together, are still to be published."""


class Publisher:
    """Calls ``publish`` with the items of a scan, in order. Items that are added during a call go with the next one.

    Use it as an async context manager: on exit, it waits until all items are published, even after a
    ``TransportError``. After any other exception, the remaining items are not published.
    """

    def __init__(self, publish: Callable[[Sequence[WorkItem]], Awaitable[None]]) -> None:
        self._publish = publish
        self._items: deque[WorkItem] = deque()
        self._waiting = 0
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def add(self, items: Sequence[WorkItem]) -> None:
        """Adds items; waits while too many are still to be published.

        Raises whatever ``publish`` raised for earlier items.
        """
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        self._items += items
        self._waiting += sum(map(_weight, items))
        task = self._task = self._task or asyncio.create_task(self._publish_all())
        while self._waiting > MOST_WAITING and not task.done():
            self._room.clear()
            await self._room.wait()

    async def _publish_all(self) -> None:
        try:
            while self._items:
                some = [self._items.popleft() for _ in range(min(MOST_ITEMS, len(self._items)))]
                await self._publish(some)
                self._waiting -= sum(map(_weight, some))
                self._room.set()
        finally:
            self._room.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = self._task
        if task is None:
            return
        try:
            if kind is None or issubclass(kind, TransportError):
                await asyncio.wait([task])
                task.result()
        finally:
            await end_tasks(task)


def _weight(item: WorkItem) -> int:
    return 1 + len(item.files or ())
