"""A real read-through cache on one machine, with its own judge of what is warm."""

import json
import os
import secrets
import subprocess
import sys

import pytest


def warm(path, *options, settings=""):
    done = subprocess.run(
        [sys.executable, "-m", "cachewarmer", "warm", str(path), "--json", *options],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **({"CACHEWARMER_CONFIG": str(settings)} if settings else {})},
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


def test_a_mount_that_is_not_asked_is_read_until_all_of_it_is_cached(juicefs_volume, tree, tmp_path):
    """Reads are held back while its writer is behind, and what was dropped is read again."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[local]\nfill_threads = 0\n")
    juicefs_volume.evict(tree)
    opened = opens(juicefs_volume)
    report = warm(tree, settings=settings)
    assert (report["files"], report["bytes"], report["failed_files"]) == (601, BYTES, 0)
    assert juicefs_volume.cached_fraction(tree) == 1.0
    assert opens(juicefs_volume) - opened >= 601


def test_a_mount_is_asked_to_fill_its_cache_instead_of_being_read(juicefs_volume, tree, tmp_path):
    """No file is opened for it; the ledger has each with its size, and a second run finds them the same."""
    juicefs_volume.evict(tree)
    opened = opens(juicefs_volume)
    ledger = tmp_path / "ledger.jsonl"
    report = warm(tree, "--ledger", str(ledger))
    assert (report["files"], report["bytes"]) == (601, BYTES)
    assert opens(juicefs_volume) - opened < 100
    read = {one["path"]: one["bytes"] for one in map(json.loads, ledger.read_text().splitlines())}
    assert sum(read.values()) == BYTES
    assert len(read) == 601


@pytest.mark.parametrize(("options", "wanted"), [(("--max-bandwidth", "40M"), BYTES), (("--head", "1K"), 601 * 1024)])
def test_limits_and_ranges_hold_as_for_any_target(juicefs_volume, tree, options, wanted):
    juicefs_volume.evict(tree)
    report = warm(tree, *options)
    assert (report["files"], report["bytes"], report["failed_files"]) == (601, wanted, 0)


def opens(volume):
    """How often a file of the mount was opened since it was mounted."""
    lines = (volume.mount / ".stats").read_text().splitlines()
    return next(int(one.split()[1]) for one in lines if one.startswith("juicefs_fuse_ops_total_open "))


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
