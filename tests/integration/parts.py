"""Managers and workers as tasks over the embedded broker, on trees in memory."""

from __future__ import annotations

import asyncio

from cachewarmer.config import LeaseSettings, PlanSettings, Settings
from cachewarmer.model import Access, WarmJob
from cachewarmer.submitter import wait_until_warm

SETTINGS = Settings(
    plan=PlanSettings(item_files=7, item_bytes=10_000, range_bytes=3000),
    lease=LeaseSettings(poll_seconds=0.02, lease_seconds=5.0, drain_seconds=0.3),
)
TREE = {b"d%02d" % d: {b"f%02d" % f: 100 + f for f in range(20)} for d in range(40)} | {b"big": 10_001, b"none": 0}
FILES = 40 * 20 + 2
BYTES = 40 * sum(100 + f for f in range(20)) + 10_001


class Running:
    """Managers and workers as tasks, each with its own stop."""

    def __init__(self, broker):
        self.broker = broker
        self.parts = []

    def start(self, part):
        stop = asyncio.Event()
        task = asyncio.create_task(part.run(stop))
        self.parts.append((task, stop))
        return task, stop

    async def end(self):
        for _, stop in self.parts:
            stop.set()
        await asyncio.gather(*(task for task, _ in self.parts))


def job(**more):
    return WarmJob(access=Access(addresses=("a",)), warm_path="/", **more)


async def finish(broker, job_id, seconds=20):
    return await asyncio.wait_for(wait_until_warm(broker, job_id, lambda _: None, asyncio.Event(), 0.02), seconds)
