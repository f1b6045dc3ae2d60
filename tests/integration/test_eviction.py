"""A worker whose VM is about to be taken away, from outside: over Azurite, with a metadata service on loopback."""

import asyncio
import os
import secrets
import sys
import time

import pytest

from cachewarmer.broker import open_broker
from cachewarmer.config import LeaseSettings, Settings
from cachewarmer.manager import Manager
from cachewarmer.submitter import submit
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import Faults, ScriptedServer
from tests.azure_standin.one_vm import one_vm

pytestmark = pytest.mark.timeout(120)

TREE = {b"f%d" % number: 1000 for number in range(8)}


async def test_it_hands_back_what_it_holds_within_the_notice_and_then_acknowledges(azurite_connection, tmp_path):
    """Within seconds another worker may have it, without a delivery counted; the worker ends with exit code 0."""
    account = azurite_connection.partition("AccountName=")[2].partition(";")[0]
    url = f"azure://{account}/e{secrets.token_hex(4)}"
    config = tmp_path / "config.toml"
    config.write_text("[lease]\nlease_seconds = 60.0\npoll_seconds = 0.2\n")
    async with (
        one_vm() as served,
        ScriptedServer(TREE, Faults(read_delay=3600)) as server,
        open_broker(url, LeaseSettings(), connection_string=azurite_connection) as broker,
    ):
        await submit(broker, make_job(parse_target(server.url()), transport="nfs"))
        stop = asyncio.Event()
        managing = asyncio.create_task(Manager(broker, Settings(), SessionPool(Settings(), open_session)).run(stop))
        environment = os.environ | {
            "AZURE_STORAGE_CONNECTION_STRING": azurite_connection,
            "CACHEWARMER_CONFIG": str(config),
            "CACHEWARMER_IMDS_URL": served.url,
        }
        command = [sys.executable, "-m", "cachewarmer", "worker", "--broker", url]
        worker = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(30):
                while not server.calls["READ"] or not served.asked:
                    await asyncio.sleep(0.05)
            assert await broker.claim(1, 60) == []
            began = time.monotonic()
            served.announce("Preempt", "somebody_else", 30)
            ours = served.announce("Preempt", "farm_3", 30)
            _, said = await asyncio.wait_for(worker.communicate(), 20)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
            stop.set()
            await managing
        assert time.monotonic() - began < 25, "a notice is 30 s"
        assert (worker.returncode, served.started) == (0, [ours["EventId"]]), said.decode()
        (found,) = await broker.claim(1, 60)
        assert (found.deliveries, len(found.item.files)) == (1, 8)
        assert "this VM is about to be evicted (Preempt" in said.decode()
