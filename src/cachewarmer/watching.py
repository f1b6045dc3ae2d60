"""Warms what has changed at regular intervals, one round at a time, each compared with the ledger of the last."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log, persist
from cachewarmer.config import state_directory
from cachewarmer.errors import BrokerError, CacheWarmerError
from cachewarmer.model import JobState, JobStatus, WarmJob
from cachewarmer.paths import ENCODING, ERRORS

log = logging.getLogger(__name__)

WHOLE = frozenset({JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS})
"""How a round ends whose ledger knows every file of the tree."""
FORGET_SECONDS = 30 * 24 * 3600.0
WAIT_SECONDS = 10.0
"""How long a round waits for a broker that does not answer. One that was away between two rounds has cut the connection of the
first, and answers at once on another."""

Warm = Callable[[WarmJob | None, str | None], Awaitable[JobStatus]]
"""Warms a job, or continues with the one of an id."""


class Busy(CacheWarmerError):
    """Another process watches the same target."""


@asynccontextmanager
async def alone(job: WarmJob, broker_url: str) -> AsyncIterator[None]:
    """Holds the lock of a target at a broker; it goes with the process, however that ends.

    Raises:
        Busy: another process has it.
    """
    digest = blake2b(f"{broker_url}\0{name_of(job)}\0{job.label}".encode(ENCODING, ERRORS), digest_size=8).hexdigest()
    from cachewarmer.broker.sqlite.files import make_folder

    folder = state_directory()
    try:
        make_folder(str(folder))
        handle = os.open(folder / f"watch-{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CacheWarmerError(error.strerror or str(error), doing="locking", subject=os.fsencode(folder)) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another process is watching {job.label}") from None
        yield
    finally:
        os.close(handle)


def name_of(job: WarmJob) -> str:
    """What the jobs of a watch are called: so the next one finds the last."""
    return job.name or "watch"


def next_start(began: float, every: float, now: float) -> float:
    """When the next round begins: a whole number of intervals after the first, so that missed ones are not made up for."""
    return began + (int(max(0.0, now - began) // every) + 1) * every


async def one_round(broker: Broker, job: WarmJob, warm: Warm) -> JobStatus:
    """Goes on with a round that was interrupted, or warms what changed since the last one that came to its end."""
    jobs = await persist(broker.jobs, WAIT_SECONDS, outage_log(broker))
    earlier = [one for one in jobs if one.job.name == name_of(job) and one.job.label == job.label]
    earlier = [one for one in earlier if one.job.ledger]
    for one in earlier:
        if not one.state.final:
            status = await warm(None, one.job.job_id)
            break
    else:
        last = next((one.job.job_id for one in earlier if one.state in WHOLE), "")
        status = await warm(replace(job, name=name_of(job), ledger=True, since=last), None)
    if status.state in WHOLE:
        old = [one.job.job_id for one in earlier if one.job.job_id != status.job.job_id and one.state.final]
        await _forget(broker, old)
    return status


async def _forget(broker: Broker, job_ids: Sequence[str]) -> None:
    """Drops ledgers that nothing is compared with any more, and what is old. The round is over: a broker that has just gone
    away costs it nothing, and the next one tries again.
    """
    outage = outage_log(broker)
    try:
        for job_id in job_ids:
            await persist(partial(broker.forget_ledger, job_id), WAIT_SECONDS, outage)
        await persist(lambda: broker.tidy(FORGET_SECONDS), WAIT_SECONDS, outage)
    except BrokerError as error:
        if not error.transient:
            raise
        log.warning("old jobs stay at the broker until the next round: %s", error)


async def watch(
    broker: Broker,
    job: WarmJob,
    warm: Warm,
    every: float,
    on_round: Callable[[JobStatus], None],
    stop: asyncio.Event,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Rounds until ``stop`` is set, ``every`` seconds apart; one that fails is named, and the next one is due as usual."""
    began = clock()
    while not stop.is_set():
        try:
            on_round(await one_round(broker, job, warm))
        except CacheWarmerError as error:
            if isinstance(error, BrokerError) and not error.transient:
                raise
            if not stop.is_set():
                log.error("%s: %s", job.label, error)  # noqa: TRY400  # one line; the next round tries again
        try:
            await asyncio.wait_for(stop.wait(), next_start(began, every, clock()) - clock())
        except TimeoutError:
            continue
