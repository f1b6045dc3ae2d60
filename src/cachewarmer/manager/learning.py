"""Stores with a job what its workers find out about its addresses, so that it outlives them: see ``model.learnt``."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cachewarmer.about import about
from cachewarmer.broker.base import Broker
from cachewarmer.broker.learnt import first_windows
from cachewarmer.errors import BrokerError
from cachewarmer.model import JobState, JobStatus, Learnt, Lessons, WarmJob, WorkerReport
from cachewarmer.model.live import NOTE_SECONDS

log = logging.getLogger(__name__)

KEPT_SECONDS = 30.0
"""Time between two writes."""


class Learning:
    """What the manager of one job has learnt from its workers. Nothing depends on it, so failures are only logged."""

    def __init__(self, broker: Broker, job: WarmJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._job = job
        self._about = about(job=job.job_id)
        self._clock = clock
        self._lessons = Lessons()
        self._kept_at = float("-inf")
        self._looked_at = clock()

    async def first_windows(self) -> dict[str, int]:
        """The windows (calls) that the scan may begin with, by address: from those that workers have there now, or from
        what was stored with the job.
        """
        known = await first_windows(self._broker, job_id=self._job.job_id)
        return {address: window for address, window in known.items() if address in self._job.access.addresses}

    async def look(self, status: JobStatus) -> list[WorkerReport] | None:
        """What the job's workers report now; None if the broker does not answer."""
        self._looked_at = self._clock()
        try:
            workers = await self._broker.workers(self._job.job_id)
        except BrokerError as error:
            log.info("asking for the workers of job %s: %s", self._job.job_id, error, extra=self._about)
            return None
        self._lessons.look(status, workers, self._clock())
        if self._clock() - self._kept_at >= KEPT_SECONDS:
            await self.keep()
        return workers

    async def look_while_scanning(self) -> None:
        """Does the same for a job that is being scanned, but no more often than workers write reports."""
        if self._clock() - self._looked_at >= NOTE_SECONDS:
            await self.look(JobStatus(job=self._job, state=JobState.SCANNING))

    async def keep(self) -> None:
        """Stores what is known, if anything is."""
        learnt = self._lessons.learnt
        if learnt == Learnt():
            return
        try:
            await self._broker.keep_learnt(self._job.job_id, learnt)
        except BrokerError as error:
            log.info("keeping what job %s has taught: %s", self._job.job_id, error, extra=self._about)
            return
        self._kept_at = self._clock()
