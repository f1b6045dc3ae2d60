"""What keeping and reading a ledger costs a broker, by its size, and by what its keys begin with.

    python -m benchmarks.pieces [--sizes 10000 100000 1000000] [--brokers sqlite postgres] [--keys near ids]

Pieces of items of four files in the order of a walk (a thousand items in each directory), kept 32 at a time as workers do,
and then read. ``near``: the keys that the program makes, which begin with the path; ``ids``: hashes. Kept a second, of
all and of the last tenth; CPU of this process, µs a piece; megabytes written (SQLite: by this process; PostgreSQL: to its
log); read a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from benchmarks.brokers import ACCESS, FILES
from cachewarmer.broker.base import Broker
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import WarmJob, WorkItem
from cachewarmer.model.outcomes import FileOutcome, item_key, pack
from tests.servers.postgres import postgres

TOGETHER = 32
MEGA = 1e6


def near(item: WorkItem) -> str:
    """The key that the program makes."""
    return item_key(item)


def ids(item: WorkItem) -> str:
    """A key that lies anywhere."""
    return "i" + hashlib.blake2b(item.item_id.encode(), digest_size=16).hexdigest()


KEYS: dict[str, Callable[[WorkItem], str]] = {"near": near, "ids": ids}


def pieces(count: int, key_of: Callable[[WorkItem], str]) -> Iterator[list[tuple[str, bytes]]]:
    """All pieces of a job, made as they are needed."""
    for start in range(0, count, TOGETHER):
        together = []
        for number in range(start, min(count, start + TOGETHER)):
            path = f"/projects/show/shot{number // 1000:05}/dir{number % 1000:04}"
            item = WorkItem(access=ACCESS, path=path, job_id="j", files=FILES).with_content_id()
            lines = (
                FileOutcome(f"{path}/{one.path}", 13_000, 1.5, 2.5, "read", 13_000, "", "c", 0.1).line()
                for one in FILES
            )
            together.append((key_of(item), pack(lines)))
        yield together


async def measure(broker: Broker, count: int, key_of: Callable[[WorkItem], str], written: Callable[[], float]) -> str:
    """One line of figures."""
    job_id = await broker.submit(WarmJob(access=ACCESS, warm_path="/x", ledger=True))
    seconds: list[float] = []
    cpu, before = 0.0, written()
    for together in pieces(count, key_of):
        began, used = time.perf_counter(), time.process_time()
        await broker.add_to_ledger(job_id, together)
        seconds.append(time.perf_counter() - began)
        cpu += time.process_time() - used
    last = seconds[-max(1, len(seconds) // 10) :]
    megabytes = (written() - before) / MEGA
    began = time.perf_counter()
    found = 0
    async for _ in broker.ledger(job_id):
        found += 1
    reading = time.perf_counter() - began
    if found != count:
        raise RuntimeError(f"{found} pieces came back")
    return (
        f"{count / sum(seconds):>9,.0f} {TOGETHER * len(last) / sum(last):>9,.0f} {cpu / count * MEGA:>8.0f}"
        f" {megabytes:>9,.0f} {count / reading:>10,.0f}"
    )


def written_by_us() -> float:
    """Bytes that this process has had written to a disk."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes: "):
            return float(line.split()[1])
    return 0.0


def written_by(url: str) -> Callable[[], float]:
    """Bytes of a server's log."""

    def ask() -> float:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
        return float(row[0]) if row else 0.0

    return ask


async def run(kind: str, sizes: list[int], keys: list[str]) -> None:
    """One line for each size and key, each on a store of its own."""
    with contextlib.ExitStack() as servers:
        if kind == "postgres":
            url = servers.enter_context(postgres(durable=True)).url
        else:
            folder = servers.enter_context(tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")))
        for count in sizes:
            for name in keys:
                broker: Broker
                if kind == "postgres":
                    broker, written = PostgresBroker(url, schema=f"{name}{count}"), written_by(url)
                else:
                    broker, written = SqliteBroker(f"{folder}/{name}{count}.db"), written_by_us
                async with broker:
                    print(
                        f"{kind:<9} {name:<5} {count:>9,} {await measure(broker, count, KEYS[name], written)}",
                        flush=True,
                    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--brokers", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--keys", nargs="+", choices=KEYS, default=list(KEYS))
    chosen = parser.parse_args()
    print(f"{'broker':<9} {'keys':<5} {'pieces':>9} {'kept/s':>9} {'last/s':>9} {'CPU µs':>8} {'MB':>9} {'read/s':>10}")
    for kind in chosen.brokers:
        asyncio.run(run(kind, chosen.sizes, chosen.keys))


if __name__ == "__main__":
    main()
