"""The cache that most people run: a Linux knfsd that re-exports a far NFS server. Is it warm afterwards?"""

import pytest

from tests.kernel.clients import read_tree, warm_through
from tests.kernel.guest import HOST, guest
from tests.kernel.origin import BYTES, FILES, SMALL_FILES, Counted, counting, far_server

pytestmark = pytest.mark.timeout(400)
NFS, MOUNTD = 2049, 20048


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    with far_server(tmp_path_factory, delay_seconds=0.005) as served:
        yield served


@pytest.fixture(scope="module")
def cache(origin):
    """A guest that mounts the origin and exports the mount again."""
    server, proxy = origin
    options = f"vers=3,nolock,ro,proto=tcp,mountproto=tcp,port={proxy.port},mountport={server.mount_port},actimeo=600"
    with guest("cache", memory_mib=1024, forward=(NFS, MOUNTD)) as machine:
        machine.run(
            f"mkdir -p /srv/cache && mount -t nfs -o {options} {HOST}:{server.export} /srv/cache && "
            "rpcbind -w && modprobe nfsd && mount -t nfsd nfsd /proc/fs/nfsd && "
            "echo '/srv/cache *(ro,fsid=1,insecure,no_root_squash,no_subtree_check)' >/etc/exports && "
            f"exportfs -ar && rpc.nfsd 16 && rpc.mountd -p {MOUNTD}"
        )
        yield machine


def test_one_warm_up_leaves_no_read_for_the_origin(cache, origin, record_property):
    """The direct reader warms through the cache; then two other clients read all of it, and the origin sees no READ."""
    _, far = origin
    nfs, mountd = cache.ports[NFS], cache.ports[MOUNTD]
    with counting("127.0.0.1", nfs) as near:
        cold, asked = Counted(far), Counted(near)
        report = warm_through("/srv/cache/tree", near.port, mountd)
        assert (report["files"], report["bytes"]) == (FILES, BYTES)
        assert cold.read_bytes >= BYTES, "it was cold"
        assert asked.read_bytes == BYTES
        beside = asked.calls - asked.reads
        calls = (beside + SMALL_FILES) / FILES
        record_property("measured", f"calls a small file at the cache: {calls:.2f}")
        assert beside < 1.4 * FILES, "about one GETATTR a file beside its READs"

    warm = Counted(far)
    read_tree("/srv/cache/tree", nfs, mountd)
    assert warm.reads == 0

    with guest("client", memory_mib=384) as client:
        options = f"vers=3,nolock,proto=tcp,mountproto=tcp,port={nfs},mountport={mountd}"
        client.run(
            f"mkdir -p /mnt/cache && mount -t nfs -o {options} {HOST}:/srv/cache /mnt/cache && "
            "find /mnt/cache/tree -type f -print0 | xargs -0 cat | wc -c >/tmp/count"
        )
        assert int(client.run("cat /tmp/count").out) == BYTES
        client.run("umount /mnt/cache")
    assert warm.reads == 0, "nothing that a client of the cache read went to the origin"


READERS, OTHERS = 4711, 4712
"""Users: one whose access is warmed, and one whose is not."""


def read_as(client, uid, ports):
    """``find`` and ``cat`` over the whole tree as this user, by a mount of its own; returns the bytes that came."""
    nfs, mountd = ports
    options = f"vers=3,nolock,proto=tcp,mountproto=tcp,port={nfs},mountport={mountd}"
    client.run(f"mkdir -p /mnt/cache && mount -t nfs -o {options} {HOST}:/srv/cache /mnt/cache")
    count = client.run(
        f"setpriv --reuid {uid} --regid {uid} --clear-groups "
        "sh -c 'find /mnt/cache/tree -type f -print0 | xargs -0 cat | wc -c'"
    )
    client.run("umount /mnt/cache && echo 3 >/proc/sys/vm/drop_caches")
    return int(count.out)


def test_after_access_as_its_users_ask_the_origin_for_nothing_but_what_has_changed(cache, origin, record_property):
    """Another uid finds and reads the whole tree: neither ACCESS nor LOOKUP, READ or a listing goes to the origin."""
    _, far = origin
    ports = cache.ports[NFS], cache.ports[MOUNTD]
    report = warm_through("/srv/cache/tree", *ports, "--access-as", f"{READERS}:{READERS}")
    assert report["files"] == FILES
    with guest("reader", memory_mib=384) as client:
        asked = Counted(far)
        assert read_as(client, READERS, ports) == BYTES
        primed = asked.by_procedure
        asked = Counted(far)
        assert read_as(client, OTHERS, ports) == BYTES
        unprimed = asked.by_procedure
    record_property(
        "measured", f"calls at the origin: {dict(primed)}; of a user whose access was not asked for: {dict(unprimed)}"
    )
    assert not set(primed) - {"GETATTR", "FSSTAT", "FSINFO", "PATHCONF", "NULL"}
    assert unprimed["ACCESS"] >= FILES, "without it, each file costs a call"
    assert unprimed["READ"] == 0
