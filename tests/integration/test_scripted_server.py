"""The direct reader against a server that does nothing wrong: what it asks, counted where it is answered."""

import asyncio

import pytest

from cachewarmer.config import LeaseSettings, NfsSettings, PlanSettings, Settings
from cachewarmer.model import JobState
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Faults, Link, ScriptedServer, Special

TREE = {b"d%d" % d: {b"f%d" % f: d * f * 100 for f in range(30)} for d in range(10)} | {
    b"big": 5_000_000,
    b"link": Link(b"big"),
    b"fifo": Special(),
    b"empty": {},
}
SMALL = 300
NOT_EMPTY = sum(1 for d in range(10) for f in range(30) if d * f)
BYTES = sum(d * f * 100 for d in range(10) for f in range(30)) + 5_000_000
SETTINGS = Settings(
    nfs=NfsSettings(reply_seconds=20),
    plan=PlanSettings(item_files=50),
    lease=LeaseSettings(poll_seconds=0.05),
)


@pytest.fixture
def run(tmp_path):
    """Warms one TARGET and returns the final status."""

    async def run(target, settings=SETTINGS, **job):
        async with asyncio.timeout(90):
            return await warm(
                make_job(parse_target(target), transport="nfs", **job),
                broker_url=f"sqlite:///{tmp_path}/broker.db",
                settings=settings,
                processes=1,
                on_status=lambda _: None,
                stop=asyncio.Event(),
            )

    return run


async def test_a_small_file_costs_one_read_and_nothing_else(run):
    """Handles and attributes come with the listing, so nothing is asked per file but its bytes, each once."""
    async with ScriptedServer(TREE) as server:
        status = await run(server.url())
    report = status.report(0)
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["skipped_files"]) == (SMALL + 1, BYTES, 2)
    assert report["directories"] == 12
    assert server.calls["READ"] == NOT_EMPTY + 5
    assert server.read_bytes == server.procedures.bytes_asked == BYTES
    assert server.calls["READDIRPLUS"] == 12
    assert server.calls["GETATTR"] == 1
    assert not server.calls.keys() & {"LOOKUP", "ACCESS", "READDIR", "READLINK", "FSSTAT", "PATHCONF"}
    assert server.complaints == []


async def test_a_server_without_attributes_costs_two_calls_a_small_file(run):
    """A cache that re-exports gives handles and no attributes: GETATTR and READ, no LOOKUP."""
    async with ScriptedServer(TREE, Faults(list_attributes=False, other_attributes=False)) as server:
        status = await run(server.url())
    report = status.report(0)
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["skipped_files"]) == (SMALL + 1, BYTES, 2)
    assert server.calls["READ"] == NOT_EMPTY + 5
    assert server.calls["GETATTR"] == 1 + SMALL + 14
    assert server.calls["LOOKUP"] == 0
    assert server.read_bytes == BYTES
