"""The report that a worker writes to the broker every few seconds: for monitoring, and to share a job's bandwidth.

Losing one does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from cachewarmer import __version__
from cachewarmer.broker.base import Broker
from cachewarmer.errors import BrokerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import AddressReport, Bound, WorkerReport
from cachewarmer.model.bound import judge
from cachewarmer.model.live import NOTE_SECONDS, PACED_NOTE_SECONDS
from cachewarmer.worker.held import HeldItems
from cachewarmer.worker.watching import Pool, Watch

MOST_NOTE_SECONDS = 10.0
"""Time limit for writing a row."""
LEAST_NOTE_SECONDS = 1.0
"""Minimum time between two rows."""
LAST_NOTE_SECONDS = 0.5
"""Time limit for writing the last row, at the worker's end."""


class Addresses(Pool, Protocol):
    """The part of the session pool that is needed here."""

    def reports(self) -> tuple[AddressReport, ...]: ...


class Live:
    """Writes the reports of one worker, each as a row at the broker."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        held: HeldItems,
        addresses: Addresses,
        *,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._name = name
        self._held = held
        self._addresses = addresses
        self._clock = clock
        self._began = clock()
        self._watch = watch or Watch(held, addresses)
        self._host = socket.gethostname()
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Writes a row from time to time until it is cancelled. A row that can't be written is left out."""
        watching = asyncio.create_task(self._watch.run())
        try:
            await self._tell()
        finally:
            await end_tasks(watching)

    async def _tell(self) -> None:
        while True:
            self._news.clear()
            await self.note(MOST_NOTE_SECONDS)
            await asyncio.sleep(LEAST_NOTE_SECONDS)
            seconds = PACED_NOTE_SECONDS if self._held.paced else NOTE_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds * random.uniform(0.9, 1.1) - LEAST_NOTE_SECONDS):
                    await self._news.wait()

    def tell_soon(self) -> None:
        """Makes the next row come soon, because others are waiting for what it says."""
        self._news.set()

    @property
    def key(self) -> str:
        """The ``WorkerReport.key`` that the worker's rows have when they are read back from the broker."""
        row = WorkerReport(worker=self._name, host=self._host, pid=os.getpid())
        return WorkerReport.from_json(row.to_json()).key

    async def end(self) -> None:
        """Writes a last row, which says that the worker has ended."""
        await self.note(LAST_NOTE_SECONDS, ended=True)

    async def note(self, seconds: float, *, ended: bool = False) -> None:
        """Writes one row within ``seconds``, or gives up."""
        report = self.report(ended=ended)
        with contextlib.suppress(BrokerError, TimeoutError):  # calls that matter to the work report an outage
            async with asyncio.timeout(seconds):
                await self._broker.note_worker(report)

    def report(self, *, ended: bool = False) -> WorkerReport:
        """The current report of the worker."""
        ways = self._watch.ways()
        addresses = tuple(_with_way(one, *ways.get(one.address, (0.0, 0.0))) for one in self._addresses.reports())
        return WorkerReport(
            worker=self._name,
            host=self._host,
            pid=os.getpid(),
            version=__version__,
            up_seconds=self._clock() - self._began,
            ended=ended,
            bound=Bound.UNKNOWN if ended else judge(self._watch.seen()),
            cpu_share=self._watch.cpu_share,
            jobs=() if ended else self._held.jobs(),
            addresses=addresses,
        )


def _with_way(report: AddressReport, idle: float, now: float) -> AddressReport:
    return replace(report, way_idle_ms=1000 * idle, way_ms=1000 * now) if now else report
