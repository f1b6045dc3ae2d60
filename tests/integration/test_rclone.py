"""The direct reader against rclone's NFS server, which goes its own ways."""

import json
import subprocess
import sys

import pytest

from tests.servers.rclone import rclone

SIZES = {"big": 3_000_001, "none": 0, **{f"sub/f{number}": 100 * number for number in range(300)}}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    for name, size in SIZES.items():
        (root / name).write_bytes(bytes(size))
    return root


def warm(target, *options):
    return subprocess.run(
        [sys.executable, "-m", "cachewarmer", "warm", target, "--json", "--transport", "nfs", *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_tree_is_warmed_though_export_is_refused(tree):
    """EXPORT is answered with PROG_MISMATCH and without the versions: MNT of the path itself finds the export."""
    with rclone(tree) as target:
        done = warm(target.format(""))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["files"], report["bytes"], report["directories"]) == (len(SIZES), sum(SIZES.values()), 2)


def test_a_directory_below_the_root_is_found_by_trying(tree):
    """EXPORT names nothing; MNT of the path is answered."""
    with rclone(tree) as target:
        done = warm(target.format("sub"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 300


def test_handles_that_the_server_has_dropped_are_resolved_again(tree):
    """It keeps fewer handles than the directory has files: the rest are stale by the time they are read."""
    with rclone(tree, "--nfs-cache-handle-limit", "50") as target:
        done = warm(target.format(""))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == len(SIZES)


def test_a_path_that_is_not_there_is_one_line(tree):
    with rclone(tree) as target:
        done = warm(target.format("nowhere"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "nowhere" in done.stderr
