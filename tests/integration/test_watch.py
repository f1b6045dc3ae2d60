"""``cachewarmer watch`` as a service: stopped in a round, started again, and with a broker that is away for a while."""

import asyncio
import contextlib
import json
import re
import sys

import pytest

from cachewarmer.testing import Faults, ScriptedServer
from tests.servers.postgres import postgres

TREE = {b"d%d" % d: {b"f%02d" % f: 1000 + f for f in range(20)} for d in range(10)}
FILES = 200
SETTINGS = "[plan]\nitem_files = 10\n[nfs]\nwindow_calls = 2\n[lease]\npoll_seconds = 0.1\n"


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """Starts the command; what still runs at the end is killed."""
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS)
    monkeypatch.setenv("CACHEWARMER_CONFIG", str(settings))
    started = []

    async def start(target, *options):
        command = [sys.executable, "-m", "cachewarmer", "watch", str(target), *map(str, options)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


async def command(*arguments):
    """The document that a command shows."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(out)


async def line_with(stream, pattern):
    """The first line that has it; whatever came before is in the message where none has."""
    before = []
    async with asyncio.timeout(60):
        while line := (await stream.readline()).decode():
            before.append(line)
            if re.search(pattern, line):
                return line
    raise AssertionError(before)


@pytest.mark.parametrize("shared_broker", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("how", [("--once",), ("--every", "1h")], ids=["once", "service"])
async def test_sigterm_in_a_round_ends_it_and_the_next_start_goes_on(watch, shared_broker, how):
    """With exit code 0; the job is the same one, and its totals and its ledger have each file once."""
    async with ScriptedServer(TREE, Faults(read_delay=0.05)) as server:
        at_broker = ("--broker", shared_broker)
        first = await watch(server.url(), *how, *at_broker)
        while server.calls["READ"] < FILES / 4:
            assert first.returncode is None, await first.communicate()
            await asyncio.sleep(0.02)
        first.terminate()
        out, said = await asyncio.wait_for(first.communicate(), 60)
        assert first.returncode == 0, said
        assert b" completed" not in out
        (before,) = (await command("status", "--json", *at_broker))["jobs"]
        assert before["state"] in ("scanning", "warming")
        assert before["files"] < FILES
        second = await watch(server.url(), "--once", *at_broker)
        out, said = await asyncio.wait_for(second.communicate(), 60)
        assert second.returncode == 0, said
        assert f"completed: {FILES} files read" in out.decode()
        (after,) = (await command("status", "--json", *at_broker))["jobs"]
        assert after["job"] == before["job"]
        ledger = (await command("export", after["job"], *at_broker))["ledger"]
        assert len({one["path"] for one in ledger}) == len(ledger) == FILES
        assert sum(one["bytes"] for one in ledger) == after["bytes"]


@pytest.mark.parametrize("shared_broker", ["azurite"], indirect=True)
async def test_a_queue_that_can_not_choose_is_refused_before_a_job_is_posted(watch, shared_broker):
    """In one line."""
    async with ScriptedServer(TREE) as server:
        process = await watch(server.url(), "--broker", shared_broker)
        _, said = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, said.count(b"\n")) == (1, 1), said
    assert b"submit to a manager" in said
    assert (await command("status", "--json", "--broker", shared_broker))["jobs"] == []


async def test_a_broker_that_is_away_costs_rounds_and_not_the_watch(watch, tmp_path):
    """Each is named in a line; when it is back, what has changed meanwhile is read."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(20):
        (tree / f"f{number}").write_bytes(b"x" * number)
    with postgres() as server:
        process = await watch(tree, "--every", "1", "--broker", server.url)
        await line_with(process.stdout, "20 files read")
        server.stop()
        said = await line_with(process.stderr, "ERROR|WARNING")
        assert "Traceback" not in said
        (tree / "f3").write_bytes(b"changed")
        await asyncio.sleep(1.5)
        server.start()
        assert "19 unchanged" in await line_with(process.stdout, " 1 files read")
        process.terminate()
        _, rest = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, rest
        assert b"Traceback" not in rest


async def test_a_broker_that_goes_away_in_a_round_is_waited_for(watch):
    """The round ends when it is back, with each file once."""
    async with ScriptedServer(TREE, Faults(read_delay=0.05)) as server:
        with postgres() as database:
            process = await watch(server.url(), "--once", "--broker", database.url)
            while server.calls["READ"] < FILES / 4:
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.02)
            database.stop()
            await asyncio.sleep(2)
            database.start()
            out, said = await asyncio.wait_for(process.communicate(), 60)
            assert process.returncode == 0, said
            assert f"completed: {FILES} files read" in out.decode()
            assert b"Traceback" not in said
            (job,) = (await command("status", "--json", "--broker", database.url))["jobs"]
            ledger = (await command("export", job["job"], "--broker", database.url))["ledger"]
            assert len({one["path"] for one in ledger}) == len(ledger) == FILES
