"""``--stats``: logs a line at regular intervals with what was done since the last one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from cachewarmer.about import about
from cachewarmer.amounts import counted, size, span
from cachewarmer.cli.bounds import short
from cachewarmer.errors import BrokerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Bound, WorkerReport, with_in_hand
from cachewarmer.model.bound import of_job
from cachewarmer.values import dataclass

if TYPE_CHECKING:
    from cachewarmer.broker.base import Broker
    from cachewarmer.model import JobStatus

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
"""Time limit for a look at a broker. If it takes longer, the next line covers a longer time."""
LAST_SECONDS = 1.0
"""Time limit for the last look, when the command ends."""
DONE = ("items", "files", "bytes")
TROUBLE = {
    "failed_files": "failed file",
    "retries": "retry",
    "jukebox_waits": "JUKEBOX wait",
    "reconnects": "reconnect",
    "address_failures": "address failure",
}
"""Counts that a line of text names only if they are not 0."""
SCANNED = "scanned_files"


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at one point in time."""

    counts: dict[tuple[str, str], int]
    """Counters by owner and name. They only increase, except when work is handed back."""
    now: dict[str, int]
    """Gauges: values at this point in time."""
    bound: Bound = Bound.UNKNOWN


def look_at(
    reports: Sequence[WorkerReport], statuses: Iterable[JobStatus] | None = None, now: dict[str, int] | None = None
) -> Look:
    """Makes a look from the reports of workers, and from the statuses of jobs if these are known.

    If given, ``statuses`` say what has been read, so they must include unfinished items. ``now`` holds further gauges.
    """
    counts = _of_workers(reports) if statuses is None else {}
    for status in statuses or ():
        job = status.job.job_id
        counts |= {(job, name): status.total(name) for name in DONE}
        counts |= {(job, "failed_files"): status.failed_files, (job, SCANNED): status.scan.files}
    for one in reports:
        for place in one.addresses:
            found = (place.retries, place.jukebox_waits, place.reconnects, place.failures)
            names = ("retries", "jukebox_waits", "reconnects", "address_failures")
            counts |= {(f"{one.key} {place.address}", name): n for name, n in zip(names, found, strict=True)}
    at_work = [one for one in reports if one.at_work]
    known = {str(one) for one in Bound}  # a later version may know more
    bounds = [Bound(one.bound) for one in at_work if one.bound in known]
    return Look(counts, _gauges(at_work) | (now or {}), of_job(bounds, scan_finished=True))


def _of_workers(reports: Sequence[WorkerReport]) -> dict[tuple[str, str], int]:
    """What workers have done according to their own reports."""
    counts: dict[tuple[str, str], int] = {}
    for one in reports:
        for held in one.jobs:
            sums = (held.settled_items, held.files + held.settled_files, held.bytes + held.settled_bytes)
            counts |= {(f"{one.key} {held.job}", name): n for name, n in zip(DONE, sums, strict=True)}
            counts[f"{one.key} {held.job}", "failed_files"] = held.failed_files
    return counts


def _gauges(at_work: Sequence[WorkerReport]) -> dict[str, int]:
    places = [place for one in at_work for place in one.addresses]
    return {
        "held_items": sum(held.items for one in at_work for held in one.jobs),
        "in_flight_calls": sum(place.in_flight for place in places),
        "window_calls": sum(place.window for place in places),
        "knee_calls": sum(place.knee for place in places),
        "away_addresses": len({place.address for place in places if place.problem}),
    }


async def look_at_broker(broker: Broker) -> Look:
    """What a manager sees: all jobs and workers of its broker, and its queue."""
    statuses, reports, backlog = await broker.jobs(), await broker.workers(), await broker.backlog()
    going_on = [one for one in statuses if not one.state.final]
    queue = {
        "jobs": len(going_on),
        "waiting_items": backlog.waiting_items,
        "leased_items": backlog.leased_items,
        "workers": sum(one.at_work for one in reports),
    }
    return look_at(reports, [with_in_hand(one, reports) for one in statuses], queue)


class Stats:
    """Logs what was done since the last line; if there is nothing to do, it says so only once.

    Times are in seconds of any clock.
    """

    def __init__(self, first: Look, now: float) -> None:
        self._last = first
        self._at = now
        self._idle = False

    def tell(self, look: Look, now: float, *, at_end: bool = False) -> None:
        """Logs one line, unless there is nothing new to say. ``at_end``: it is the last one, and not logged if idle."""
        seconds = now - self._at
        if seconds <= 0:
            return
        done = dict.fromkeys((*DONE, *TROUBLE), 0)
        for key, count in look.counts.items():
            done[key[1]] = done.get(key[1], 0) + count - self._last.counts.get(key, 0)
        # Counts may decrease: what was read of an item that was then handed back is read again.
        done = {name: max(0, count) for name, count in done.items()}
        self._last, self._at = look, now
        idle = not any(done.values()) and not any(look.now.get(name) for name in ("held_items", "leased_items", "jobs"))
        if not (idle and (self._idle or at_end)):
            text = f"in {span(seconds)}: idle" if idle else line(done, look, seconds)
            log.info("%s", text, extra=about(stats=document(done, look, seconds)))
        self._idle = idle


def document(done: dict[str, int], look: Look, seconds: float) -> dict[str, Any]:
    """The numbers of one line; docs/logs.md describes the keys."""
    rates = {f"{name}_per_second": round(done[name] / seconds, 1) for name in ("files", "bytes")}
    return {"seconds": round(seconds, 1), **done, **rates, **look.now, "bound_by": str(look.bound)}


def line(done: dict[str, int], look: Look, seconds: float) -> str:
    """The same numbers as text, without those that are 0 or unknown."""
    now = look.now
    rates = f"({done['files'] / seconds:,.1f} files/s, {size(done['bytes'] / seconds)}/s)"
    parts = [f"in {span(seconds)}: {counted(done['files'], 'file')}, {size(done['bytes'])} {rates}"]
    parts.append(f"{counted(done['items'], 'item')} done, {now['held_items']:,} in hand")
    if done.get(SCANNED):
        parts.append(f"{counted(done[SCANNED], 'file')} found by the scan")
    if now["window_calls"]:
        knee = f", knee {now['knee_calls']:,}" if now["knee_calls"] else ""
        parts.append(f"{now['in_flight_calls']:,} of {counted(now['window_calls'], 'call')} in flight{knee}")
    parts += [said] if (said := short(look.bound)) else []
    if "waiting_items" in now:
        queue = f"{counted(now['waiting_items'], 'item')} waiting, {now['leased_items']:,} leased"
        parts.append(f"{counted(now['jobs'], 'job')}, {counted(now['workers'], 'worker')}, {queue}")
    parts += [counted(done[name], noun) for name, noun in TROUBLE.items() if done[name]]
    parts += ["an address does not answer"] if now["away_addresses"] else []
    return "; ".join(parts)


@asynccontextmanager
async def stats_told(
    seconds: float, look: Callable[[], Awaitable[Look]], clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """Logs statistics at this interval, in seconds, while the block runs, and the rest at its end; 0: never.

    If a look fails, the next one covers its time too; the outage is reported by calls that matter to the work.
    """
    if not seconds:
        yield
        return
    stats: list[Stats] = []

    async def tell(most: float = LOOK_SECONDS, *, at_end: bool = False) -> None:
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(most):
                found = await look()
            if stats:
                stats[0].tell(found, clock(), at_end=at_end)
            else:
                stats.append(Stats(found, clock()))

    async def again() -> None:
        await tell()
        while True:
            await asyncio.sleep(seconds)
            await tell()

    telling = asyncio.create_task(again())
    try:
        yield
    finally:
        await end_tasks(telling)
        await tell(LAST_SECONDS, at_end=True)
