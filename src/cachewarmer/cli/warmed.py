"""``--verify``: verifies what a command has just warmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import TYPE_CHECKING

from cachewarmer.choice.copied import CopiedList
from cachewarmer.cli.options.general import Output
from cachewarmer.cli.options.verifying import Checking
from cachewarmer.model import JobState, JobStatus, WarmJob

if TYPE_CHECKING:
    from cachewarmer.config import Settings
    from cachewarmer.verification.found import Verified

DONE = (JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS)


async def verify_warmed(
    statuses: Sequence[JobStatus],
    files: CopiedList,
    settings: Settings,
    checking: Checking,
    output: Output,
    stop: asyncio.Event,
) -> list[Verified]:
    """Verifies the jobs that were warmed, if that was asked for."""
    jobs = [status.job for status in statuses if status.state in DONE]
    if not checking.verify or not jobs or stop.is_set():
        return []
    from cachewarmer.cli.verification import verify_jobs

    def file_list(job: WarmJob) -> AsyncIterable[bytes] | None:
        return files.again() if job.has_file_list else None

    return await verify_jobs(jobs, settings, checking.sampling, output, stop, file_list)
