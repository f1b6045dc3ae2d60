"""Items published, claimed and completed a second, for each broker, and the bare SDK's rate for the same calls.

Run: ``python benchmarks/broker.py [--items N] [--rounds N]``. The Azure side runs against Azurite on this machine, so its
numbers say what the client costs and how it compares with the bare SDK, not what Azure's service gives.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from cachewarmer.broker.azure.broker import AzureBroker
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import Access, FileEntry, JobState, Receipt, WarmJob, WorkItem, new_job_id
from tests.servers.azurite import azurite

ACCOUNT = "warmtest"
BATCH = 32


def items_of(job_id, count):
    files = tuple(FileEntry(f"frame.{number:05}.exr", 13_000, os.urandom(32)) for number in range(100))
    return [
        WorkItem(access=Access(addresses=("a",)), path=f"/d{n}", job_id=job_id, files=files).with_content_id()
        for n in range(count)
    ]


async def settle(broker, count, *, files, file_bytes):
    """Claims and completes items in batches until so many are done: their number, seconds of claiming and of completing."""
    claimed = completed = 0.0
    done = 0
    while done < count:
        began = time.perf_counter()
        leases = await broker.claim(BATCH, 600)
        claimed += time.perf_counter() - began
        receipts = (Receipt(item_id=lease.item.item_id, files=files, bytes=files * file_bytes) for lease in leases)
        results = list(zip(leases, receipts, strict=True))
        began = time.perf_counter()
        done += sum(await broker.complete("w", results))
        completed += time.perf_counter() - began
    return done, claimed, completed


async def rates_of(broker, count):
    """(published, claimed, completed) a second: one process, batches of 32, items of 100 files."""
    job_id = await broker.submit(WarmJob(access=Access(addresses=("a",)), warm_path="/x"))
    await broker.set_state(job_id, JobState.SCANNING)
    items = items_of(job_id, count)
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        await broker.publish(items[start : start + BATCH])
    published = time.perf_counter() - began
    done, claimed, completed = await settle(broker, count, files=100, file_bytes=13_000)
    return count / published, done / claimed, done / completed


async def bare_rates(connection_string, count):
    """The same calls by the bare SDK: send; receive; one transaction of 32 receipts and a tally, and the deletes."""
    from azure.data.tables.aio import TableClient
    from azure.storage.queue.aio import QueueClient

    name = "bare" + new_job_id()
    texts = [item.to_json() for item in items_of("j1", count)]
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(QueueClient.from_connection_string(connection_string, name))
        table = await stack.enter_async_context(TableClient.from_connection_string(connection_string, name))
        await queue.create_queue()
        await table.create_table()
        began = time.perf_counter()
        for start in range(0, count, BATCH):
            await asyncio.gather(*(queue.send_message(text) for text in texts[start : start + BATCH]))
        published = time.perf_counter() - began
        claimed = completed = 0.0
        done = 0
        while done < count:
            began = time.perf_counter()
            pages = queue.receive_messages(messages_per_page=BATCH, max_messages=BATCH, visibility_timeout=60).by_page()
            messages = [message async for message in await anext(pages)]
            claimed += time.perf_counter() - began
            began = time.perf_counter()
            rows = [("create", {"PartitionKey": "p", "RowKey": message.id}) for message in messages]
            await table.submit_transaction([*rows, ("upsert", {"PartitionKey": "p", "RowKey": "t", "Done": str(done)})])
            await asyncio.gather(*(queue.delete_message(message) for message in messages))
            completed += time.perf_counter() - began
            done += len(messages)
        return count / published, count / claimed, count / completed


async def measure(count, rounds):
    results: dict[str, list[tuple[float, float, float]]] = {"sqlite": [], "azurite": [], "azurite, bare SDK": []}
    with azurite(ACCOUNT) as connection_string, tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            async with SqliteBroker(f"{folder}/{number}.db") as broker:
                results["sqlite"].append(await rates_of(broker, 10 * count))
            # Taken in turns, so that whatever else the machine does falls on both.
            prefix = new_job_id()
            async with AzureBroker(ACCOUNT, prefix, connection_string=connection_string) as broker:
                results["azurite"].append(await rates_of(broker, count))
            results["azurite, bare SDK"].append(await bare_rates(connection_string, count))
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=640, help="items a round (ten times as many for SQLite)")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    results = asyncio.run(measure(arguments.items, arguments.rounds))
    report: dict[str, object] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    report["rounds"], report["items"] = arguments.rounds, arguments.items
    for name, rounds in results.items():
        report[name] = {
            what: {
                "median": round(statistics.median(column)),
                "least": round(min(column)),
                "most": round(max(column)),
            }
            for what, column in zip(("published", "claimed", "completed"), zip(*rounds, strict=True), strict=True)
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
