"""The PostgreSQL broker: leases by ``FOR UPDATE SKIP LOCKED``, receipt and tally in one transaction."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from cachewarmer.broker import record, rows
from cachewarmer.broker.base import MOST_FLEET_SECONDS, Backlog, Broker, JobLease, JobLook, Trial, WorkLease
from cachewarmer.broker.postgres import trials
from cachewarmer.broker.postgres.database import SCHEMA_NAME, Database, Row, Transaction
from cachewarmer.broker.postgres.tables import make_tables
from cachewarmer.broker.postgres.wake import Wake
from cachewarmer.broker.sound import sound
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import DamagedRecord, LeaseLost, UnknownJob, UsageError
from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Learnt,
    Priority,
    Receipt,
    ScanTotals,
    Tally,
    Turns,
    WarmJob,
    WorkerReport,
    WorkItem,
    check_transition,
    new_job_id,
)
from cachewarmer.model.live import KEEP_SECONDS
from cachewarmer.model.outcomes import PIECES_AT_ONCE, item_key, pack_poison

PUBLISH_ITEMS = 500
"""Items in one INSERT: each may be 64 KiB."""


class PostgresBroker(Broker):
    """``url`` as libpq takes it; the tables stand in ``schema``, which is created when missing."""

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
        self._item_turns, self._job_turns = Turns(), Turns()
        self._database = Database(url, schema)
        self._wake = Wake(self._database)

    def __repr__(self) -> str:
        return f"<PostgresBroker {self.shown} {'open' if self._database.is_open else 'closed'}>"

    @property
    def shown(self) -> str:
        return self._database.shown

    async def open(self) -> None:
        """Connects, and creates the tables when missing; two processes that do so at once do it once.

        Raises:
            BrokerUnavailable: the server can't be reached. BrokerError: it refuses us, or the tables are of a
                version that this program can't work with. NothingThere: there are no tables, and none are to be created.
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
        job = replace(
            job,
            job_id=job.job_id or new_job_id(),
            submitted_at=job.submitted_at or await self._now(),
            has_file_list=job.has_file_list or file_list is not None,
        )
        async with self._database.statement() as sql:
            if await sql.one("job", job_id=job.job_id):
                return job.job_id
        if file_list is not None:
            await self._keep_list(job.job_id, file_list)
        async with self._database.statement() as sql:
            await sql.run(
                "add_job",
                job_id=job.job_id,
                message=job.to_json(),
                state=JobState.QUEUED,
                submitted_at=job.submitted_at,
                priority=job.priority.rank,
            )
            await sql.run("notify")
        return job.job_id

    async def _keep_list(self, job_id: str, file_list: AsyncIterable[bytes]) -> None:
        async with self._database.statement() as sql:
            await sql.run("drop_chunks", job_id=job_id)  # what an interrupted submission left behind
        number = 0
        async for chunk in file_list:
            async with self._database.statement() as sql:
                await sql.run("add_chunk", job_id=job_id, number=number, chunk=chunk)
            number += 1

    def trials(self) -> Sequence[Trial]:
        return trials.trials(self._database)

    async def clock_ahead(self) -> float:
        before = time.time()
        theirs = await self._now()
        return theirs - (before + time.time()) / 2

    async def _now(self) -> float:
        async with self._database.statement() as sql:
            row = await sql.one("now")
        assert row is not None
        return float(next(iter(row.values())))

    async def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        number = 0
        while True:
            async with self._database.statement() as sql:
                row = await sql.one("chunk", job_id=job_id, number=number)
            if row is None:
                return
            yield bytes(row["chunk"])
            number += 1

    async def claim_job(
        self, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> JobLease | None:
        chosen = {"job_id": job_id, "least": least.rank, "turn": self._job_turns.next.rank}
        async with self._database.transaction() as sql:
            for row, status in await self._readable(sql, await sql.all("free_jobs", **chosen)):
                deliveries = row["deliveries"]
                over = deliveries >= self.settings.max_deliveries and not job_id
                if over and not (status.scan.finished or status.state.final):
                    await _set_state(sql, row, JobState.FAILED, record.managers_lost(deliveries))
                    await _settle_job(sql, row["job_id"], "")
                    continue
                if status.state.final:
                    await _set_state(sql, row, status.state, "")
                    await _settle_job(sql, row["job_id"], "")
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

    async def _readable(self, sql: Transaction, found: Sequence[Row]) -> list[tuple[Row, JobStatus]]:
        """The jobs that make sense, with their status; the others are named once and passed over."""
        readable = []
        for row in found:
            try:
                readable.append((row, await _status(sql, row)))
            except DamagedRecord as error:
                self._damaged.name(error)
        return readable

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
            await _settle_job(sql, lease.job.job_id, lease.token)

    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        async with self._database.transaction() as sql:
            await _set_state(sql, await _locked(sql, job_id), state, reason)
            await _finish_if_settled(sql, job_id)
            await sql.run("notify")
            return await _status(sql, await _job(sql, job_id))

    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        async with self._database.transaction() as sql:
            row = await _locked(sql, job_id)
            self._managed.check(job_id, row["token"])
            before = rows.standing(row)
            after = before.scanned(totals, row["now"])
            if after is before:
                return
            await sql.run("set_scan", job_id=job_id, scan=record.dump_scan(totals), finished=totals.finished)
            if after.state is not before.state:
                await _put_standing(sql, job_id, after)
                await _finish_if_settled(sql, job_id)

    async def stranded(self, job_id: str) -> bool:
        async with self._database.statement() as sql:
            status = await _status(sql, await _job(sql, job_id))
            waits = status.state is JobState.WARMING and status.scan.finished
            return waits and await sql.one("any_open_item", job_id=job_id) is None

    async def begin_scan_again(self, job_id: str) -> bool:
        async with self._database.transaction() as sql:
            row = await _locked(sql, job_id)
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
            after = rows.standing(await _locked(sql, job_id)).revived()
            if after is None:
                return False
            await _put_standing(sql, job_id, after)
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
            row = await _job(sql, job_id)
        return rows.look(row, row["now"])

    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        async with self._database.statement() as sql:
            if not await sql.count("keep_learnt", job_id=job_id, learnt=learnt.to_json()):
                raise UnknownJob(f"there is no job {job_id}")

    async def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        async with self._database.transaction() as sql:
            await sql.run("limit", **rows.limited(await _locked(sql, job_id), bandwidth))
            return await _status(sql, await _job(sql, job_id))

    async def status(self, job_id: str) -> JobStatus:
        async with self._database.statement() as sql:
            return await _status(sql, await _job(sql, job_id))

    async def jobs(self) -> list[JobStatus]:
        async with self._database.statement() as sql:
            return [status for _, status in await self._readable(sql, await sql.all("all_jobs"))]

    async def tidy(self, keep_seconds: float) -> None:
        async with self._database.transaction() as sql:
            await sql.run("old_managers", seconds=keep_seconds)
            await sql.run("old_workers", seconds=KEEP_SECONDS)
            for row in await sql.all("old_jobs", seconds=keep_seconds):
                for name in rows.ALL_OF_A_JOB:
                    await sql.run(name, job_id=row["job_id"])

    # -- the ledger ------------------------------------------------------------------------------------------------

    async def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        after = ""
        while True:
            async with self._database.statement() as sql:
                found = await sql.all("pieces", job_id=job_id, after=after, most=PIECES_AT_ONCE)
            if not found:
                return
            for row in found:
                yield row["key"], bytes(row["piece"])
            after = found[-1]["key"]

    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        async with self._database.transaction() as sql:
            await self._check_lease(sql, job_id)
            await _add_pieces(sql, job_id, pieces)

    async def forget_scanned(self, job_id: str, part: str) -> None:
        async with self._database.transaction() as sql:
            await self._check_lease(sql, job_id)
            await sql.run("drop_scanned", job_id=job_id, part=part)

    async def forget_ledger(self, job_id: str) -> None:
        async with self._database.statement() as sql:
            await sql.run("drop_ledger", job_id=job_id)

    async def _check_lease(self, sql: Transaction, job_id: str) -> None:
        row = await sql.one("job_locked", job_id=job_id)
        if row is not None:
            self._managed.check(job_id, row["token"])

    # -- work ------------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        by_job: dict[str, dict[str, str]] = {}
        for item in map(record.with_id, items):
            by_job.setdefault(item.job_id, {})[item.item_id] = item.to_json()
        for job_id, messages in by_job.items():
            ordered = list(messages.items())
            for start in range(0, len(ordered), PUBLISH_ITEMS):
                await self._publish(job_id, ordered[start : start + PUBLISH_ITEMS])

    async def _publish(self, job_id: str, messages: Sequence[tuple[str, str]]) -> None:
        async with self._database.transaction() as sql:
            # Held until the end: two managers that publish the same items never wait for each other in a circle.
            if rows.standing(await _locked(sql, job_id)).state.final:
                return
            ids, texts = zip(*messages, strict=True)
            count = await sql.count("add_items", job_id=job_id, item_ids="\n".join(ids), messages="\n".join(texts))
            if count:
                await sql.run("count_published", job_id=job_id, count=count)

    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        leases: list[WorkLease] = []
        while len(leases) < most:
            token, left = secrets.token_hex(8), most - len(leases)
            chosen = {"job_id": job_id, "least": least.rank, "turns": self._item_turns.of(left), "most": left}
            async with self._database.statement() as sql:
                found = await sql.all("claim", token=token, seconds=lease_seconds, **chosen)
            if not found:
                break
            self._item_turns.taken(len(found))
            for row in sorted(found, key=lambda one: (int(one["priority"]), int(one["seq"]))):
                if rows.never_leased(row["was_until"], row["visible_at"] - lease_seconds):
                    self._damaged.name_lease(f"item {row['item_id']} of job {row['job_id']}", row["was_until"])
                failed = row["deliveries"] - 1
                lease = rows.lease_or_poison(row, token, row["visible_at"], failed, self.settings.max_deliveries)
                if isinstance(lease, rows.Poisoned):
                    async with self._database.transaction() as sql:
                        await _poison(sql, row, lease)
                else:
                    leases.append(lease)
        return leases

    async def wait_for_work(self, seconds: float) -> None:
        await self._wake.wait(seconds)

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        async with self._database.statement() as sql:
            row = await sql.one("renew_item", seconds=lease_seconds, **rows.held(lease))
        if row is None:
            raise LeaseLost(f"the lease on {lease.item.path} was lost")
        lease.expires_at = row["visible_at"]

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        worker = record.printable(worker)
        async with self._database.transaction() as sql:
            settled = await sql.all(
                "settle_items",
                job_ids=[lease.item.job_id for lease, _ in results],
                item_ids=[lease.item.item_id for lease, _ in results],
                tokens=[lease.token for lease, _ in results],
            )
            done = {(row["job_id"], row["item_id"]) for row in settled}
            counted: list[bool] = []
            by_job: dict[str, list[Receipt]] = {}
            for lease, receipt in results:
                key = (lease.item.job_id, lease.item.item_id)
                counted.append(key in done)
                if key in done:
                    done.remove(key)
                    by_job.setdefault(lease.item.job_id, []).append(receipt)
            for job_id in sorted(by_job):
                await _add_to_tally(sql, job_id, worker, by_job[job_id])
                await _add_pieces(sql, job_id, [(one.key, one.piece) for one in by_job[job_id] if one.piece])
        # After the commit: of two workers that settle the last items at the same time, one sees the other's.
        for job_id in by_job:
            await self._finish(job_id)
        return counted

    async def _finish(self, job_id: str) -> None:
        async with self._database.statement() as sql:
            row = await sql.one("settled_count", job_id=job_id)
        if row is not None and row["settled"]:
            async with self._database.transaction() as sql:
                await _finish_if_settled(sql, job_id)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        async with self._database.transaction() as sql:
            if reason and lease.deliveries >= self.settings.max_deliveries:
                await _locked(sql, lease.item.job_id)  # which counts it: before the item, as everywhere
            row = await sql.one("held_item", **rows.held(lease))
            if row is None:
                return False
            if reason and row["deliveries"] >= self.settings.max_deliveries:
                item = lease.item
                given_up = record.given_up(row["deliveries"], reason)
                await _poison(sql, row, rows.Poisoned(item, given_up, item.file_count))
                return True
            await sql.run(
                "hand_back",
                delay=delay_seconds,
                forgiven=int(not reason),
                reason=record.printable(reason),
                message=rows.handed_back(lease.item),
                **rows.held(lease),
            )
            return False

    async def backlog(self) -> Backlog:
        async with self._database.statement() as sql:
            row = await sql.one("backlog")
            active = [status for _, status in await self._readable(sql, await sql.all("active_jobs"))]
        assert row is not None
        return Backlog.of(active, waiting_items=row["waiting"], leased_items=row["leased"])


# -- inside a transaction ------------------------------------------------------------------------------------------


async def _job(sql: Transaction, job_id: str, name: str = "job") -> Row:
    row = await sql.one(name, job_id=job_id)
    if row is None:
        raise UnknownJob(f"there is no job {job_id}")
    return row


async def _locked(sql: Transaction, job_id: str) -> Row:
    """The job's row with ``now``, held until the transaction ends."""
    return await _job(sql, job_id, "job_locked")


async def _status(sql: Transaction, row: Row) -> JobStatus:
    tallies = await sql.all("tallies", job_id=row["job_id"])
    with record.reading_row(f"job {row['job_id']}"):
        return rows.status(row, [_load_tally(one["tally"]) for one in tallies])


async def _set_state(sql: Transaction, row: Row, state: JobState, reason: str) -> None:
    """``row`` is of ``_locked``, or of any statement that locks the job and gives ``now``."""
    before = rows.standing(row)
    if check_transition(row["job_id"], before.state, state):
        await _put_standing(sql, row["job_id"], before.moved_to(state, reason, row["now"]))


async def _put_standing(sql: Transaction, job_id: str, standing: record.Standing) -> None:
    await sql.run(
        "set_state",
        job_id=job_id,
        state=standing.state,
        reason=standing.reason,
        started_at=standing.started_at,
        finished_at=standing.finished_at,
    )


async def _settle_job(sql: Transaction, job_id: str, token: str) -> None:
    row = await sql.one("settle_job", job_id=job_id, token=token)
    if row is not None and JobState(row["state"]) in rows.KEEP_NOTHING:
        await sql.run("forget_items", job_id=job_id)
        await sql.run("drop_chunks", job_id=job_id)


async def _finish_if_settled(sql: Transaction, job_id: str) -> None:
    """Stamps the final state as soon as the last item is settled, so that it needs no manager."""
    counts = await sql.one("settled_count", job_id=job_id)
    if counts is not None and counts["settled"]:
        row = await _locked(sql, job_id)
        await _set_state(sql, row, (await _status(sql, row)).state, "")


async def _add_to_tally(sql: Transaction, job_id: str, worker: str, receipts: Sequence[Receipt]) -> None:
    row = await sql.one("tally", job_id=job_id, worker=worker)
    tally = record.add_all(Tally(worker=worker) if row is None else _load_tally(row["tally"]), receipts)
    await sql.run("put_tally", job_id=job_id, worker=worker, items=tally.items, tally=record.dump(asdict(tally)))


def _load_tally(text: str) -> Tally:
    values: dict[str, Any] = json.loads(text)
    known = {one.name for one in fields(Tally)}
    values = {name: value for name, value in values.items() if name in known}
    values["errors"] = record.load_errors(values["errors"])
    values["slowest"] = record.load_slowest(values["slowest"])
    return sound(Tally(**values))


async def _add_pieces(sql: Transaction, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
    """Keeps pieces of a ledger, in the order of their keys: two workers never wait for each other in a circle."""
    last = sorted(dict(pieces).items())
    if last:
        keys, values = zip(*last, strict=True)
        await sql.run("add_pieces", job_id=job_id, keys=list(keys), pieces=list(values))


async def _poison(sql: Transaction, row: Row, poisoned: rows.Poisoned) -> None:
    poisoned = poisoned._replace(reason=record.printable(poisoned.reason))
    ids = {"job_id": row["job_id"], "item_id": row["item_id"]}
    job = await _locked(sql, row["job_id"])
    if not await sql.count("poison_item", seq=row["seq"], reason=poisoned.reason):
        return
    await sql.run("add_poison", reason=poisoned.reason, message=row["message"], **ids)
    if poisoned.item.ledger:
        piece = pack_poison(row["message"], poisoned.reason)
        await _add_pieces(sql, row["job_id"], [(item_key(poisoned.item), piece)])
    await sql.run("count_poison", **rows.poison_counts(job, poisoned))
    await _finish_if_settled(sql, row["job_id"])
