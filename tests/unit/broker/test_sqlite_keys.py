"""Keys of items in the broker's file: each id once, neighbours beside each other, and files of earlier versions."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.broker.sqlite.keys import PATH_BYTES, id_in, key_of, row_of, token_of
from cachewarmer.errors import BrokerError
from cachewarmer.model import Access, FileEntry, JobState, Receipt, ScanTotals, Transport, WarmJob, WorkItem

ACCESS = Access(transport=Transport.LOCAL)


def an_item(path: str, **values) -> WorkItem:
    return WorkItem(access=ACCESS, path=path, job_id="j1", files=(FileEntry("f", 1),), **values)


@pytest.mark.parametrize("path", ["/a", "/" + "x" * 4000, "/\udcff", "/" + chr(0xD800), ""])
def test_a_key_says_which_item_it_is_of(path):
    """Whatever the path, also one that no file can have; a key is never long."""
    item = an_item(path, item_id="0123456789abcdef" * 2)
    key = key_of(item, near=True)
    assert id_in(key) == item.item_id
    assert len(key) <= PATH_BYTES + 17
    assert key_of(item, near=False) == item.item_id


@pytest.mark.parametrize("item_id", ["i1", "", "0" * 31 + "g", "A" * 32, "00 " * 16, "0" * 34])
def test_an_id_that_somebody_chose_is_the_whole_key(item_id):
    """It may come with another path, and is the same item."""
    assert key_of(an_item("/a", item_id=item_id), near=True) == key_of(an_item("/b", item_id=item_id), near=True)
    assert id_in(key_of(an_item("/a", item_id=item_id), near=True)) == item_id


def test_the_row_of_a_token():
    """What is no token of this file finds no row."""
    assert row_of(token_of(12, "ab")) == 12
    assert {row_of(other) for other in ("", "ab", "12", "12.", "-1.a", "x.a", "\u0661.a", "9" * 30 + ".a")} == {-1}


async def settle(broker: SqliteBroker) -> int:
    """Reads all there is; how many counted."""
    counted = 0
    while leases := await broker.claim(10, 60):
        done = [(lease, Receipt(item_id=lease.item.item_id, files=1, bytes=1)) for lease in leases]
        counted += sum(await broker.complete("w", done))
    return counted


def become_version_2(path) -> None:
    """Makes the file what the version before would have made."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("ALTER TABLE items RENAME COLUMN key TO item_id")
        file.execute("ALTER TABLE jobs DROP COLUMN near_keys")
        file.execute("PRAGMA user_version = 2")


async def test_a_job_of_version_2_counts_each_item_once(tmp_path):
    """Its items are published again by a manager that scans again: by this version, under the keys of that one."""
    path = tmp_path / "b.db"
    async with SqliteBroker(str(path)):
        pass
    become_version_2(path)
    items = [an_item(f"/{n}").with_content_id() for n in range(5)]
    job = WarmJob(job_id="j1", access=ACCESS, warm_path="/x")
    with closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "INSERT INTO jobs (job_id, message, state, submitted_at, published_items) VALUES ('j1', ?, 'scanning', 1, 2)",
            (job.to_json(),),
        )
        for item in items[:2]:
            old.execute(
                "INSERT INTO items (job_id, item_id, message, bytes) VALUES ('j1', ?, ?, 1)",
                (item.item_id, item.to_json()),
            )
    async with SqliteBroker(str(path)) as broker:
        await broker.publish(items)
        await broker.publish(items)
        assert await settle(broker) == 5
        await broker.publish(items)
        await broker.record_scan("j1", ScanTotals(files=5, bytes=5, items=5, finished=True))
        status = await broker.status("j1")
        assert (status.state, status.scan.items, status.settled_items) == (JobState.COMPLETED, 5, 5)


async def test_a_program_of_version_2_that_still_runs_can_do_no_harm(tmp_path):
    """It opened the file before; its statements name a column that is not there any more."""
    path = tmp_path / "b.db"
    async with SqliteBroker(str(path)):
        pass
    become_version_2(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("SELECT item_id FROM items").fetchall()
        async with SqliteBroker(str(path)) as broker:
            await broker.submit(WarmJob(job_id="j1", access=ACCESS, warm_path="/x"))
            await broker.publish([an_item("/a")])
            with pytest.raises(sqlite3.OperationalError, match="item_id"):
                old.execute("UPDATE items SET settled = 1 WHERE job_id = 'j1' AND item_id = 'a'")
            assert await settle(broker) == 1


async def test_a_token_of_another_file_settles_nothing(tmp_path):
    """It names a row, but not the lease of that row."""
    async with SqliteBroker(str(tmp_path / "b.db")) as broker:
        await broker.submit(WarmJob(job_id="j1", access=ACCESS, warm_path="/x"))
        await broker.publish([an_item("/a")])
        (lease,) = await broker.claim(1, 60)
        right, lease.token = lease.token, token_of(row_of(lease.token), "0" * 16)
        receipt = Receipt(item_id=lease.item.item_id, files=1, bytes=1)
        assert await broker.complete("w", [(lease, receipt)]) == [False]
        lease.token = right
        assert await broker.complete("w", [(lease, receipt)]) == [True]


async def test_a_large_job_is_published_into_few_pages(tmp_path):
    """The last batch writes about as much as an early one, not a page of the index for each item."""
    path = str(tmp_path / "b.db")
    written = []
    async with SqliteBroker(path) as broker:
        await broker.submit(WarmJob(job_id="j1", access=ACCESS, warm_path="/x"))
        for batch in range(40):
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            await broker.publish([an_item(f"/d{batch}/{n:04}") for n in range(250)])
            written.append(os.path.getsize(f"{path}-wal"))
    assert written[-1] < 2 * written[2]


async def test_a_poisoned_item_is_named_by_its_id(tmp_path):
    """The table for people to look at has the id, not the key."""
    path = tmp_path / "b.db"
    item = an_item("/a").with_content_id()
    async with SqliteBroker(str(path)) as broker:
        await broker.submit(WarmJob(job_id="j1", access=ACCESS, warm_path="/x"))
        await broker.publish([item])
        for _ in range(broker.settings.max_deliveries):
            (lease,) = await broker.claim(1, 60)
            given_up = await broker.abandon(lease, "no")
        assert given_up
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT item_id FROM poison").fetchall() == [(item.item_id,)]


async def test_a_newer_file_is_refused_by_its_version(tmp_path):
    """Programs of version 2 refuse a file of this one in the same way."""
    path = tmp_path / "b.db"
    async with SqliteBroker(str(path)):
        pass
    with closing(sqlite3.connect(path)) as file, file:
        assert file.execute("PRAGMA user_version").fetchone() == (3,)
        file.execute("PRAGMA user_version = 4")
    with pytest.raises(BrokerError, match="newer version"):
        await SqliteBroker(str(path)).open()
