"""Verifies a job whose addresses are separate caches, with a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable
from dataclasses import replace

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError
from cachewarmer.model import PathError, WarmJob
from cachewarmer.verification.found import Found, Verified
from cachewarmer.verification.verify import Demand, Progress, verify

Lists = Callable[[], AsyncIterable[bytes] | None]
"""Gives the list of files again each time, or None."""


async def verify_each(
    job: WarmJob,
    settings: Settings,
    demand: Demand,
    *,
    on_progress: Progress = lambda _: None,
    stop: asyncio.Event | None = None,
    file_list: Lists = lambda: None,
) -> list[Verified]:
    """What is known of a job: one result, or one for each of its addresses where they are caches of their own.

    Each address has a sample of its own, with seeds that follow each other: what the first one had to fetch, another may
    have from it. One that can't be reached, or does not answer any more, has a result that says so: none of its samples
    could be read.

    Raises:
        CacheWarmerError: none of them can be opened or listed.
    """
    if not job.each_address or not job.access.addresses:
        return [await verify(job, settings, demand, on_progress=on_progress, stop=stop, file_list=file_list())]
    stop = stop or asyncio.Event()
    found: list[Verified] = []
    failures: list[CacheWarmerError] = []
    for number, address in enumerate(job.access.addresses):
        if stop.is_set():
            break

        def say(text: str, address: str = address) -> None:
            on_progress(f"{address}: {text}")

        one, its = job.at(address), replace(demand, seed=demand.seed + number)
        try:
            result = await verify(one, settings, its, on_progress=say, stop=stop, file_list=file_list())
        except CacheWarmerError as error:
            failures.append(error.fill(address=address))
            result = _unread(one, its, failures[-1])
        found.append(replace(result, address=address))
    if failures and len(failures) == len(found):
        raise failures[0]
    return found


def _unread(job: WarmJob, demand: Demand, error: CacheWarmerError) -> Verified:
    """What is known of an address where nothing could be read."""
    reason = "no sample could be read"
    errors = (PathError.of(job.full_path, error),)
    aspects = [Found(aspect=one, reason=reason, failed=demand.count, errors=errors) for one in demand.aspects]
    return Verified(target=job.label, seed=demand.seed, aspects=tuple(aspects))
