"""A file that can't be read, over each broker: it is tried once or again by its reason, not by the company it has."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.config import LeaseSettings, PlanSettings, Settings
from cachewarmer.errors import FileError, NfsStatusError, RemoteProtocolError
from cachewarmer.manager import Manager
from cachewarmer.model import Access, Report, WarmJob
from cachewarmer.submitter import submit, wait_until_warm
from cachewarmer.targets.pool import SessionPool
from cachewarmer.worker import settle
from cachewarmer.worker.worker import Worker
from tests.memory import MemorySession, opener

SETTINGS = Settings(lease=LeaseSettings(poll_seconds=0.02, lease_seconds=30.0, drain_seconds=0.3))
TREE = {b"d%d" % number: {b"one": 10, b"two": 20} for number in range(3)}
BAD = b"d1/one"


class Mends(MemorySession):
    """Its file can be read when that has failed some times."""

    failures = 2

    def read(self, request):
        if [path for path, *_ in self.reads].count(BAD) == self.failures:
            self.read_errors.clear()
        super().read(request)


class Torn(MemorySession):
    """Its file can't be read from a byte on."""

    whole = 0

    def finish(self, request):
        self.read_errors = {BAD: FileError("torn")} if request.path == BAD and request.start >= self.whole else {}
        super().finish(request)


async def warmed(lab, session, item_files, range_bytes=100):
    settings = replace(SETTINGS, plan=PlanSettings(item_files=item_files, range_bytes=range_bytes))
    broker = await lab.broker()
    job_id = await submit(broker, WarmJob(access=Access(addresses=("a",)), warm_path="/"))
    stop = asyncio.Event()
    parts = [part(await lab.broker(), settings, SessionPool(settings, opener(session))) for part in (Manager, Worker)]
    tasks = [asyncio.create_task(part.run(stop)) for part in parts]
    try:
        async with asyncio.timeout(120):
            status = await wait_until_warm(broker, job_id, lambda _: None, asyncio.Event(), 0.02)
    finally:
        stop.set()
        await asyncio.gather(*tasks)
    return Report.of_job(status, 0).document(), [path for path, *_ in session.reads].count(BAD)


@pytest.mark.parametrize("item_files", [1, 6], ids=["alone", "among others"])
@pytest.mark.parametrize(
    "error",
    [NfsStatusError(13, "READ", b"/d1/one", "NFS3ERR_ACCES"), FileError("it is no longer a regular file")],
    ids=["status", "file"],
)
async def test_what_does_not_pass_fails_at_once_by_its_name(lab, item_files, error):
    session = MemorySession(TREE, "a")
    session.read_errors[BAD] = error
    report, tries = await warmed(lab, session, item_files)
    assert (report["state"], report["files"], report["bytes"]) == ("completed_with_errors", 5, 80)
    assert (report["failed_files"], report["poisoned_items"]) == (1, 0)
    assert [one["path"] for one in report["errors"]] == ["/d1/one"]
    assert tries == 1


async def test_what_may_pass_is_delivered_again(lab, monkeypatch):
    monkeypatch.setattr(settle, "MAX_RETRY_SECONDS", 0.0)
    session = Mends(TREE, "a")
    session.read_errors[BAD] = RemoteProtocolError("garbled")
    report, tries = await warmed(lab, session, 1)
    assert (report["state"], report["files"], report["bytes"]) == ("completed", 6, 90)
    assert tries == 3


@pytest.mark.parametrize("whole", [0, 4, 8])
async def test_a_file_in_several_ranges_counts_once_whichever_of_them_fail(lab, whole):
    """As failed where its first range does; else as read. In either case it is named, and the job is not called warm."""
    session = Torn({b"d1": {b"one": 10, b"two": 2}}, "a")
    session.whole = whole
    report, _ = await warmed(lab, session, 1, range_bytes=4)
    assert report["state"] == "completed_with_errors"
    assert (report["files"], report["failed_files"], report["poisoned_items"]) == (1 + bool(whole), not whole, 0)
    assert {one["path"] for one in report["errors"]} == {"/d1/one"}
    assert report["bytes"] == whole + 2
