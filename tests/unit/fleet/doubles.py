"""A broker and a fleet that exist on paper only, for tests of what drives them."""

import asyncio
import time
from contextlib import asynccontextmanager

from cachewarmer.broker.base import Backlog
from cachewarmer.fleet.base import Fleet, FleetSize, MachineTime


class Queues:
    """A broker of which only the backlog is asked for."""

    def __init__(self, items=0):
        self.items = items
        self.scanning = 0
        self.error = None

    async def backlog(self):
        if self.error:
            raise self.error
        return Backlog(unsettled_items=self.items, scanning_jobs=self.scanning)


class PaperFleet(Fleet):
    """Machines on paper. ``errors`` are raised by the calls to come, one each; ``slow`` holds a call up."""

    name = "paper"

    def __init__(self, *, outlives_manager=True):
        self.outlives_manager = outlives_manager
        self.machines = []
        self.size = FleetSize()
        self.calls = []
        self.errors = []
        self.unready = None
        self.unseen = None
        self.slow = None
        self.busy = 0
        self.most_busy = 0
        self.closed = False

    async def check(self):
        if self.unready:
            raise self.unready

    async def observe(self):
        async with self._one_call():
            if self.unseen:
                raise self.unseen
            return self.size

    async def create(self, workers):
        await self._set("create", workers)

    async def resize(self, workers):
        await self._set("resize", workers)

    async def _set(self, call, workers):
        async with self._one_call(call, workers):
            started = time.time()
            new = [MachineTime(name=f"m{n}", started_at=started) for n in range(self.size.running, workers)]
            self.machines += new
            self.size = FleetSize(exists=True, wanted=workers, running=workers)

    async def delete(self):
        async with self._one_call("delete", 0):
            self.machines = [
                MachineTime(name=one.name, started_at=one.started_at, ended_at=time.time(), end=one.end or "deleted")
                for one in self.machines
            ]
            self.size = FleetSize()

    @asynccontextmanager
    async def _one_call(self, *call):
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            if call:
                self.calls.append(call)
                if self.slow:
                    await self.slow.wait()
                if self.errors:
                    raise self.errors.pop(0)
            await asyncio.sleep(0)
            yield
        finally:
            self.busy -= 1

    def ledger(self):
        return self.machines

    async def close(self):
        self.closed = True
