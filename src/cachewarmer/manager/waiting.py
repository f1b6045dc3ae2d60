"""Waits for the end of a scanned job, and notices if that end can't be reached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from cachewarmer.about import about
from cachewarmer.broker.base import Broker
from cachewarmer.config import Settings
from cachewarmer.errors import BrokerError, InvalidTransition
from cachewarmer.manager.learning import Learning
from cachewarmer.manager.stall import FleetFailures, Stall
from cachewarmer.model import JobState, JobStatus, WarmJob
from cachewarmer.model.live import NOTE_SECONDS, with_in_hand
from cachewarmer.targets.base import Mount
from cachewarmer.targets.pool import SessionPool

log = logging.getLogger(__name__)

STILL_SECONDS = 15.0
"""If a job makes no progress for this long, its manager checks whether the addresses answer."""
STRANDED_SECONDS = 5.0
"""Time between two checks of whether the remaining items of a job still exist."""
LOST_TWICE = (
    "its work items are gone from the queue, and so they were when it was scanned again: "
    "does another program take messages from it?"
)


class Persist(Protocol):
    """Makes a call to the broker and returns its result; repeats the call while it fails for a transient reason."""

    async def __call__(self, call: Callable[[], Awaitable[Any]]) -> Any: ...


class Still:
    """Reports when a job has made no progress for ``STILL_SECONDS``, and again each time that interval has passed."""

    def __init__(self, now: float) -> None:
        self._moved_at = now
        self._seen: object = None

    def due(self, status: JobStatus, now: float) -> bool:
        """Whether it is time to find out why the job makes no progress. A paused job is not expected to make any."""
        seen = (status.state, status.settled_items, sum(tally.bytes for tally in status.tallies))
        if seen != self._seen or status.state is JobState.PAUSED:
            self._seen, self._moved_at = seen, now
        if now - self._moved_at < STILL_SECONDS:
            return False
        self._moved_at = now
        return True


class Waiting:
    """Waits for the end of one job."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        pool: SessionPool,
        job: WarmJob,
        persist: Persist,
        learning: Learning,
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._pool = pool
        self._job = job
        self._persist = persist
        self._failures = FleetFailures(job)
        self._learning = learning
        self._about = about(job=job.job_id)

    async def until_settled(self) -> bool:
        """Returns False when the job has ended, or True when it has to be scanned again.

        If none of the job's addresses answers, the job fails when the patience ends. If its items are gone from the
        queue, it is scanned once more, and fails if that happens again.
        """
        wait = 0.02
        still, stall = Still(time.monotonic()), Stall(self._settings.lease.patience_seconds, time.monotonic())
        looked_at = asked_at = time.monotonic()
        while True:
            status = await self._persist(lambda: self._broker.status(self._job.job_id))
            if status.state.final and await self._set_state(status.state):
                await self._learning.keep()
                log.info("job %s is %s", self._job.job_id, status.state, extra=self._about)
                return False
            if status.state is JobState.SCANNING and not status.scan.finished:
                # Another manager, unaware that it had lost its lease, restarted the scan. Nobody may be running it.
                log.warning(
                    "job %s: another manager restarted its scan: scanning it", self._job.job_id, extra=self._about
                )
                return True
            now = time.monotonic()
            if still.due(status, now):
                await self._fail_if_unreached()
            if now >= asked_at + NOTE_SECONDS:
                asked_at = now
                await self._fail_if_stalled(status, stall, now)
            if now - looked_at >= min(STRANDED_SECONDS, self._settings.lease.lease_seconds):
                looked_at = now
                if await self._scans_again():
                    return True
            await asyncio.sleep(wait)
            wait = min(self._settings.lease.poll_seconds, wait * 2)

    async def _fail_if_unreached(self) -> None:
        patience = self._settings.lease.patience_seconds
        mounts = mounts_of(self._job)
        if not mounts or not patience:
            return
        away = await self._pool.reach(mounts)
        if away >= patience:
            problems = "; ".join(self._pool.problems(mounts))
            await self._fail(f"no mount address has answered for {away:.0f} s: {problems}")

    async def _fail_if_stalled(self, status: JobStatus, stall: Stall, now: float) -> None:
        """Ends a job whose workers have failed for as long as the patience lasts, at addresses that answer probes."""
        if not status.job.access.addresses:
            return
        workers = await self._learning.look(status)
        if workers is None or not self._settings.lease.patience_seconds:
            return
        stall.look(with_in_hand(status, workers), [self._failures.look(workers)], now)
        if stall.over.is_set():
            await self._fail(stall.reason)

    async def _scans_again(self) -> bool:
        job_id = self._job.job_id
        try:
            if not await self._broker.stranded(job_id):
                return False
            if await self._persist(lambda: self._broker.begin_scan_again(job_id)):
                log.warning(
                    "job %s: its work items have disappeared from the queue: scanning again", job_id, extra=self._about
                )
                return True
            if not await self._broker.stranded(job_id):
                return False  # it was paused meanwhile, or scanned again by another manager
        except BrokerError as error:
            log.info("looking for the items of job %s: %s", job_id, error, extra=self._about)
            return False
        await self._fail(LOST_TWICE)
        return False

    async def _fail(self, reason: str) -> None:
        log.error("job %s failed: %s", self._job.job_id, reason, extra=self._about)
        await self._set_state(JobState.FAILED, reason)

    async def _set_state(self, state: JobState, reason: str = "") -> bool:
        try:
            await self._persist(lambda: self._broker.set_state(self._job.job_id, state, reason))
        except InvalidTransition:
            return False
        return True


def mounts_of(job: WarmJob) -> list[Mount]:
    """The mounts of a job's addresses; none for local files."""
    return [Mount.of(job.access, address, job.warm_path) for address in job.access.addresses]
