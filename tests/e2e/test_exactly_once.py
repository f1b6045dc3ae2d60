"""Nothing is lost and nothing is counted twice, whoever dies."""

import secrets

import pytest

from tests.e2e.killing import azure_site, make_tree, postgres_site, warm_under_kills
from tests.servers.postgres import postgres

GIB = 1 << 30


def check(report, tree, logs_in):
    """The report names each file once, and nothing failed."""
    logs = "".join(f"== {log.name}\n{log.read_text()}" for log in logs_in.glob("*.log"))
    assert report["state"] == "completed", f"{report}\n{logs}"
    assert (report["files"], report["bytes"], report["failed_files"]) == (tree.files, tree.bytes, 0), logs
    assert report["exit_code"] == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_totals_are_exact_when_a_worker_and_then_the_manager_are_killed(
    seed, nfs_server, nfs_root, azurite_connection, tmp_path
):
    root = nfs_root / f"killed{seed}"
    tree = make_tree(root, directories=400, files_each=25, large=2, large_bytes=GIB + 12345)
    site = azure_site(azurite_connection, f"k{secrets.token_hex(4)}")
    report = warm_under_kills(site, nfs_server.target(f"/killed{seed}"), tmp_path, seed)
    check(report, tree, tmp_path)


@pytest.mark.timeout(300)
def test_totals_are_exact_when_the_server_of_the_broker_dies_too(nfs_server, nfs_root, tmp_path):
    """A worker, the manager, and PostgreSQL itself, in the middle of the job."""
    tree = make_tree(nfs_root / "killed3", directories=200, files_each=25, large=1, large_bytes=GIB + 12345)
    with postgres() as server:
        report = warm_under_kills(postgres_site(server), nfs_server.target("/killed3"), tmp_path, 3, restarts=1)
    check(report, tree, tmp_path)
