"""Manager and worker together over the embedded broker, on trees in memory."""

import asyncio
import io
from dataclasses import replace

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.errors import ConnectFailed, MountError, NfsStatusError, RemoteProtocolError
from cachewarmer.manager import Manager
from cachewarmer.model import Access, JobState, Report, Wanted, WarmJob
from cachewarmer.planning.filelist import list_chunks
from cachewarmer.submitter import submit
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker import settle
from cachewarmer.worker.worker import Worker
from tests.integration.parts import BYTES, FILES, SETTINGS, TREE, finish, job
from tests.memory import MemorySession, opener


async def test_a_job_ends_with_exact_totals(broker, running):
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    for name in "xyz":
        running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name=name))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)
    assert report["scanned_files"] == FILES
    assert len(session.reads) == FILES + 3, "four ranges for the big file, one request for every other"


async def test_two_jobs_each_end_by_themselves(broker, running):
    session = MemorySession(TREE, "a")
    stuck = MemorySession({b"x": 5}, "b")
    stuck.held = []
    first = await submit(broker, job())
    second = await submit(broker, WarmJob(access=Access(addresses=("b",)), warm_path="/"))
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session, stuck))))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session, stuck)), name="x"))
    assert (await finish(broker, first)).state is JobState.COMPLETED
    assert not (await broker.status(second)).state.final
    while not stuck.held:
        await asyncio.sleep(0.01)
    stuck.finish(stuck.held.pop())
    assert (await finish(broker, second)).state is JobState.COMPLETED


@pytest.mark.parametrize("item_files", [1, 10], ids=["alone", "among others"])
async def test_a_file_that_may_not_be_read_fails_at_once_by_its_name(broker, running, item_files):
    """However many files its item has."""
    session = MemorySession({b"ok": 5, b"d": {b"locked": 7}}, "a")
    session.read_errors[b"d/locked"] = NfsStatusError(13, "READ", b"/d/locked", "NFS3ERR_ACCES")
    report = await _report(broker, running, session, item_files)
    assert (report["state"], report["files"]) == ("completed_with_errors", 1)
    assert (report["failed_files"], report["poisoned_items"]) == (1, 0)
    assert [one["path"] for one in report["errors"]] == ["/d/locked"]
    assert "NFS3ERR_ACCES" in report["errors"][0]["error"]
    assert [path for path, *_ in session.reads].count(b"d/locked") == 1


async def test_an_item_that_always_fails_ends_in_poison_and_the_job_with_errors(broker, running, monkeypatch):
    """What may pass is tried five times."""
    monkeypatch.setattr(settle, "MAX_RETRY_SECONDS", 0.0)
    session = MemorySession({b"ok": 5, b"d": {b"odd": 7}}, "a")
    session.read_errors[b"d/odd"] = RemoteProtocolError("garbled")
    report = await _report(broker, running, session, 1)
    assert (report["state"], report["files"]) == ("completed_with_errors", 1)
    assert (report["failed_files"], report["poisoned_items"]) == (1, 1)
    assert "garbled" in report["errors"][0]["error"]
    assert [path for path, *_ in session.reads].count(b"d/odd") == 5


async def _report(broker, running, session, item_files):
    settings = replace(SETTINGS, plan=PlanSettings(item_files=item_files))
    job_id = await submit(broker, job())
    running.start(Manager(broker, settings, SessionPool(settings, opener(session))))
    running.start(Worker(broker, settings, SessionPool(settings, opener(session)), name="x"))
    return Report.of_job(await finish(broker, job_id, seconds=60), 0).document()


async def test_a_cancelled_job_stops_reading_and_others_go_on(broker, running):
    stuck = MemorySession(TREE, "a")
    stuck.held = []
    other = MemorySession({b"x": 5}, "b")
    first = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(stuck, other))))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(stuck, other)), name="x"))
    while not stuck.held:
        await asyncio.sleep(0.01)
    await broker.set_state(first, JobState.CANCELLED)
    while any(request.stop != request.start for request in stuck.held):
        await asyncio.sleep(0.01)
    for request in stuck.held:
        stuck.finish(request)
    second = await submit(broker, WarmJob(access=Access(addresses=("b",)), warm_path="/"))
    assert (await finish(broker, second)).state is JobState.COMPLETED
    assert (await broker.status(first)).state is JobState.CANCELLED


async def test_a_paused_job_goes_on_where_it_was(broker, running):
    session = MemorySession(TREE, "a")
    session.held = []
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="x"))
    while not (await broker.status(job_id)).scan.finished or not session.held:
        await asyncio.sleep(0.01)
    await broker.set_state(job_id, JobState.PAUSED)
    while any(request.stop != request.start for request in session.held):
        await asyncio.sleep(0.01)
    held, session.held = session.held, None
    for request in held:
        session.finish(request)
    await asyncio.sleep(0.2)
    assert (await broker.status(job_id)).state is JobState.PAUSED
    session.reads.clear()
    await asyncio.sleep(0.1)
    assert session.reads == []
    await broker.set_state(job_id, JobState.WARMING)
    status = await finish(broker, job_id)
    assert (Report.of_job(status, 0).document()["files"], Report.of_job(status, 0).document()["bytes"]) == (
        FILES,
        BYTES,
    )


async def test_a_stopped_worker_hands_back_what_it_holds(broker, running):
    stuck = MemorySession(TREE, "a")
    stuck.held = []
    healthy = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(healthy))))
    task, stop = running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(stuck)), name="slow"))
    while not stuck.held:
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(task, 5)
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(healthy)), name="good"))
    status = await finish(broker, job_id, 4.5)
    assert (Report.of_job(status, 0).document()["files"], Report.of_job(status, 0).document()["bytes"]) == (
        FILES,
        BYTES,
    )


async def test_a_restarted_manager_comes_to_the_same_totals(broker, running):
    slow = MemorySession(TREE, "a", delay=0.01)
    session = MemorySession(TREE, "a")
    job_id = await submit(broker, job())
    task, stop = running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(slow))))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name="x"))
    while not session.reads:
        await asyncio.sleep(0.005)
    assert not (await broker.status(job_id)).scan.finished
    stop.set()
    await task
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    status = await finish(broker, job_id)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["bytes"], report["scanned_files"]) == (FILES, BYTES, FILES)


async def test_a_target_that_can_not_be_opened_fails_the_job_with_its_reason(broker, running):
    async def refuse(mount, settings):
        raise MountError("no export /x at a; there are: /data")

    job_id = await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, refuse)))
    status = await finish(broker, job_id)
    assert status.state is JobState.FAILED
    assert "there are: /data" in status.reason


async def test_an_address_that_is_down_is_left_out_of_the_scan(broker, running):
    session = MemorySession(TREE, "a")

    async def half(mount, settings):
        if mount.address == "down":
            raise ConnectFailed("down: connection refused")
        return session

    job_id = await submit(broker, WarmJob(access=Access(addresses=("down", "a")), warm_path="/"))
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, half)))
    running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, half), name="x"))
    status = await finish(broker, job_id)
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, FILES)


async def test_an_evicted_worker_leaves_at_once(broker, running):
    stuck = MemorySession(TREE, "a")
    stuck.held = []
    await submit(broker, job())
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(MemorySession(TREE, "a")))))
    worker = Worker(
        broker,
        replace(SETTINGS, lease=replace(SETTINGS.lease, drain_seconds=60)),
        SessionPool(replace(SETTINGS, lease=replace(SETTINGS.lease, drain_seconds=60)), opener(stuck)),
    )
    task, _ = running.start(worker)
    while not stuck.held:
        await asyncio.sleep(0.01)
    worker.evict()
    await asyncio.wait_for(task, 5)
    assert (await broker.backlog()).leased_items == 0


async def test_a_worker_leaves_when_idle(broker):
    worker = Worker(broker, SETTINGS, SessionPool(SETTINGS, opener()), exit_when_idle=0.05)
    await asyncio.wait_for(worker.run(asyncio.Event()), 5)


async def test_ranges_of_a_list_and_ends_of_a_tree_are_read_once_by_a_fleet(broker, running):
    """Several workers over a broker: each wanted byte once, and each file counted once, however many items it is in."""
    session = MemorySession(TREE, "a")
    lines = b"".join(b"big\t%d\t3001\n" % start for start in range(0, 12_000, 2000)) + b"d00/f00\t10\t20\nd00/f01\n"
    chunks = list_chunks(io.BytesIO(lines), nul_separated=False)
    listed = await submit(broker, job(), chunks)
    ends = await submit(broker, job(wanted=Wanted(head_bytes=10, tail_bytes=20)))
    running.start(Manager(broker, SETTINGS, SessionPool(SETTINGS, opener(session))))
    for name in "xyz":
        running.start(Worker(broker, SETTINGS, SessionPool(SETTINGS, opener(session)), name=name))
    report = Report.of_job(await finish(broker, listed), 0).document()
    assert (report["state"], report["files"], report["bytes"]) == ("completed", 3, 10_001 + 20 + 101)
    assert (report["partial_files"], report["left_out_bytes"]) == (2, 80)
    report = Report.of_job(await finish(broker, ends), 0).document()
    assert (report["state"], report["files"], report["bytes"]) == ("completed", FILES, 30 * (FILES - 1))
    assert report["left_out_bytes"] == BYTES - report["bytes"]
