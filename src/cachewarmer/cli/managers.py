"""Tells those who wait for a job that no manager is there to take it."""

from __future__ import annotations

import asyncio
import time

from cachewarmer.broker.base import MANAGER_SECONDS, Broker
from cachewarmer.cli.progress import Progress
from cachewarmer.cli.text import duration
from cachewarmer.errors import BrokerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import JobState, JobStatus, WorkerReport, with_in_hand
from cachewarmer.model.live import NOTE_SECONDS
from cachewarmer.submitter import wait_until_warm

UNSEEN_SECONDS = 3 * MANAGER_SECONDS
"""A manager that has not been seen for this long is taken to be gone."""


def unseen(seconds_ago: float | None, status: JobStatus, now: float) -> str:
    """A warning if no manager looks after a job; ``now`` in Unix seconds, ``seconds_ago`` as the broker says it.

    A job that was taken by one that leaves no trace (``warm``, a first-generation manager) is not warned of.
    """
    if status.state.final or status.state is JobState.PAUSED:
        return ""
    if seconds_ago is None:
        seconds_ago = now - status.submitted_at if status.state is JobState.QUEUED and status.submitted_at else 0.0
    return f"no manager has been seen for {duration(seconds_ago)}" if seconds_ago >= UNSEEN_SECONDS else ""


async def warning(broker: Broker, status: JobStatus) -> str:
    """``unseen`` as things are now; empty also where the broker can't say."""
    try:
        return unseen(await broker.manager_seen(), status, time.time())
    except BrokerError:
        return ""


async def wait(broker: Broker, job_id: str, progress: Progress, stop: asyncio.Event) -> JobStatus:
    """Waits for a job as ``wait_until_warm`` does, and shows meanwhile if no manager is there.

    What is shown counts what workers have read of unfinished items; the status that is returned is the books alone.
    """
    last: list[JobStatus] = []
    rows: list[WorkerReport] = []

    def show(status: JobStatus) -> None:
        last[:] = [status]
        progress(with_in_hand(status, rows))

    async def hear() -> None:
        while True:
            try:
                rows[:] = await broker.workers(job_id)
            except BrokerError:
                rows.clear()
            await asyncio.sleep(NOTE_SECONDS)

    async def look() -> None:
        while True:
            await asyncio.sleep(MANAGER_SECONDS)
            progress.warn(await warning(broker, last[0]) if last else "")

    looking, hearing = asyncio.create_task(look()), asyncio.create_task(hear())
    try:
        return await wait_until_warm(broker, job_id, show, stop)
    finally:
        await end_tasks(looking, hearing)
