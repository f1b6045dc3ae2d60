"""The direct reader against a server that does nothing wrong: what it asks, counted where it is answered."""

from cachewarmer.model import JobState, Report
from cachewarmer.testing import Faults, ScriptedServer
from tests.integration.scripted import BYTES, NOT_EMPTY, SMALL, TREE, warmed


async def test_a_small_file_costs_one_read_and_nothing_else(tmp_path):
    """Handles and attributes come with the listing, so nothing is asked per file but its bytes, each once."""
    async with ScriptedServer(TREE) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["skipped_files"]) == (SMALL + 1, BYTES, 2)
    assert report["directories"] == 12
    assert server.calls["READ"] == NOT_EMPTY + 5
    assert server.read_bytes == server.procedures.bytes_asked == BYTES
    assert server.calls["READDIRPLUS"] == 12
    assert server.calls["GETATTR"] == 1
    assert not server.calls.keys() & {"LOOKUP", "ACCESS", "READDIR", "READLINK", "FSSTAT", "PATHCONF"}
    assert server.complaints == []


async def test_a_server_without_attributes_costs_two_calls_a_small_file(tmp_path):
    """A cache that re-exports gives handles and no attributes: GETATTR and READ, no LOOKUP."""
    async with ScriptedServer(TREE, Faults(list_attributes=False, other_attributes=False)) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["skipped_files"]) == (SMALL + 1, BYTES, 2)
    assert server.calls["READ"] == NOT_EMPTY + 5
    assert server.calls["GETATTR"] == 1 + SMALL + 14
    assert server.calls["LOOKUP"] == 0
    assert server.read_bytes == BYTES
