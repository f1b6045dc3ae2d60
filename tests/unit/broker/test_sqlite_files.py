"""The broker's file is ours alone, an old one still opens, and what is given back shrinks it."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import default_broker_url
from cachewarmer.errors import BrokerError, ConfigError
from cachewarmer.model import (
    Access,
    JobState,
    Learnt,
    LearntAddress,
    Priority,
    ScanTotals,
    Transport,
    WarmJob,
    WorkItem,
)
from cachewarmer.model.results import TALLY_COUNTS, Receipt


def modes(folder):
    return {name: stat.S_IMODE(os.lstat(folder / name).st_mode) for name in os.listdir(folder)}


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def a_job() -> WarmJob:
    return WarmJob(access=Access(transport=Transport.LOCAL), warm_path="/x")


async def test_nobody_else_may_read_or_write_it(tmp_path, umask):
    """Folders and files that we make, SQLite's own beside it included, whatever the umask is."""
    folder = tmp_path / "a" / "b"
    async with SqliteBroker(str(folder / "broker.db")) as broker:
        await broker.submit(a_job())
        found = modes(folder)
        assert {"broker.db", "broker.db-wal"} <= found.keys()
        assert set(found.values()) == {0o600}
    assert {stat.S_IMODE(os.stat(one).st_mode) for one in (folder, tmp_path / "a")} == {0o700}


async def test_what_an_earlier_version_left_open_is_closed(tmp_path, monkeypatch):
    """Its file, and the user's state directory; any other folder that was there stays as it is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state, other = tmp_path / "cachewarmer", tmp_path / "other"
    for folder in (state, other):
        folder.mkdir()
        folder.chmod(0o755)
        async with SqliteBroker(str(folder / "broker.db")):
            pass
        (folder / "broker.db").chmod(0o666)
        async with SqliteBroker(str(folder / "broker.db")):
            assert set(modes(folder).values()) == {0o600}
    assert (modes(tmp_path)["cachewarmer"], modes(tmp_path)["other"]) == (0o700, 0o755)


async def test_a_user_without_a_home_may_have_one(tmp_path, monkeypatch):
    """Where the state directory would be is asked for to close it, not to use it."""

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    async with SqliteBroker(str(tmp_path / "broker.db")) as broker:
        assert await broker.jobs() == []
    with pytest.raises(ConfigError, match="no home directory"):
        default_broker_url()


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_a_symbolic_link_is_not_followed(tmp_path, suffix):
    """What somebody laid down in its place stays as it was."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    victim.chmod(0o644)
    os.symlink(victim, tmp_path / f"broker.db{suffix}")
    broker = SqliteBroker(str(tmp_path / "broker.db"))
    with pytest.raises(BrokerError, match="symbolic link"):
        await broker.open()
    assert victim.read_bytes() == b""
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_file_of_another_user_is_refused(tmp_path):
    """In a shared folder, anybody could have laid it down; in a folder of that user's own, root may look after it."""
    path = tmp_path / "broker.db"
    async with SqliteBroker(str(path)):
        pass
    os.chown(path, 12345, 12345)
    with pytest.raises(BrokerError, match="another user"):
        await SqliteBroker(str(path)).open()
    os.chown(tmp_path, 12345, 12345)
    async with SqliteBroker(str(path)) as broker:
        assert await broker.jobs() == []


OLD_SCHEMA = """
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, message TEXT NOT NULL, state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '', submitted_at REAL NOT NULL, started_at REAL NOT NULL DEFAULT 0,
  finished_at REAL NOT NULL DEFAULT 0, scan TEXT NOT NULL DEFAULT '', scan_finished INTEGER NOT NULL DEFAULT 0,
  published_items INTEGER NOT NULL DEFAULT 0, poisoned_items INTEGER NOT NULL DEFAULT 0,
  poisoned_files INTEGER NOT NULL DEFAULT 0, poison_errors TEXT NOT NULL DEFAULT '[]',
  off_queue INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0, token TEXT, owner TEXT,
  lease_until REAL NOT NULL DEFAULT 0);
CREATE TABLE file_chunks (job_id TEXT NOT NULL, number INTEGER NOT NULL, chunk BLOB NOT NULL,
  PRIMARY KEY (job_id, number)) WITHOUT ROWID;
CREATE TABLE items (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, item_id TEXT NOT NULL, message TEXT NOT NULL,
  bytes INTEGER NOT NULL, settled INTEGER NOT NULL DEFAULT 0, deliveries INTEGER NOT NULL DEFAULT 0,
  last_error TEXT NOT NULL DEFAULT '', visible_at REAL NOT NULL DEFAULT 0, token TEXT, owner TEXT,
  UNIQUE (job_id, item_id));
CREATE INDEX open_items ON items (job_id, seq) WHERE settled = 0;
CREATE TABLE tallies (
  job_id TEXT NOT NULL, worker TEXT NOT NULL, items INTEGER NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
  failed_files INTEGER NOT NULL, vanished_files INTEGER NOT NULL, excluded_files INTEGER NOT NULL,
  skipped_files INTEGER NOT NULL, calls INTEGER NOT NULL, errors TEXT NOT NULL, slowest TEXT NOT NULL,
  PRIMARY KEY (job_id, worker)) WITHOUT ROWID;
CREATE TABLE poison (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, item_id TEXT NOT NULL, reason TEXT NOT NULL,
  message TEXT NOT NULL, poisoned_at REAL NOT NULL);
"""
"""Version 1, as the first release made it."""


async def test_a_file_of_version_1_goes_on(tmp_path):
    """A job in the middle of it is read to its end, beside what the old version had counted."""
    path = tmp_path / "broker.db"
    item = WorkItem(access=Access(transport=Transport.LOCAL), path="/x/b", job_id="j1", item_id="i2")
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript(OLD_SCHEMA)
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO jobs (job_id, message, state, submitted_at, scan, scan_finished, published_items)"
            " VALUES ('j1', ?, 'warming', 1, ?, 1, 2)",
            ('{"WarmTargetPath":"/x","Transport":"local","JobId":"j1"}', '{"files":2,"items":2,"finished":true}'),
        )
        old.execute("INSERT INTO items (job_id, item_id, message, bytes) VALUES ('j1', 'i2', ?, 5)", (item.to_json(),))
        old.execute("INSERT INTO tallies VALUES ('j1', 'old', 1, 1, 5, 0, 0, 0, 0, 1, '[]', '[]')")
    async with SqliteBroker(str(path)) as broker, SqliteBroker(str(path)) as other:
        assert (await other.status("j1")).settled_items == 1
        (lease,) = await broker.claim(2, 60)
        counts = dict.fromkeys(TALLY_COUNTS[1:], 1)
        assert await broker.complete("new", [(lease, Receipt(item_id="i2", **counts))]) == [True]
        status = await other.status("j1")
        assert status.state is not JobState.WARMING
        assert status.state.final
        assert {tally.worker: tally.items for tally in status.tallies} == {"new": 1, "old": 1}
        assert await broker.manager_seen() is None


async def test_the_file_shrinks_when_a_job_is_forgotten(tmp_path):
    """A large job leaves no large file behind, also in a file that was made without that in mind."""
    path = tmp_path / "broker.db"
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript(OLD_SCHEMA)
        old.execute("PRAGMA user_version = 1")
    for _ in range(2):
        async with SqliteBroker(str(path)) as broker:
            job_id = await broker.submit(a_job())
            lease = await broker.claim_job(60)
            await broker.set_state(job_id, JobState.SCANNING)
            items = [
                WorkItem(access=Access(transport=Transport.LOCAL), path=f"/{n}" + "x" * 4000, job_id=job_id)
                for n in range(3000)
            ]
            await broker.publish(items)
            await broker.record_scan(job_id, ScanTotals(finished=True))
            grown = os.path.getsize(path) + os.path.getsize(f"{path}-wal")
            await broker.set_state(job_id, JobState.CANCELLED)
            await broker.settle_job(lease)
            await broker.tidy(0)
            left = os.path.getsize(path) + os.path.getsize(f"{path}-wal")
        assert grown > 12_000_000
        assert left < grown / 10
        path.unlink()


async def test_a_file_of_a_program_without_priorities_goes_on(tmp_path):
    """What it holds is of normal priority, and so is what such a program adds to a file of this one."""
    path = tmp_path / "broker.db"
    add = "INSERT INTO jobs (job_id, message, state, submitted_at) VALUES (?, ?, 'queued', 1)"
    message = '{"WarmTargetPath":"/x","Transport":"local","JobId":"j%d"}'
    async with SqliteBroker(str(path)):
        pass
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("ALTER TABLE jobs DROP COLUMN priority")
        old.execute(add, ("j1", message % 1))
    async with SqliteBroker(str(path)) as broker, SqliteBroker(str(path)) as other:
        await other.submit(replace(a_job(), priority=Priority.LOW))
        with closing(sqlite3.connect(path)) as old, old:
            old.execute(add, ("j2", message % 2))
        assert [(await broker.claim_job(60)).job.job_id for _ in range(2)] == ["j1", "j2"]
        assert {one.job.priority for one in await broker.jobs()} == {Priority.NORMAL, Priority.LOW}


async def test_a_file_of_a_program_that_keeps_nothing_learnt_goes_on(tmp_path):
    """The columns are added to its file, and a program without them goes on in a file that has them."""
    path = tmp_path / "broker.db"
    async with SqliteBroker(str(path)) as broker:
        job_id = await broker.submit(a_job())
    with closing(sqlite3.connect(path)) as old, old:
        for column in ("learnt", "learnt_at"):
            old.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
    async with SqliteBroker(str(path)) as broker:
        assert (await broker.look(job_id)).learnt is None
        await broker.keep_learnt(job_id, Learnt(addresses=(LearntAddress(address="a", window=8),)))
        assert (await broker.look(job_id)).learnt.first_windows() == {"a": 4}
