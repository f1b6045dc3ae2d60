"""Fanning out: one cache is warmed from the origin, and those beside it only then, from what it holds.

Only for caches that can fill from each other. From outside that can't be seen, so all that is done here is to keep the
others waiting until one of them has everything.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from cachewarmer.about import about
from cachewarmer.model import JobStatus, WorkerReport
from cachewarmer.model.results import AddressTotals
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

STILL_SECONDS = 1.0
"""When nothing has been settled for this long, the address is asked whether it answers."""


@dataclass(frozen=True, slots=True)
class Part:
    """One address of the job."""

    address: str
    scan: Callable[[], Awaitable[bool]]
    """Scans its tree and publishes its items, without waiting for them; returns whether it could be scanned."""


class FanOut:
    """Scans the parts of a job in the order of its addresses.

    ``record`` writes what the scans have found so far. ``status`` and ``workers`` give the job as its broker sees it.
    ``is_gone`` says of an address whether it has not answered for as long as the patience lasts. ``lost_seconds`` is for
    how long workers may be there with nothing in hand before the job's items are thought to be lost.
    """

    def __init__(
        self,
        *,
        record: Callable[[], Awaitable[None]],
        status: Callable[[], Awaitable[JobStatus]],
        workers: Callable[[], Awaitable[Sequence[WorkerReport]]],
        is_gone: Callable[[str], Awaitable[bool]],
        poll_seconds: float,
        lost_seconds: float,
    ) -> None:
        self._record = record
        self._status = status
        self._workers = workers
        self._is_gone = is_gone
        self._poll_seconds = poll_seconds
        self._lost_seconds = lost_seconds

    async def scan(self, parts: Sequence[Part]) -> None:
        """Warms the first part alone, then all others at once.

        Where an address could not be reached, or files failed at it, the next one goes before the others too: they are
        not to fetch from the origin, each for itself, what it lacks. Not where the next one failed at as many files:
        more than these no cache will get.
        """
        waiting = list(parts)
        failed = -1
        while len(waiting) > 1:
            source = waiting.pop(0)
            log.info(
                "warming %s from the origin first, then the other %d",
                source.address,
                len(waiting),
                extra=about(address=source.address),
            )
            if not await source.scan():
                continue
            totals = await self._warmed(source.address)
            if totals is not None and totals.failed_files in (0, failed):
                break
            failed = failed if totals is None else totals.failed_files
        await asyncio.gather(*(part.scan() for part in waiting))

    async def _warmed(self, address: str) -> AddressTotals | None:
        """Waits until every item that is published is settled; returns the outcome of those of ``address``.

        None: it is gone. A worker may not even take items while it reaches nothing else.
        """
        await self._record()
        moved_at = busy_at = time.monotonic()
        settled = -1
        while True:
            status = await self._status()
            if status.settled_items >= status.scan.items:
                break
            now = time.monotonic()
            if status.settled_items != settled:
                settled, moved_at, busy_at = status.settled_items, now, now
            elif not await self._is_idle(status.job.job_id):
                busy_at = now
            if now - busy_at >= self._lost_seconds:
                log.warning(
                    "job %s: items of %s are lost; the others continue",
                    status.job.job_id,
                    address,
                    extra=about(job=status.job.job_id, address=address),
                )
                break
            if now - moved_at >= STILL_SECONDS and await self._is_gone(address):
                log.warning(
                    "%s has not answered for too long: continuing with the next address",
                    address,
                    extra=about(address=address),
                )
                return None
            await asyncio.sleep(self._poll_seconds)
        found = next(one for one in status.addresses if one.address == address)
        log.info(
            "%s: %d files are warm, %d failed", address, found.files, found.failed_files, extra=about(address=address)
        )
        return found

    async def _is_idle(self, job_id: str) -> bool:
        """Whether there are workers, and none of them has an item of the job in hand."""
        there = [one for one in await self._workers() if one.at_work]
        return bool(there) and not any(one.is_reading(job_id) for one in there)
