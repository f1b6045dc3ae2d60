"""Trees far larger than memory should ever hold, and the proxy that counts from outside."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.model import JobState, Report
from cachewarmer.onemachine import warm
from cachewarmer.target import make_job, parse_target
from cachewarmer.testing import CountingProxy, Faults, ScriptedServer
from cachewarmer.testing.synthetic import SyntheticTree
from tests.integration.scripted import BYTES, NOT_EMPTY, SETTINGS, SMALL, TREE, warmed

SETTINGS_OF_ONE_ITEM = replace(SETTINGS, plan=PlanSettings())
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


async def test_the_first_part_of_a_directory_is_small_and_the_others_are_not(tmp_path):
    """A scan holds many first parts at the same time, but only a few of those that follow."""
    tree = {b"%0200d" % number: 0 for number in range(4000)}
    async with ScriptedServer(tree, Faults(dtpref=1 << 20)) as server:
        status = await warmed(server.url(), tmp_path)
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, 4000)
    whole = 4000 * 352
    assert server.calls["READDIRPLUS"] == 1 + -(-(whole - (128 << 10)) // (1 << 20))


@pytest.mark.parametrize("processes", [1, 2])
async def test_progress_counts_what_is_read_of_unfinished_items(tmp_path, processes):
    """One item of 400 files: a user sees it grow, though it has one receipt, at its end."""
    tree = {b"%03d" % number: 1000 for number in range(400)}
    seen = set()

    def show(status):
        if not status.settled_items:
            seen.add(sum(tally.files for tally in status.tallies))

    async with asyncio.timeout(60), ScriptedServer(tree, Faults(read_delay=0.05)) as server:
        status = await warm(
            make_job(parse_target(server.url()), transport="nfs"),
            broker_url=f"sqlite:///{tmp_path}/broker.db",
            settings=SETTINGS_OF_ONE_ITEM,
            processes=processes,
            on_status=show,
            stop=asyncio.Event(),
        )
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, 400)
    assert len([files for files in seen if 0 < files < 400]) >= 2


async def test_a_synthetic_tree_is_warmed_with_the_totals_it_states(tmp_path):
    """What the tree computes of itself is what a reader finds, file by file."""
    tree = SyntheticTree(4_321, flat=False)
    async with ScriptedServer(tree) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
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
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, SMALL + 1)
    assert proxy.calls["READ"] == NOT_EMPTY + 5
    assert proxy.read_asked == proxy.read_answered == BYTES
    past = ("MNT", "EXPORT", "UMNT")  # which do not pass the proxy
    clocked = ("NULL",)  # the last of a canary may have been called off on its way
    seen, answered = dict(proxy.calls), dict(server.calls)
    for name in (*past, *clocked):
        seen.pop(name, None)
        answered.pop(name, None)
    assert seen == answered
