"""What bounds the rate, as ``warm`` reports it of real runs."""

import asyncio
import json
import shutil
import subprocess
import sys

import pytest

from cachewarmer.testing import Faults, ScriptedServer, SyntheticTree
from tests.servers.need import need
from tests.servers.ports import REPOSITORY

TREE = {b"d%d" % d: {b"f%d" % f: 8192 for f in range(30)} for d in range(10)}


async def told(*arguments):
    """What a command says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return json.loads(out) if "--json" in arguments else out.decode()


async def warm(*arguments, before=()):
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-m", "cachewarmer", "warm", "--json", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(out), err.decode()


@pytest.mark.parametrize("processes", [1, 2])
async def test_calls_that_take_their_round_trips_are_bound_by_the_window(processes):
    """Each READ takes the time of an origin, and nothing else is busy: more calls in flight would bring more."""
    async with ScriptedServer(TREE, Faults(read_delay=0.05)) as server:
        report, said = await warm(server.url(), "--window", 6, "--processes", processes)
    assert report["bound_by"] == "window", said
    assert report["bound"]["window"] <= 6
    assert report["bound"]["round_trip_idle_ms"] > 0
    assert "--window auto" in report["bound"]["raised_by"]
    kept = await told("status", report["job"], "--json")
    assert (kept["bound_by"], kept["bound"]["window"]) == ("window", report["bound"]["window"]), (
        "the broker remembers it"
    )
    assert "bound by the window at 127.0.0.1" in await told("status", report["job"])


async def test_a_limit_that_holds_is_what_bounds():
    async with ScriptedServer({b"large": 8 << 20}) as server:
        report, said = await warm(server.url(), "--max-bandwidth", "4M", "--processes", 1)
    assert report["bound_by"] == "pace", said


async def test_readers_that_wait_for_the_scan_are_bound_by_it():
    """Listing is slow, and reading takes next to nothing."""
    tree = {b"d%d" % number: {b"f": 10} for number in range(400)}
    async with ScriptedServer(tree, Faults(list_delay=0.1)) as server:
        report, said = await warm(server.url(), "--window", 8, "--processes", 1)
    assert report["bound_by"] == "scan", said


IN_NAMESPACE = """
ip link set lo up
tc qdisc add dev lo root tbf rate 20mbit burst 96kb latency 500ms
exec "$@"
"""


async def test_a_full_link_is_told_from_busy_threads():
    """A network namespace whose loopback carries 20 Mbit/s: the handshake of a new connection waits in its queue."""
    need(all(map(shutil.which, ("unshare", "tc", "ip"))), "unshare, tc or ip is not installed")
    inside = ("unshare", "--net", "sh", "-ec", IN_NAMESPACE, "sh")
    tried = subprocess.run([*inside, "true"], check=False, capture_output=True)
    need(not tried.returncode, f"no network namespace with a token bucket here: {tried.stderr.decode()[:200]}")
    process = await asyncio.create_subprocess_exec(
        *(*inside, sys.executable, "-m", __name__),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    report = json.loads(out)
    assert report["bound_by"] == "link", err.decode()
    assert report["bound"]["round_trip_ms"] > 2 * report["bound"]["round_trip_idle_ms"]


async def _in_namespace():
    async with ScriptedServer(SyntheticTree(2000, flat=True)) as server:
        report, said = await warm(server.url(), "--window", 64, "--processes", 1)
    sys.stderr.write(said)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(_in_namespace())
