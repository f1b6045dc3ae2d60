"""``--access-as`` and ``--metadata-only``: what another user's client will ask a cache is known to it beforehand."""

import asyncio
import json
import secrets
import sys

import pytest

from cachewarmer.testing import ModelCache

FILES = 30


@pytest.fixture
def tree(nfs_root):
    root = nfs_root / secrets.token_hex(8)
    for directory in ("a", "a/b"):
        (root / directory).mkdir(parents=True)
        for number in range(FILES):
            (root / directory / f"f{number}").write_bytes(b"x" * 1000)
    (root / "a" / "link").symlink_to("f1")
    return root


async def run(*arguments, stdin=b""):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode, json.loads(out) if out else {}, err.decode()


USERS = ("--access-as", "4711:100,101", "--access-as", "4712")


async def test_each_user_is_asked_for_at_every_name_while_the_files_are_warmed(nfs_server, tree):
    """Files, directories, those above them, and links, each once for each user."""
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = nfs_server.target("/" + tree.name, nfsport=cache.port)
        code, report, said = await run("warm", target, *USERS, "--json")
        assert code == 0, said
        assert report["files"] == 2 * FILES
        names = 2 * FILES + 1 + 2  # files, the link, a and b
        above = 2  # the export's root, and the target
        assert cache.origin_calls["ACCESS"] == 2 * (names + above)
        assert cache.origin_calls["READLINK"] == 1
        cache.origin_calls.clear()
        options = ("--what", "access", "--as", "4711:100,101", "--json")
        code, found, said = await run("verify", target, *options)
        assert code == 0, said
        assert found["warm_fraction"] >= 0.9  # a busy machine may make a warm answer look cold
        assert cache.origin_calls["ACCESS"] == 0


async def test_metadata_only_reads_no_file(nfs_server, tree):
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = nfs_server.target("/" + tree.name, nfsport=cache.port)
        code, report, said = await run("warm", target, "--metadata-only", *USERS, "--json")
        assert code == 0, said
        assert (report["state"], report["scanned_files"], report["bytes"]) == ("completed", 2 * FILES, 0)
        assert cache.calls["READ"] == 0
        assert cache.origin_calls["ACCESS"] > 4 * FILES


async def test_of_a_list_the_files_and_the_directories_above_them_are_asked_about(nfs_server, tree):
    async with ModelCache("127.0.0.1", nfs_server.nfs_port) as cache:
        target = nfs_server.target("/" + tree.name, nfsport=cache.port)
        options = ("--files-from", "-", "--access-as", "4711", "--json")
        code, _, said = await run("warm", target, *options, stdin=b"a/b/f1\na/b/f2\na/b/f1\n")
        assert code == 0, said
        assert cache.origin_calls["ACCESS"] == 6  # the root, the target, a, b and both files


async def test_who_is_no_user_and_where_there_are_none_is_refused(tmp_path):
    code, _, said = await run("warm", "nfs://127.0.0.1/e", "--access-as", "root")
    assert (code, said.count("\n")) == (2, 1)
    code, _, said = await run("warm", tmp_path, "--access-as", "1")
    assert (code, said.count("\n")) == (2, 1)
