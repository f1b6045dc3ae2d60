"""``terraform apply`` on a whole machine: its kernel mounts the NFS export on which the bootstrap folder is."""

from dataclasses import replace

import pytest

from tests.deploy.bundle import bundle
from tests.deploy.chain import (
    chained,
    listing,
    make_tree,
    nothing_left,
    status,
    storage,
)
from tests.deploy.machine import machine
from tests.deploy.terraform import Configuration
from tests.kernel.guest import HOST
from tests.servers.ganesha import GaneshaExport, ganesha


@pytest.fixture
def served(tmp_path):
    """A server with a tree to warm, and a share that can be written for the bootstrap folder."""
    tmp_path.chmod(0o755)
    make_tree(tmp_path / "warm", 0)
    share = tmp_path / "share"
    share.mkdir()
    with ganesha(tmp_path / "warm", also=(GaneshaExport(path=share, writable=True),)) as server:
        yield replace(server, address=HOST), share


@pytest.mark.timeout(900)
def test_from_nothing_to_warm_on_a_machine_that_mounts_the_bootstrap_folder(served, azurite_connection, tmp_path):
    """All four modules, a second apply that changes nothing, and the end: not a mount, unit, user or file stays."""
    server, share = served
    make_tree(tmp_path / "warm/shot 42", 120)
    (tmp_path / "terraform").mkdir()
    configuration = Configuration(tmp_path / "terraform")
    account = storage(azurite_connection.replace("127.0.0.1", HOST), "machine")
    ports = f"port={server.nfs_port},mountport={server.mount_port}"
    folder = {
        "bootstrap_mount_address": HOST,
        "bootstrap_export_path": str(share),
        "bootstrap_mount_options": f"vers=3,nolock,hard,proto=tcp,mountproto=tcp,retry=0,{ports}",
    }
    with machine() as guest, nothing_left(guest, configuration):
        modules = chained(
            guest,
            account,
            server,
            folder=folder,
            prepare_bootstrapdir={"cachewarmer_path": str(bundle())},
            submitjobs={"warm_paths": {server.export: ["/shot 42"]}},
        )
        configuration.write(modules)
        done = configuration.apply(seconds=600)
        assert done.code == 0, done.output
        assert done.counts == (8, 0, 0)
        assert "120 files, 117.2 KiB in 1 directory" in done.output
        here = storage(azurite_connection, "machine")
        (job,) = status(here)["jobs"]
        assert (job["state"], job["files"], job["bytes"]) == ("completed", 120, 120_000)
        assert [worker["files"] for worker in status(here, job["job"])["workers"]] == [120]

        assert "bootstrap.cachewarmer-worker.sh" in [path.name for path in (share / "tools/bootstrap").iterdir()]
        units = guest.run("systemctl is-active cachewarmer-manager cachewarmer-worker", check=False).stdout
        assert units.split() == ["active", "active"]
        assert not [line for line in listing(guest) if " type nfs" in line]
        assert configuration.apply().counts == (0, 0, 0)
    assert list(share.iterdir()) == []
