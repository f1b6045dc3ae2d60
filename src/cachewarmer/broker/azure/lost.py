"""Finds what was lost from the queues: items that nobody can settle, and jobs that nobody can take.

A storage queue can't be searched, and its length covers all jobs. But the length is never below the number of messages,
whether they are leased or not, so a length of 0 is certain. Everything must be observed twice, two lease times apart,
before anything is done about it: by then, each message that somebody holds has come back or has been renewed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from cachewarmer.about import about
from cachewarmer.azure.calls import all_of
from cachewarmer.broker.azure.messages import job_of
from cachewarmer.broker.azure.names import FIRST_GENERATION_JOB
from cachewarmer.broker.azure.opened import Opened
from cachewarmer.broker.azure.queues import MOST_AT_ONCE
from cachewarmer.broker.azure.tables import JobRecord
from cachewarmer.broker.base import MANAGER_SECONDS
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import InvalidMessage
from cachewarmer.model import JobState, JobStatus, WarmJob

log = logging.getLogger(__name__)

TAKEN_TWICE = (
    "its message left the queue twice though no manager of this version had the job: another program takes "
    "messages from it, or somebody clears it"
)


class Lost:
    """Looks for lost items and jobs. ``clock`` returns seconds that never go back."""

    def __init__(self, at: Opened, settings: LeaseSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._at = at
        self._clock = clock
        self._patience_seconds = 2 * settings.lease_seconds
        self._quiet: dict[str, tuple[float, int]] = {}
        """Since when no message can be of a job that has unsettled items, and how many items were settled then."""
        self._missing: dict[str, float] = {}
        """Since when the message of the job itself has been missing."""
        self._looked_at = -self._patience_seconds

    # -- items -----------------------------------------------------------------------------------------------------

    async def stranded(self, job_id: str) -> bool:
        """See ``Broker.stranded``."""
        status = await self._at.status(job_id)
        if (
            status.state is not JobState.WARMING
            or not status.scan.finished
            or not await self._nothing_waits(status.job)
        ):
            self._quiet.pop(job_id, None)
            return False
        now = self._clock()
        since, settled = self._quiet.setdefault(job_id, (now, status.settled_items))
        if settled != status.settled_items:
            self._quiet[job_id] = (now, status.settled_items)
            return False
        return now - since >= self._patience_seconds

    async def _nothing_waits(self, job: WarmJob) -> bool:
        """Whether no message need be of this job: its queue has none, or no more than the items of paused jobs."""
        length = await self._at.work.length(job.priority)
        if not length:
            return True
        active = await self._at.records.active()
        others = [one for one in active if one.job.priority is job.priority and one.job.job_id != job.job_id]
        if any(one.state is not JobState.PAUSED for one in others):
            return False  # the queue of jobs at work becomes empty, or they are found stranded themselves
        statuses: list[JobStatus] = await all_of(self._at.status_of(one) for one in others)
        return length <= sum(max(0, one.scan.items - one.settled_items) for one in statuses)

    def forget(self, job_id: str) -> None:
        """Forgets a job that is scanned again, or is over."""
        self._quiet.pop(job_id, None)

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def repost_jobs(self) -> None:
        """Puts jobs whose message is gone back on the queue, once each; those that are lost again fail.

        Does nothing if it was called less than a lease time ago.
        """
        now = self._clock()
        if now - self._looked_at < self._patience_seconds / 2:
            return
        self._looked_at = now
        lost = {one.job.job_id: one for one in await self._without_message()}
        self._missing = {job_id: self._missing.get(job_id, now) for job_id in lost}
        for job_id, since in list(self._missing.items()):
            if now - since >= self._patience_seconds:
                del self._missing[job_id]
                await self._repost(lost[job_id])

    async def _without_message(self) -> list[JobRecord]:
        """Jobs that are not over and that no manager has, none of whose messages is on the queue."""
        # Read first: a job that is posted in the meantime has its message before its record.
        jobs = [one for one in await self._at.records.active() if one.job.job_id != FIRST_GENERATION_JOB]
        if not jobs or await self._at.jobs.length() >= len(jobs):
            return []
        managed = await self._managed_jobs()
        free = [one for one in jobs if one.job.job_id not in managed]
        waiting = await self._at.jobs.peek()
        if any(len(one) == MOST_AT_ONCE for one in waiting):
            return []  # there may be more that are not shown
        there = {_job_id(text, message_id) for one in waiting for message_id, text in one}
        return [one for one in free if one.job.job_id not in there]

    async def _managed_jobs(self) -> set[str]:
        """The jobs of managers that were seen recently."""
        fresh_seconds = max(self._patience_seconds, 3 * MANAGER_SECONDS)
        managers = await self._at.managers.seen()
        return {job_id for one in managers if one.seconds_ago < fresh_seconds for job_id in one.jobs}

    async def _repost(self, found: JobRecord) -> None:
        job_id = found.job.job_id
        if found.reposted:
            log.error("job %s failed: %s", job_id, TAKEN_TWICE, extra=about(job=job_id))
            now = time.time()
            await self._at.records.change(
                job_id, lambda one: one if one.state.final else one.moved_to(JobState.FAILED, TAKEN_TWICE, now)
            )
            return
        log.warning("job %s is on no queue, and no manager has it: posting it again", job_id, extra=about(job=job_id))
        # Before the message, whose taker must not find the id of another message.
        changed = await self._at.records.change(job_id, _free_to_take)
        if not changed.state.final:
            await self._at.jobs.send(changed.job.to_json(), changed.job.priority)


def _free_to_take(found: JobRecord) -> JobRecord:
    return found if found.state.final else replace(found, reposted=True, message_id="", handed_back=0)


def _job_id(text: str, message_id: str) -> str:
    try:
        return job_of(text, message_id).job_id
    except InvalidMessage:
        return ""
