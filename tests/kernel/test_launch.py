"""What a new machine runs first, on a real kernel NFS client: with mount.nfs, and without."""

import shlex
from importlib import resources

import pytest

from cachewarmer.fleet.vmss.cloud_init import assignments
from tests.kernel.guest import HOST, guest
from tests.servers.ganesha import ganesha

pytestmark = pytest.mark.timeout(400)

LOG = "/var/log/cachewarmer-bootstrap.log"


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    root = tmp_path_factory.mktemp("bootstrap")
    root.chmod(0o755)
    (root / "boot strap.sh").write_text('echo $STORAGE_ACCOUNT >/tmp/seen; grep -c "$BOOTSTRAP_PATH" /proc/mounts\n')
    with ganesha(root) as server:
        yield server


@pytest.fixture(scope="module")
def client():
    with guest("launch") as machine:
        yield machine


@pytest.mark.parametrize("helper", [True, False], ids=["mount.nfs", "the kernel alone"])
def test_the_bootstrap_export_is_mounted_and_let_go_of(client, export, helper):
    """The script runs from it with its variables; afterwards nothing is mounted."""
    values = {
        "STORAGE_ACCOUNT": "account",
        "QUEUE_PREFIX": "prefix",
        "BOOTSTRAP_MOUNT_ADDRESS": HOST,
        "BOOTSTRAP_EXPORT_PATH": export.export,
        "BOOTSTRAP_SCRIPT": "boot strap.sh",
        "BOOTSTRAP_MOUNT_OPTIONS": f"port={export.nfs_port},mountport={export.mount_port},vers=3",
    }
    script = resources.files("cachewarmer.fleet.vmss").joinpath("launch.sh").read_text()
    client.run(
        "mkdir -p /tmp/launch && cd /tmp/launch && rm -f /tmp/seen && : >" + LOG + " && "
        f"printf %s {shlex.quote(script)} >launch && printf %s {shlex.quote(assignments(values))} >launch.env"
    )
    if not helper:
        client.run("mv /sbin/mount.nfs /sbin/away")
    try:
        ran = client.run("CACHEWARMER_WAIT_SECONDS=20 sh /tmp/launch/launch", check=False)
    finally:
        client.run("[ ! -e /sbin/away ] || mv /sbin/away /sbin/mount.nfs")
    log = client.run(f"cat {LOG}").out
    assert ran.code == 0, log
    assert client.run("cat /tmp/seen").out == "account\n"
    assert "\n1\n" in log, "it was mounted while the script ran"
    assert ("the kernel mounts by itself" in log) is not helper
    assert client.run("grep -c cachewarmer-bootstrap /proc/mounts", check=False).out == "0\n"
    assert not client.run("ls /tmp/launch | grep env", check=False).out
