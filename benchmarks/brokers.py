"""Items published, claimed and completed a second, and the time of a status, by the size of the job, broker by broker.

    python -m benchmarks.brokers [--sizes 100 1000 10000 100000 1000000] [--brokers sqlite postgres azurite]

One process; batches of 500 published, 32 claimed and completed; items of 4 files. Of a large job the first 20,000 items
are claimed and completed while all the others wait: what grows with a queue shows there. SQLite and PostgreSQL have
their default durability. Azurite's numbers say what the client costs, not what Azure's service gives, and it is left
out above 10,000 items.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator

from benchmarks.broker import settle
from cachewarmer.broker.azure.broker import AzureBroker
from cachewarmer.broker.base import Broker
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import Access, FileEntry, JobState, WarmJob, WorkItem, new_job_id
from tests.servers.azurite import azurite
from tests.servers.postgres import postgres

PUBLISH_BATCH = 500
MOST_SETTLED = 20_000
MOST_AZURITE = 10_000
STATUSES = 20
FILES = tuple(FileEntry(f"frame.{number:05}.exr", 13_000, b"h" * 32) for number in range(4))
ACCESS = Access(addresses=("a",))


def batches(job_id: str, count: int) -> Iterator[list[WorkItem]]:
    """All items of a job, made as they are needed."""
    for start in range(0, count, PUBLISH_BATCH):
        yield [
            WorkItem(access=ACCESS, path=f"/d{number}", job_id=job_id, files=FILES).with_content_id()
            for number in range(start, min(count, start + PUBLISH_BATCH))
        ]


async def measure(broker: Broker, count: int) -> tuple[float, float, float, float]:
    """Published, claimed and completed a second; milliseconds of a status."""
    job_id = await broker.submit(WarmJob(access=ACCESS, warm_path="/x"))
    await broker.set_state(job_id, JobState.SCANNING)
    published = 0.0
    for items in batches(job_id, count):
        began = time.perf_counter()
        await broker.publish(items)
        published += time.perf_counter() - began
    done, claimed, completed = await settle(broker, min(count, MOST_SETTLED), files=4, file_bytes=13_000)
    began = time.perf_counter()
    for _ in range(STATUSES):
        await broker.status(job_id)
    status = (time.perf_counter() - began) / STATUSES
    return count / published, done / claimed, done / completed, 1000 * status


async def run(kind: str, sizes: list[int]) -> None:
    """One line for each size, each on a store of its own."""
    with contextlib.ExitStack() as servers:
        if kind == "azurite":
            connection = servers.enter_context(azurite("warmtest"))
        elif kind == "postgres":
            url = servers.enter_context(postgres(durable=True)).url
        else:
            folder = servers.enter_context(tempfile.TemporaryDirectory())
        for count in sizes:
            if kind == "azurite" and count > MOST_AZURITE:
                continue
            broker: Broker
            if kind == "azurite":
                broker = AzureBroker("warmtest", new_job_id(), connection_string=connection)
            elif kind == "postgres":
                broker = PostgresBroker(url, schema=f"s{count}")
            else:
                broker = SqliteBroker(f"{folder}/{count}.db")
            async with broker:
                published, claimed, completed, status = await measure(broker, count)
            print(
                f"{kind:<9} {count:>9,} {published:>12,.0f} {claimed:>10,.0f} {completed:>12,.0f} {status:>10.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--brokers", nargs="+", default=["sqlite", "postgres", "azurite"])
    chosen = parser.parse_args()
    print(f"{'broker':<9} {'items':>9} {'published/s':>12} {'claimed/s':>10} {'completed/s':>12} {'status, ms':>10}")
    for kind in chosen.brokers:
        asyncio.run(run(kind, chosen.sizes))


if __name__ == "__main__":
    main()
