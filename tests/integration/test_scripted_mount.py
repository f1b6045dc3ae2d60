"""Mounting: which export is found, and what a refusal says."""

import asyncio
import os
from dataclasses import replace

import pytest

from cachewarmer.errors import CacheWarmerError, ConnectFailed, FlavorRefused, MountError, ReplyTimeout, UnknownHost
from cachewarmer.model import JobState, Report
from cachewarmer.targets import open_session
from cachewarmer.targets.base import Mount
from cachewarmer.targets.nfs3.session import open_nfs3
from cachewarmer.testing import Faults, ScriptedServer, Trick
from tests.integration.scripted import BYTES, SETTINGS, SMALL, TREE, warmed

UNPRIVILEGED = replace(SETTINGS.nfs, privileged_port=False)


async def opened(server, path, settings=SETTINGS.nfs, **more):
    """The export that the session found for a path, and the kind of what is there."""
    async with asyncio.timeout(30):
        session = await open_nfs3(
            Mount(
                address=server.host,
                export=more.pop("export", ""),
                path=path,
                nfs_port=server.port,
                mount_port=server.port,
                **more,
            ),
            settings,
        )
        try:
            await session.lookup(path.removeprefix(session.export.rstrip("/")).encode())
            return session.export
        finally:
            await session.close()


async def test_the_longest_export_that_holds_the_path_is_mounted():
    """An export below another one wins where the path is in it; a name that only begins alike does not."""
    tree = {b"a": {b"b": {b"file": 1}, b"bc": {b"file": 1}}}
    async with ScriptedServer(tree, exports=("/export", "/export/a/b")) as server:
        assert await opened(server, "/export/a/b/file") == "/export/a/b"
        assert await opened(server, "/export/a/bc/file") == "/export"
        assert await opened(server, "/export/a/b", export="/export") == "/export"


@pytest.mark.parametrize("shown", [(), ("/elsewhere",), ("/export/other",)])
async def test_an_export_that_is_not_listed_is_found_by_trying(shown):
    """Where the list does not help, the directories on the way are tried, the deepest first."""
    async with ScriptedServer({b"a": {b"file": 1}}, Faults(export_list=shown)) as server:
        assert await opened(server, "/export/a") == "/export/a"
        assert await opened(server, "/export/a/file") == "/export/a"


async def test_the_calls_to_find_an_export_by_are_bounded():
    """However many directories there are on the way to a path that somebody posted."""
    async with ScriptedServer({}, Faults(export_list=(), mount_status=13)) as server:
        with pytest.raises(MountError):
            await opened(server, "/a" * 400)
        assert server.calls["MNT"] <= SETTINGS.nfs.mount_tries


async def test_the_root_may_be_exported():
    """An export of / holds every path."""
    async with ScriptedServer({b"a": {b"file": 1}}, exports=("/",)) as server:
        assert await opened(server, "/a/file") == "/"


async def test_no_such_export_names_those_there_are():
    """The error lists what could be mounted."""
    async with ScriptedServer({}, exports=("/export", "/export/more")) as server:
        with pytest.raises(MountError, match=r"/nothing is in no export; its exports: /export, /export/more"):
            await opened(server, "/nothing")


async def test_a_mount_from_a_high_port_is_refused_with_advice():
    """The server wants a privileged port: the error says so, and with one it works."""
    async with ScriptedServer({b"f": 1}, Faults(mount_privileged=True)) as server:
        with pytest.raises(MountError, match=r"source port below 1024.*another uid would not help"):
            await opened(server, "/export", UNPRIVILEGED)
        if os.geteuid() == 0:
            assert await opened(server, "/export") == "/export"


async def test_a_mount_that_is_denied_though_the_port_is_privileged_says_so():
    """Then neither port nor uid would help, only the export list."""
    if os.geteuid():
        pytest.skip("only root may use a privileged port")
    async with ScriptedServer({}, Faults(mount_status=13)) as server:
        with pytest.raises(MountError, match=r"does not admit this machine.*a source port below 1024 was used"):
            await opened(server, "/export")


async def test_nfs_calls_from_a_high_port_are_refused_with_advice():
    """MNT may succeed and NFS calls be refused: AUTH_TOOWEAK is told with its two reasons."""
    async with ScriptedServer({b"f": 1}, Faults(nfs_privileged=True)) as server:
        with pytest.raises(CacheWarmerError, match=r"AUTH_TOOWEAK.*source port below 1024"):
            await opened(server, "/export", UNPRIVILEGED)


async def test_the_uid_that_was_chosen_is_the_one_that_asks():
    """AUTH_SYS carries uid and gid; with another uid the error names the one it was."""
    async with ScriptedServer({b"f": 1}, Faults(nfs_uid=4242)) as server:
        assert await opened(server, "/export", uid=4242, gid=7) == "/export"
        with pytest.raises(MountError, match="uid"):
            await opened(server, "/export", uid=1, gid=1)


async def test_the_settings_uid_is_the_one_that_asks_where_the_job_names_none():
    """What the installed services rest on: they run as one user and read as another."""
    async with ScriptedServer({b"f": 1}, Faults(nfs_uid=4242)) as server:
        assert await opened(server, "/export", replace(SETTINGS.nfs, uid=4242, gid=0)) == "/export"
        with pytest.raises(MountError, match="uid"):
            await opened(server, "/export", replace(SETTINGS.nfs, uid=4242), uid=1, gid=1)


async def test_an_export_for_kerberos_alone_is_told():
    """The flavours of MNT's reply leave AUTH_SYS out."""
    async with ScriptedServer({}, Faults(mount_flavours=(390003,))) as server:
        with pytest.raises(FlavorRefused, match="Kerberos"):
            await opened(server, "/export")


async def test_a_port_that_nobody_listens_on_is_told():
    """Refused, with the address and the port."""
    async with ScriptedServer({}) as server:
        port = server.port
    with pytest.raises(ConnectFailed, match=f"port {port}.*refused"):
        await opened(server, "/export")


async def test_a_path_that_is_not_there_fails_the_job(tmp_path):
    """One line with the path; the server is not asked for ever."""
    async with ScriptedServer(TREE) as server:
        status = await warmed(server.url("/d1/nothing"), tmp_path)
    assert status.state is JobState.FAILED
    assert "d1/nothing" in status.reason


async def test_a_file_and_a_subdirectory_are_targets_too(tmp_path):
    """TARGET may be one file, or a directory below the export."""
    async with ScriptedServer(TREE) as server:
        file = await warmed(server.url("/big"), tmp_path)
        below = await warmed(server.url("/d2"), tmp_path)
    assert (Report.of_job(file, 0).document()["files"], Report.of_job(file, 0).document()["bytes"]) == (1, 5_000_000)
    assert (Report.of_job(below, 0).document()["files"], Report.of_job(below, 0).document()["bytes"]) == (
        30,
        sum(2 * f * 100 for f in range(30)),
    )


async def test_a_root_handle_that_goes_stale_does_not_hang(tmp_path):
    """Only MNT gives another root handle: the job ends, with all or with an error, and at once."""
    async with ScriptedServer(TREE, Faults(stale={"READDIRPLUS": 1}, stale_root=True)) as server:
        status = await warmed(server.url(), tmp_path)
    if status.state is JobState.COMPLETED:
        assert (Report.of_job(status, 0).document()["files"], Report.of_job(status, 0).document()["bytes"]) == (
            SMALL + 1,
            BYTES,
        )
    else:
        assert status.state is JobState.FAILED
        assert "NFS3ERR_STALE" in status.reason


async def test_a_server_that_answers_mount_but_not_nfs_is_told(monkeypatch):
    """It is not waited for as a file server that is merely slow: the error says what is not answered."""
    monkeypatch.setattr("cachewarmer.targets.nfs3.session.START_SECONDS", 0.3)
    async with ScriptedServer({b"f": 1}, Faults(trick=Trick.SILENCE)) as server:
        with pytest.raises(ReplyTimeout, match=r"127.0.0.1: /export: mounted, but FSINFO is not answered"):
            await opened(server, "/export")


async def test_a_name_that_does_not_resolve_is_not_mounted_instead():
    """The kernel would not know it either."""
    with pytest.raises(UnknownHost, match=r"^no-such-host.invalid: no such host"):
        await open_session(Mount(address="no-such-host.invalid", export="", path="/x"), SETTINGS)
