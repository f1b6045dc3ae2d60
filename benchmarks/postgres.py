"""What is PostgreSQL's own: how a batch is best published, and how soon an idle worker has what was published.

    python -m benchmarks.postgres [--items 6000] [--rounds 9]

Ways to publish, in turns, as ratios to the broker's own in the same round: ``lines`` is what the broker does, two texts
with a line for each item; ``arrays`` has two arrays of texts; ``copy`` is COPY into a temporary table and one INSERT from
it; ``pipeline`` is ``lines`` in libpq's pipeline mode; ``binary`` has two arrays whose elements the client only measures.
The server does without fsync. Then milliseconds from publish to claim, for a worker that listens and for one behind
PgBouncer, which polls. Then connections, round trips and seconds of what a process does at a server that is 10 ms away.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable

from benchmarks.brokers import ACCESS, batches
from cachewarmer.broker.postgres.broker import PostgresBroker
from cachewarmer.broker.postgres.work import WorkSide
from cachewarmer.model import JobState, Receipt, WarmJob, WorkItem
from tests.servers.far import Far, far
from tests.servers.pgbouncer import pgbouncer
from tests.servers.postgres import postgres

CLAIMS = 12
AWAY_SECONDS = 0.01
"""One way."""
PUBLISHED = 500


class Arrays(WorkSide):
    """Two arrays, whose elements the client quotes one by one."""

    name = "arrays"
    how = "s"

    async def _publish(self, job_id, messages):
        ids, texts = (list(column) for column in zip(*messages, strict=True))
        async with self._database.transaction() as sql:
            await sql.one("job_locked", job_id=job_id)
            added = await sql.connection.execute(
                f"INSERT INTO {self._database.schema}.items (job_id, item_id, message)"
                f" SELECT %s, one.item_id, one.message FROM unnest(%{self.how}::text[], %{self.how}::text[])"
                " AS one (item_id, message) ON CONFLICT (job_id, item_id) DO NOTHING",
                (job_id, ids, texts),
            )
            await sql.run("count_published", job_id=job_id, count=added.rowcount)


class Binary(Arrays):
    """Two arrays in binary, whose elements have a length."""

    name = "binary"
    how = "b"


class Copy(WorkSide):
    """COPY can't pass over what is there already, so it needs a table of its own."""

    name = "copy"

    async def _publish(self, job_id, messages):
        async with self._database.transaction() as sql:
            await sql.one("job_locked", job_id=job_id)
            connection = sql.connection
            await connection.execute("CREATE TEMP TABLE fresh (item_id text, message text) ON COMMIT DROP")
            async with connection.cursor().copy("COPY fresh FROM STDIN") as copy:
                for row in messages:
                    await copy.write_row(row)
            added = await connection.execute(
                f"INSERT INTO {self._database.schema}.items (job_id, item_id, message)"
                " SELECT %s, item_id, message FROM fresh ON CONFLICT (job_id, item_id) DO NOTHING",
                (job_id,),
            )
            await sql.run("count_published", job_id=job_id, count=added.rowcount)


class Pipeline(WorkSide):
    """BEGIN, the lock and the INSERT go out together, and so do the count and COMMIT."""

    name = "pipeline"

    async def _publish(self, job_id, messages):
        ids, texts = zip(*messages, strict=True)
        of = self._database.statement_of
        async with (
            self._database.connection() as connection,
            connection.pipeline() as pipeline,
            connection.transaction(),
        ):
            await connection.execute("SET LOCAL statement_timeout = '60s'")
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '30s'")
            await connection.execute(of("job_locked"), {"job_id": job_id})
            values = {"job_id": job_id, "item_ids": "\n".join(ids), "messages": "\n".join(texts)}
            added = await connection.execute(of("add_items"), values)
            await pipeline.sync()
            await connection.execute(of("count_published"), {"job_id": job_id, "count": added.rowcount})


class Lines(WorkSide):
    """The broker as it is."""

    name = "lines"


WAYS = (Lines, Arrays, Binary, Copy, Pipeline)


class Publishing(PostgresBroker):
    """The broker, with another way to publish."""

    def publish_by(self, way: type[WorkSide]) -> None:
        """From now on."""
        self._items = way(self._database, self.settings, self._damaged)


async def publish(url: str, way: type[WorkSide], count: int, schema: str) -> float:
    """Items a second."""
    async with Publishing(url, schema=schema) as broker:
        broker.publish_by(way)
        job_id = await broker.submit(WarmJob(access=ACCESS, warm_path="/x"))
        await broker.set_state(job_id, JobState.SCANNING)
        made = list(batches(job_id, count))
        began = time.perf_counter()
        for items in made:
            await broker.publish(items)
        seconds = time.perf_counter() - began
        if (await broker.status(job_id)).scan.items != count:
            raise RuntimeError(f"{way.__name__} lost items")
    return count / seconds


async def ways(url: str, count: int, rounds: int) -> None:
    rates: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS if number % 2 else WAYS[::-1]:
            rates[way.name].append(await publish(url, way, count, f"r{number}{way.name}"))
    print(f"{'way':<10} {'items/s':>9} {'to lines':>9} {'range':>14}")
    for name, found in rates.items():
        ratios = [one / base for one, base in zip(found, rates["lines"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{name:<10} {statistics.median(found):>9,.0f} {statistics.median(ratios):>9.2f} {spread:>14}", flush=True
        )


async def wake(url: str, what: str) -> None:
    """The worker waits as ``worker.worker`` does: from 20 ms on, doubled up to a second."""
    async with PostgresBroker(url, schema="wake") as manager, PostgresBroker(url, schema="wake") as worker:
        job_id = await manager.submit(WarmJob(access=ACCESS, warm_path="/x"))
        await manager.set_state(job_id, JobState.SCANNING)
        claimed: asyncio.Queue[float] = asyncio.Queue()

        async def claim() -> None:
            wait = 0.02
            while True:
                if await worker.claim(1, 60.0):
                    claimed.put_nowait(time.perf_counter())
                    wait = 0.02
                else:
                    await worker.wait_for_work(wait)
                    wait = min(1.0, wait * 2)

        claiming = asyncio.create_task(claim())
        found = []
        for number in range(CLAIMS):
            await asyncio.sleep(1.3 + 0.07 * number)
            item = WorkItem(access=ACCESS, path=f"/{number}", job_id=job_id).with_content_id()
            began = time.perf_counter()
            await manager.publish([item])
            found.append(1000 * (await claimed.get() - began))
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
    print(
        f"{what:<10} publish to claim: {statistics.median(found):.1f} ms, {min(found):.1f} to {max(found):.1f}",
        flush=True,
    )


async def counted(server: Far, what: str, call: Awaitable[object]) -> None:
    """Prints what one step costs."""
    server.reset()
    began = time.perf_counter()
    await call
    seconds = time.perf_counter() - began
    print(
        f"{what:<28} {server.connections} connections {server.round_trips:>4} round trips {seconds:6.2f} s", flush=True
    )


async def gathered(found: AsyncIterator[object]) -> int:
    """How much there is."""
    return len([one async for one in found])


async def distant(url: str) -> None:
    """What is long: 20 other jobs, a list of 13 MB, a ledger of 20,000 pieces."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield bytes(64 * 1024)

    async with far(url, AWAY_SECONDS) as server:
        broker = PostgresBroker(server.url, schema="far")
        await counted(server, "open, making the tables", broker.open())
        await broker.close()
        await counted(server, "open", broker.open())
        ids = [await broker.submit(WarmJob(access=ACCESS, warm_path="/x")) for _ in range(20)]
        await counted(server, "submit", broker.submit(WarmJob(access=ACCESS, warm_path="/x")))
        await counted(server, "status", broker.status(ids[0]))
        await counted(server, "status of all 21 jobs", broker.jobs())
        await counted(server, "backlog", broker.backlog())
        await counted(server, "claim a job", broker.claim_job(600.0))
        await broker.set_state(ids[0], JobState.SCANNING)
        for items in batches(ids[0], PUBLISHED):
            await counted(server, f"publish {PUBLISHED}", broker.publish(items))
        leases = await broker.claim(32, 600.0)
        await counted(server, "claim all others", broker.claim(2 * PUBLISHED, 600.0))
        receipts = [(lease, Receipt(item_id=lease.item.item_id, files=4)) for lease in leases]
        await counted(server, "complete 32", broker.complete("w", receipts))
        listed = WarmJob(access=ACCESS, warm_path="/x", job_id="listed")
        await counted(server, "submit with a list of 13 MB", broker.submit(listed, chunks()))
        await counted(server, "read the list", gathered(broker.file_list("listed")))
        pieces = [(f"s{number:08}", bytes(200)) for number in range(20_000)]
        for start in range(0, len(pieces), 1000):
            await broker.add_to_ledger(ids[1], pieces[start : start + 1000])
        await counted(server, "read 20,000 pieces", gathered(broker.ledger(ids[1])))
        await broker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    with postgres() as server:
        asyncio.run(ways(server.url, chosen.items, chosen.rounds))
        asyncio.run(wake(server.url, "listening"))
        with pgbouncer(server, 3) as url:
            asyncio.run(wake(url, "polling"))
        asyncio.run(distant(server.url))


if __name__ == "__main__":
    main()
