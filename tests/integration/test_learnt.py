"""What a job has taught about an address: those that come later begin with it, as counted before the server."""

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.config import PlanSettings
from cachewarmer.manager import Manager
from cachewarmer.model import JobState, Learnt, LearntAddress
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import ScriptedServer
from cachewarmer.warming import steered
from cachewarmer.warming.steering import SECOND_WINDOW
from cachewarmer.worker import Worker
from tests.integration.scripted import SETTINGS
from tests.integration.test_one_window import InFlight

FILES = 600
FOUND = 1000
DOUBLED = SECOND_WINDOW * 16
"""A search that begins without a hint answers more READs on the way to a larger window than are left for it then."""
assert DOUBLED + sum(SECOND_WINDOW << step for step in range(5)) > FILES
AUTO = replace(SETTINGS, nfs=replace(SETTINGS.nfs, window_auto=True), plan=PlanSettings(item_files=FILES))


async def resumed(broker, job_id):
    """Warms the job on one machine."""
    await warm(
        None,
        broker_url=broker.url,
        settings=AUTO,
        processes=1,
        on_status=lambda _: None,
        stop=asyncio.Event(),
        resume=job_id,
    )


async def served(broker, job_id):
    """A manager scans the job, and then a worker comes."""
    stop, ended = asyncio.Event(), asyncio.Event()
    lease = await broker.claim_job(30.0, job_id)
    async with SessionPool(AUTO, open_session) as pool:
        manager = Manager(broker, AUTO, pool, waits_at_start=False)
        managing = asyncio.create_task(manager.manage(lease, ended))
        while await broker.state(job_id) is not JobState.WARMING:
            await asyncio.sleep(0.02)
        async with SessionPool(AUTO, open_session) as mine, steered(mine):
            working = asyncio.create_task(Worker(broker, AUTO, mine).run(stop))
            await managing
            stop.set()
            await working


@pytest.mark.parametrize("warmed", [resumed, served])
async def test_who_comes_later_begins_with_half_of_what_was_learnt(tmp_path, warmed):
    """It has far more calls in flight at once than a search without it can have before all is read."""
    most = {}
    for address in ("127.0.0.1", "127.0.0.9"):
        learnt = Learnt(addresses=(LearntAddress(address=address, window=FOUND),))
        async with (
            ScriptedServer({b"f%d" % number: 1000 for number in range(FILES)}) as server,
            InFlight(server.host, server.port, delay_seconds=0.02) as proxy,
            SqliteBroker(str(tmp_path / f"{address}.db"), SETTINGS.lease) as broker,
            asyncio.timeout(60),
        ):
            target = parse_target(server.url().replace(str(server.port), str(proxy.port)))
            job_id = await broker.submit(make_job(target, transport="nfs"))
            await broker.keep_learnt(job_id, learnt)
            await warmed(broker, job_id)
            status = await broker.status(job_id)
        assert (status.state, status.total("files")) == (JobState.COMPLETED, FILES)
        assert proxy.calls["READ"] == FILES
        most[address] = proxy.most
    assert most["127.0.0.9"] <= DOUBLED, "what was learnt of another address says nothing about this one"
    assert DOUBLED < most["127.0.0.1"] <= FOUND / 2 + 1
