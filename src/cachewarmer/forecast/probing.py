"""A short polite probe of an address: what it takes to read a few files with ever more calls in flight.

Each file is read once, so that a cold cache stays cold for the next step. A step that brings little more than the one
before is the last, and so is one in which another client would have to wait. All bounds are below.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError, TransportError
from cachewarmer.forecast.workload import SMALL_BYTES
from cachewarmer.machine import busy_share, machine_times
from cachewarmer.model.bound import BUSY_SHARE, MACHINE_BUSY_SHARE, OWN_SHARE, AddressSeen, Bound, judge_address
from cachewarmer.targets.base import ReadRequest, Session
from cachewarmer.values import dataclass

WINDOWS = (1, 2, 4, 8, 16, 32)
"""Calls in flight, step by step."""
STEP_SECONDS = 0.4
LEAST_STEP_CALLS = 6
"""A step continues until this many calls were answered …"""
MOST_STEP_SECONDS = 3.0
"""… but no longer than this."""
MOST_SECONDS = 15.0
"""Time limit of the whole probe, after which no further step begins."""
MOST_BYTES = 384 << 20
"""Maximum for each of the two kinds of files, divided equally between the steps."""
GROWTH = 1.2
"""A step with twice the calls in flight that does not bring this much more has found the ceiling: the second in a row is
the last."""
PIECE_CALLS = 8
"""READ calls of a large file that are asked for together."""
AHEAD = 3
"""Windows of requests that are kept waiting."""


class Sample(NamedTuple):
    """A file that may be read for the probe."""

    path: bytes
    """Below the export."""
    handle: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The outcome of one number of calls in flight. Times are in seconds."""

    window: int
    calls: int
    bytes: int
    seconds: float
    latency: float
    """Mean time of a READ."""
    cpu_seconds: float
    """Processor time of this process."""
    bound: Bound = Bound.WINDOW

    @property
    def calls_per_second(self) -> float:
        return self.calls / self.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was measured; the steps of small files and of large ones, from one call in flight up."""

    way_seconds: float
    """Round trip to the address; 0 if unknown."""
    read_bytes: int
    """The longest READ."""
    small: tuple[Step, ...] = ()
    large: tuple[Step, ...] = ()
    seconds: float = 0.0
    """The whole probe took so long …"""
    bytes: int = 0
    """… and read so much."""


async def probe(session: Session, samples: Sequence[Sample], clock: Callable[[], float] = time.monotonic) -> Probe:
    """Probes the address of a session, which nobody else uses meanwhile, with files of its export.

    Raises:
        CacheWarmerError: the address failed, or none of the files can be read.
    """
    began = clock()
    before, window = session.snapshot(), session.window.calls
    try:
        felt = await session.feel()
        way = felt.way_idle_seconds if felt is not None else 0.0
        small = [one for one in samples if 0 < one.size <= SMALL_BYTES]
        large = [one for one in samples if one.size > SMALL_BYTES]
        longest, steps = 1 << 20, []
        for files in (small, large):
            steps.append(await _steps(session, files, began, clock) if files else ())
        if not any(steps):
            raise CacheWarmerError("the probe could not read any of the files", address=session.address)
    finally:
        session.set_window(window)
    after = session.snapshot()
    return Probe(
        way_seconds=way,
        read_bytes=max([longest, *(one.bytes // one.calls for one in steps[1])]) if steps[1] else longest,
        small=steps[0],
        large=steps[1],
        seconds=clock() - began,
        bytes=after.bytes - before.bytes,
    )


async def _steps(
    session: Session, files: Sequence[Sample], began: float, clock: Callable[[], float]
) -> tuple[Step, ...]:
    pieces = _pieces(files)
    steps: list[Step] = []
    for window in WINDOWS:
        if clock() - began > MOST_SECONDS:
            break
        step = await _Asking(session, pieces, window, MOST_BYTES // len(WINDOWS)).run()
        if step is None:
            break
        steps.append(step)
        if len(steps) > 1 and not grew(steps[-2:]) and step.bound is Bound.THREADS:
            break
        if len(steps) > 2 and not (grew(steps[-2:]) or grew(steps[-3:-1])):
            break
    return tuple(steps)


def grew(steps: Sequence[Step]) -> bool:
    """Whether the second of two steps brought what it should."""
    return steps[1].calls_per_second >= GROWTH * steps[0].calls_per_second


def _pieces(files: Sequence[Sample]) -> Iterator[tuple[Sample, int, int]]:
    """Ranges to read, each once; those of large files in turn, so that no file is read from many places at once."""
    longest = PIECE_CALLS << 20
    start = 0
    while left := [one for one in files if one.size > start]:
        for one in left:
            yield one, start, min(one.size, start + longest)
        start += longest


class _Asking:
    """One step."""

    def __init__(
        self, session: Session, pieces: Iterator[tuple[Sample, int, int]], window: int, most_bytes: int
    ) -> None:
        self._session = session
        self._pieces = pieces
        self._window = window
        self._most_bytes = most_bytes
        self._asked_bytes = 0
        self._waiting: set[ReadRequest] = set()
        self._stopped = False
        self._error: CacheWarmerError | None = None
        self._answered_at = 0.0
        self._done = asyncio.Event()
        """Nothing is waiting any more."""

    async def run(self) -> Step | None:
        """None: there is too little left to read for a step."""
        session = self._session
        session.set_window(self._window)
        before, cpu, began = session.snapshot(), time.process_time(), time.monotonic()
        machine = machine_times()
        first = sum(before.calls.values())
        self._fill()
        if not self._waiting:
            return None
        felt = asyncio.create_task(session.feel())
        try:
            while not self._done.is_set():
                seconds = time.monotonic() - began
                answered = session.snapshot().latencies.calls - before.latencies.calls
                if seconds >= MOST_STEP_SECONDS or (seconds >= STEP_SECONDS and answered >= LEAST_STEP_CALLS):
                    break
                await asyncio.sleep(0.02)
            after, cpu, seconds = session.snapshot(), time.process_time() - cpu, time.monotonic() - began
            if self._done.is_set():  # it had read all that it may, and this look came later
                seconds = self._answered_at - began
            machine_share = busy_share(machine, machine_times())
            way = await felt
        finally:
            felt.cancel()
            self._stopped = True
            for request in self._waiting:
                request.stop = min(request.stop, request.start)
        if self._waiting:
            await self._done.wait()
        if isinstance(self._error, TransportError):
            raise self._error
        calls = after.latencies.calls - before.latencies.calls
        if calls < min(LEAST_STEP_CALLS, self._window) or sum(after.calls.values()) == first:
            return None
        latency = (after.latencies.seconds - before.latencies.seconds) / calls
        seen = AddressSeen(
            files_here=way is None,
            way_idle_seconds=way.way_idle_seconds if way is not None else 0.0,
            way_seconds=way.way_seconds if way is not None else 0.0,
            null_seconds=way.null_seconds if way is not None else 0.0,
        )
        return Step(
            window=self._window,
            calls=calls,
            bytes=after.bytes - before.bytes,
            seconds=seconds,
            latency=latency,
            cpu_seconds=cpu,
            bound=_judged(cpu / seconds, machine_share, seen),
        )

    def _fill(self) -> None:
        while not self._stopped and len(self._waiting) < max(2, AHEAD * self._window):
            if self._asked_bytes >= self._most_bytes or (piece := next(self._pieces, None)) is None:
                break
            sample, start, stop = piece
            self._asked_bytes += stop - start
            request = ReadRequest(sample.path, sample.handle, start, stop, self._answered, once=True)
            self._waiting.add(request)
            self._session.read(request)

    def _answered(self, request: ReadRequest) -> None:
        self._waiting.discard(request)
        self._answered_at = time.monotonic()
        self._error = request.error or self._error
        if not isinstance(self._error, TransportError):
            self._fill()
        if not self._waiting:
            self._done.set()


def _judged(cpu_share: float, machine_share: float, seen: AddressSeen) -> Bound:
    """What a step was bound by; a file system of this machine is asked like a server, by calls in flight."""
    if cpu_share >= BUSY_SHARE or (machine_share >= MACHINE_BUSY_SHARE and cpu_share >= OWN_SHARE):
        return Bound.CPU
    bound = judge_address(seen)
    return Bound.WINDOW if bound is Bound.DISK else bound
