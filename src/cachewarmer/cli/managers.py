"""Warns users who wait for a job when no manager is running."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from cachewarmer.amounts import duration
from cachewarmer.broker.base import MANAGER_SECONDS, Broker
from cachewarmer.errors import BrokerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import JobState, JobStatus
from cachewarmer.submitter import wait_until_warm

UNSEEN_SECONDS = 3 * MANAGER_SECONDS
"""A manager that has not been seen for this long is considered gone."""


def unseen(seconds_ago: float | None, status: JobStatus, now: float) -> str:
    """A warning if no manager takes care of a job, else empty.

    ``seconds_ago`` is how long ago the broker last saw a manager, None if never. ``now`` is in Unix seconds. There is
    no warning for a job that was taken by a manager which leaves no trace (``warm``, a first-generation manager).
    """
    if status.state.final or status.state is JobState.PAUSED:
        return ""
    if seconds_ago is None:
        seconds_ago = now - status.submitted_at if status.state is JobState.QUEUED and status.submitted_at else 0.0
    return f"no manager has been seen for {duration(seconds_ago)}" if seconds_ago >= UNSEEN_SECONDS else ""


async def warning(broker: Broker, status: JobStatus) -> str:
    """The warning of ``unseen`` for the current time; also empty if the broker does not answer."""
    try:
        return unseen(await broker.manager_seen(), status, time.time())
    except BrokerError:
        return ""


class Watcher(Protocol):
    """Shows a job to the user: it is called with every status, and ``warn`` with warnings; an empty text ends one."""

    def __call__(self, status: JobStatus, /) -> None: ...

    def warn(self, text: str, /) -> None: ...


async def wait(broker: Broker, job_id: str, progress: Watcher, stop: asyncio.Event) -> JobStatus:
    """Waits for a job like ``wait_until_warm``, and warns if no manager is running."""
    last: list[JobStatus] = []

    def show(status: JobStatus) -> None:
        last[:] = [status]
        progress(status)

    async def look() -> None:
        while True:
            await asyncio.sleep(MANAGER_SECONDS)
            progress.warn(await warning(broker, last[0]) if last else "")

    looking = asyncio.create_task(look())
    try:
        return await wait_until_warm(broker, job_id, show, stop, live=True)
    finally:
        await end_tasks(looking)
