"""The sessions of one process: one for each address and export, opened when first asked for, closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError
from cachewarmer.targets.base import Mount, Session

Opener = Callable[[Mount, Settings], Awaitable[Session]]


class SessionPool:
    """``opener`` is ``cachewarmer.targets.open_session`` except in tests."""

    def __init__(self, settings: Settings, opener: Opener) -> None:
        self._settings = settings
        self._opener = opener
        self._opening: dict[Mount, asyncio.Task[Session]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def session(self, mount: Mount) -> Session:
        """The session for a mount; callers that ask at the same time share one opening. A failure is not kept.

        Raises:
            CacheWarmerError: the address or the export can't be opened.
        """
        key = replace(mount, path="") if mount.export else mount
        opening = self._opening.get(key)
        if opening is None:
            opening = asyncio.create_task(self._open(mount))
            self._opening[key] = opening
        try:
            return await asyncio.shield(opening)
        except CacheWarmerError:
            if self._opening.get(key) is opening:
                del self._opening[key]
            raise

    async def _open(self, mount: Mount) -> Session:
        return await self._opener(mount, self._settings)

    async def close(self) -> None:
        opening, self._opening = list(self._opening.values()), {}
        for task in opening:
            if not task.done():
                task.cancel()
        for result in await asyncio.gather(*opening, return_exceptions=True):
            if isinstance(result, Session):
                await result.close()
