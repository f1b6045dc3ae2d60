"""Caches that answer NULL, LOOKUP and listings, and never a READ: of one file among others, or of all."""

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.config import LeaseSettings, NfsSettings, PlanSettings, Settings
from cachewarmer.manager import Manager, waiting
from cachewarmer.model import JobState, Report
from cachewarmer.onemachine import warm
from cachewarmer.submitter import resume, submit
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import Faults, ScriptedServer
from cachewarmer.worker import Worker, live
from tests.integration.parts import finish

TREE = {b"d%d" % d: {b"f%d" % f: 1000 + f for f in range(20)} for d in range(10)}
FILES = 200
SETTINGS = Settings(
    nfs=NfsSettings(reply_seconds=0.3),
    plan=PlanSettings(item_files=10),
    lease=LeaseSettings(poll_seconds=0.02, patience_seconds=1.0, drain_seconds=0.3),
)


@pytest.fixture(autouse=True)
def rows_are_written_often(monkeypatch):
    """Workers say how they do, and their manager looks, many times within the patience of these tests."""
    monkeypatch.setattr(live, "NOTE_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "NOTE_SECONDS", 0.05)


async def in_a_fleet(server, running, broker, settings=SETTINGS):
    """One job with a manager and two workers that serve any job, each with sessions of its own."""
    job_id = await submit(broker, make_job(parse_target(server.url()), transport="nfs"))
    pools = [SessionPool(settings, open_session) for _ in range(3)]
    running.start(Manager(broker, settings, pools[0]))
    for name, pool in zip("xy", pools[1:], strict=True):
        running.start(Worker(broker, settings, pool, name=name))
    try:
        return await finish(broker, job_id, 40)
    finally:
        await running.end()
        running.parts.clear()
        for pool in pools:
            await pool.close()


async def on_one_machine(server, folder, settings=SETTINGS, resume=None):
    async with asyncio.timeout(40):
        return await warm(
            None if resume is not None else make_job(parse_target(server.url()), transport="nfs"),
            broker_url=f"sqlite:///{folder}/broker.db",
            settings=settings,
            processes=1,
            on_status=lambda _: None,
            stop=asyncio.Event(),
            resume=resume,
        )


@pytest.mark.parametrize("where", ["fleet", "machine"])
async def test_one_file_that_hangs_fails_by_its_name_and_the_others_are_warm(where, broker, running, tmp_path):
    async with ScriptedServer(TREE, Faults(hung=frozenset({b"d3/f7"}))) as server:
        status = await (
            in_a_fleet(server, running, broker) if where == "fleet" else on_one_machine(server, tmp_path / "one")
        )
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (report["files"], report["failed_files"]) == (FILES - 1, 1)
    (error,) = report["errors"]
    assert error["path"] == "/export/d3/f7"
    assert "READ" in error["error"] or "no reply" in error["error"]


@pytest.mark.parametrize("answered", [0, 50])
async def test_a_fleet_whose_reads_all_hang_ends_in_one_line_and_no_file_has_failed(answered, broker, running):
    """And when the cache gives bytes again, the job goes on where it was."""
    async with ScriptedServer(TREE, Faults(reads_answered=answered)) as server:
        status = await in_a_fleet(server, running, broker)
        report = Report.of_job(status, 0).document()
        assert status.state is JobState.FAILED
        assert report["failed_files"] == 0
        assert "\n" not in status.reason
        assert "nothing could be read" in status.reason
        assert "reading /export/d" in status.reason
        port = server.port
    async with ScriptedServer(TREE, port=port):
        assert (await resume(broker, status.job.job_id)).state is JobState.WARMING
        pool = SessionPool(SETTINGS, open_session)
        running.start(Manager(broker, SETTINGS, pool))
        running.start(Worker(broker, SETTINGS, pool, name="z"))
        status = await finish(broker, status.job.job_id, 40)
        assert status.state is JobState.COMPLETED
        assert Report.of_job(status, 0).document()["files"] == FILES
        await running.end()
        running.parts.clear()
        await pool.close()


async def test_another_address_reads_what_hangs_at_one(broker, running):
    async with (
        ScriptedServer(TREE, Faults(reads_answered=20)) as server,
        ScriptedServer(TREE, host="127.0.0.2", port=server.port) as other,
    ):
        assert other.port == server.port
        server.url = lambda: other.url().replace("127.0.0.2", "127.0.0.1,127.0.0.2")
        settings = replace(SETTINGS, lease=replace(SETTINGS.lease, patience_seconds=3.0))
        status = await in_a_fleet(server, running, broker, settings)
    assert status.state is JobState.COMPLETED
    assert Report.of_job(status, 0).document()["files"] == FILES
