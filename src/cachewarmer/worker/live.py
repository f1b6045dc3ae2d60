"""What a worker says of itself every few seconds, for those who watch: written to the broker, and gone without harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from cachewarmer import __version__
from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerError
from cachewarmer.model import AddressReport, Bound, WorkerReport
from cachewarmer.model.live import NOTE_SECONDS, PACED_NOTE_SECONDS
from cachewarmer.worker.held import HeldItems

MOST_NOTE_SECONDS = 10.0
"""A row that could not be written in this time is left for the next one."""
LEAST_NOTE_SECONDS = 1.0
"""Between two rows, however much there is to tell."""
LAST_NOTE_SECONDS = 0.5
"""The same for the last one, at the worker's end."""
LEAST_SHARE_SECONDS = 0.5
"""The processor time of a shorter span says nothing: the last one stands."""
BUSY_SHARE = 0.9
"""Of a core, or of a window: that is what bounds the worker."""


class Addresses(Protocol):
    """What is asked of the pool."""

    @property
    def reaches_nothing(self) -> bool: ...

    def reports(self) -> tuple[AddressReport, ...]: ...


class Live:
    """Writes the rows of one worker."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        held: HeldItems,
        addresses: Addresses,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._broker = broker
        self._name = name
        self._held = held
        self._addresses = addresses
        self._clock = clock
        self._cpu = cpu
        self._began = self._before = clock()
        self._cpu_before = cpu()
        self._share = 0.0
        self._host = socket.gethostname()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Writes a row now and then until it is cancelled. What can't be written is left out."""
        while True:
            self._news.clear()
            await self.note(MOST_NOTE_SECONDS)
            await asyncio.sleep(LEAST_NOTE_SECONDS)
            seconds = PACED_NOTE_SECONDS if self._held.paced else NOTE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds * random.uniform(0.9, 1.1) - LEAST_NOTE_SECONDS):
                    await self._news.wait()

    def tell_soon(self) -> None:
        """There is something that others wait to know: the next row is written soon."""
        self._news.set()

    @property
    def key(self) -> str:
        """The worker's rows have this ``WorkerReport.key`` when they are read again."""
        row = WorkerReport(worker=self._name, host=self._host, pid=os.getpid())
        return WorkerReport.from_json(row.to_json()).key

    async def end(self) -> None:
        """Says that the worker has ended."""
        await self.note(LAST_NOTE_SECONDS, ended=True)

    async def note(self, seconds: float, *, ended: bool = False) -> None:
        """Writes one row, within ``seconds`` or not at all."""
        report = self.report(ended=ended)
        with contextlib.suppress(BrokerError, TimeoutError):  # an outage is told of by those whose work waits for it
            async with asyncio.timeout(seconds):
                await self._broker.note_worker(report)

    def report(self, *, ended: bool = False) -> WorkerReport:
        """How the worker does now."""
        now, cpu = self._clock(), self._cpu()
        if now - self._before >= LEAST_SHARE_SECONDS:
            self._share = (cpu - self._cpu_before) / (now - self._before)
            self._before, self._cpu_before = now, cpu
        share = self._share
        addresses = self._addresses.reports()
        return WorkerReport(
            worker=self._name,
            host=self._host,
            pid=os.getpid(),
            version=__version__,
            up_seconds=now - self._began,
            ended=ended,
            bound=Bound.UNKNOWN if ended else self._bound(addresses, share),
            cpu_share=share,
            jobs=() if ended else self._held.jobs(),
            addresses=addresses,
        )

    def _bound(self, addresses: Sequence[AddressReport], cpu_share: float) -> Bound:
        if self._addresses.reaches_nothing:
            return Bound.OUTAGE
        if not len(self._held):
            return Bound.WORK
        if self._held.paced:
            return Bound.PACE
        if cpu_share >= BUSY_SHARE:
            return Bound.CPU
        full = [one for one in addresses if one.in_flight >= BUSY_SHARE * one.window]
        if not full:
            return Bound.UNKNOWN
        found = {one.bound for one in full if one.knee}
        return Bound.THREADS if Bound.THREADS in found else Bound.LINK if Bound.LINK in found else Bound.WINDOW
