"""Verifies jobs for the page, one after the other: each reads a sample twice."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

from cachewarmer.broker.base import Broker
from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError, InvalidTransition
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import WarmJob
from cachewarmer.verification.addresses import verify_each
from cachewarmer.verification.found import document
from cachewarmer.verification.verify import Demand

MOST_KEPT = 100


class Verifier:
    """Remembers what was found of the latest jobs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, dict[str, Any]] = {}
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def of(self, job_id: str) -> dict[str, Any] | None:
        """How far it is with a job, or what was found: ``state`` (running, done, failed), ``said``, ``result``."""
        return self._found.get(job_id)

    def begin(self, broker: Broker, job: WarmJob) -> dict[str, Any]:
        """Begins in the background.

        Raises:
            InvalidTransition: another one continues.
        """
        if self._task is not None and not self._task.done():
            raise InvalidTransition("another job is being verified: try again when that is done")
        self._found.pop(job.job_id, None)
        while len(self._found) >= MOST_KEPT:
            del self._found[next(iter(self._found))]
        found = self._found[job.job_id] = {"state": "running", "said": "", "result": None}
        self._task = asyncio.create_task(self._verify(broker, job, found))
        return found

    async def _verify(self, broker: Broker, job: WarmJob, found: dict[str, Any]) -> None:
        async def stored() -> AsyncIterator[bytes]:
            async for chunk in broker.file_list(job.job_id):
                yield chunk

        def say(text: str) -> None:
            found["said"] = text

        try:
            # Of a seed that is drawn again: what one run has read is warm for the next.
            demand = Demand(seed=secrets.randbits(31))
            result = await verify_each(
                job,
                self._settings,
                demand,
                on_progress=say,
                stop=self._stop,
                file_list=lambda: stored() if job.has_file_list else None,
            )
            found.update(state="done", said="", result=document(result))
        except CacheWarmerError as error:
            found.update(state="failed", said=str(error))
        except Exception as error:
            found.update(state="failed", said=f"{type(error).__name__}: {error}")
            raise

    async def close(self) -> None:
        """Ends what continues."""
        self._stop.set()
        if self._task is not None:
            await end_tasks(self._task)
