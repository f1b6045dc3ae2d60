"""The claim loop of a worker: claims items, has them read and settled, and hands everything back when it stops.

It claims just enough ahead that the read window never drains between items (``appetite``), renews the leases of what it
holds (``held``), writes the receipts of what was read (``settle``), and hands back what it can't finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

from cachewarmer.broker.base import Broker, JobLook, WorkLease
from cachewarmer.broker.learnt import first_windows
from cachewarmer.broker.patience import outage_log
from cachewarmer.config import Settings, process_name
from cachewarmer.errors import BrokerError, CacheWarmerError, ProgramChanged, own_resource_error, program_changed
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Bandwidth, JobState, Priority, Tally, WorkerReport
from cachewarmer.paths import printable, to_bytes
from cachewarmer.targets.pool import SessionPool
from cachewarmer.warming.reader import ItemReader, Reading
from cachewarmer.warming.run import ItemRun
from cachewarmer.worker.appetite import AHEAD_WINDOWS, items_to_claim
from cachewarmer.worker.course import EVICTED, Course
from cachewarmer.worker.held import Held, HeldItems, Renewer
from cachewarmer.worker.jobs import Hiding, JobStates, Paces
from cachewarmer.worker.live import Live
from cachewarmer.worker.settle import Settler

log = logging.getLogger(__name__)

HAND_BACK_SHARE = 0.25
"""Share of ``LeaseSettings.drain_seconds`` that is reserved for handing back unfinished items."""
MIN_DRAIN_SECONDS = 3.0
CLAIM_GRACE_SECONDS = 2.0
"""How long a worker that is asked to stop waits for a claim that is under way."""
FIRST_POLL_SECONDS = 0.02
"""The first wait when the queue is empty; it doubles up to ``LeaseSettings.poll_seconds``."""
HOLD_SECONDS = 20.0
"""How long a worker holds an item while none of its addresses answers, before leaving the item to other workers."""
AWAY_SECONDS = 10.0
"""How often a worker that can't reach any address claims one item, to see whether it is for another address."""
URGENT_SECONDS = 2.0
"""How often a worker that has enough work looks for more urgent items."""


class Worker:
    """The work of one worker process.

    ``pool`` provides the sessions; the caller closes it. With ``job_id``, the worker serves that job alone, if the
    broker can select by job. ``exit_when_idle`` is in seconds; None: never. ``max_bandwidth`` limits how fast the
    worker reads each job, in bytes per second; 0: no limit. ``sharers`` is how many such processes read the same jobs.
    ``course`` logs what the worker does; None if nobody reads its log.
    """

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        pool: SessionPool,
        *,
        name: str = "",
        job_id: str = "",
        exit_when_idle: float | None = None,
        max_bandwidth: int = 0,
        sharers: int = 1,
        course: Course | None = None,
    ) -> None:
        self.broker = broker
        self.settings = settings
        self.pool = pool
        self.name = name or process_name()
        self.job_id = job_id
        self.exit_when_idle = exit_when_idle
        lease = settings.lease
        self._held = HeldItems()
        self._states = JobStates(broker, lease.poll_seconds * 0.9)
        self._sharers = sharers
        self._paces = Paces(max_bandwidth, sharers)
        self._hiding = Hiding()
        self._settler = Settler(broker, self.name, self._held, lease.lease_seconds, self._hiding)
        self._renewer = Renewer(broker, self._held, lease.lease_seconds)
        self._live = Live(broker, self.name, self._held, pool)
        # A worker for one job alone has nobody to leave an item to; the job's manager ends the wait.
        self._reader = ItemReader(pool, hold_seconds=0.0 if job_id else HOLD_SECONDS)
        self._notice = asyncio.Event()
        self._changed: ProgramChanged | None = None
        self._course = course
        self._looked_at = self._looked_for_urgent_at = float("-inf")

    def __repr__(self) -> str:
        waiting = sum(held.run.outstanding for held in self._held)
        return f"<Worker {self.name} items={len(self._held)} requests={waiting}>"

    def in_hand(self) -> Tally:
        """What has been read of unfinished items: for display, not for accounting."""
        return self._held.in_hand(self.name)

    def report(self) -> WorkerReport:
        """The current report of the worker, as it is written to the broker."""
        return self._live.report()

    def evict(self) -> None:
        """Call this when the machine is about to be evicted: the worker stops claiming, and hands everything back."""
        self._notice.set()

    # -- the loops -------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set, an eviction notice arrives, or there was no work for ``exit_when_idle`` seconds.

        Within ``LeaseSettings.drain_seconds`` after ``stop``, it has finished what it holds or handed it back.

        Raises:
            BrokerError: the broker refuses to hand out items.
            ProgramChanged: the program was replaced while it was running; what was held has been handed back.
        """
        await self._learn()
        loops = [
            asyncio.create_task(self._settler.run()),
            asyncio.create_task(self._renewer.run()),
            asyncio.create_task(self._watch_jobs()),
        ]
        stopping = asyncio.create_task(_first(stop, self._notice))
        telling = asyncio.create_task(self._live.run())
        try:
            await self._claim_loop(stopping, loops)
            drain = 0.0 if self._notice.is_set() else self.settings.lease.drain_seconds
            await self._drain(drain, loops)
            self._tell_end()
        finally:
            await end_tasks(*loops, stopping, telling)
        await self._live.end()
        if self._changed is not None:
            raise self._changed

    async def _learn(self) -> None:
        """Starts the search of this worker's windows with what others have found out about the addresses."""
        if self.settings.nfs.window_auto:
            self.pool.learn(await first_windows(self.broker, readers=self._sharers))

    def _learn_of_job(self, look: JobLook) -> None:
        """Does the same with what was stored with a job: the workers that found it out may be gone."""
        if self.settings.nfs.window_auto and look.learnt is not None:
            self.pool.learn(look.learnt.first_windows(self._sharers))

    async def _claim_loop(self, stopping: asyncio.Task[None], loops: list[asyncio.Task[None]]) -> None:
        idle_since = time.monotonic()
        wait = FIRST_POLL_SECONDS
        while not stopping.done():
            for task in loops:
                if task.done():
                    task.result()
            # Cleared first, so that an item that ends from here on is noticed below, whatever is awaited meanwhile.
            self._held.room.clear()
            wanted, least = self._items_wanted()
            taken = await self._claim_until(stopping, wanted, least)
            if taken is None:
                return
            if taken:
                wait = FIRST_POLL_SECONDS
            now = time.monotonic()
            if self._held or self.pool.reaches_nothing:
                idle_since = now
            elif self._is_to_leave(now - idle_since):
                return
            if taken and taken == wanted:
                continue
            enough = not wanted or least is not Priority.LOW
            await self._wait_for_room(stopping, self._seconds_to_next_claim(wait, enough=enough))
            if not (enough or taken):
                wait = min(self.settings.lease.poll_seconds, wait * 2)

    def _is_to_leave(self, idle_seconds: float) -> bool:
        """Whether a worker that has been idle for this long should exit."""
        if self.exit_when_idle is not None and idle_seconds >= self.exit_when_idle:
            if self._course is not None:
                self._course.why = f"there was nothing to do for {self.exit_when_idle:.0f} s"
            return True
        if self._course is not None and not outage_log(self.broker).lasting:
            self._course.rests(self._held.done)
        return False

    def _items_wanted(self) -> tuple[int, Priority]:
        """How many items to claim now, and of which priority at least.

        While no address can be reached, this is none, apart from a single item from time to time that may be for
        another address. While enough requests are waiting, only more urgent items are wanted, and looked for from time
        to time: what is in hand may take long if a bandwidth limits it.
        """
        if self.pool.reaches_nothing:
            now = time.monotonic()
            if self.job_id or now - self._looked_at < AWAY_SECONDS:
                return 0, Priority.LOW
            self._looked_at = now
            return 1, Priority.LOW
        if wanted := self._room(Priority.LOW):
            return wanted, Priority.LOW
        now = time.monotonic()
        if self.job_id or now - self._looked_for_urgent_at < URGENT_SECONDS:
            return 0, Priority.LOW
        self._looked_for_urgent_at = now
        chosen = ((self._room(least), least) for least in (Priority.NORMAL, Priority.HIGH))
        return next((one for one in chosen if one[0]), (0, Priority.LOW))

    def _room(self, least: Priority) -> int:
        """How many more items of at least this priority fit beside those that are held."""
        largest = self.pool.window_calls
        requests = self._held.by_address(enough=AHEAD_WINDOWS * largest)
        windows = self.pool.windows(requests)
        addresses = max(1, len(windows))
        return items_to_claim(
            self._held.load(AHEAD_WINDOWS * largest, least),
            window_calls=max(largest, sum(windows.values())),
            window_bytes=max(self.settings.nfs.window_bytes, self.pool.window_bytes) * addresses,
            addresses=addresses,
            idle_addresses=sum(requests[address] < calls for address, calls in windows.items()),
        )

    def _seconds_to_next_claim(self, wait: float, *, enough: bool) -> float | None:
        """How long to wait before the next claim; None: until an item that is held has ended."""
        if not enough:
            return wait
        if self.pool.reaches_nothing:
            return self.settings.lease.poll_seconds
        return None if self.job_id else URGENT_SECONDS

    async def _wait_for_room(self, stopping: asyncio.Task[None], seconds: float | None) -> None:
        idle = seconds is not None and not self._held and not self.pool.reaches_nothing
        ready: asyncio.Task[Any] = asyncio.create_task(
            self.broker.wait_for_work(seconds or 0.0) if idle else self._held.room.wait()
        )
        await asyncio.wait([ready, stopping], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(ready)

    async def _claim_until(self, stopping: asyncio.Task[None], wanted: int, least: Priority) -> int | None:
        """Claims up to ``wanted`` items and starts to read them. Returns how many were delivered, or None if the worker
        is stopping and the claim has not been answered.
        """
        claiming = asyncio.create_task(self._claim_and_take(wanted, least))
        await asyncio.wait([claiming, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not claiming.done():
            await asyncio.wait([claiming], timeout=CLAIM_GRACE_SECONDS)
        if not claiming.done():
            await end_tasks(claiming)
            return None
        return claiming.result()

    async def _claim_and_take(self, wanted: int, least: Priority) -> int:
        leases = await self._claim(wanted, least) if wanted else []
        now = time.monotonic()
        for lease in leases:
            await self._take(lease, now)
        return len(leases)

    async def _claim(self, wanted: int, least: Priority) -> list[WorkLease]:
        outage = outage_log(self.broker)
        try:
            seconds = self.settings.lease.lease_seconds
            leases = await self.broker.claim(wanted, seconds, self.job_id, least=least)
        except BrokerError as error:
            if not error.transient:
                raise
            outage.failed(f"claiming work: {error}")
            return []
        outage.answered()
        return leases

    async def _take(self, lease: WorkLease, now: float) -> None:
        item = lease.item
        look = await self._states.look(item.job_id)
        self._learn_of_job(look)
        state, bandwidth = look.state, look.bandwidth or item.bandwidth
        if state is JobState.PAUSED or state.final:
            delay = self._hiding.seconds() if state is JobState.PAUSED else 0.0
            await self._settler.persist(lambda: self.broker.abandon(lease, "", delay))
            return
        held = Held(lease, ItemRun(self._paces.pace(item.job_id, bandwidth)), now)
        if self._paces.is_shared(bandwidth) and not self._held.of_job(item.job_id):
            self._live.tell_soon()  # the others make room for this worker
        self._held.add(held)
        if self._course is not None:
            self._course.works(item.job_id)
        held.task = asyncio.create_task(self._read(held))

    async def _read(self, held: Held) -> None:
        try:
            reading = await self._reader.read(held.lease.item, held.run)
        except Exception as error:
            own = own_resource_error(error, doing="reading", subject=to_bytes(held.lease.item.path)) or self._end_for(
                error
            )
            if own is None:
                log.exception("reading %s", printable(held.lease.item.path), extra=held.about)
            reading = Reading(
                error=own or CacheWarmerError(f"{type(error).__name__}: {error}"), unreachable=own is not None
            )
        await self._settler.settle(held, reading)

    def _end_for(self, error: Exception) -> ProgramChanged | None:
        """If the program was replaced while it ran, ends this worker as an eviction does, and returns that error."""
        changed = program_changed(error)
        if changed is not None:
            self._changed = changed
            self._notice.set()
        return changed

    async def _watch_jobs(self) -> None:
        """Stops reading for jobs that were cancelled or paused, and adapts the paces of the others."""
        while True:
            await asyncio.sleep(self.settings.lease.poll_seconds)
            jobs = {held.lease.item.job_id: held.lease.item.bandwidth for held in self._held}
            for job_id, of_item in jobs.items():
                look = await self._states.look(job_id)
                state = look.state
                await self._share_bandwidth(job_id, look.bandwidth or of_item)
                if state is JobState.PAUSED or state.final:
                    for held in self._held.of_job(job_id):
                        held.release("paused" if state is JobState.PAUSED else "ended")

    async def _share_bandwidth(self, job_id: str, bandwidth: Bandwidth) -> None:
        """Adapts a job's pace to its bandwidth, and to the number of workers that read it now.

        Workers that are idle or gone have no share of the bandwidth.
        """
        if self._paces.is_shared(bandwidth):
            with contextlib.suppress(BrokerError):
                rows = await self.broker.workers(job_id)
                others = {one.key for one in rows if one.is_reading(job_id)} - {self._live.key}
                self._paces.share(job_id, len(others) + 1)
        if self._paces.adapt(job_id, bandwidth):
            for held in self._held.of_job(job_id):
                held.run.hold_back()
            self._live.tell_soon()

    # -- the end ---------------------------------------------------------------------------------------------------

    def _tell_end(self) -> None:
        if self._course is not None:
            if self._changed is not None:
                self._course.why = str(self._changed)
            elif self._notice.is_set():
                self._course.why = EVICTED
            self._course.ends(self._held.done, self._held.handed_back)

    async def _drain(self, seconds: float, loops: list[asyncio.Task[None]]) -> None:
        """Lets held items finish, and hands back those that don't in time. Takes at most max(``seconds``, 3) s."""
        end = time.monotonic() + max(MIN_DRAIN_SECONDS, seconds)
        deadline = time.monotonic() + seconds * (1 - HAND_BACK_SHARE)
        while self._held and time.monotonic() < deadline and not self._notice.is_set():
            await asyncio.sleep(0.05)
        for held in self._held:
            held.release("stopping")
        deadline = time.monotonic() + max(0.5, seconds * HAND_BACK_SHARE / 2)
        while self._held and time.monotonic() < deadline and not any(task.done() for task in loops):
            await asyncio.sleep(0.02)
        left = [held for held in self._held if not held.lost]
        for held in left:
            if held.task is not None:
                held.task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(1.0, end - time.monotonic())):
                await asyncio.gather(*(self._settler.give_up(held) for held in left))


async def _first(*events: asyncio.Event) -> None:
    """Returns when the first of the events is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
