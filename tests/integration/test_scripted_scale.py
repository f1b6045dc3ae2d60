"""Trees far larger than memory should ever hold, and the proxy that counts from outside."""

import json
import subprocess
import sys

import pytest

from cachewarmer.model import JobState
from cachewarmer.testing import CountingProxy, ScriptedServer
from cachewarmer.testing.synthetic import SyntheticTree
from tests.integration.scripted import BYTES, NOT_EMPTY, SMALL, TREE, warmed

MEASURED = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "cachewarmer", "scan", sys.argv[1], "--json"], capture_output=True, check=True)
print(json.dumps({**json.loads(done.stdout), "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}))
"""


def scanned(shape, entries):
    """The JSON of a scan of a synthetic tree, and its peak memory in bytes."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer.testing", shape, "--entries", str(entries)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        served = json.loads(server.stdout.readline())
        done = subprocess.run([sys.executable, "-c", MEASURED, served["target"]], capture_output=True, timeout=90)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert {key: report[key] for key in ("files", "bytes", "directories")} == {
            key: served[key] for key in ("files", "bytes", "directories")
        }
        return report["peak"]
    finally:
        server.stdin.close()
        server.wait(20)
        server.stdout.close()


@pytest.mark.parametrize("shape", ["--million-flat", "--million-tree"])
def test_the_memory_of_a_scan_does_not_grow_with_the_tree(shape):
    """Four times the entries cost a few bytes each at most: the scan streams."""
    small, large = scanned(shape, 50_000), scanned(shape, 200_000)
    assert large < 120 << 20
    assert large - small < 12 << 20


async def test_a_synthetic_tree_is_warmed_with_the_totals_it_states(tmp_path):
    """What the tree computes of itself is what a reader finds, file by file."""
    tree = SyntheticTree(4_321, flat=False)
    async with ScriptedServer(tree) as server:
        status = await warmed(server.url(), tmp_path)
    report = status.report(0)
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"], report["directories"]) == tree.totals
    assert server.calls["READ"] == 4_321
    assert server.complaints == []


@pytest.mark.parametrize(("delay", "rate"), [(0.0, 0), (0.002, 20_000_000)])
async def test_the_proxy_counts_what_the_server_counts(tmp_path, delay, rate):
    """Calls and READ bytes seen on the wire are those the server answered; delays and limits change neither."""
    async with (
        ScriptedServer(TREE) as server,
        CountingProxy(server.host, server.port, delay_seconds=delay, bytes_per_second=rate) as proxy,
    ):
        target = server.url().replace(f"nfsport={server.port}", f"nfsport={proxy.port}")
        status = await warmed(target, tmp_path)
    assert (status.state, status.report(0)["files"]) == (JobState.COMPLETED, SMALL + 1)
    assert proxy.calls["READ"] == NOT_EMPTY + 5
    assert proxy.read_asked == proxy.read_answered == BYTES
    assert proxy.calls == {name: count for name, count in server.calls.items() if name not in ("MNT", "EXPORT", "UMNT")}
