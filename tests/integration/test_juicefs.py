"""A real read-through cache on one machine, with its own judge of what is warm."""

import json
import os
import secrets
import subprocess
import sys

import pytest


def warm(path, *options):
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "warm", str(path), "--json", *options],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def tree(juicefs_volume):
    """Many small files, which JuiceFS discards when they come faster than it can keep them, and one of three blocks."""
    root = juicefs_volume.mount / secrets.token_hex(4)
    (root / "sub").mkdir(parents=True)
    for number in range(600):
        (root / "sub" / f"f{number}").write_bytes(os.urandom(5_000 + number))
    (root / "big").write_bytes(os.urandom(9_000_000))
    return root


BYTES = sum(5_000 + number for number in range(600)) + 9_000_000


@pytest.mark.parametrize("options", [(), ("--processes", "2"), ("-q",)])
def test_a_cold_cache_is_wholly_warm_afterwards(juicefs_volume, tree, options):
    """By JuiceFS's own count: nothing of the tree before, all of it after, and every byte counted once."""
    juicefs_volume.evict(tree)
    assert juicefs_volume.cached_fraction(tree) == 0
    report = warm(tree, *options)
    assert (report["files"], report["bytes"], report["failed_files"]) == (601, BYTES, 0)
    assert juicefs_volume.cached_fraction(tree) == 1.0


def test_a_virtual_file_without_an_end_does_not_hold_a_job(juicefs_volume, tree):
    """``.accesslog`` blocks for ever once it has given what it holds; it has size 0, so nothing of it is read."""
    log = juicefs_volume.mount / ".accesslog"
    assert log.exists()
    report = warm(log)
    assert (report["state"], report["bytes"]) == ("completed", 0)
    listed = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "warm", "--files-from", "-", str(juicefs_volume.mount), "--json"],
        input=f".accesslog\n{tree.name}/big\n".encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout)["bytes"] == 9_000_000
