"""Finds a job by its id, by a prefix of the id, or by its name."""

from __future__ import annotations

from cachewarmer.broker.base import Broker
from cachewarmer.errors import UnknownJob, UsageError
from cachewarmer.likeness import did_you_mean
from cachewarmer.paths import printable

MOST_NAMED = 5
"""Maximum number of jobs that an error names."""


async def find_job(broker: Broker, text: str) -> str:
    """The id of the job that ``text`` names, by its id, else by a prefix that only one id has, else by its name.

    If several jobs have the name, it is the newest of them.

    Raises:
        UnknownJob: there is no such job.
        UsageError: several ids begin with ``text``, and no job has that name.
    """
    try:
        return (await broker.status(text)).job.job_id
    except UnknownJob as error:
        unknown = error
    jobs = [status.job for status in await broker.jobs()]
    begun = [job.job_id for job in jobs if job.job_id.startswith(text)]
    if len(begun) == 1:
        return begun[0]
    named = [job.job_id for job in jobs if job.name == text]
    if named:
        return named[0]
    if begun:
        more = ", …" if len(begun) > MOST_NAMED else ""
        raise UsageError(
            f"{len(begun)} jobs have an id that begins with {printable(text)}: {', '.join(begun[:MOST_NAMED])}{more}"
        )
    unknown.advice = did_you_mean(printable(text), (printable(word) for job in jobs for word in (job.name, job.job_id)))
    raise unknown
