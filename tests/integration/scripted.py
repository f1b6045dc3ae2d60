"""What the tests against the scripted server share: a tree, its totals, and one run of the library's warm."""

import asyncio

from cachewarmer.config import LeaseSettings, NfsSettings, PlanSettings, Settings
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Link, Special

TREE = {b"d%d" % d: {b"f%d" % f: d * f * 100 for f in range(30)} for d in range(10)} | {
    b"big": 5_000_000,
    b"link": Link(b"big"),
    b"fifo": Special(),
    b"empty": {},
}
SMALL = 300
NOT_EMPTY = sum(1 for d in range(10) for f in range(30) if d * f)
BYTES = sum(d * f * 100 for d in range(10) for f in range(30)) + 5_000_000
SETTINGS = Settings(
    nfs=NfsSettings(reply_seconds=20, jukebox_seconds=0.05),
    plan=PlanSettings(item_files=50),
    lease=LeaseSettings(poll_seconds=0.05),
)


async def warmed(target, directory, settings=SETTINGS, *, seconds=90, **job):
    """Warms one TARGET; returns the final status. The broker's file goes to ``directory``."""
    async with asyncio.timeout(seconds):
        return await warm(
            make_job(parse_target(target), **{"transport": "nfs", **job}),
            broker_url=f"sqlite:///{directory}/broker.db",
            settings=settings,
            processes=1,
            on_status=lambda _: None,
            stop=asyncio.Event(),
        )
