"""The scan of one mount address of a job whose addresses are caches of their own: what fails there is its own affair."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, CacheWarmerError, TransportError
from cachewarmer.manager.waiting import mounts_of
from cachewarmer.model import ScanTotals, WarmJob
from cachewarmer.paths import to_bytes
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions
from cachewarmer.targets.base import Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady

Publish = Callable[[WarmJob, Sequence[Session], ScanCounter], Awaitable[None]]


class AddressScan:
    """Scans ``job``, which has one address. ``waits_at_start``: also for one that has never answered."""

    def __init__(self, job: WarmJob, settings: Settings, pool: SessionPool, *, waits_at_start: bool) -> None:
        self._job = job
        self.address = job.access.addresses[0]
        self._patience_seconds = settings.lease.patience_seconds
        self._pool = pool
        self._waits_at_start = waits_at_start
        self._counter = ScanCounter()
        self.failure: CacheWarmerError | None = None
        """Why the address could not be scanned to its end."""

    def __repr__(self) -> str:
        return f"<AddressScan {self.address} files={self._counter.files} failure={self.failure!r}>"

    def totals(self) -> ScanTotals:
        """What was found so far."""
        return self._counter.totals()

    async def scan(self, publish: Publish) -> None:
        """Scans, and begins again where the address fails meanwhile, for as long as the patience lasts.

        Raises:
            BrokerError: what was found can't be published.
        """
        try:
            await self._scan_with_retries(publish)
        except BrokerError:
            raise
        except CacheWarmerError as error:
            self.failure = error.fill(address=self.address)
            self._counter.base = ""
            self._counter.add_error(to_bytes(self._job.full_path.strip("/")), error, directory=True)
            self._counter.warn(f"{self.address} is not warm: {error.failure.problem}")

    async def _scan_with_retries(self, publish: Publish) -> None:
        job, patience = self._job, self._patience_seconds
        mounts = mounts_of(job)
        reached, failing_since = False, 0.0
        while True:
            began = time.monotonic()
            self._counter = ScanCounter()
            try:
                async with self._pool.scope() as scope:
                    sessions = await open_sessions(job, scope)
                    reached = True
                    await publish(job, steady(sessions, self._pool, mounts), self._counter)
            except TransportError:
                now = time.monotonic()
                if not failing_since or (patience and now - began > patience):
                    failing_since = now
                if not (reached or self._waits_at_start) or (patience and now - failing_since > patience):
                    raise
                await self._pool.wait_until_up(mounts)
            else:
                return
