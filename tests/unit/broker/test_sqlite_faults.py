"""A broker file that is no good: one line, of the right kind, and nothing else is touched."""

from __future__ import annotations

import sqlite3

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.errors import BrokerError, BrokerUnavailable
from cachewarmer.model import Access, JobState, ScanTotals, Transport, WarmJob, WorkItem


async def refusal(path, **options) -> str:
    broker = SqliteBroker(str(path), **options)
    with pytest.raises(BrokerError) as caught:
        await broker.open()
    await broker.close()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_file_that_is_no_database(tmp_path):
    """Says what it is not, and leaves it as it was."""
    path = tmp_path / "b.db"
    path.write_bytes(b"a letter to my aunt\n" * 100)
    assert "not an SQLite file" in await refusal(path)
    assert path.read_bytes().startswith(b"a letter")


async def test_a_database_of_another_program(tmp_path):
    """Is not written into."""
    path = tmp_path / "b.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE cats (name)")
    connection.close()
    assert "another program" in await refusal(path)


async def test_a_file_of_a_newer_version(tmp_path):
    """The schema version decides."""
    path = tmp_path / "b.db"
    async with SqliteBroker(str(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "schema 99" in await refusal(path)


async def test_a_damaged_file(tmp_path):
    """Pages of garbage are found out and named."""
    path = tmp_path / "b.db"
    async with SqliteBroker(str(path)) as broker:
        await broker.submit(WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x"))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    assert "damaged" in await refusal(path)


async def test_a_folder_in_its_place(tmp_path):
    """Can't be opened."""
    assert "can't be opened" in await refusal(tmp_path)


async def test_a_folder_that_cannot_be_made(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("x")
    assert "can't be made" in await refusal(tmp_path / "file" / "b.db")


async def test_a_locked_file_is_unavailable_not_broken(tmp_path):
    """Another process that never lets go: transient, after the busy time-out."""
    path = str(tmp_path / "b.db")
    async with SqliteBroker(path, busy_seconds=0.05) as broker:
        job_id = await broker.submit(WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x"))
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked"):
            await broker.publish([WorkItem(job_id=job_id)])
        assert (await broker.status(job_id)).state is JobState.QUEUED  # readers wait for nobody
        blocker.execute("ROLLBACK")
        blocker.close()
        await broker.publish([WorkItem(job_id=job_id)])


async def test_an_item_row_that_cannot_be_read_is_poison(tmp_path):
    """It goes there at once with its reason, and the next one is given."""
    path = str(tmp_path / "b.db")
    async with SqliteBroker(path) as broker:
        job_id = await broker.submit(WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x"))
        await broker.set_state(job_id, JobState.SCANNING)
        await broker.publish([WorkItem(job_id=job_id, path="/a"), WorkItem(job_id=job_id, path="/b")])
        other = sqlite3.connect(path)
        with other:
            other.execute("UPDATE items SET message = '{' WHERE seq = 1")
        other.close()
        (lease,) = await broker.claim(1, 60)
        assert lease.item.path == "/b"
        status = await broker.status(job_id)
        assert status.poisoned_items == 1
        assert "not JSON" in status.errors[0].error


async def test_a_scan_over_a_changed_tree_waits_for_all_it_published(tmp_path):
    """Items of a first scan that the second no longer has still count as work to be settled."""
    async with SqliteBroker(str(tmp_path / "b.db")) as broker:
        job_id = await broker.submit(WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x"))
        await broker.set_state(job_id, JobState.SCANNING)
        await broker.publish([WorkItem(job_id=job_id, path="/old"), WorkItem(job_id=job_id, path="/both")])
        await broker.publish([WorkItem(job_id=job_id, path="/both"), WorkItem(job_id=job_id, path="/new")])
        await broker.record_scan(job_id, ScanTotals(items=2, finished=True))
        assert (await broker.status(job_id)).scan.items == 3
