"""Nothing is lost and nothing is counted twice, whoever dies."""

import secrets

import pytest

from tests.e2e.killing import make_tree, warm_under_kills

GIB = 1 << 30


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_totals_are_exact_when_a_worker_and_then_the_manager_are_killed(
    seed, nfs_server, nfs_root, azurite_connection, tmp_path
):
    root = nfs_root / f"killed{seed}"
    tree = make_tree(root, directories=400, files_each=25, large=2, large_bytes=GIB + 12345)
    report = warm_under_kills(
        azurite_connection, f"k{secrets.token_hex(4)}", nfs_server.target(f"/killed{seed}"), tmp_path, seed
    )
    logs = "".join(f"== {log.name}\n{log.read_text()}" for log in tmp_path.glob("*.log"))
    assert report["state"] == "completed", f"{report}\n{logs}"
    assert (report["files"], report["bytes"], report["failed_files"]) == (tree.files, tree.bytes, 0), logs
    assert report["exit_code"] == 0
