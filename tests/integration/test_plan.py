"""``plan`` against servers, as it is run."""

import asyncio
import json
import sys

import pytest

from cachewarmer.testing import Faults, ScriptedServer
from tests.servers.ports import free_port

TREE = {b"d%d" % d: {b"f%d" % f: 8192 for f in range(60)} for d in range(20)}


async def run(*arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def slow():
    async with ScriptedServer(TREE, Faults(read_delay=0.05)) as server:
        yield server


async def test_what_is_planned_comes_near_to_what_is_measured(slow):
    """A cache whose every READ takes 50 ms: the time is that of the round trips, planned as measured."""
    code, out, said = await run("plan", slow.url(), "--workers", 4, "--json", "--cache-size", "1G", "--window", 16)
    assert code == 0, said
    plan = json.loads(out)
    assert (plan["files"], plan["bytes"], plan["counted"], plan["fits"]) == (1200, 1200 * 8192, True, True)
    assert [one["workers"] for one in plan["plans"]] == [1, 2, 4]
    assert plan["plans"][0]["bound_by"] == "window"
    assert plan["plans"][2]["beyond_probe"] == (not plan["probe"]["ceiling"])
    assert plan["plans"][0]["cost"] is None
    assert plan["probe"]["bytes"] <= 1200 * 8192, "no file is read twice"
    code, out, said = await run("warm", slow.url(), "--processes", 1, "--window", 16, "--json")
    assert code == 0, said
    assert 0.4 < plan["plans"][0]["seconds"] / json.loads(out)["seconds"] < 2.5


async def test_a_number_of_files_is_planned_without_counting(slow, tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text('source = "made up"\ndate = "today"\nmachine_hour = 1.0\n')
    options = ("--files", 10_000_000, "--bytes", "80G", "--cache-size", "50G", "--prices", prices, "--workers", 2)
    code, out, said = await run("plan", slow.url(), *options)
    assert code == 0, said
    assert "10,000,000 files, 80.0 GiB" in out
    assert "IT DOES NOT FIT" in out
    assert "prices: made up, today" in out
    assert "USD" in out


async def test_files_of_a_local_directory_are_planned(tmp_path):
    for number in range(40):
        (tmp_path / f"f{number}").write_bytes(bytes(200_000 if number % 2 else 2000))
    code, out, said = await run("plan", tmp_path, "--json", "--workers", 1)
    assert code == 0, said
    plan = json.loads(out)
    assert plan["probe"]["small"]
    assert plan["probe"]["large"]
    assert plan["plans"][0]["seconds"] < 60


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--files", "1" + "0" * 40, "--bytes", "1G"), 2, "is not a number of files"),
        (("--files", "0", "--bytes", "1G"), 2, "is not a number of files"),
        (("--files", "5"), 2, "go together"),
        (("--files", "5", "--bytes", "9999999999T"), 2, "too large a size"),
        (("--files", "5", "--bytes", "1G"), 2, "has none to probe with"),
        (("--workers", "100000"), 2, "at most 1024"),
        (("--include", "nothing-like-this"), 1, "nothing to plan"),
        (("--prices", "/nowhere/prices.toml"), 2, "prices.toml"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_one_line(slow, options, code, words):
    found, out, said = await run("plan", slow.url(), *options)
    assert (found, out) == (code, ""), said
    assert words in said
    assert len(said.strip().splitlines()) == 1


async def test_a_target_that_does_not_answer_is_named_in_one_line():
    port = free_port()
    code, out, said = await run("plan", f"nfs://127.0.0.1/export?nfsport={port}&mountport={port}")
    assert (code, out) == (1, "")
    assert "127.0.0.1" in said
    assert len(said.strip().splitlines()) == 1
