"""One window an address: the calls in flight are counted before the server, never by the client's own word."""

import asyncio
import struct
from dataclasses import replace

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.model import JobState
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import ScriptedServer, wire
from cachewarmer.testing.proxy import CountingProxy
from tests.integration.scripted import SETTINGS

WINDOW = 16
TREE = {b"d%03d" % d: {b"s%d" % s: {b"f%d" % f: 1000 for f in range(5)} for s in range(4)} for d in range(60)}


class InFlight(CountingProxy):
    """Counts NFS calls that the server has not answered yet; NULL is no call on its files, and has its own connection."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.waiting = set()
        self.most = 0

    def _called(self, head, reads):
        super()._called(head, reads)
        call = wire.read_call(head)
        if call.program == wire.NFS and call.procedure:
            self.waiting.add((id(reads), call.xid))
            self.most = max(self.most, len(self.waiting))

    def _answered(self, head, reads):
        (xid,) = struct.unpack_from(">I", head)
        self.waiting.discard((id(reads), xid))
        super()._answered(head, reads)


@pytest.mark.parametrize("processes", [1, 2, 4])
async def test_scan_and_reading_share_the_window_of_an_address(tmp_path, processes):
    """While the scan goes on and readers read, in one process or in several, and after it: never more than the window."""
    settings = replace(
        SETTINGS,
        nfs=replace(SETTINGS.nfs, window_calls=WINDOW),
        plan=PlanSettings(item_files=10, directories_in_flight=64),
    )
    async with (
        ScriptedServer(TREE) as server,
        InFlight(server.host, server.port, delay_seconds=0.02) as proxy,
        asyncio.timeout(90),
    ):
        target = server.url().replace(str(server.port), str(proxy.port))
        status = await warm(
            make_job(parse_target(target), transport="nfs"),
            broker_url=f"sqlite:///{tmp_path}/broker.db",
            settings=settings,
            processes=processes,
            on_status=lambda _: None,
            stop=asyncio.Event(),
        )
    assert status.state is JobState.COMPLETED
    assert proxy.calls["READ"] == 60 * 4 * 5
    assert proxy.calls["READDIRPLUS"] >= 60 * 5
    assert not proxy.waiting
    assert WINDOW / 2 < proxy.most <= WINDOW


@pytest.mark.parametrize("processes", [1, 3])
async def test_a_window_that_is_found_starts_low_grows_and_stays_within_its_maximum(tmp_path, processes):
    """With one process or several: their windows together never exceed it, and what is slow at 2 calls ends early."""
    settings = replace(
        SETTINGS,
        nfs=replace(SETTINGS.nfs, window_auto=True, window_max_calls=WINDOW),
        plan=PlanSettings(item_files=10, directories_in_flight=64),
    )
    async with (
        ScriptedServer(TREE) as server,
        InFlight(server.host, server.port, delay_seconds=0.02) as proxy,
        asyncio.timeout(120),
    ):
        status = await warm(
            make_job(parse_target(server.url().replace(str(server.port), str(proxy.port))), transport="nfs"),
            broker_url=f"sqlite:///{tmp_path}/broker.db",
            settings=settings,
            processes=processes,
            on_status=lambda _: None,
            stop=asyncio.Event(),
        )
    assert status.state is JobState.COMPLETED
    assert proxy.calls["READ"] == 60 * 4 * 5
    assert proxy.calls["NULL"] > 5  # the canary
    assert not proxy.waiting
    assert 2 * (processes + 1) <= proxy.most <= WINDOW
