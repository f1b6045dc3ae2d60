"""A real kernel NFS client, with our program inside: does the page cache stay out of the way?"""

import json
import shlex
import time

import pytest

from tests.kernel.guest import HOST, guest
from tests.kernel.origin import BYTES, FILES, Counted, counting, exported_tree, far_server
from tests.servers.ganesha import ganesha
from tests.servers.ports import free_port

pytestmark = pytest.mark.timeout(400)


MOUNT = """
[mount]
vers = "3"
options = "nolock"
"""
SMALL_ITEMS = """
[nfs]
window_calls = 2
[plan]
item_files = 4
range_bytes = 500000
[lease]
poll_seconds = 0.2
"""
SHORT_LEASES = """
[lease]
poll_seconds = 0.2
lease_seconds = 6
drain_seconds = 2
"""


def configure(machine, name, settings):
    """Writes a settings file in the guest."""
    machine.run(f"cat >/tmp/{name}.toml <<'END'\n{settings}END")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    with far_server(tmp_path_factory) as served:
        yield served


@pytest.fixture(scope="module")
def client(origin):
    """The guest; its settings say NFSv3 without locks, for which it would need a further daemon."""
    with guest("client") as machine:
        configure(machine, "config", MOUNT)
        yield machine


def target(origin):
    server, proxy = origin
    return f"nfs://{HOST}{server.export}/tree?nfsport={proxy.port}&mountport={server.mount_port}"


def warm(client, origin, transport):
    words = ["python3", "-m", "cachewarmer", "warm", target(origin), "--transport", transport, "--json"]
    ran = client.run(f"CACHEWARMER_CONFIG=/tmp/config.toml {shlex.join(words)}", check=False)
    assert ran.code == 0, ran.err + client.log()
    report = json.loads(ran.out)
    assert (report["files"], report["bytes"], report["failed_files"]) == (FILES, BYTES, 0)


def test_a_second_run_over_a_mount_reads_as_much_as_the_first(client, origin, record_property):
    """Ours does, twice; ``find | xargs cat`` sends nothing the second time, which is the fault that this avoids."""
    server, proxy = origin
    calls = {}
    for run in ("first", "second"):
        counted = Counted(proxy)
        warm(client, origin, "mount")
        assert counted.read_bytes == BYTES, run
        calls["our kernel mount"] = counted.calls
    assert client.run("grep -c /mnt/cachewarmer /proc/mounts", check=False).out.strip() == "0", "it unmounts at its end"

    options = f"vers=3,nolock,proto=tcp,mountproto=tcp,port={proxy.port},mountport={server.mount_port}"
    client.run(f"mkdir -p /mnt/plain && mount -t nfs -o {options} {HOST}:{server.export} /mnt/plain")
    cat = "find /mnt/plain/tree -type f -print0 | xargs -0 cat >/dev/null"
    counted = Counted(proxy)
    client.run(cat)
    assert counted.read_bytes == BYTES
    calls["find | xargs cat"] = counted.calls
    counted = Counted(proxy)
    client.run(cat)
    assert counted.read_bytes == 0
    client.run("umount /mnt/plain")

    counted = Counted(proxy)
    warm(client, origin, "nfs")
    assert counted.read_bytes == BYTES
    calls["direct reader"] = counted.calls
    measured = ", ".join(f"{name} {count / FILES:.2f}" for name, count in calls.items())
    record_property("measured", f"RPCs a file: {measured}")
    assert calls["direct reader"] < 1.4 * FILES
    assert calls["direct reader"] < calls["our kernel mount"] / 1.5


def test_both_transports_serve_one_job(client, origin):
    """A manager, a worker on kernel mounts and one on the direct reader: each reads its part, the totals are exact.

    The direct reader begins alone, so slowly that it could not end before the other one has come.
    """
    _, proxy = origin
    configure(client, "fleet", SMALL_ITEMS + MOUNT)
    name = "CACHEWARMER_CONFIG=/tmp/fleet.toml python3 -m cachewarmer"
    broker = "--broker sqlite:////tmp/fleet.db"
    counted = Counted(proxy)
    job = client.run(f"{name} submit {shlex.quote(target(origin))} {broker}").out.split()[-1]

    def report():
        return json.loads(client.run(f"{name} status {job} {broker} --json").out)

    running = [
        client.start(f"{name} manager {broker} --exit-when-idle 5"),
        client.start(f"{name} worker {broker} --name direct --transport nfs --max-bandwidth 100k --exit-when-idle 20"),
    ]
    deadline = time.monotonic() + 100
    while not report()["workers"]:
        assert time.monotonic() < deadline, "the direct worker reads nothing"
        time.sleep(0.5)
    running.append(client.start(f"{name} worker {broker} --name mounted --transport mount --exit-when-idle 20"))
    for one in running:
        ended = one.result(150)
        assert ended.code == 0, ended.err
    ended = report()
    assert (ended["state"], ended["files"], ended["bytes"]) == ("completed", FILES, BYTES)
    shares = {worker["worker"]: worker["bytes"] for worker in ended["workers"]}
    assert set(shares) == {"mounted", "direct"}
    assert min(shares.values()) > 0
    assert counted.read_bytes >= BYTES


def test_a_hung_server_does_not_hold_a_worker(client, origin):
    """A hard mount waits for ever; the worker still ends when it is told to, and its items are read by another."""
    _, proxy = origin
    configure(client, "hung", SHORT_LEASES + MOUNT)
    name = "env CACHEWARMER_CONFIG=/tmp/hung.toml python3 -m cachewarmer"
    broker = "--broker sqlite:////tmp/hung.db"
    manager = client.start(f"{name} manager {broker} --exit-when-idle 30")
    job = client.run(f"{name} submit {shlex.quote(target(origin))} {broker}").out.split()[0]
    stuck = client.start(f"exec {name} worker {broker} --name stuck --transport mount --max-bandwidth 200k")
    counted = Counted(proxy)
    deadline = time.monotonic() + 60
    while not counted.reads:
        assert time.monotonic() < deadline, "the worker does not read"
        time.sleep(0.05)
    proxy.delay_seconds = 3600.0
    time.sleep(1)
    client.run("pkill -TERM -f -- '[-]-name stuck'")
    ended = stuck.result(60)
    assert ended.code in (0, 130), ended.err
    proxy.delay_seconds = 0.0
    client.run(f"{name} worker {broker} --name other --transport nfs --exit-when-idle 10", seconds=150)
    report = json.loads(client.run(f"{name} status {job} {broker} --json").out)
    assert (report["state"], report["files"], report["bytes"]) == ("completed", FILES, BYTES)
    assert manager.result(120).code == 0


def mounts(client):
    return client.run("grep -c /mnt/cachewarmer /proc/mounts", check=False).out.strip()


def test_what_a_killed_process_mounted_is_unmounted_by_the_next(client, origin):
    """Two processes share one mount; after kill -9 of all of them it is still there, used, and let go of at the end."""
    words = ["python3", "-m", "cachewarmer", "warm", target(origin), "--transport", "mount", "--max-bandwidth", "100k"]
    counted = Counted(origin[1])
    begun = client.start(f"CACHEWARMER_CONFIG=/tmp/config.toml exec {shlex.join(words)} --processes 2 -q")
    deadline = time.monotonic() + 60
    while not counted.reads:  # before, it is the scan's mount, which may be gone before a reader has it
        assert time.monotonic() < deadline, "nothing is read"
        time.sleep(0.2)
    assert mounts(client) == "1"
    # All of them are stopped before the first one dies: the others would notice, and clean up.
    everyone = "-f -- '[c]achewarmer warm|[m]ultiprocessing'"
    client.run(f"pkill -STOP {everyone}; pkill -KILL {everyone}", check=False)
    assert begun.result(60).code != 0
    assert mounts(client) == "1"
    warm(client, origin, "mount")
    assert mounts(client) == "0"


def test_auto_mounts_where_only_nfsv4_is_spoken(client, tmp_path_factory):
    """The direct reader has nothing to talk to; the kernel mounts the root of NFSv4."""
    root = exported_tree(tmp_path_factory)
    configure(client, "four", '[mount]\nvers = "4.2"\n')
    with ganesha(root, protocols="4") as server, counting("127.0.0.1", server.nfs_port) as proxy:
        url = f"nfs://{HOST}/warm/tree?nfsport={proxy.port}&mountport={free_port()}"
        name = "CACHEWARMER_CONFIG=/tmp/four.toml python3 -m cachewarmer"
        ran = client.run(f"{name} warm {shlex.quote(url)} --json", check=False)
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert (report["files"], report["bytes"]) == (FILES, BYTES)
