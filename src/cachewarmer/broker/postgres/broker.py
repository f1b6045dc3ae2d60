"""The PostgreSQL broker: it leases with ``FOR UPDATE SKIP LOCKED``, and counts receipts in one transaction."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import MOST_FLEET_SECONDS, Backlog, Broker, JobLease, JobLook, Trial, WorkLease
from cachewarmer.broker.postgres import standing, trials
from cachewarmer.broker.postgres.database import SCHEMA_NAME, Database
from cachewarmer.broker.postgres.streams import FileLists, Ledgers
from cachewarmer.broker.postgres.tables import make_tables
from cachewarmer.broker.postgres.wake import Wake
from cachewarmer.broker.postgres.work import WorkSide
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import LeaseLost, UnknownJob, UsageError
from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Learnt,
    Priority,
    Receipt,
    ScanTotals,
    Turns,
    WarmJob,
    WorkerReport,
    WorkItem,
    new_job_id,
)
from cachewarmer.model.live import KEEP_SECONDS


class PostgresBroker(Broker):
    """The broker at ``url``, a URL of libpq, with its tables in ``schema``, which is created if it is missing.

    Raises:
        UsageError: ``schema`` is not a valid name. BrokerError: the URL can't be parsed.
    """

    def __init__(
        self, url: str, settings: LeaseSettings | None = None, *, create: bool = True, schema: str = "cachewarmer"
    ) -> None:
        if not SCHEMA_NAME.fullmatch(schema):
            raise UsageError(f"{schema!r} is not a schema name: use lower-case letters, digits and underscores")
        self.url = url
        self.settings = settings or LeaseSettings()
        self._create = create
        self._damaged = record.DamagedRows()
        self._managed = record.ManagedJobs()
        self._job_turns = Turns()
        self._database = Database(url, schema)
        self._wake = Wake(self._database)
        self._items = WorkSide(self._database, self.settings, self._damaged)
        self._lists = FileLists(self._database)
        self._ledgers = Ledgers(self._database, self._managed)

    def __repr__(self) -> str:
        return f"<PostgresBroker {self.shown} {'open' if self._database.is_open else 'closed'}>"

    @property
    def shown(self) -> str:
        return self._database.shown

    async def open(self) -> None:
        """Connects, and creates the tables if they are missing; several processes may do so at the same time.

        Raises:
            BrokerUnavailable: the server can't be reached. BrokerError: it refuses the connection, or the tables have a
                version that this program can't work with. NothingThere: there are no tables, and none may be created.
        """
        await self._database.open()
        try:
            await make_tables(self._database, create=self._create)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._database.close()

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: WarmJob, file_list: AsyncIterable[bytes] | None = None) -> str:
        job_id = job.job_id or new_job_id()
        async with self._database.statement() as sql:
            (now,), known = await sql.together("now", "job", job_id=job_id)
        if known:
            return job_id
        job = replace(
            job,
            job_id=job_id,
            submitted_at=job.submitted_at or now["now"],
            has_file_list=job.has_file_list or file_list is not None,
        )
        if file_list is not None:
            await self._lists.keep(job_id, file_list)
        async with self._database.statement() as sql:
            await sql.run(
                "add_job",
                job_id=job_id,
                message=job.to_json(),
                state=JobState.QUEUED,
                submitted_at=job.submitted_at,
                priority=job.priority.rank,
            )
        return job_id

    def trials(self) -> Sequence[Trial]:
        return trials.trials(self._database)

    async def clock_ahead(self) -> float:
        before = time.time()
        async with self._database.statement() as sql:
            (now,) = await sql.all("now")
        return float(now["now"]) - (before + time.time()) / 2

    def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        return self._lists.read(job_id)

    async def claim_job(
        self, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> JobLease | None:
        chosen = {"job_id": job_id, "least": least.rank, "turn": self._job_turns.next.rank}
        async with self._database.transaction() as sql:
            found = await sql.all("free_jobs", **chosen)
            tallies = await sql.all("tallies_of", job_ids=[row["job_id"] for row in found]) if found else ()
            for row, status in standing.readable(self._damaged, found, tallies):
                deliveries = row["deliveries"]
                over = deliveries >= self.settings.max_deliveries and not job_id
                if over and not (status.scan.finished or status.state.final):
                    await standing.set_state(sql, row, JobState.FAILED, record.managers_lost(deliveries))
                    await standing.settle_job(sql, row["job_id"], "")
                    continue
                if status.state.final:
                    await standing.set_state(sql, row, status.state, "")
                    await standing.settle_job(sql, row["job_id"], "")
                    continue
                if rows.never_leased(row["lease_until"], row["now"]):
                    self._damaged.name_lease(f"job {row['job_id']}", row["lease_until"])
                token = secrets.token_hex(8)
                leased = await sql.one("lease_job", job_id=row["job_id"], token=token, seconds=lease_seconds)
                assert leased is not None
                self._managed.take(row["job_id"], token)
                self._job_turns.taken(1)
                return JobLease(token, leased["lease_until"], leased["deliveries"], status.job)
        return None

    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        async with self._database.statement() as sql:
            row = await sql.one("renew_job", job_id=lease.job.job_id, token=lease.token, seconds=lease_seconds)
        if row is None:
            raise LeaseLost(f"another manager has job {lease.job.job_id}")
        lease.expires_at = row["lease_until"]

    async def release_job(self, lease: JobLease) -> None:
        self._managed.leave(lease.job.job_id)
        async with self._database.statement() as sql:
            await sql.run("release_job", job_id=lease.job.job_id, token=lease.token)

    async def settle_job(self, lease: JobLease) -> None:
        self._managed.leave(lease.job.job_id)
        async with self._database.transaction() as sql:
            await standing.settle_job(sql, lease.job.job_id, lease.token)

    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        async with self._database.transaction() as sql:
            await standing.set_state(sql, await standing.locked(sql, job_id), state, reason)
            await standing.finish_if_settled(sql, job_id)
            await sql.run("notify")
            return await standing.read_status(sql, job_id)

    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        async with self._database.transaction() as sql:
            row = await standing.locked(sql, job_id)
            self._managed.check(job_id, row["token"])
            before = rows.standing(row)
            after = before.scanned(totals, row["now"])
            if after is before:
                return
            await sql.run("set_scan", job_id=job_id, scan=record.dump_scan(totals), finished=totals.finished)
            if after.state is not before.state:
                await standing.put_standing(sql, job_id, after)
                await standing.finish_if_settled(sql, job_id)

    async def stranded(self, job_id: str) -> bool:
        async with self._database.statement() as sql:
            job, tallies, waiting = await sql.together("job", "tallies", "any_open_item", job_id=job_id)
        status = standing.status_of(standing.the_job(job_id, job), tallies)
        return status.state is JobState.WARMING and status.scan.finished and not waiting

    async def begin_scan_again(self, job_id: str) -> bool:
        async with self._database.transaction() as sql:
            row = await standing.locked(sql, job_id)
            self._managed.check(job_id, row["token"])
            before = rows.standing(row)
            after = before.scanned_again()
            if after is not None and after is not before:
                await sql.run("begin_again", job_id=job_id, state=after.state)
                for name in ("drop_items", "drop_tallies", "drop_poison", "drop_told"):
                    await sql.run(name, job_id=job_id)
            return after is not None

    async def revive(self, job_id: str) -> bool:
        async with self._database.transaction() as sql:
            after = rows.standing(await standing.locked(sql, job_id)).revived()
            if after is None:
                return False
            await standing.put_standing(sql, job_id, after)
            await sql.run("back_on_queue", job_id=job_id)
            await sql.run("notify")
            return True

    async def note_manager(self, name: str) -> None:
        async with self._database.statement() as sql:
            await sql.run("note_manager", name=record.printable(name))

    async def manager_seen(self) -> float | None:
        async with self._database.statement() as sql:
            row = await sql.one("manager_seen")
        return None if row is None else row["seconds"]

    async def take_fleet(self, fleet: str, manager: str, seconds: float) -> bool:
        async with self._database.statement() as sql:
            before = await sql.one("fleet", fleet=fleet)
            if before is not None and rows.never_leased(before["lease_until"], before["now"], MOST_FLEET_SECONDS):
                self._damaged.name_lease(f"the fleet {fleet}", before["lease_until"])
            return await sql.one("take_fleet", fleet=fleet, manager=manager, seconds=seconds) is not None

    async def note_worker(self, report: WorkerReport) -> None:
        async with self._database.statement() as sql:
            await sql.run("note_worker", key=record.printable(report.key).replace("\0", ""), report=report.to_json())

    async def workers(self, job_id: str = "") -> list[WorkerReport]:
        async with self._database.statement() as sql:
            found = await sql.all("workers")
        seen = ((row["key"], row["report"], row["seconds"]) for row in found)
        return record.worker_reports(seen, job_id, self._damaged)

    async def look(self, job_id: str) -> JobLook:
        async with self._database.statement() as sql:
            row = standing.the_job(job_id, await sql.all("job", job_id=job_id))
        return rows.look(row, row["now"])

    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        async with self._database.statement() as sql:
            if not await sql.count("keep_learnt", job_id=job_id, learnt=learnt.to_json()):
                raise UnknownJob(f"there is no job {job_id}")

    async def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        async with self._database.transaction() as sql:
            await sql.run("limit", **rows.limited(await standing.locked(sql, job_id), bandwidth))
            return await standing.read_status(sql, job_id)

    async def status(self, job_id: str) -> JobStatus:
        async with self._database.statement() as sql:
            return await standing.read_status(sql, job_id)

    async def jobs(self) -> list[JobStatus]:
        async with self._database.statement() as sql:
            found, tallies = await sql.together("all_jobs", "all_tallies")
        return [status for _, status in standing.readable(self._damaged, found, tallies)]

    async def tidy(self, keep_seconds: float) -> None:
        async with self._database.transaction() as sql:
            await sql.run("old_managers", seconds=keep_seconds)
            await sql.run("old_workers", seconds=KEEP_SECONDS)
            for row in await sql.all("old_jobs", seconds=keep_seconds):
                for name in rows.ALL_OF_A_JOB:
                    await sql.run(name, job_id=row["job_id"])

    # -- the ledger ------------------------------------------------------------------------------------------------

    def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        return self._ledgers.read(job_id)

    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        await self._ledgers.add(job_id, pieces)

    async def forget_scanned(self, job_id: str, part: str) -> None:
        await self._ledgers.forget_scanned(job_id, part)

    async def forget_ledger(self, job_id: str) -> None:
        await self._ledgers.forget(job_id)

    # -- work ------------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        await self._items.publish(items)

    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        return await self._items.claim(most, lease_seconds, job_id, least)

    async def wait_for_work(self, seconds: float) -> None:
        await self._wake.wait(seconds)

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        await self._items.renew(lease, lease_seconds)

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        return await self._items.complete(worker, results)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        return await self._items.abandon(lease, reason, delay_seconds)

    async def backlog(self) -> Backlog:
        return await self._items.backlog()
