"""How many calls a file costs beside its READ: where its path comes from a list, and where READDIR gives no handle."""

import asyncio
import io
from dataclasses import replace

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.model import JobState, Report
from cachewarmer.onemachine import warm
from cachewarmer.planning.filelist import list_chunks
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import Faults, ScriptedServer
from tests.integration.scripted import SETTINGS, warmed

DIRECTORIES, FILES_EACH = 40, 50
TREE = {b"d%02d" % d: {b"s": {b"f%03d" % f: 100 for f in range(FILES_EACH)}} for d in range(DIRECTORIES)}
SORTED = [b"d%02d/s/f%03d" % (d, f) for d in range(DIRECTORIES) for f in range(FILES_EACH)]


@pytest.mark.parametrize("item_files", [1000, 50])
async def test_a_sorted_list_costs_one_lookup_a_file_and_one_a_directory(tmp_path, item_files):
    """The handles of the directories above are kept, and reading uses those that the scan found."""
    settings = replace(SETTINGS, plan=PlanSettings(item_files=item_files))
    async with asyncio.timeout(90), ScriptedServer(TREE) as server:
        status = await warm(
            make_job(parse_target(server.url()), transport="nfs"),
            broker_url=f"sqlite:///{tmp_path}/broker.db",
            settings=settings,
            processes=1,
            on_status=lambda _: None,
            stop=asyncio.Event(),
            file_list=list_chunks(io.BytesIO(b"\n".join(SORTED)), nul_separated=False),
        )
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, len(SORTED))
    assert server.calls["READ"] == len(SORTED)
    assert server.calls["LOOKUP"] <= len(SORTED) + 2 * DIRECTORIES, dict(server.calls)


async def test_without_readdirplus_a_file_costs_as_much_in_a_large_directory_as_in_a_small_one(tmp_path):
    """Two LOOKUPs and one READ a file, of 8,000 in one directory as of 1,000: nothing is asked for over and over."""
    costs = {}
    for files in (1_000, 8_000):
        tree = {b"one": {b"f%05d" % number: 10 for number in range(files)}}
        async with ScriptedServer(tree, Faults(readdirplus=False)) as server:
            status = await warmed(server.url(), tmp_path / str(files), replace(SETTINGS, plan=PlanSettings()))
        assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, files)
        assert server.calls["READ"] == files
        costs[files] = server.calls["LOOKUP"] / files
    assert max(costs.values()) <= 2.01, costs


async def test_a_server_that_keeps_few_handles_is_asked_for_each_shortly_before_its_file_is_read(tmp_path):
    """unfs3 has no READDIRPLUS and keeps 4,096 handles: of 20,000 files in one directory, none is read by a handle that is
    forgotten by then. One LOOKUP tells the scan what a name is, one gives the handle to read by.
    """
    files = 20_000
    tree = {b"one": {b"f%05d" % number: 10 for number in range(files)}}
    async with ScriptedServer(tree, Faults(readdirplus=False, most_handles=4096)) as server:
        status = await warmed(server.url(), tmp_path, replace(SETTINGS, plan=PlanSettings()), seconds=110)
    assert (status.state, Report.of_job(status, 0).document()["files"], status.failed_files) == (
        JobState.COMPLETED,
        files,
        0,
    )
    assert server.calls["READ"] == files, "one that is answered with a stale handle is made again"
    assert server.calls["LOOKUP"] <= 2 * files + 10, dict(server.calls)
