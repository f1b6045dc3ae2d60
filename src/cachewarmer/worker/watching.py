"""Samples a worker several times a second to find out what limits it: its windows, pace, processors and network.

``model.bound`` decides what the samples mean. Nothing here is called for single READs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cachewarmer.errors import CacheWarmerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.machine import INTERFACES, busy_share, interface_speeds, machine_times, received
from cachewarmer.model import Transport
from cachewarmer.model.bound import AddressSeen, Bound, Seen
from cachewarmer.targets.base import Session
from cachewarmer.targets.reach import Line
from cachewarmer.worker.held import HeldItems

LOOK_SECONDS = 0.2
"""Time between two samples."""
LOOKS = 25
"""Number of samples that a verdict is based on: the last five seconds."""
FIRST_FEEL_SECONDS, FEEL_SECONDS = 0.5, 5.0
"""Time between two connections that are made to measure the round trip while an address's window is full. It starts
with the first value and doubles up to the second.
"""
FELT = 3
"""The median of this many measurements counts, because the length of a queue varies."""


class Pool(Protocol):
    """The part of the session pool that is needed here."""

    @property
    def reaches_nothing(self) -> bool: ...

    def in_use(self) -> dict[Line, list[Session]]: ...


class _AddressLook(NamedTuple):
    full: bool
    window: int


class _Look(NamedTuple):
    at: float
    cpu: float
    """Processor time that this process has used so far, in seconds."""
    machine: tuple[float, float]
    """Time of all processors of the machine so far: busy, and in total; zeros if unknown."""
    received: dict[str, int]
    """Bytes received so far, by network interface."""
    items: int
    paced: bool
    addresses: dict[Line, _AddressLook]


class _Felt:
    """The measured round trips to an address, in seconds; see ``Session.feel``. 0 if unknown."""

    def __init__(self) -> None:
        self.idle = self.way = self.null = 0.0
        self.wait = FIRST_FEEL_SECONDS
        self._ways: deque[float] = deque(maxlen=FELT)
        self._nulls: deque[float] = deque(maxlen=FELT)
        self.at = float("-inf")
        self.task: asyncio.Task[None] | None = None

    async def feel(self, session: Session) -> None:
        try:
            felt = await session.feel()
        except CacheWarmerError:
            return  # it is the pool's task to notice that an address does not answer
        if felt is not None:
            self.idle = (
                min(one for one in (self.idle, felt.way_idle_seconds) if one) if felt.way_idle_seconds else self.idle
            )
            self._ways.append(felt.way_seconds)
            self._nulls.append(felt.null_seconds)
            self.way, self.null = (sorted(one)[len(one) // 2] for one in (self._ways, self._nulls))


class Watch:
    """Samples one worker, and sums up what it did recently.

    ``clock`` and ``cpu`` return seconds: of a monotonic clock, and of processor time of this process. ``machine``
    returns the busy and total time of the machine's processors. ``interfaces`` is the directory that describes the
    network interfaces.
    """

    def __init__(
        self,
        held: HeldItems,
        pool: Pool,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        machine: Callable[[], tuple[float, float]] | None = None,
        interfaces: Path = INTERFACES,
    ) -> None:
        self._held = held
        self._pool = pool
        self._clock = clock
        self._cpu = cpu
        self._machine = machine or machine_times
        self._interfaces = interfaces
        self._speeds = interface_speeds(interfaces)
        self._looks: deque[_Look] = deque(maxlen=LOOKS + 1)
        self._felt: dict[Line, _Felt] = {}
        self.look()

    async def run(self) -> None:
        """Takes samples until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                self.look()
                self._feel()
        finally:
            await end_tasks(*(one.task for one in self._felt.values() if one.task is not None))

    def look(self) -> None:
        """Takes one sample."""
        now = self._clock()
        addresses = {line: _seen_of(sessions) for line, sessions in self._pool.in_use().items()}
        self._looks.append(
            _Look(
                now,
                self._cpu(),
                self._machine(),
                {name: received(name, self._interfaces) for name in self._speeds},
                len(self._held),
                self._held.held_back(now),
                addresses,
            )
        )

    def _feel(self) -> None:
        in_use = self._pool.in_use()
        for line in [line for line in self._felt if line not in in_use]:
            if (task := self._felt[line].task) is None or task.done():
                del self._felt[line]
        for line, sessions in in_use.items():
            felt = self._felt.setdefault(line, _Felt())
            due = self._clock() - felt.at >= felt.wait and (felt.task is None or felt.task.done())
            if due and not line.breaker.is_open and self._looks[-1].addresses.get(line, _AddressLook(False, 0)).full:
                if felt.task is not None:
                    felt.wait = min(FEEL_SECONDS, 2 * felt.wait)
                felt.at = self._clock()
                felt.task = asyncio.create_task(felt.feel(sessions[0]))

    @property
    def cpu_share(self) -> float:
        """Processor time that this process used per second recently: 1 is one core."""
        first, last = self._looks[0], self._looks[-1]
        return (last.cpu - first.cpu) / (last.at - first.at) if last.at > first.at else 0.0

    def way(self, line: Line) -> tuple[float, float]:
        """The round trip to an address in seconds: without load, and as last measured; 0 if unknown."""
        felt = self._felt.get(line)
        return (felt.idle, felt.way) if felt is not None else (0.0, 0.0)

    def ways(self) -> dict[str, tuple[float, float]]:
        """The same for all addresses, by name."""
        return {line.breaker.address: self.way(line) for line in self._felt}

    def seen(self) -> Seen:
        """The latest samples, summed up."""
        first, last = self._looks[0], self._looks[-1]
        seconds = last.at - first.at
        looks = list(self._looks)[1:] or [last]
        return Seen(
            items=max(one.items for one in looks),
            outage=self._pool.reaches_nothing,
            paced_share=sum(one.paced for one in looks) / len(looks),
            cpu_share=self.cpu_share,
            machine_share=busy_share(first.machine, last.machine),
            interface_share=max(
                (
                    8 * (last.received[name] - first.received.get(name, 0)) / seconds / speed
                    for name, speed in self._speeds.items()
                    if seconds > 0
                ),
                default=0.0,
            ),
            addresses=tuple(self._address(line, looks) for line in last.addresses),
        )

    def _address(self, line: Line, looks: Sequence[_Look]) -> AddressSeen:
        found = [one.addresses[line] for one in looks if line in one.addresses]
        felt = self._felt.get(line) or _Felt()
        mount = line.mount
        return AddressSeen(
            address=line.breaker.address,
            files_here=not mount.address or mount.transport is Transport.MOUNT,
            full_share=sum(one.full for one in found) / len(looks),
            window=found[-1].window,
            found=Bound(line.knee.bound) if line.knee.calls else Bound.UNKNOWN,
            way_idle_seconds=felt.idle,
            way_seconds=felt.way,
            null_seconds=felt.null,
        )


def _seen_of(sessions: Sequence[Session]) -> _AddressLook:
    full, window = False, 0
    for session in sessions:
        seen = session.snapshot()
        window += seen.window_calls
        # A window is refilled when it is half empty, and all calls in flight may belong to the scan.
        full = full or seen.waiting > seen.in_flight or (seen.waiting > 0 and 2 * seen.in_flight >= seen.window_calls)
    return _AddressLook(full, window)
