"""``verify`` against a real NFS server behind a model of a cache, which knows what it holds; and against JuiceFS."""

import asyncio
import json
import os
import secrets
import subprocess
import sys

import pytest

from cachewarmer.testing import ModelCache

DIRECTORIES, FILES, SIZES = 8, 18, (2_000, 30_000, 200_000)


@pytest.fixture
def tree(nfs_root):
    root = nfs_root / secrets.token_hex(8)
    for directory in range(DIRECTORIES):
        (root / f"d{directory}").mkdir(parents=True)
        for number in range(FILES):
            (root / f"d{directory}" / f"f{number}").write_bytes(bytes(SIZES[number % len(SIZES)]))
    return root


async def run(*arguments, stdin=b"", **more):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **more,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode, out.decode(), err.decode()


def target_of(server, root, cache):
    return server.target("/" + root.name, nfsport=cache.port)


@pytest.mark.parametrize("warm_directories", [0, 4, 8])
async def test_the_fraction_is_what_the_cache_holds_to_5_points(nfs_server, tree, warm_directories):
    """Whole directories are warm. No block beyond the sample is fetched, and the coldest directories are cold ones."""
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = target_of(nfs_server, tree, cache)
        if warm_directories:
            names = [f"d{one}/f{number}" for one in range(warm_directories) for number in range(FILES)]
            code, _, said = await run("warm", target, "--files-from", "-", "-q", stdin="\n".join(names).encode())
            assert code == 0, said
        cache.origin_calls.clear()
        code, out, said = await run("verify", target, "--json", "--seed", 1, "--expect", 0.9)
    found = json.loads(out)
    truth = warm_directories / DIRECTORIES
    assert (code, said) == (0 if truth >= 0.9 else 3, "")
    assert abs(found["warm_fraction"] - truth) <= 0.05
    assert found["interval"][0] - 0.01 <= truth <= found["interval"][1] + 0.01  # of all blocks, it is nearly a point
    assert cache.origin_calls["READ"] <= found["samples"] * (1 - truth + 0.05)
    coldest = [
        one["path"].rpartition(f"/{tree.name}")[2] for one in found["coldest"] if one["cold"] > one["samples"] / 2
    ]
    if truth == 0:
        assert coldest == [""], "the whole tree, and nothing in it besides"
        assert found["coldest"][0]["samples"] == found["samples"]
    else:
        assert sorted(coldest) == [f"/d{one}" for one in range(warm_directories, DIRECTORIES)]
    assert set(found["latency_ms"]["first"]) == {"p50", "p95", "p99"}


async def test_right_after_warming_another_user_finds_data_warm_and_access_cold(nfs_server, tree):
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = target_of(nfs_server, tree, cache)
        assert (await run("warm", target, "-q"))[0] == 0
        code, out, said = await run(
            *("verify", target, "--what", "data,access", "--as", "4711:100", "--json", "--samples", 60)
        )
    assert code == 0, said
    aspects = json.loads(out)["aspects"]
    assert aspects["data"]["warm_fraction"] >= 0.9  # a busy machine may make a warm block look cold
    assert aspects["access"]["warm_fraction"] <= 0.1


async def test_a_server_that_is_no_cache_can_not_be_told(nfs_server, tree):
    """Origin and cache are equally far: no number is made up, and nothing is called warm."""
    target = nfs_server.target("/" + tree.name)
    code, out, _ = await run("verify", target, "--json", "--expect", 0.5)
    assert code == 3
    assert json.loads(out)["warm_fraction"] is None
    code, out, _ = await run("verify", target)
    assert code == 0
    assert "can't tell" in out


async def test_juicefs_is_asked_and_agrees_with_itself(juicefs_volume):
    """Half of the files are warm by its own count, which is what is reported; nothing is read for it, and its program
    need not be at hand.
    """
    root = juicefs_volume.mount / secrets.token_hex(4)
    for name in ("cold", "warm"):
        (root / name).mkdir(parents=True)
        for number in range(20):
            (root / name / str(number)).write_bytes(os.urandom(40_000))
    juicefs_volume.evict(root)
    assert (await run("warm", root / "warm", "-q"))[0] == 0
    code, out, said = await run("verify", root, "--json")
    assert code == 0, said
    found = json.loads(out)
    assert found["method"] == "juicefs warmup --check"
    assert found["bytes_read"] == 0
    assert found["warm_fraction"] == pytest.approx(juicefs_volume.cached_fraction(root), abs=0.001)
    assert found["warm_fraction"] == pytest.approx(0.5, abs=0.05)


async def test_the_page_cache_of_this_machine_is_asked(tmp_path):
    """What was just written is in it; what was dropped from it is not."""
    for name in ("kept", "dropped"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
    with open(tmp_path / "dropped", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    code, out, said = await run("verify", tmp_path, "--json")
    found = json.loads(out)
    assert (code, found["method"]) == (0, "mincore"), said
    assert found["complete"]
    assert found["bytes_read"] == 0
    cached = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", tmp_path / "kept", tmp_path / "dropped"],
        capture_output=True,
        check=True,
        text=True,
    )
    kept, dropped = (int(one) for one in cached.stdout.split())
    assert found["warm_fraction"] == pytest.approx((kept + dropped) / (2 << 20), abs=0.01)
    assert kept == 1 << 20
    assert found["coldest"] == [] or dropped < kept


async def test_attributes_are_asked_for_and_told_apart_too(nfs_server, tree):
    """All are cold at first; those that were asked for are warm then, and the data still is not."""
    async with ModelCache("127.0.0.1", nfs_server.nfs_port, keeps_attributes=False) as cache:
        target = target_of(nfs_server, tree, cache)
        ask = ("verify", target, "--what", "attributes", "--json", "--seed", 4)
        code, out, said = await run(*ask)
        assert code == 0, said
        first = json.loads(out)
        asked = cache.origin_calls["GETATTR"]
        code, out, said = await run("verify", target, "--what", "attributes,data", "--json", "--expect", "0.9")
        assert code == 3, said
        aspects = json.loads(out)["aspects"]
    assert first["samples"] == DIRECTORIES * FILES
    assert first["complete"]
    assert first["warm_fraction"] <= 0.1
    assert asked >= DIRECTORIES * FILES
    assert first["bytes_read"] == 0
    assert aspects["attributes"]["warm_fraction"] >= 0.9
    assert aspects["data"]["warm_fraction"] <= 0.1


async def test_warm_verifies_at_its_end_and_a_job_can_be_verified_later(nfs_server, tree, tmp_path):
    """What a list named is what is looked at: all of it is warm, though most of the tree is cold."""
    broker = ("--broker", f"sqlite:///{tmp_path}/jobs.db")
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = target_of(nfs_server, tree, cache)
        names = "\n".join(f"d1/f{number}" for number in range(FILES)).encode()
        expect = ("--verify", "--expect", "0.9", "--json")
        code, out, said = await run("warm", target, "--files-from", "-", *expect, *broker, stdin=names)
        assert code == 0, said
        report = json.loads(out)
        assert report["verify"]["warm_fraction"] >= 0.9  # a busy machine may make a warm block look cold
        assert report["verify"]["met"]
        assert report["verify"]["files"] == report["files"] == FILES
        code, _, said = await run("verify", "--job", report["job"], *broker)
        assert (code, said.count("\n")) == (2, 1)  # a list is not kept
        code, out, _ = await run("warm", target, "--include", "f1*", "--json", *broker)
        report = json.loads(out)
        cache.forget()
        code, out, said = await run("verify", "--job", report["job"], "--expect", 0.9, "--json", *broker)
    assert code == 3, said
    assert json.loads(out)["warm_fraction"] <= 0.1
    assert json.loads(out)["files"] == report["files"]
