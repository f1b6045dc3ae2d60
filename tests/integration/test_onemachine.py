"""The whole of it on one machine, over a real directory and the embedded broker."""

import asyncio
import io
import os
from dataclasses import replace

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import LeaseSettings, PlanSettings, Settings, TargetSettings
from cachewarmer.errors import UsageError
from cachewarmer.manager.job import JobKeeper
from cachewarmer.model import Bandwidth, JobState, Report
from cachewarmer.onemachine import scan, warm
from cachewarmer.planning.filelist import list_chunks
from cachewarmer.target import make_job, parse_target

SETTINGS = Settings(plan=PlanSettings(item_files=10, range_bytes=1 << 20), lease=LeaseSettings(poll_seconds=0.05))


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for directory in range(20):
        (root / f"d{directory}").mkdir(parents=True)
        for file in range(15):
            (root / f"d{directory}" / f"f{file}").write_bytes(b"x" * (directory * file))
    (root / "big").write_bytes(b"y" * 3_000_001)
    (root / "link").symlink_to("big")
    os.mkfifo(root / "fifo")
    return root


FILES = 301
BYTES = sum(d * f for d in range(20) for f in range(15)) + 3_000_001


async def run(tree, broker_url, *, processes=1, stop=None, on_status=lambda _: None, file_list=None, **job):
    return await warm(
        make_job(parse_target(str(tree)), **job),
        broker_url=broker_url,
        settings=SETTINGS,
        processes=processes,
        on_status=on_status,
        stop=stop or asyncio.Event(),
        file_list=file_list,
    )


@pytest.fixture
def broker_url(tmp_path):
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_directory_is_warmed_with_exact_totals(tree, broker_url, processes):
    status = await run(tree, broker_url, processes=processes)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["skipped_files"]) == (FILES, BYTES, 2)
    assert report["directories"] == 21
    assert 1 <= len(report["workers"]) <= processes


async def test_an_interrupted_job_goes_on_where_it_was(tree, broker_url):
    stop = asyncio.Event()

    def interrupt(status):
        if status.settled_items:
            stop.set()

    first = await run(tree, broker_url, stop=stop, on_status=interrupt, bandwidth=Bandwidth(1_500_000))
    assert first.state in (JobState.SCANNING, JobState.WARMING)
    assert Report.of_job(first, 0).document()["files"] < FILES
    settled = first.settled_items
    async with open_broker(broker_url, SETTINGS.lease) as broker:
        before = await broker.status(first.job.job_id)
    assert before.settled_items == settled

    last = await warm(
        None,
        broker_url=broker_url,
        settings=SETTINGS,
        processes=1,
        on_status=lambda _: None,
        stop=asyncio.Event(),
        resume="",
    )
    assert last.job.job_id == first.job.job_id
    assert (last.state, Report.of_job(last, 0).document()["files"], Report.of_job(last, 0).document()["bytes"]) == (
        JobState.COMPLETED,
        FILES,
        BYTES,
    )
    with pytest.raises(UsageError, match="no unfinished job"):
        await warm(
            None,
            broker_url=broker_url,
            settings=SETTINGS,
            processes=1,
            on_status=lambda _: None,
            stop=asyncio.Event(),
            resume="",
        )


async def test_a_job_can_be_cancelled_by_another_process(tree, broker_url):
    async def cancel():
        async with open_broker(broker_url, SETTINGS.lease) as broker:
            while True:
                for status in await broker.jobs():
                    if status.state in (JobState.SCANNING, JobState.WARMING):
                        await broker.set_state(status.job.job_id, JobState.CANCELLED)
                        return
                await asyncio.sleep(0.02)

    status, _ = await asyncio.wait_for(
        asyncio.gather(run(tree, broker_url, bandwidth=Bandwidth(100_000)), cancel()), 20
    )
    assert status.state is JobState.CANCELLED


async def test_a_list_of_files_is_warmed(tree, broker_url):
    chunks = list_chunks(io.BytesIO(b"d1/f1\nbig\nd3\nnothing\n"), nul_separated=False)
    status = await run(tree, broker_url, file_list=chunks, has_file_list=True)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["failed_files"]) == (17, 1)
    assert status.state is JobState.COMPLETED_WITH_ERRORS


async def test_two_jobs_of_one_state_directory_do_not_disturb_each_other(tree, broker_url):
    first, second = await asyncio.gather(run(tree, broker_url), run(tree / "d1", broker_url))
    assert Report.of_job(first, 0).document()["files"] == FILES
    assert Report.of_job(second, 0).document()["files"] == 15


SECRET = b"Nobody-but-the-cache-is-to-see-this"


@pytest.mark.parametrize("processes", [1, 2])
async def test_nothing_of_what_is_read_is_kept_or_told(tmp_path, broker_url, processes, caplog):
    """Neither in the broker's file and those beside it, nor in the log or the report."""
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"f{number}").write_bytes(SECRET * 100)
    caplog.set_level("DEBUG")
    kept = b""

    def look(status):
        nonlocal kept
        kept = b"".join(one.read_bytes() for one in tmp_path.glob("broker.db*"))

    status = await run(root, broker_url, processes=processes, on_status=look)
    assert Report.of_job(status, 0).document()["bytes"] == 20 * 100 * len(SECRET)
    kept += b"".join(one.read_bytes() for one in tmp_path.glob("broker.db*"))
    assert str(root).encode() in kept, "what is kept is looked at"
    for text in (kept, caplog.text.encode(), repr(status).encode()):
        assert SECRET not in text


async def test_a_command_of_ones_own_is_not_limited_to_what_services_may_read(tree, broker_url):
    """The user reads what the user may read."""
    settings = replace(SETTINGS, targets=TargetSettings(allow_addresses=("203.0.113.1",), allow_local=("/nowhere",)))
    status = await warm(
        make_job(parse_target(str(tree / "d1"))),
        broker_url=broker_url,
        settings=settings,
        processes=1,
        on_status=lambda _: None,
        stop=asyncio.Event(),
    )
    assert status.state is JobState.COMPLETED


async def test_scan_counts_and_reads_nothing(tree):
    report = await scan(make_job(parse_target(str(tree))), SETTINGS, on_progress=lambda _: None, stop=asyncio.Event())
    assert (report.totals.files, report.totals.bytes) == (FILES, BYTES)
    assert report.largest[0] == (3_000_001, f"{tree}/big")
    assert sum(report.totals.histogram) == FILES


async def test_a_target_that_is_not_there_fails_with_its_reason(tmp_path, broker_url):
    status = await run(tmp_path / "nowhere", broker_url)
    assert status.state is JobState.FAILED
    assert "nowhere" in status.reason


async def test_a_job_that_its_manager_hands_back_at_its_very_end_is_settled_all_the_same(tree, tmp_path):
    """The end was noticed before its manager did: what the broker keeps for unfinished jobs goes, the list as well."""
    broker_url = f"sqlite:///{tmp_path}/jobs.db"
    names = list_chunks(io.BytesIO(b"d1/f1\n"), nul_separated=False)

    async def hand_back(self, work):
        await self._broker.release_job(self._lease)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobKeeper, "_end", hand_back)
        status = await run(tree, broker_url, file_list=names)
    assert status.state is JobState.COMPLETED
    async with open_broker(broker_url, SETTINGS.lease) as broker:
        assert [chunk async for chunk in broker.file_list(status.job.job_id)] == []
