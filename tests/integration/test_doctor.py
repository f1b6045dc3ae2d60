"""``doctor``, against servers that are well, odd, dead, or no NFS servers at all."""

import asyncio
import json
import os
import sys

import pytest

from cachewarmer.testing import Faults, ScriptedServer
from tests.servers.ganesha import GaneshaExport, ganesha
from tests.servers.ports import free_port
from tests.servers.rclone import rclone

TREE = {b"f%d" % number: 1000 for number in range(30)}


async def doctor(*arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", "doctor", *map(str, arguments), "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert err == b"", err
    assert b"hush" not in out, "a password"
    found = json.loads(out)["findings"]
    assert all(one["level"] in ("ok", "warning", "failure") for one in found)
    assert not any("\n" in one["said"] for one in found)
    assert all(one["mend"] for one in found if one["level"] != "ok"), "what is wrong comes with its mend"
    return process.returncode, {one["check"]: one for one in found}


async def bad_request(reader, writer):
    """What a web server says to somebody who speaks no HTTP."""
    await reader.read(4096)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_a_real_server_that_is_well(nfs_server, nfs_root):
    (nfs_root / "readable").write_bytes(b"x")
    (nfs_root / "readable").chmod(0o644)
    code, found = await doctor(nfs_server.target())
    assert code == 0
    assert set(found) >= {"name", "ports", "versions", "export", "round trip", "rtmax", "listing", "identity", "knee"}
    assert found["services"]["level"] == "ok"
    assert "1024 KiB" in found["rtmax"]["said"]


async def test_who_may_not_read_what_root_may_is_told_so(tmp_path):
    """With root squash off and on, as a user and as root."""
    tmp_path.chmod(0o755)
    for name, owner in (("locked", 0), ("mine", 4711)):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(0o400)
        os.chown(tmp_path / name, owner, owner)
    with ganesha(tmp_path) as server:
        _, found = await doctor(server.target(uid=4711, gid=4711))
        assert found["identity"]["level"] == "warning"
        assert "root may" in found["identity"]["said"]
        assert "none: root may do" in found["root squash"]["said"]
        _, found = await doctor(server.target(uid=0, gid=0))
        assert "may read the 2 files" in found["identity"]["said"]
        assert "none: root may do" in found["root squash"]["said"]
    with ganesha(tmp_path, squash="root") as server:
        _, found = await doctor(server.target(uid=0, gid=0))
        assert found["identity"]["level"] == "warning"
        assert "squashes root" in found["identity"]["said"]
        assert "root is taken for nobody" in found["root squash"]["said"]
        _, found = await doctor(server.target(uid=4711, gid=4711))
        assert "root is taken for nobody: uid 4711 may do more" in found["root squash"]["said"]


async def test_each_export_is_tried_and_let_go_of(tmp_path):
    """Those that are shown: one of them is for another machine, and Ganesha shows it to nobody else."""
    trees = [tmp_path / name for name in ("first", "second", "closed")]
    for tree in trees:
        tree.mkdir(mode=0o755)
    also = [GaneshaExport(path=trees[1]), GaneshaExport(path=trees[2], clients="192.0.2.1")]
    with ganesha(trees[0], also=also) as server:
        code, found = await doctor(server.target())
    assert code == 0
    assert found["exports"]["said"] == f"2 shown; this machine may mount {trees[0]}, {trees[1]}"
    async with ScriptedServer(TREE, Faults(export_list=("/export", "/away"))) as one:
        _, found = await doctor(one.url())
        assert (one.calls["MNT"], one.calls["UMNT"]) == (2, 1)
    assert "may mount /export; it may not mount /away (" in found["exports"]["said"]


@pytest.mark.parametrize(
    ("faults", "check", "said"),
    [
        (Faults(rtmax=32768), "rtmax", "32 KiB"),
        (Faults(list_attributes=False), "listing", "without attributes"),
        (Faults(lookup_attributes=False), "attributes", "one GETATTR more"),
        (Faults(mount_status=13), "mount", "does not admit"),
        (Faults(nfs_uid=99), "mount", "denied"),
    ],
)
async def test_what_is_odd_or_wrong_is_named(faults, check, said):
    """And nothing on the server was changed, nor any file read."""
    async with ScriptedServer(TREE, faults) as server:
        code, found = await doctor(server.url())
        assert server.calls["READ"] == 0
        assert server.complaints == []
    assert said in found[check]["said"] + found[check]["mend"]
    assert code == (1 if check == "mount" else 0)


async def test_a_dead_host_a_wrong_name_and_a_port_of_another_service():
    """One failure each, with the reason; never a traceback, never a wait without end."""
    port = free_port()
    code, found = await doctor(f"nfs://127.0.0.1/e?nfsport={port}&mountport={port}")
    assert (code, found["mount"]["level"]) == (1, "failure")
    assert "refused" in found["mount"]["said"]
    code, found = await doctor("nfs://no-such-host.invalid/e")
    assert (code, found["name"]["level"]) == (1, "failure")
    web = await asyncio.start_server(bad_request, "127.0.0.1", 0)
    async with web:
        port = web.sockets[0].getsockname()[1]
        code, found = await doctor(f"nfs://127.0.0.1/e?nfsport={port}&mountport={port}")
    assert (code, found["mount"]["level"]) == (1, "failure")


async def test_a_broker_and_one_that_is_not_there(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/jobs.db"
    code, found = await doctor("--broker", url)
    assert (code, found["open"]["level"]) == (0, "warning")
    assert not (tmp_path / "jobs.db").exists()
    submitting = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cachewarmer", "submit", str(tmp_path), "--broker", url),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await submitting.wait() == 0
    code, found = await doctor("--broker", url)
    assert code == 0
    assert "1 job can be read" in found["jobs"]["said"]
    assert "writing" in found
    monkeypatch.setenv("CACHEWARMER_BROKER", url)
    assert set((await doctor())[1]) == set(found), "the broker of the environment is looked at"
    code, found = await doctor("--broker", f"postgresql://me:hush-hush@127.0.0.1:{free_port()}/none")
    assert (code, found["open"]["level"]) == (1, "failure")


async def test_rclones_server_and_a_local_path(tmp_path):
    """No portmapper and no export list there; and of a path of this machine there is less to say."""
    (tmp_path / "f").write_bytes(b"x")
    with rclone(tmp_path) as target:
        code, found = await doctor(target.format(""))
    assert code == 0, found
    assert {"name", "ports", "services", "export", "rtmax", "listing"} <= set(found)
    code, found = await doctor(tmp_path)
    assert (code, found["listing"]["said"]) == (0, "it can be listed: 1 entries or more")
    code, found = await doctor(tmp_path / "missing")
    assert (code, found["path"]["level"]) == (1, "failure")
