"""Scans one mount address of a job whose addresses are separate caches. A failure there does not affect the others."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, CacheWarmerError, TransportError
from cachewarmer.manager.waiting import mounts_of
from cachewarmer.model import ScanTotals, WarmJob
from cachewarmer.paths import join_bytes, to_bytes
from cachewarmer.planning import listline
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.filelist import grouped_lines
from cachewarmer.planning.plan import open_sessions
from cachewarmer.targets.base import Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady

LINES = 512
"""Number of lines that are read from a list at a time."""

Publish = Callable[[WarmJob, Sequence[Session], ScanCounter], Awaitable[None]]
Begin = Callable[[WarmJob, ScanCounter], Awaitable[None]]


class AddressScan:
    """Scans ``job``, which has one address.

    With ``waits_at_start``, the scan also waits for an address that has never answered. ``begin`` is called before each
    attempt, with the job and the counter of that attempt. Each call of ``file_list`` reads the job's list anew.
    """

    def __init__(
        self,
        job: WarmJob,
        settings: Settings,
        pool: SessionPool,
        *,
        waits_at_start: bool,
        begin: Begin,
        file_list: Callable[[], AsyncIterator[bytes]],
    ) -> None:
        self._job = job
        self.address = job.access.addresses[0]
        self._patience_seconds = settings.lease.patience_seconds
        self._pool = pool
        self._waits_at_start = waits_at_start
        self._begin = begin
        self._file_list = file_list
        self._counter = ScanCounter()
        self.failure: CacheWarmerError | None = None
        """Why the scan of the address could not be finished; None if it was, or is still running."""

    def __repr__(self) -> str:
        return f"<AddressScan {self.address} files={self._counter.files} failure={self.failure!r}>"

    def totals(self) -> ScanTotals:
        """What has been found so far."""
        return self._counter.totals()

    async def scan(self, publish: Publish) -> None:
        """Scans the address, and starts again if it fails meanwhile, for as long as the patience lasts.

        A failure of the address is recorded in ``failure`` and not raised.

        Raises:
            BrokerError: what was found can't be published.
        """
        try:
            await self._scan_with_retries(publish)
        except BrokerError:
            raise
        except CacheWarmerError as error:
            self.failure = error.fill(address=self.address)
            await self._name_rest(error)
            self._counter.warn(
                f"{self.address} is not warm; when it answers again, warm it alone: --each-address "
                f"--address-subset {self.address}"
            )

    async def _name_rest(self, error: CacheWarmerError) -> None:
        """Records as failed what was not scanned: the remaining lines of a list, or the target as a whole."""
        counter, error = self._counter, error.of_no_file()
        counter.base = ""
        target = to_bytes(self._job.full_path.strip("/"))
        if not self._job.has_file_list:
            counter.add_error(target, error, directory=True)
            return
        looked_up = counter.lines
        async for lines in grouped_lines(self._file_list(), LINES):
            for line in lines[looked_up:]:
                path = listline.named(line)[0]
                counter.add_error(path.lstrip(b"/") if path.startswith(b"/") else join_bytes(target, path), error)
            looked_up = max(0, looked_up - len(lines))

    async def _scan_with_retries(self, publish: Publish) -> None:
        job, patience = self._job, self._patience_seconds
        mounts = mounts_of(job)
        reached, failing_since = False, 0.0
        while True:
            began = time.monotonic()
            self._counter = ScanCounter()
            self._counter.address = self.address
            await self._begin(job, self._counter)
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
