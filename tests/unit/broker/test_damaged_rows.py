"""Nonsense in any column of the broker's file: it is named, and all that is of other jobs goes on."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3

import pytest

from cachewarmer.broker.sound import sound
from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.errors import CacheWarmerError, InvalidMessage
from cachewarmer.model import (
    Access,
    Bandwidth,
    FileEntry,
    JobState,
    JobStatus,
    PathError,
    Receipt,
    ScanTotals,
    SlowPath,
    Tally,
    Transport,
    WarmJob,
    WorkerReport,
    WorkItem,
)

NONSENSE = ("bogus", b"\xff\x00", -5, 1.5e308)
TABLES = ("jobs", "items", "tallies", "workers", "fleets", "managers")


@pytest.fixture
async def good_file(tmp_path):
    """A broker's file with two jobs, each with an item that was read, one that failed and one that waits."""
    path = tmp_path / "good.db"
    async with SqliteBroker(str(path)) as broker:
        taken = []
        for name in ("bad", "good"):
            await broker.submit(
                WarmJob(job_id=name, access=Access(transport=Transport.LOCAL), warm_path="/x", ledger=True)
            )
            lease = await broker.claim_job(1000.0)
            await broker.set_state(lease.job.job_id, JobState.SCANNING)
            await broker.publish([WorkItem(job_id=name, path=f"/{n}", files=(FileEntry("f", n),)) for n in range(3)])
            await broker.record_scan(name, ScanTotals(files=3, bytes=3, items=3, finished=True))
            taken.append(lease)
            read, failed = await broker.claim(2, 1000.0, name)
            slow, errors = (SlowPath("/1", 1.0),), (PathError("/2", "gone"),)
            done = Receipt(
                item_id=read.item.item_id, files=1, bytes=1, calls=1, key="k", piece=b"p", slowest=slow, errors=errors
            )
            await broker.complete("w", [(read, done)])
            await broker.abandon(failed, "it failed")
        for lease in taken:
            await broker.release_job(lease)
        await broker.note_worker(WorkerReport(worker="w", host="h"))
        await broker.take_fleet("f", "m", 60.0)
        await broker.note_manager("m")
    return path


async def use(path):
    """What managers, workers, fleets and people ask of a broker; the jobs that people see."""
    async with SqliteBroker(str(path)) as broker:
        seen = [one.job.job_id for one in await broker.jobs()]
        calls = [
            broker.backlog,
            broker.workers,
            broker.manager_seen,
            lambda: broker.take_fleet("f", "other", 60.0),
            lambda: broker.claim_job(60.0),
            lambda: broker.stranded("bad"),
            lambda: broker.status("bad"),
            lambda: broker.look("bad"),
            lambda: broker.tidy(1e9),
            lambda: broker.limit("bad", Bandwidth(5)),
            lambda: broker.record_scan("bad", ScanTotals()),
            lambda: broker.begin_scan_again("bad"),
            lambda: broker.revive("bad"),
            lambda: broker.set_state("bad", JobState.PAUSED),
            lambda: broker.set_state("bad", JobState.WARMING),
        ]
        for call in calls:
            with contextlib.suppress(CacheWarmerError):
                await call()
        leases = []
        while more := await broker.claim(5, 1000.0):
            leases += more
        for lease in leases:
            with contextlib.suppress(CacheWarmerError):
                await broker.complete("w", [(lease, Receipt(item_id=lease.item.item_id, files=1, bytes=1))])
        return seen, {lease.item.job_id for lease in leases}


@pytest.mark.parametrize("table", TABLES)
async def test_nonsense_in_a_row_hides_nothing_of_other_jobs(good_file, tmp_path, table):
    """Whatever the column and the nonsense, no other kind of error comes than the broker's own."""
    with contextlib.closing(sqlite3.connect(good_file)) as connection:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    where = "job_id = 'bad'" if "job_id" in columns else "1"
    tried = 0
    for column in columns:
        for value in NONSENSE:
            path = shutil.copy(good_file, tmp_path / "b.db")
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                first = f"SELECT {keys[0]} FROM {table} WHERE {where} ORDER BY {keys[-1]} DESC LIMIT 1"
                try:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {where} AND {keys[0]} = ({first})", (value,)
                    )
                except sqlite3.Error:
                    continue  # the column takes no such value
            tried += 1
            seen, worked = await use(path)
            assert "good" in seen, (column, value)
            assert "good" in worked, (column, value)
    assert tried > 3


@pytest.mark.parametrize(
    "record",
    [
        Tally(worker="w", files=-1),
        Tally(worker="w", files=1.5),
        Tally(worker="w", files=True),
        Tally(worker=b"w"),
        Tally(worker="w", errors=(PathError("a", 5),)),
        Tally(worker="w", slowest=(SlowPath("a", float("nan")),)),
        Tally(worker="w", slowest=(SlowPath("a", "1"),)),
        ScanTotals(items=1 << 63),
        ScanTotals(histogram=(1, None)),
        ScanTotals(finished=1),
        ScanTotals(warnings=(7,)),
        JobStatus(job=WarmJob(), state=JobState.WARMING, started_at=1e300),
        JobStatus(job=WarmJob(), state=JobState.WARMING, finished_at="soon"),
    ],
    ids=repr,
)
def test_what_can_not_be_is_damaged(record):
    with pytest.raises(InvalidMessage, match="can't be"):
        sound(record)


def test_what_can_be_is_left_as_it_is():
    record = Tally(worker="w", files=(1 << 63) - 1, errors=(PathError("a", "b"),), slowest=(SlowPath("a", 0.5),))
    assert sound(record) is record
