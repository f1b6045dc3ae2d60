"""Fan-out: one cache is warmed from the origin first, and only then the others, from what that one holds.

This is for caches that can fill from each other. Whether they do can't be observed from outside, so all this module
does is keep the other caches waiting until one of them has everything.
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
"""If nothing has been settled for this long, the address is probed."""


@dataclass(frozen=True, slots=True)
class Part:
    """One address of the job."""

    address: str
    scan: Callable[[], Awaitable[bool]]
    """Scans its tree and publishes its items, without waiting until they are read. Returns whether it succeeded."""


class FanOut:
    """Scans the parts of a job in the order of its addresses.

    ``record`` writes what the scans have found so far. ``status`` and ``workers`` return the job and its workers as the
    broker sees them. ``is_gone`` says whether an address has been silent for longer than the patience. The job's items
    are considered lost when there have been workers for ``lost_seconds`` and none of them held any of these items.
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
        """Warms the first part alone, then all the others at once.

        If an address could not be reached, or files failed there, the next address is also warmed before the others:
        otherwise each of them would fetch what is missing from the origin. If the next one failed at the same number of
        files, the others follow anyway: no cache will get more than that.
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
        """Waits until every published item is settled, or the items are lost; returns the totals of ``address``.

        Returns None if the address is gone. Its items may then never be settled: workers that can't reach any other
        address do not even claim them.
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
        """Whether there are workers, but none of them holds an item of the job."""
        there = [one for one in await self._workers() if one.at_work]
        return bool(there) and not any(one.is_reading(job_id) for one in there)
