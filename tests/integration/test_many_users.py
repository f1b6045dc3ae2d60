"""More users in the items of one worker than it may have descriptors for, over NFS-Ganesha."""

import asyncio
import os
import sys
from dataclasses import replace

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.model import Access, FileEntry, JobState, ScanTotals, WarmJob, WorkItem
from tests.servers.ganesha import ganesha

USERS = 150
SIZE = 1000


async def publish(broker, server):
    """A job with an item for each user: whoever posts items says as whom they are read."""
    ports = {"nfs_port": server.nfs_port, "mount_port": server.mount_port}
    access = Access(addresses=("127.0.0.1",), export=server.export, **ports)
    await broker.submit(WarmJob(job_id="many", access=access))
    await broker.set_state("many", JobState.SCANNING)
    items = [
        WorkItem(
            access=replace(access, uid=1000 + number, gid=1000 + number),
            path=f"/d{number:03}",
            job_id="many",
            files=(FileEntry("f", SIZE),),
        )
        for number in range(USERS)
    ]
    await broker.publish(items)
    totals = ScanTotals(files=USERS, bytes=USERS * SIZE, items=USERS, finished=True)
    await broker.record_scan("many", totals)


@pytest.mark.parametrize(("sessions", "descriptors"), [(64, 100), (4096, 60)])
async def test_no_item_fails_for_want_of_descriptors(tmp_path, sessions, descriptors):
    """Whatever the settings allow: sessions that nobody uses make way, and nothing is tried that needs more."""
    tree = tmp_path / "tree"
    for number in range(USERS):
        (tree / f"d{number:03}").mkdir(parents=True)
        (tree / f"d{number:03}" / "f").write_bytes(b"x" * SIZE)
    for one in (tmp_path, tree):
        one.chmod(0o755)
    (tmp_path / "c.toml").write_text(f"[nfs]\nsessions = {sessions}\n")
    path = tmp_path / "broker.db"
    worker = f"'{sys.executable}' -m cachewarmer worker --broker sqlite:///{path}"
    with ganesha(tree) as server:
        async with SqliteBroker(str(path)) as broker:
            await publish(broker, server)
            child = await asyncio.create_subprocess_exec(
                "bash",
                "-c",
                f"ulimit -n {descriptors}; exec {worker}",
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "CACHEWARMER_CONFIG": str(tmp_path / "c.toml")},
            )
            try:
                async with asyncio.timeout(60):
                    while not (status := await broker.status("many")).over:
                        await asyncio.sleep(0.1)
            finally:
                child.terminate()
                _, said = await child.communicate()
    assert child.returncode == 0, said
    assert status.state is JobState.COMPLETED, said
    assert (status.total("files"), status.total("bytes"), status.poisoned_items) == (USERS, USERS * SIZE, 0)
    assert b"Traceback" not in said
    assert said.count(b"\n") < 30, said
