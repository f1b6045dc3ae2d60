"""``status``: what it counts of a job that goes on."""

import asyncio
import json

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.cli.commands import run
from cachewarmer.model import Access, InHand, JobState, ScanTotals, WarmJob, WorkerReport

JOB = WarmJob(access=Access(addresses=("a",)), warm_path="/p", job_id="j1")


async def prepared(path):
    """A job of which a worker has read 30 files that have no receipt yet."""
    async with SqliteBroker(path) as broker:
        await broker.submit(JOB)
        await broker.claim_job(60, "j1")
        await broker.set_state("j1", JobState.SCANNING)
        await broker.record_scan("j1", ScanTotals(directories=1, files=100, bytes=1000))
        await broker.note_worker(WorkerReport(worker="w", jobs=(InHand(job="j1", items=2, files=30, bytes=300),)))


def test_json_counts_what_the_table_counts(tmp_path, capsys):
    """What is read of unfinished items as well, in the list of jobs as of one job."""
    path = str(tmp_path / "broker.db")
    asyncio.run(prepared(path))
    at = ["--broker", f"sqlite:///{path}"]
    assert run(["status", *at]) == 0
    assert "30 of 100+" in capsys.readouterr().out
    assert run(["status", "j1", *at]) == 0
    assert "30 files, 300 B" in capsys.readouterr().out
    assert run(["status", "--json", *at]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["jobs"]
    assert run(["status", "j1", "--json", *at]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert [(one["files"], one["bytes"]) for one in (listed, alone)] == [(30, 300)] * 2
    assert alone["workers"] == [{"worker": "w", "items": 0, "files": 30, "bytes": 300}]
