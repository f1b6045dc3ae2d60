"""The scripts that make the example's cache and filer VMs, run for real: does what was warmed lie on the cache's disks?"""

import shlex

import pytest

from tests.kernel.clients import read_tree, warm_through
from tests.kernel.guest import HOST, guest
from tests.kernel.origin import BYTES, FILES, Counted, far_server
from tests.servers.ports import REPOSITORY

pytestmark = pytest.mark.timeout(400)
NFS, MOUNTD = 2049, 20048
SCRIPTS = REPOSITORY / "deploy/terraform/examples/scripts"
RAM_DISKS = "/dev/ram0 /dev/ram1"


def run_script(machine, name, environment, *, check=True):
    """One of the scripts, as the unit on the VM runs it."""
    machine.run(f"cat >/tmp/{name} <<'END OF SCRIPT'\n{(SCRIPTS / name).read_text()}END OF SCRIPT\n")
    words = " ".join(f"{key}={shlex.quote(value)}" for key, value in environment.items())
    return machine.run(f"{words} sh /tmp/{name}", check=check)


def stored(machine):
    """Bytes on the cache's disks."""
    return int(machine.run("df --output=used --block-size=1 /var/cache/fscache | tail -n 1").out)


@pytest.fixture(scope="module")
def machine():
    """A guest with two disks that are local to it: block devices in its memory."""
    with guest("example", memory_mib=1024, forward=(NFS, MOUNTD)) as made:
        made.run("modprobe brd rd_nr=3 rd_size=65536 && modprobe raid0")
        yield made


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    with far_server(tmp_path_factory, delay_seconds=0.005) as served:
        yield served


def test_the_cache_keeps_what_was_warmed_on_its_disks(machine, origin):
    """Set up, warmed, its memory emptied, set up once more: all is read again, and the origin sees no READ."""
    server, far = origin
    cache = {
        "ORIGIN": f"{HOST}:{server.export}",
        "CACHE_DIRECTORY": "/data",
        "CACHE_DISKS": RAM_DISKS,
        "MOUNT_OPTIONS": "ro,vers=3,proto=tcp,mountproto=tcp,hard,nolock,nocto,actimeo=600,nconnect=4,rsize=1048576,"
        f"port={far.port},mountport={server.mount_port}",
    }
    # A guest's neighbour can't have a privileged port: "insecure" is for it alone.
    serve = {
        "EXPORT_DIRECTORY": "/data",
        "EXPORT_TO": "*(ro,mp,fsid=1,no_root_squash,no_subtree_check,insecure)",
        "NFSD_THREADS": "24",
        "MOUNTD_PORT": str(MOUNTD),
    }
    run_script(machine, "cache.sh", cache)
    run_script(machine, "serve.sh", serve)
    run_script(machine, "wait_for_export.sh", {"EXPORT_ADDRESS": "127.0.0.1", "EXPORT_PATH": "/data", "TRIES": "1"})
    assert machine.run("nfsconf --get nfsd threads; nfsconf --get mountd port").out.split() == ["24", str(MOUNTD)]
    assert machine.run("cat /proc/fs/nfsd/threads").out.strip() == "24"
    assert machine.run("cat /sys/class/bdi/$(mountpoint -d /data)/read_ahead_kb").out.strip() == "4096"
    assert "raid0" in machine.run("cat /proc/mdstat").out

    nfs, mountd = machine.ports[NFS], machine.ports[MOUNTD]
    empty = stored(machine)
    cold = Counted(far)
    report = warm_through("/data/tree", nfs, mountd)
    assert (report["files"], report["bytes"]) == (FILES, BYTES)
    assert cold.read_bytes >= BYTES, "it was cold"

    # A file of the store has its name only when the cache has let go of it, so names say nothing yet.
    assert stored(machine) - empty >= BYTES
    machine.run("sync; echo 3 >/proc/sys/vm/drop_caches")
    run_script(machine, "cache.sh", cache)
    run_script(machine, "serve.sh", serve)
    warm = Counted(far)
    read_tree("/data/tree", nfs, mountd)
    assert warm.reads == 0, "what its disks hold is not read again"


def test_who_waits_in_vain_is_told(machine):
    """A part of an export's name is not that export."""
    for address, path in (("127.0.0.1", "/dat"), ("10.0.2.15", "/nothing")):
        waiting = {"EXPORT_ADDRESS": address, "EXPORT_PATH": path, "TRIES": "1"}
        done = run_script(machine, "wait_for_export.sh", waiting, check=False)
        assert (done.code, f"{address} does not export {path}" in done.err) == (1, True), done.err


def test_the_cache_says_what_it_lacks(machine):
    """A VM size without local disks, and a disk that is none."""
    there = {"ORIGIN": f"{HOST}:/x", "CACHE_DIRECTORY": "/other"}
    machine.run("umount /var/cache/fscache || umount --lazy /var/cache/fscache || true")
    none = run_script(machine, "cache.sh", there, check=False)
    assert (none.code, "no local NVMe disk here" in none.err) == (1, True), none.err
    wrong = run_script(machine, "cache.sh", there | {"CACHE_DISKS": "/dev/null"}, check=False)
    assert (wrong.code, "/dev/null is no block device" in wrong.err) == (1, True), wrong.err


def test_the_filer_keeps_its_data(machine):
    """A file system where there is none, sample files where there are none; a second boot leaves both alone."""
    filer = {"FILER_DIRECTORY": "/filer", "FILER_DISK": "/dev/ram2", "SAMPLE_FILES": "5"}
    run_script(machine, "filer.sh", filer)
    assert machine.run("find /filer/sample -type f -size 100000c | wc -l").out.strip() == "5"
    machine.run("echo kept >/filer/sample/0/0 && umount /filer")
    run_script(machine, "filer.sh", filer)
    assert machine.run("cat /filer/sample/0/0").out == "kept\n"

    absent = run_script(machine, "filer.sh", filer | {"FILER_DISK": "auto"}, check=False)
    assert (absent.code, "is not there (yet)" in absent.err) == (1, True), absent.err
