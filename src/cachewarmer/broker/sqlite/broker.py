"""The embedded broker: one SQLite file in WAL mode, shared by any number of processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from cachewarmer.broker.base import Backlog, Broker, JobLease, JobLook, Trial, WorkLease
from cachewarmer.broker.sqlite.files import prepare
from cachewarmer.broker.sqlite.store import Store
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerBusy, BrokerError, BrokerUnavailable
from cachewarmer.model import (
    Bandwidth,
    JobState,
    JobStatus,
    Learnt,
    Priority,
    Receipt,
    ScanTotals,
    WarmJob,
    WorkerReport,
    WorkItem,
    new_job_id,
)

T = TypeVar("T")

BUSY_SECONDS = 30.0
"""How long a transaction waits for those of other processes, before the file counts as busy."""


class SqliteBroker(Broker):
    """The broker in the file ``path``. SQLite runs in one thread of its own; ``clock`` returns Unix seconds."""

    is_private = True

    def __init__(
        self,
        path: str,
        settings: LeaseSettings | None = None,
        *,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.settings = settings or LeaseSettings()
        self._create = create
        self._clock = clock
        self._busy_seconds = busy_seconds
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None

    def __repr__(self) -> str:
        return f"<SqliteBroker {self.path} {'open' if self._store else 'closed'}>"

    async def open(self) -> None:
        """Creates the file if it is missing, and releases the leases of processes that have ended.

        Raises:
            BrokerError: the file can't be created, read or written, or is not the file of a broker.
            NothingThere: it is missing, and the broker was made with ``create=False``.
        """
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "broker")
        try:
            await self._call(self._open)
        except BaseException:
            await self.close()
            raise

    def _open(self) -> None:
        if self._store is None:
            prepare(self.path, create=self._create)
            self._store = Store(self.path, self.settings.max_deliveries, self._busy_seconds)
            self._store.release_dead_owners()

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        store, self._store = self._store, None
        if store is not None:
            await asyncio.get_running_loop().run_in_executor(thread, store.close)
        thread.shutdown(wait=False)

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs a transaction in the thread, and translates the errors of SQLite."""
        if self._thread is None:
            raise BrokerError(f"the broker {self.path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except sqlite3.Error as error:
            raise self._translated(error) from error
        except OSError as error:
            what = "made" if self._create else "looked at"
            raise BrokerError(f"the broker file {self.path} can't be {what}: {error.strerror or error}") from error

    def _translated(self, error: sqlite3.Error) -> BrokerError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return BrokerBusy(
                f"the broker file {self.path} is locked: another process has held it for {self._busy_seconds:.0f} s"
            )
        if code == sqlite3.SQLITE_FULL:
            return BrokerUnavailable(f"the broker file {self.path} can't grow: the disk is full")
        if code == sqlite3.SQLITE_NOTADB:
            return BrokerError(f"{self.path} is not an SQLite file: name another one, or remove it")
        if code == sqlite3.SQLITE_CORRUPT:
            return BrokerError(f"the broker file {self.path} is damaged ({error}): remove it and warm again")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return BrokerError(f"the broker file {self.path} may not be written by this user")
        if code == sqlite3.SQLITE_CANTOPEN:
            return BrokerError(
                f"the broker file {self.path} can't be opened: is it a file in a directory that this user may write to?"
            )
        return BrokerError(f"the broker file {self.path}: {error}")

    def trials(self) -> Sequence[Trial]:
        store = self._opened()
        return (Trial("writing", "the file may be written", "run as its owner", lambda: self._call(store.try_writing)),)

    def _opened(self) -> Store:
        if self._store is None:
            raise BrokerError(f"the broker {self.path} is not open")
        return self._store

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: WarmJob, file_list: AsyncIterable[bytes] | None = None) -> str:
        store = self._opened()
        job = replace(
            job,
            job_id=job.job_id or new_job_id(),
            submitted_at=job.submitted_at or self._clock(),
            has_file_list=job.has_file_list or file_list is not None,
        )
        if await self._call(store.has_job, job.job_id):
            return job.job_id
        if file_list is not None:
            await self._call(store.begin_list, job.job_id)
            number = 0
            async for chunk in file_list:
                await self._call(store.add_chunk, job.job_id, number, chunk)
                number += 1
        await self._call(store.add_job, job)
        return job.job_id

    async def file_list(self, job_id: str) -> AsyncIterator[bytes]:
        number = 0
        while (chunk := await self._call(self._opened().chunk, job_id, number)) is not None:
            yield chunk
            number += 1

    async def claim_job(
        self, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> JobLease | None:
        return await self._call(self._opened().claim_job, lease_seconds, job_id, least, self._clock())

    async def renew_job(self, lease: JobLease, lease_seconds: float) -> None:
        lease.expires_at = await self._call(self._opened().renew_job, lease, lease_seconds, self._clock())

    async def release_job(self, lease: JobLease) -> None:
        await self._call(self._opened().release_job, lease)

    async def settle_job(self, lease: JobLease) -> None:
        await self._call(self._opened().settle_job, lease, self._clock())

    async def set_state(self, job_id: str, state: JobState, reason: str = "") -> JobStatus:
        return await self._call(self._opened().set_state, job_id, state, reason, self._clock())

    async def record_scan(self, job_id: str, totals: ScanTotals) -> None:
        await self._call(self._opened().record_scan, job_id, totals, self._clock())

    async def look(self, job_id: str) -> JobLook:
        return await self._call(self._opened().look, job_id, self._clock())

    async def keep_learnt(self, job_id: str, learnt: Learnt) -> None:
        await self._call(self._opened().keep_learnt, job_id, learnt.to_json(), self._clock())

    async def limit(self, job_id: str, bandwidth: Bandwidth) -> JobStatus:
        return await self._call(self._opened().limit, job_id, bandwidth)

    async def status(self, job_id: str) -> JobStatus:
        return await self._call(self._opened().status, job_id)

    async def jobs(self) -> list[JobStatus]:
        return await self._call(self._opened().jobs)

    async def tidy(self, keep_seconds: float) -> None:
        now = self._clock()
        await self._call(self._opened().tidy, now - keep_seconds, now)

    async def stranded(self, job_id: str) -> bool:
        return await self._call(self._opened().stranded, job_id)

    async def begin_scan_again(self, job_id: str) -> bool:
        return await self._call(self._opened().begin_scan_again, job_id)

    async def revive(self, job_id: str) -> bool:
        return await self._call(self._opened().revive, job_id)

    async def note_manager(self, name: str) -> None:
        await self._call(self._opened().note_manager, name, self._clock())

    async def manager_seen(self) -> float | None:
        return await self._call(self._opened().manager_seen, self._clock())

    async def take_fleet(self, fleet: str, manager: str, seconds: float) -> bool:
        return await self._call(self._opened().take_fleet, fleet, manager, seconds, self._clock())

    async def note_worker(self, report: WorkerReport) -> None:
        await self._call(self._opened().note_worker, report.key, report.to_json(), self._clock())

    async def workers(self, job_id: str = "") -> list[WorkerReport]:
        return await self._call(self._opened().workers, job_id, self._clock())

    # -- the ledger ------------------------------------------------------------------------------------------------

    async def ledger(self, job_id: str) -> AsyncIterator[tuple[str, bytes]]:
        after = ""
        while pieces := await self._call(self._opened().pieces, job_id, after):
            for piece in pieces:
                yield piece
            after = pieces[-1][0]

    async def add_to_ledger(self, job_id: str, pieces: Sequence[tuple[str, bytes]]) -> None:
        await self._call(self._opened().add_to_ledger, job_id, pieces)

    async def forget_scanned(self, job_id: str, part: str) -> None:
        await self._call(self._opened().forget_scanned, job_id, part)

    async def forget_ledger(self, job_id: str) -> None:
        await self._call(self._opened().forget_ledger, job_id)

    # -- work ------------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        await self._call(self._opened().publish, items)

    async def claim(
        self, most: int, lease_seconds: float, job_id: str = "", *, least: Priority = Priority.LOW
    ) -> list[WorkLease]:
        return await self._call(self._opened().claim, most, lease_seconds, job_id, least, self._clock())

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        lease.expires_at = await self._call(self._opened().renew, lease, lease_seconds, self._clock())

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        return await self._call(self._opened().complete, worker, results, self._clock())

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float = 0.0) -> bool:
        return await self._call(self._opened().abandon, lease, reason, delay_seconds, self._clock())

    async def backlog(self) -> Backlog:
        return await self._call(self._opened().backlog, self._clock())
