"""How kernel mounts come and go: whose they are, when they are let go, and what happens while a server is away."""

import json
import shlex
import time

import pytest

from tests.kernel.guest import HOST, guest
from tests.kernel.origin import BYTES, FILES, counting, exported_tree
from tests.servers.ganesha import ganesha
from tests.servers.ports import free_port

pytestmark = pytest.mark.timeout(400)
NAME = "CACHEWARMER_CONFIG=/tmp/config.toml python3 -m cachewarmer"
SETTINGS = """
[mount]
vers = "3"
options = "nolock"
idle_seconds = 2.0
[lease]
poll_seconds = 0.2
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ganesha(exported_tree(tmp_path_factory)) as started:
        yield started


@pytest.fixture(scope="module")
def client():
    with guest("client") as machine:
        machine.run(f"cat >/tmp/config.toml <<'END'\n{SETTINGS}END")
        yield machine


def target(server, nfs_port=0):
    return shlex.quote(
        f"nfs://{HOST}{server.export}/tree?nfsport={nfs_port or server.nfs_port}&mountport={server.mount_port}"
    )


def nfs_mounts(client):
    """The mount points of the guest's NFS mounts."""
    return client.run("awk '$3 ~ /^nfs/ {print $2}' /proc/mounts").out.split()


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def totals(report):
    return report["state"], report["files"], report["bytes"]


def test_a_mount_that_is_there_is_used_and_left(client, server):
    """What an operator mounted is found by its server, port and export; it is still there afterwards, and the only one."""
    options = f"vers=3,nolock,proto=tcp,mountproto=tcp,port={server.nfs_port},mountport={server.mount_port}"
    client.run(f"mkdir -p /mnt/site && mount -t nfs -o {options} {HOST}:{server.export} /mnt/site")
    ran = client.run(f"{NAME} warm {target(server)} --transport mount --json -v")
    assert totals(json.loads(ran.out)) == ("completed", FILES, BYTES)
    assert "mounted " not in ran.err
    assert nfs_mounts(client) == ["/mnt/site"]
    client.run("umount /mnt/site")


def test_auto_mounts_nothing_where_nfsv3_answers(client, server):
    """The direct reader needs no mount."""
    ran = client.run(f"{NAME} warm {target(server)} --json -v")
    assert totals(json.loads(ran.out)) == ("completed", FILES, BYTES)
    assert "mounted " not in ran.err


def test_a_mount_is_let_go_while_nobody_needs_it_and_had_again(client, server):
    """A worker that waits for work holds no mount; the next job mounts again."""
    broker = "--broker sqlite:////tmp/idle.db"
    running = [client.start(f"exec env {NAME} {one} {broker} --name idle-{one}") for one in ("manager", "worker")]
    for number in range(2):
        ran = client.run(f"{NAME} submit {target(server)} --transport mount {broker} --wait --json")
        assert totals(json.loads(ran.out)) == ("completed", FILES, BYTES), number
        until(lambda: not nfs_mounts(client), "the mount is not let go")
    client.run("pkill -TERM -f -- '[-]-name idle-'")
    for one in running:
        assert one.result(60).code in (0, 130)


def test_a_server_that_is_away_is_waited_for_and_that_is_said(client, server):
    """The mount is tried again, with a line that says so, until the server is there; then the tree is warmed."""
    port = free_port()
    begun = client.start(f"{NAME} warm {target(server, port)} --transport mount --json 2>/tmp/away")
    until(lambda: "no answer yet" in client.run("cat /tmp/away").out, "nothing is said")
    with counting("127.0.0.1", server.nfs_port, listen_port=port):
        ran = begun.result(200)
    assert ran.code == 0, client.run("cat /tmp/away").out
    assert totals(json.loads(ran.out)) == ("completed", FILES, BYTES)
    assert not nfs_mounts(client)
