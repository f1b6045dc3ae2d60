"""Items published, claimed and completed a second, and the time of a status, by the size of the job, broker by broker.

    python -m benchmarks.brokers [--sizes 100 1000 10000 100000 1000000] [--brokers sqlite postgres azure azurite]

One process; batches of 500 published, 32 claimed and completed; items of 4 files. Of a large job the first 20,000 items
are claimed and completed while all the others wait: what grows with a queue shows there. SQLite and PostgreSQL have
their default durability. ``azure`` is the Azure broker with the SDK over an account in memory, in a process of its own,
whose calls cost the same whatever is stored: what grows there is the broker. Neither that nor Azurite says what
Azure's service gives, and Azurite, which grows itself, is left out above 1,000 items.

The last columns: milliseconds of this process's CPU and operations of the account, an item of those published and an item
of those claimed and completed; and the most memory that this process has had so far, MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.broker import settle
from cachewarmer.broker.azure.broker import AzureBroker
from cachewarmer.broker.base import Broker
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import Access, FileEntry, JobState, WarmJob, WorkItem, new_job_id
from tests.servers.azurite import azurite
from tests.servers.postgres import postgres
from tests.storage_standin.account import storage

PUBLISH_BATCH = 500
MOST_SETTLED = 20_000
MOST_AZURITE = 1000
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


@dataclass(frozen=True)
class Measured:
    """Published, claimed and completed a second; milliseconds of a status; CPU ms and operations an item."""

    published: float
    claimed: float
    completed: float
    status_ms: float
    publish_cpu: float
    settle_cpu: float
    publish_operations: float
    settle_operations: float

    def line(self) -> str:
        """The figures below the headings."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        return (
            f"{self.published:>11,.0f} {self.claimed:>9,.0f} {self.completed:>11,.0f} {self.status_ms:>10.2f}"
            f" {self.publish_cpu:>8.3f} {self.settle_cpu:>8.3f} {self.publish_operations:>7.3f} {self.settle_operations:>7.3f}"
            f" {peak:>5}"
        )


async def measure(broker: Broker, count: int, operations: Callable[[], Counter[str]] = Counter) -> Measured:
    """One size. ``operations`` tells those of the account so far, where there is one that counts."""
    job_id = await broker.submit(WarmJob(access=ACCESS, warm_path="/x"))
    await broker.set_state(job_id, JobState.SCANNING)
    published = publish_cpu = 0.0
    asked = [operations().total()]
    for items in batches(job_id, count):
        began, used = time.perf_counter(), time.process_time()
        await broker.publish(items)
        published += time.perf_counter() - began
        publish_cpu += time.process_time() - used
    asked.append(operations().total())
    used = time.process_time()
    done, claimed, completed = await settle(broker, min(count, MOST_SETTLED), files=4, file_bytes=13_000)
    settle_cpu = time.process_time() - used
    asked.append(operations().total())
    began = time.perf_counter()
    for _ in range(STATUSES):
        await broker.status(job_id)
    status = (time.perf_counter() - began) / STATUSES
    return Measured(
        count / published,
        done / claimed,
        done / completed,
        1000 * status,
        1000 * publish_cpu / count,
        1000 * settle_cpu / done,
        (asked[1] - asked[0]) / count,
        (asked[2] - asked[1]) / done,
    )


async def run(kind: str, sizes: list[int]) -> None:
    """One line for each size, each on a store of its own."""
    operations: Callable[[], Counter[str]] = Counter
    with contextlib.ExitStack() as servers:
        if kind == "azurite":
            connection = servers.enter_context(azurite("warmtest"))
        elif kind == "azure":
            connection, operations = servers.enter_context(storage())
        elif kind == "postgres":
            url = servers.enter_context(postgres(durable=True)).url
        else:
            folder = servers.enter_context(tempfile.TemporaryDirectory())
        for count in sizes:
            if kind == "azurite" and count > MOST_AZURITE:
                continue
            broker: Broker
            if kind in ("azure", "azurite"):
                broker = AzureBroker("warmtest", new_job_id(), connection_string=connection)
            elif kind == "postgres":
                broker = PostgresBroker(url, schema=f"s{count}")
            else:
                broker = SqliteBroker(f"{folder}/{count}.db")
            async with broker:
                found = await measure(broker, count, operations)
            print(f"{kind:<9} {count:>9,} {found.line()}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--brokers", nargs="+", default=["sqlite", "postgres", "azure", "azurite"])
    chosen = parser.parse_args()
    print(f"{'':50} {'CPU, ms an item':>21} {'operations an item':>25}")
    print(
        f"{'broker':<9} {'items':>9} {'published/s':>11} {'claimed/s':>9} {'completed/s':>11} {'status, ms':>10}"
        f" {'publish':>8} {'settle':>8} {'publish':>7} {'settle':>7} {'MiB':>5}"
    )
    for kind in chosen.brokers:
        asyncio.run(run(kind, chosen.sizes))


if __name__ == "__main__":
    main()
