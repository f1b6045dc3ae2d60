"""A number of places, given out in the order in which they are asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType


class Room:
    """A semaphore that also admits functions, so that waiting needs no task. Tasks use it as an async context manager."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[Callable[[], None]] = deque()
        self._admitting = False

    def __repr__(self) -> str:
        return f"<Room free={self._free} waiting={len(self._waiting)}>"

    def enter(self, begin: Callable[[], None]) -> None:
        """Calls ``begin`` as soon as a place is free, possibly at once. ``leave`` gives the place back."""
        self._waiting.append(begin)
        self._admit()

    def leave(self) -> None:
        """Gives a place back."""
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        if self._admitting:  # called by ``begin``; the loop below continues
            return
        self._admitting = True
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft()()
        self._admitting = False

    async def __aenter__(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.enter(partial(self._tell, admitted))
        try:
            await admitted
        except asyncio.CancelledError:
            if not admitted.cancelled():  # it was admitted just before
                self.leave()
            raise

    def _tell(self, admitted: asyncio.Future[None]) -> None:
        if admitted.done():
            self.leave()
        else:
            admitted.set_result(None)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
