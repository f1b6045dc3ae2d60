"""A job whose addresses stay away fails when the patience ends, in one line, and goes on where it was."""

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.errors import UsageError
from cachewarmer.model import JobState, Report
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Faults, ScriptedServer
from tests.integration.scripted import BYTES, SETTINGS, SMALL, TREE

QUICK = replace(
    SETTINGS,
    lease=replace(SETTINGS.lease, patience_seconds=1.0),
    nfs=replace(SETTINGS.nfs, reconnect_attempts=2, window_calls=4),
)


async def warmed(target, directory, processes=1, on_status=lambda _: None, **more):
    job = None if target is None else make_job(parse_target(target), transport="nfs")
    async with asyncio.timeout(60):
        return await warm(
            job,
            broker_url=f"sqlite:///{directory}/broker.db",
            settings=QUICK,
            processes=processes,
            on_status=on_status,
            stop=asyncio.Event(),
            **more,
        )


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch):
    monkeypatch.setattr("cachewarmer.manager.waiting.STILL_SECONDS", 0.2)


@pytest.mark.parametrize("processes", [1, 2])
async def test_it_fails_after_the_patience_and_is_resumed_with_exact_totals(tmp_path, processes):
    """What was read before counts once, what was not is read: nothing is in poison, and no file has failed."""
    server = ScriptedServer(TREE, Faults(read_delay=0.05))
    await server.start()
    seen = asyncio.Event()

    def look(status):
        if status.scan.finished and sum(tally.items for tally in status.tallies):
            seen.set()

    warming = asyncio.create_task(warmed(server.url(), tmp_path, processes, look))
    await seen.wait()
    await server.close()
    status = await warming
    assert status.state is JobState.FAILED
    assert "127.0.0.1" in status.reason
    assert status.poisoned_items == 0
    read_before = Report.of_job(status, 0).document()["files"]
    assert 0 < read_before < SMALL + 1

    async with ScriptedServer(TREE, port=server.port) as again:
        status = await warmed(again.url(), tmp_path, processes, resume="")
        report = Report.of_job(status, 0).document()
        assert status.state is JobState.COMPLETED
        assert (report["files"], report["bytes"], report["failed_files"]) == (SMALL + 1, BYTES, 0)
        assert again.calls["READ"] < server.calls["READ"] + again.calls["READ"]
        with pytest.raises(UsageError, match="no unfinished job of"):
            await warmed(again.url(), tmp_path, resume="")


async def test_an_address_that_never_answered_is_not_waited_for(tmp_path):
    """Somebody sits there who may have mistyped it."""
    async with ScriptedServer(TREE) as server:
        url = server.url()
    status = await warmed(url, tmp_path)
    assert status.state is JobState.FAILED
    assert "refused" in status.reason


async def test_only_the_job_of_the_target_is_resumed(tmp_path):
    async with ScriptedServer(TREE) as server:
        await warmed(server.url("nothing"), tmp_path)
        with pytest.raises(UsageError, match="no unfinished job of"):
            await warmed(server.url("d1"), tmp_path, resume="")
