"""How much of a worker's time goes into its broker's calls, with a cache whose answers take 20 ms.

    python -m benchmarks.traffic [FILES]

One manager and one worker in this process, over Azurite; NFS-Ganesha behind a proxy that delays each reply. Counted is
every call about an item (claims that gave some, renewals, completions), each with the whole time it took, though reading
goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.reader import small_files
from cachewarmer.broker import open_broker
from cachewarmer.config import Settings
from cachewarmer.manager import Manager
from cachewarmer.model import Transport
from cachewarmer.model.report import Report
from cachewarmer.submitter import submit, wait_until_warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import CountingProxy
from cachewarmer.worker.worker import Worker
from tests.servers.azurite import azurite
from tests.servers.ganesha import GaneshaServer, ganesha

CALLS = ("claim", "renew", "complete", "abandon")
DELAY_SECONDS = 0.010
"""One way."""


class Spent:
    """The time that calls of a broker took."""

    def __init__(self, broker: Any) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(CALLS, 0.0)
        self.calls: Counter[str] = Counter()
        for name in CALLS:
            setattr(broker, name, self._timed(name, getattr(broker, name)))

    def _timed(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(*arguments: Any, **more: Any) -> Any:
            began = time.monotonic()
            result = await call(*arguments, **more)
            if name != "claim" or result:
                self.seconds[name] += time.monotonic() - began
                self.calls[name] += 1
            return result

        return timed


async def measure(connection: str, server: GaneshaServer) -> None:
    """Warms the tree once."""
    settings = Settings()
    account = connection.partition("AccountName=")[2].partition(";")[0]
    url = f"azure://{account}/t{secrets.token_hex(4)}"
    async with CountingProxy("127.0.0.1", server.nfs_port, delay_seconds=DELAY_SECONDS) as proxy:
        target = server.target().replace(f"nfsport={server.nfs_port}", f"nfsport={proxy.port}")
        async with (
            open_broker(url, settings.lease, connection_string=connection) as broker,
            open_broker(url, settings.lease, connection_string=connection) as theirs,
            SessionPool(settings, open_session) as pool,
        ):
            spent = Spent(theirs)
            stop = asyncio.Event()
            job = await submit(broker, make_job(parse_target(target), transport=Transport.NFS))
            began = time.monotonic()
            running = [
                asyncio.create_task(Manager(broker, settings, pool).run(stop)),
                asyncio.create_task(Worker(theirs, settings, pool).run(stop)),
            ]
            status = await wait_until_warm(broker, job, lambda _: None, asyncio.Event(), 0.2)
            seconds = time.monotonic() - began
            stop.set()
            await asyncio.gather(*running)
    files = Report.of_job(status).files
    print(f"{files} files in {seconds:.1f} s, {files / seconds:,.0f} files/s, window 16, 20 ms away")
    for name in CALLS:
        if spent.calls[name]:
            print(f"  {name:9} {spent.calls[name]:5} calls {spent.seconds[name] * 1000:8.1f} ms")
    share = sum(spent.seconds.values()) / seconds
    print(f"  share of the worker's time: {share:.2%}, wanted under 2%: {'holds' if share < 0.02 else 'DOES NOT HOLD'}")


def main() -> None:
    """See the module."""
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    with tempfile.TemporaryDirectory() as base:
        root = Path(base) / "tree"
        small_files(root, files)
        with azurite() as connection, ganesha(root) as server:
            asyncio.run(measure(connection, server))


if __name__ == "__main__":
    main()
