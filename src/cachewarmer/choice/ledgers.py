"""The ledger that a job is compared with at its start, and the one that is written at its end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from cachewarmer.broker.base import Broker
from cachewarmer.choice.values import Ledger
from cachewarmer.errors import UsageError
from cachewarmer.model import JobStatus, WarmJob, new_job_id

Opened = Callable[[], AbstractAsyncContextManager[Broker]]
"""Opens the broker."""


async def compared(opened: Opened, jobs: Sequence[WarmJob], chosen: Ledger) -> list[WarmJob]:
    """The jobs, with what they are compared with; that of ``--failed-of`` in the place of none.

    Raises:
        UsageError: there is no such ledger or job, or it kept none.
    """
    if chosen.failed_of:
        async with opened() as broker:
            earlier = (await _with_ledger(broker, chosen.failed_of, "--failed-of")).job
            return [_again(await _where_it_failed(broker, earlier) if earlier.each_address else earlier)]
    if not chosen.since:
        return list(jobs)
    async with opened() as broker:
        if _is_file(chosen.since):
            from cachewarmer.ledger.files import read
            from cachewarmer.ledger.since import store_base

            made = [replace(job, job_id=new_job_id()) for job in jobs]
            for job in made:
                await store_base(broker, job.job_id, read(chosen.since))
            return [replace(job, ledger=True, since=job.job_id) for job in made]
        since = (await _with_ledger(broker, chosen.since, "--since")).job.job_id
        return [replace(job, ledger=True, since=since) for job in jobs]


def _is_file(text: str) -> bool:
    """Whether it names a ledger's file, rather than a job."""
    return os.path.exists(text) or "/" in text


def _again(job: WarmJob) -> WarmJob:
    """A new job of the same target whose files come from a list.

    Where each address is a cache of its own, what was read at one of them is not read there again.
    """
    since = job.job_id if job.each_address else ""
    return replace(job, job_id="", has_file_list=True, ledger=True, since=since, submitted_at=0.0)


async def _where_it_failed(broker: Broker, job: WarmJob) -> WarmJob:
    """The job, for those of its addresses at which something failed; for all of them where nothing says which."""
    from cachewarmer.ledger.records import records

    failed = {one.address async for one in records(broker.ledger(job.job_id), each_address=True) if one.failed}
    addresses = tuple(one for one in job.access.addresses if one in failed)
    if not addresses or "" in failed:
        return job
    return replace(job, access=replace(job.access, addresses=addresses))


async def _with_ledger(broker: Broker, text: str, option: str) -> JobStatus:
    from cachewarmer.broker.find import find_job

    status = await broker.status(await find_job(broker, text))
    if not status.job.ledger:
        raise UsageError(
            f"job {status.job.job_id} kept no ledger", doing=option, advice="warm with --ledger FILE, then compare"
        )
    return status


async def failed_list(opened: Opened, chosen: Ledger) -> AsyncIterator[bytes]:
    """The list of ``--failed-of``, as ``--files-from`` would give it."""
    from cachewarmer.broker.find import find_job
    from cachewarmer.ledger.records import records
    from cachewarmer.ledger.since import failed_paths
    from cachewarmer.planning.filelist import path_chunks

    async with opened() as broker:
        job_id = await find_job(broker, chosen.failed_of)
        async for chunk in path_chunks(failed_paths(records(broker.ledger(job_id), each_address=True))):
            yield chunk


async def write_ledger(opened: Opened, statuses: Sequence[JobStatus], name: str) -> None:
    """Writes the records of several jobs, one after the other, to the file of that name; nothing where there is none.

    Raises:
        CacheWarmerError: it can't be written, the broker can't be read, or no record was kept of a job.
    """
    if not name or not statuses:
        return
    from cachewarmer.ledger.files import written
    from cachewarmer.ledger.records import lines

    for status in statuses:
        if not status.job.ledger:
            raise UsageError(f"job {status.job.job_id} was begun without --ledger: no record of its files was kept")
    async with opened() as broker:
        with written(name) as sink:
            for status in statuses:
                async for text in lines(broker.ledger(status.job.job_id), each_address=status.job.each_address):
                    sink.write(text)
