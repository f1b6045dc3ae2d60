"""A target that is not there: what the server has of nearly that name is said, for few calls, and harmlessly."""

import os
import subprocess
import sys

import pytest

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError, MountError, UnknownHost
from cachewarmer.targets import hosts, open_session
from cachewarmer.targets.base import Mount
from cachewarmer.targets.meant import advise, meant_below
from cachewarmer.testing import ScriptedServer

TREE = {b"projects": {b"shot42": {b"comp": {b"f": 1}}, b"shot43": {b"f": 1}, b"\x1b]0;x\x07seq": {b"f": 1}}, b"file": 1}


async def said(server, path, **more):
    """The advice for a path of the server, as the walk asks for it."""
    mount = Mount(address="127.0.0.1", nfs_port=server.port, mount_port=server.port, path="/export", **more)
    session = await open_session(mount, Settings())
    try:
        server.calls.clear()
        try:
            await session.lookup(path)
        except CacheWarmerError as error:
            await advise(session, path, error)
            return str(error)
        return ""
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (b"projcts/shot42", "did you mean /export/projects/shot42?"),
        (b"projects/shto42/comp", "did you mean /export/projects/shot42/comp?"),
        (b"projects/SHOT43/comp", "did you mean /export/projects/shot43?"),
        (b"projects/shot44", ""),
        (b"nothing/like/it", ""),
        (b"projects/\x1b]0;x\x07sq", "did you mean /export/projects/\\x1b]0;x\\x07seq?"),
        (b"file/below", ""),
    ],
)
async def test_the_nearest_name_of_the_directory_is_said(path, meant):
    """The rest of the path stays where it is there; a name can't act on a terminal."""
    async with ScriptedServer(TREE) as server:
        line = await said(server, path)
    assert line.partition("; ")[2] == meant
    assert line.isprintable()


async def test_it_costs_a_lookup_a_component_and_one_page_of_a_listing():
    """However large the directory is."""
    names = {b"name%05d" % number: 1 for number in range(20_000)} | {b"aproject": {}}
    async with ScriptedServer({b"big": names}) as server:
        await said(server, b"big/aprojcet/a/b/c")
        assert server.calls["READDIRPLUS"] == 1
        assert server.calls["LOOKUP"] <= 8


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/projcts/shot", "/projects/shot"),
        ("/shows/a", "/data/shows/a"),
        ("/data/show/a/b", "/data/shows/a/b"),
        ("/nothing", ""),
        ("/", ""),
    ],
)
def test_the_nearest_export_is_meant(path, meant):
    """By its name, or by the last components of it."""
    assert meant_below(path, ["/projects", "/data/shows"]) == meant


async def test_a_path_in_no_export_names_the_one_that_was_meant():
    """Beside the list of all of them."""
    async with ScriptedServer({}, exports=("/projects",)) as server:
        mount = Mount(address="127.0.0.1", nfs_port=server.port, mount_port=server.port, path="/projcts/shot")
        with pytest.raises(MountError, match=r"its exports: /projects; did you mean /projects/shot\?"):
            await open_session(mount, Settings())


async def test_a_misspelt_host_is_held_against_the_table_of_hosts(tmp_path, monkeypatch):
    """Comments in it are no names; a name that is like none gets no advice."""
    table = tmp_path / "hosts"
    table.write_bytes(b"10.0.0.1 cache-one.farm cache-one # cache-three\n\xff\xfe\n")
    monkeypatch.setattr(hosts, "HOSTS", str(table))
    with pytest.raises(UnknownHost, match=r"did you mean cache-one\?"):
        await open_session(Mount(address="cahce-one", path="/a"), Settings())
    assert hosts.advice("cache-three") == ""
    monkeypatch.setattr(hosts, "HOSTS", str(tmp_path / "none"))
    assert hosts.advice("cahce-one") == ""


def test_commands_say_it(nfs_root, nfs_server, tmp_path):
    """A scan of this machine's files; a job, which also knows the addresses of earlier ones."""
    (nfs_root / "meant" / "shot42").mkdir(parents=True)
    (nfs_root / "meant" / "shot42" / "f").write_bytes(b"x")
    environment = {**os.environ, "CACHEWARMER_BROKER": f"sqlite:///{tmp_path}/broker.db"}

    def run(*arguments):
        command = [sys.executable, "-m", "cachewarmer", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    path = f"{nfs_root}/meant/shot42"
    local = run("scan", f"{nfs_root}/meant/shto42")
    assert (local.returncode, local.stderr.rstrip().partition("; ")[2]) == (1, f"did you mean {path}?")
    remote = run("warm", nfs_server.target("meant/shto42"), "-q")
    assert (remote.returncode, remote.stderr.rstrip().partition("; ")[2]) == (1, f"did you mean {path}?")
    assert run("warm", nfs_server.target("meant"), "-q").returncode == 0
    unknown = run("warm", nfs_server.target("meant").replace("127.0.0.1", "127.0.0.l"), "-q")
    assert (unknown.returncode, unknown.stderr.rstrip().partition("; ")[2]) == (1, "did you mean 127.0.0.1?")
