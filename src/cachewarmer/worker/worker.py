"""A worker: claims work items, reads them, and acknowledges each only after its bytes were read.

It claims ahead just enough that the read window never drains between items, renews what it holds, batches what it has
finished, and hands back what it can't finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from cachewarmer.broker.base import Broker, WorkLease
from cachewarmer.broker.patience import persist
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import BrokerError, CacheWarmerError, LeaseLost, UnknownJob
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import JobState, Receipt, Tally
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import Opener, SessionPool
from cachewarmer.warming.pace import Pace
from cachewarmer.warming.reader import ItemReader, ItemRun

log = logging.getLogger(__name__)

T = TypeVar("T")

AHEAD_WINDOWS = 4
"""Claim more while fewer than this many windows of requests are waiting in this worker."""
AHEAD_SECONDS = 4.0
"""Where a pace bounds the reading: claim no more than is read in this time, and leave the rest to others."""
MOST_ITEMS = 64
"""Items held at once, however small they are."""
PAUSE_SECONDS = 3.0
"""An item of a paused job is out of sight for this long, where the queue itself can't hold it back."""
PAUSED_EVERY_SECONDS = 0.1
"""Where there are many such items, they come back into sight one by one, so far apart: others are waiting behind them."""
MOST_PAUSE_SECONDS = 600.0
HAND_BACK_SHARE = 0.25
"""Of ``LeaseSettings.drain_seconds``: kept for handing back what was not finished in the rest."""
CLAIM_GRACE_SECONDS = 2.0
"""How long a claim that is under way when the worker shall stop is waited for."""
MOST_RETRY_SECONDS = 30.0
FIRST_POLL_SECONDS = 0.02
"""The first wait at an empty queue; doubles up to ``LeaseSettings.poll_seconds``."""


@dataclass(eq=False, slots=True)
class _Held:
    lease: WorkLease
    run: ItemRun
    renewed_at: float
    lost: bool = False
    handed_back: str | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    byte_count: int = field(init=False)

    def __post_init__(self) -> None:
        self.byte_count = self.lease.item.byte_count  # a sum over all its files: made once


class Worker:
    """One worker process's work. ``job_id`` serves that job alone, where the broker can choose."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        *,
        name: str = "",
        job_id: str = "",
        exit_when_idle: float | None = None,
        max_bandwidth: int = 0,
        sharers: int = 1,
        opener: Opener = open_session,
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.name = name or process_name()
        self.job_id = job_id
        self.exit_when_idle = exit_when_idle
        self.max_bandwidth = max_bandwidth
        self._sharers = sharers
        self._opener = opener
        self._held: set[_Held] = set()
        self._finished: list[tuple[_Held, Receipt]] = []
        self._wake_settler = asyncio.Event()
        self._room = asyncio.Event()
        self._states: dict[str, tuple[float, JobState]] = {}
        self._paces: dict[str, Pace] = {}
        self._notice = asyncio.Event()
        self._hidden_until = 0.0

    def __repr__(self) -> str:
        waiting = sum(held.run.outstanding for held in self._held)
        return f"<Worker {self.name} items={len(self._held)} requests={waiting}>"

    def in_hand(self) -> Tally:
        """What is read of items that have no receipt yet: for showing how it goes, never for the books."""
        files = sum(held.run.files for held in self._held if held.lease.item.start <= 0)
        return Tally(worker=self.name, files=files, bytes=sum(held.run.bytes for held in self._held))

    def evict(self) -> None:
        """The machine is about to go away: stop claiming and hand everything back at once."""
        self._notice.set()

    # -- the loops -------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop``, an eviction notice, or ``exit_when_idle`` seconds without work.

        Within ``LeaseSettings.drain_seconds`` after ``stop`` it has finished what it holds or handed it back.
        """
        async with SessionPool(self.settings, self._opener) as pool:
            reader = ItemReader(pool)
            loops = [
                asyncio.create_task(self._settle_loop()),
                asyncio.create_task(self._renew_loop()),
                asyncio.create_task(self._watch_jobs()),
            ]
            stopping = asyncio.create_task(_first(stop, self._notice))
            try:
                await self._claim_loop(reader, stopping, loops)
                drain = 0.0 if self._notice.is_set() else self.settings.lease.drain_seconds
                await self._drain(drain, loops)
            finally:
                await end_tasks(*loops, stopping)

    async def _claim_loop(
        self, reader: ItemReader, stopping: asyncio.Task[None], loops: list[asyncio.Task[None]]
    ) -> None:
        idle_since = time.monotonic()
        wait = FIRST_POLL_SECONDS
        while not stopping.done():
            for task in loops:
                if task.done():
                    task.result()
            # First, so that what ends from here on is noticed below, whatever is awaited meanwhile.
            self._room.clear()
            most = self._wanted()
            claiming = asyncio.create_task(self._claim_and_take(reader, most))
            await asyncio.wait([claiming, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not claiming.done():
                await asyncio.wait([claiming], timeout=CLAIM_GRACE_SECONDS)
            if not claiming.done():
                await end_tasks(claiming)
                return
            leases = claiming.result()
            now = time.monotonic()
            if leases:
                wait = FIRST_POLL_SECONDS
            if self._held:
                idle_since = now
            elif self.exit_when_idle is not None and now - idle_since >= self.exit_when_idle:
                log.info("nothing to do for %.0f s: leaving", self.exit_when_idle)
                return
            if leases and leases == most:
                continue
            room = asyncio.create_task(self._room.wait())
            await asyncio.wait(
                [room, stopping], timeout=None if not most else wait, return_when=asyncio.FIRST_COMPLETED
            )
            room.cancel()
            if most and not leases:
                wait = min(self.settings.lease.poll_seconds, wait * 2)

    def _wanted(self) -> int:
        """How many items to claim now: none while enough requests are waiting."""
        if len(self._held) >= MOST_ITEMS:
            return 0
        window = self.settings.nfs
        requests = sum(_requests(held, AHEAD_WINDOWS * window.window_calls) for held in self._held)
        waiting_bytes = sum(held.byte_count - held.run.bytes for held in self._held)
        most_bytes: float = AHEAD_WINDOWS * window.window_bytes
        if self._held and all(held.run.pace for held in self._held):
            rates = {held.lease.item.job_id: held.run.pace.bytes_per_second for held in self._held if held.run.pace}
            most_bytes = min(most_bytes, AHEAD_SECONDS * sum(rates.values()))
        filled = max(requests / (AHEAD_WINDOWS * window.window_calls), waiting_bytes / most_bytes)
        count = len(self._held)
        if count < 2:  # one to read and one to go on with, however large they are
            return 1 if count and filled >= 1 else 2
        # No more than it takes to fill what is ahead with items like those that are held, and that step by step.
        lacking = math.ceil(count * (1 - filled) / filled) if filled else count
        return max(0, min(lacking, 2 * count, MOST_ITEMS - count))

    async def _claim_and_take(self, reader: ItemReader, most: int) -> int:
        """Claims up to ``most`` items and begins to read them; how many were delivered."""
        leases = await self._claim(most) if most else []
        now = time.monotonic()
        for lease in leases:
            await self._take(reader, lease, now)
        return len(leases)

    async def _claim(self, most: int) -> list[WorkLease]:
        try:
            return await self.broker.claim(most, self.settings.lease.lease_seconds, self.job_id)
        except BrokerError as error:
            if not error.transient:
                raise
            log.warning("claiming work: %s", error)
            return []

    async def _take(self, reader: ItemReader, lease: WorkLease, now: float) -> None:
        state = await self._state(lease.item.job_id)
        if state is JobState.PAUSED or state.final:
            delay = self._hiding_seconds(now) if state is JobState.PAUSED else 0.0
            await self._persist(lambda: self.broker.abandon(lease, "", delay))
            return
        held = _Held(lease, ItemRun(self._pace(lease)), now)
        self._held.add(held)
        held.tasks.append(asyncio.create_task(self._read(reader, held)))

    def _hiding_seconds(self, now: float) -> float:
        """For how long the next item of a paused job goes out of sight."""
        self._hidden_until = max(now + PAUSE_SECONDS, self._hidden_until + PAUSED_EVERY_SECONDS)
        return min(MOST_PAUSE_SECONDS, self._hidden_until - now)

    def _pace(self, lease: WorkLease) -> Pace | None:
        """The pace of a job in this worker: its share of the job's bandwidth, and no more than the worker's own."""
        job_id, whole = lease.item.job_id, lease.item.max_bandwidth
        rate = min((one for one in (self.max_bandwidth, whole / self._sharers) if one), default=0.0)
        if not rate:
            return None
        if job_id not in self._paces:
            self._paces[job_id] = Pace(rate, time.monotonic())
        return self._paces[job_id]

    async def _share_bandwidth(self, job_id: str, whole: int) -> None:
        """Adapts a job's pace to the number of workers that have written a tally for it."""
        if not whole or job_id not in self._paces:
            return
        try:
            sharers = max(self._sharers, len((await self.broker.status(job_id)).tallies))
        except BrokerError:
            return
        rate = whole / sharers
        self._paces[job_id].bytes_per_second = min(rate, self.max_bandwidth or rate)

    async def _read(self, reader: ItemReader, held: _Held) -> None:
        lease = held.lease
        try:
            reading = await reader.read(lease.item, held.run)
        except Exception as error:
            log.exception("reading %s", lease.item.path)
            reading = None
            failure: CacheWarmerError = CacheWarmerError(f"{type(error).__name__}: {error}")
        if held.lost:
            self._drop(held)
            return
        if reading is not None and reading.receipt is not None:
            self._finished.append((held, reading.receipt))
            self._wake_settler.set()
            self._room.set()
            return
        if held.handed_back is not None:
            delay, reason = self._hiding_seconds(time.monotonic()) if held.handed_back == "paused" else 0.0, ""
        else:
            if reading is not None:
                failure = reading.error or CacheWarmerError("the reading ended early")
            delay = min(MOST_RETRY_SECONDS, 2.0**lease.deliveries) if failure.transient else 0.0
            reason = str(failure)
            # A file that may not be read is in the report; an address that does not answer is news.
            level = logging.WARNING if failure.transient else logging.INFO
            log.log(level, "%s (delivery %d)", reason, lease.deliveries)
        await self._persist(lambda: self.broker.abandon(lease, reason, delay))
        self._drop(held)

    def _drop(self, held: _Held) -> None:
        self._held.discard(held)
        self._room.set()

    async def _settle_loop(self) -> None:
        """Writes the receipts of whatever is finished, many at a time."""
        while True:
            await self._wake_settler.wait()
            self._wake_settler.clear()
            finished, self._finished = self._finished, []
            if not finished:
                continue
            results = [(held.lease, receipt) for held, receipt in finished]
            counted = await self._persist(lambda results=results: self.broker.complete(self.name, results))  # type: ignore[misc]
            for place, (held, receipt) in enumerate(finished):
                if counted is not None and not counted[place]:
                    log.info("item %s was counted before, or its lease was lost", receipt.item_id)
                self._drop(held)  # not counted at all: when its lease has run out it is delivered again

    async def _renew_loop(self) -> None:
        seconds = self.settings.lease.lease_seconds
        while True:
            await asyncio.sleep(seconds / 6)
            due = [held for held in self._held if time.monotonic() - held.renewed_at >= seconds / 3 - 0.01]
            await asyncio.gather(*(self._renew(held) for held in due))

    async def _renew(self, held: _Held) -> None:
        try:
            await self.broker.renew(held.lease, self.settings.lease.lease_seconds)
            held.renewed_at = time.monotonic()
        except LeaseLost:
            log.warning("lost the lease on %s: its result will not count", held.lease.item.path)
            held.lost = True
            held.run.abort()
        except BrokerError as error:
            log.warning("renewing a lease: %s", error)

    async def _watch_jobs(self) -> None:
        """Ends what is being read for a job that was cancelled or paused."""
        while True:
            await asyncio.sleep(self.settings.lease.poll_seconds)
            jobs = {held.lease.item.job_id: held.lease.item.max_bandwidth for held in self._held}
            for job_id, whole in jobs.items():
                state = await self._state(job_id)
                await self._share_bandwidth(job_id, whole)
                if state is JobState.PAUSED or state.final:
                    for held in [one for one in self._held if one.lease.item.job_id == job_id]:
                        held.handed_back = "paused" if state is JobState.PAUSED else "ended"
                        held.run.abort()

    async def _state(self, job_id: str) -> JobState:
        """A job's state, at most ``poll_seconds`` old; warming where the broker can't say."""
        now = time.monotonic()
        known = self._states.get(job_id)
        if known and now - known[0] < self.settings.lease.poll_seconds * 0.9:
            return known[1]
        try:
            state = await self.broker.state(job_id)
        except UnknownJob:
            state = JobState.CANCELLED if job_id else JobState.WARMING
        except BrokerError as error:
            log.warning("asking for the state of job %s: %s", job_id, error)
            return known[1] if known else JobState.WARMING
        if len(self._states) > 1000:
            self._states.clear()
        self._states[job_id] = (now, state)
        return state

    async def _drain(self, seconds: float, loops: list[asyncio.Task[None]]) -> None:
        """Lets what is held finish; hands back what does not in time. Takes no longer than ``seconds``, or 3 s."""
        end = time.monotonic() + max(3.0, seconds)
        deadline = time.monotonic() + seconds * (1 - HAND_BACK_SHARE)
        while self._held and time.monotonic() < deadline and not self._notice.is_set():
            await asyncio.sleep(0.05)
        for held in self._held:
            held.handed_back = "stopping"
            held.run.abort()
        deadline = time.monotonic() + max(0.5, seconds * HAND_BACK_SHARE / 2)
        while self._held and time.monotonic() < deadline and not any(task.done() for task in loops):
            await asyncio.sleep(0.02)
        left = [held for held in self._held if not held.lost]
        for held in left:
            for task in held.tasks:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, end - time.monotonic())):
                await asyncio.gather(*(self._give_up(held) for held in left))
        self._held.clear()

    async def _give_up(self, held: _Held) -> None:
        with contextlib.suppress(BrokerError):
            await self.broker.abandon(held.lease, "")

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Repeats a broker call while its failure is transient, for as long as a lease lasts; then None."""
        try:
            return await persist(call, self.settings.lease.lease_seconds)
        except BrokerError as error:
            log.error("%s", error)  # noqa: TRY400  # one line; the broker's own log has the cause
            return None


def _requests(held: _Held, enough: int) -> int:
    """Requests that wait in this worker for an item: before its reading has begun, one for each file, as far as known."""
    if held.run.begun:
        return held.run.outstanding
    return max(1, held.lease.item.file_count) if held.lease.item.files is not None else enough


async def _first(*events: asyncio.Event) -> None:
    """Returns when the first of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


def with_share(settings: Settings, processes: int) -> Settings:
    """The settings of one of several processes that read through the same addresses: the window is shared out."""
    calls = max(2, settings.nfs.window_calls // processes)
    connections = max(1, settings.nfs.connections // processes)
    return replace(settings, nfs=replace(settings.nfs, window_calls=calls, connections=connections))
