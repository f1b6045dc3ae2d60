"""Moves the window of each address while it is read from: looks at the sessions and asks the canary, some times a second.

What to do about it is decided in ``window``, from numbers alone. This costs no more the more files are read: nothing
here is called for a READ.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.targets.base import Canary, Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.reach import Line
from cachewarmer.targets.traffic import Knee
from cachewarmer.values import dataclass
from cachewarmer.warming.rounds import Observation
from cachewarmer.warming.window import FIRST_CANARIES, FIRST_WINDOW, KneeFinder, WindowLimits

LOOK_SECONDS = 0.05
FIRST_LOOK_SECONDS = 0.01
"""At the first window of an address: near servers are done with thousands of files in half a second …"""
FIRST_LOOKS = 100
"""… but for no more looks than this, after the beginning and after each new address: a scan alone may leave the first
window where it is for long."""
SECOND_WINDOW = 16
"""What follows the first window where nothing is known of an address: a far origin would make a slow beginning of
doublings, and a cache with fewer threads is noticed by the canary within a moment."""
LEAST_WINDOW = 1
LEAST_LISTING_WINDOW = 2
"""One call to list and one to read: with a window of 1, a scan that goes on would leave none to the READs."""
CANARY_SECONDS = 0.05
"""Between two calls of a canary that is answered at once."""
FIRST_CANARY_SECONDS = 0.02
"""The same at the beginning, when the window stays small until it is known what is usual."""
AWAY_SECONDS = 1.0
"""Between two attempts of a canary that is not answered at all."""


@asynccontextmanager
async def steering_of(pool: SessionPool) -> AsyncIterator[None]:
    """For the length of an ``async with``: the windows of the pool follow what its addresses can take."""
    fixed = pool.settings.nfs.window_calls
    pool.begin_with(FIRST_WINDOW)
    steering = asyncio.create_task(_Steering(pool, fixed).run())
    try:
        yield
    finally:
        await end_tasks(steering)


@dataclass(eq=False)
class _Asking:
    """The canary of an address, and what it said since the last look."""

    canary: Canary
    seconds: list[float] = field(default_factory=list)
    asked_at: float = 0.0
    """When the call in flight began; 0: there is none."""
    answered: int = 0
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Asks again and again."""
        while True:
            self.asked_at = time.monotonic()
            usual = CANARY_SECONDS if self.answered > FIRST_CANARIES else FIRST_CANARY_SECONDS
            wait = usual * random.uniform(0.5, 1.5)  # answers come in bursts; an even beat might meet them or miss them
            try:
                self.seconds.append(await self.canary.call())
                self.answered += 1
            except CacheWarmerError:
                wait = AWAY_SECONDS  # whether an address is away is for the pool to find out
            self.asked_at = 0.0
            await asyncio.sleep(wait)


class _Answered(NamedTuple):
    """What a session was answered since it was opened."""

    calls: int
    reads: int
    """READs among them …"""
    read_seconds: float
    """… the sum of their latencies …"""
    read_bytes: int
    """… and what they brought."""


class _Steered:
    """One address."""

    def __init__(self, finder: KneeFinder, asking: _Asking) -> None:
        self.finder = finder
        self.asking = asking
        self.answered: dict[Session, _Answered] = {}
        """Of each session up to the last look."""
        self.canary_seconds = 0.0
        """What the last canary took; 0: none was answered yet."""
        self.lists = False
        """Whether calls other than READs were in flight at the last look."""

    def observation(self, sessions: Sequence[Session], now: float, seconds: float, late: float) -> Observation:
        """What happened in the last ``seconds``; this look comes ``late`` by so many.

        While there is something to read, READs alone count: a scan's listings share the window, and the cache may
        answer them by itself, at quite another rate.
        """
        in_flight, reads_in_flight, limited, waiting = 0, 0, False, False
        answered: dict[Session, _Answered] = {}
        all_calls, reads, read_seconds, read_bytes = 0, 0, 0.0, 0
        for session in sessions:
            seen = session.snapshot()
            now_answered = answered[session] = _Answered(
                sum(seen.calls.values()) - seen.in_flight, seen.latencies.calls, seen.latencies.seconds, seen.bytes
            )
            before = self.answered.get(session, now_answered)
            all_calls += max(0, now_answered.calls - before.calls)
            reads += now_answered.reads - before.reads
            read_seconds += now_answered.read_seconds - before.read_seconds
            read_bytes += now_answered.read_bytes - before.read_bytes
            in_flight += seen.in_flight
            reads_in_flight += seen.in_flight - seen.others_in_flight
            waiting = waiting or seen.waiting > 0
            limited = limited or seen.waiting > seen.in_flight or 2 * seen.in_flight > seen.window_calls
        self.answered = answered
        self.lists = reads_in_flight < in_flight
        if reads or waiting:
            calls, call_seconds = reads, read_seconds
        else:  # so much time, by Little's law, was spent in calls
            calls, call_seconds = all_calls, in_flight * seconds
        asking = self.asking
        answers, asking.seconds = tuple(asking.seconds), []
        unanswered = now - asking.asked_at - late if asking.asked_at else 0.0
        return Observation(
            now=now,
            calls=calls,
            seconds=call_seconds,
            bytes=read_bytes,
            in_flight=reads_in_flight if reads or waiting else in_flight,
            limited=limited,
            canary=answers,
            canary_waiting=unanswered if unanswered > LOOK_SECONDS else 0.0,
            path_seconds=asking.canary.path_seconds,
        )

    def knee(self, seen: Observation) -> Knee:
        """What is known by now, after an observation."""
        finder = self.finder
        self.canary_seconds = seen.canary_waiting or (seen.canary[-1] if seen.canary else self.canary_seconds)
        return Knee(finder.knee, finder.bound, finder.canary_idle_seconds, self.canary_seconds)


class _Steering:
    """All addresses of a pool; ``fixed`` is the window of those that have no canary (files of this machine)."""

    def __init__(self, pool: SessionPool, fixed: int) -> None:
        self._pool = pool
        self._fixed = fixed
        self._steered: dict[Line, _Steered] = {}
        self._quick_looks = FIRST_LOOKS

    async def run(self) -> None:
        """Looks at them until it is cancelled."""
        before = time.monotonic()
        try:
            while True:
                wait = FIRST_LOOK_SECONDS if self._begins() else LOOK_SECONDS
                await asyncio.sleep(wait)
                now = time.monotonic()
                self._look(now, now - before, max(0.0, now - before - wait))
                before = now
        finally:
            await end_tasks(*(one.asking.task for one in self._steered.values() if one.asking.task is not None))
            for one in self._steered.values():
                one.asking.canary.close()

    def _begins(self) -> bool:
        """Whether an address is at its first window, where a step is due soon."""
        if not self._quick_looks:
            return False
        self._quick_looks -= 1
        steered = self._steered.values()
        return not steered or any(one.finder.window <= FIRST_WINDOW for one in steered)

    def _look(self, now: float, seconds: float, late: float) -> None:
        nfs = self._pool.settings.nfs
        in_use = self._pool.in_use()
        for line in [line for line in self._steered if line not in in_use]:
            self._rest(self._steered[line])
        for line, sessions in in_use.items():
            steered = self._steered.get(line) or self._begin(line, sessions[0])
            if steered is None:
                self._pool.steer(line, self._fixed)
                continue
            if line.breaker.is_open:
                continue
            if steered.asking.task is None or steered.asking.task.done():
                steered.asking.task = asyncio.create_task(steered.asking.run())
            seen = steered.observation(sessions, now, seconds, late)
            steered.finder.limit(nfs.window_max_calls, LEAST_LISTING_WINDOW if steered.lists else LEAST_WINDOW)
            self._pool.steer(line, steered.finder.observe(seen))
            line.knee = steered.knee(seen)

    def _begin(self, line: Line, session: Session) -> _Steered | None:
        """Steers an address from now on, where its calls hold threads of a server."""
        canary = session.canary()
        if canary is None:
            return None
        self._quick_looks = FIRST_LOOKS
        nfs = self._pool.settings.nfs
        most = nfs.window_max_calls
        limits = WindowLimits.gentle(most) if nfs.gentle else WindowLimits(most=most)
        steered = self._steered[line] = _Steered(
            KneeFinder(limits, hint=self._pool.learnt(line.mount.address), guess=SECOND_WINDOW, chance=random.Random()),
            _Asking(canary),
        )
        return steered

    @staticmethod
    def _rest(steered: _Steered) -> None:
        """Nothing is read there at present: the window is kept, the canary falls silent."""
        asking = steered.asking
        if asking.task is not None:
            asking.task.cancel()
            asking.task, asking.asked_at = None, 0.0
            asking.canary.close()
