"""A server that does what a good one won't: totals stay exact, nothing hangs, and what failed is told."""

import asyncio
import gc
import logging
from dataclasses import replace

import pytest

from cachewarmer.model import JobState, Report
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets import open_session
from cachewarmer.targets.base import Mount, ReadRequest
from cachewarmer.targets.nfs3.connection import Channel
from cachewarmer.targets.pool import SessionPool
from cachewarmer.testing import Faults, ScriptedServer, Trick
from tests.integration.scripted import BYTES, NOT_EMPTY, SETTINGS, SMALL, TREE, warmed

IMPATIENT = replace(SETTINGS, nfs=replace(SETTINGS.nfs, reply_seconds=0.5))
ON_EVERY_CONNECTION = [trick for trick in Trick if trick not in (Trick.SILENCE, Trick.EMPTY_FRAGMENTS)]

RECOVERED = {
    "no attributes anywhere": Faults(list_attributes=False, lookup_attributes=False, other_attributes=False),
    "no handles": Faults(list_handles=False),
    "neither handles nor attributes": Faults(
        list_attributes=False, list_handles=False, lookup_attributes=False, other_attributes=False
    ),
    "no READDIRPLUS": Faults(readdirplus=False),
    "no READDIRPLUS, no attributes": Faults(readdirplus=False, lookup_attributes=False, other_attributes=False),
    "READ of 64 KiB": Faults(rtmax=1 << 16),
    "READ of an odd length": Faults(rtmax=3001),
    "short replies": Faults(short_reads=True),
    "fragments": Faults(fragments=True),
    "small writes": Faults(small_writes=True),
    "fragments in small writes": Faults(fragments=True, small_writes=True, short_reads=True, page_entries=3),
    "small pages": Faults(page_entries=1),
    "verifiers forgotten": Faults(page_entries=7, bad_verifiers=True),
    "a cookie refused once": Faults(page_entries=7, bad_cookies=1),
    "listings too small": Faults(too_small=100_000),
    "JUKEBOX on READ": Faults(jukebox={"READ": 2}),
    "JUKEBOX on everything": Faults(jukebox=dict.fromkeys(("READ", "READDIRPLUS", "LOOKUP", "GETATTR", "FSINFO"), 1)),
    "a fault of the server on everything": Faults(
        jukebox=dict.fromkeys(("READ", "READDIRPLUS", "LOOKUP", "GETATTR", "FSINFO"), 2), jukebox_status=10006
    ),
    "stale files": Faults(stale={"READ": 1}),
    "stale twice": Faults(stale={"READ": 2}),
    "stale directories": Faults(stale={"READDIRPLUS": 1}),
    "stale everything": Faults(stale={"READ": 1, "READDIRPLUS": 1, "LOOKUP": 1}),
    "slow": Faults(read_delay=0.001),
} | {f"{trick} on every connection": Faults(trick=trick, trick_after=25) for trick in ON_EVERY_CONNECTION}


@pytest.mark.parametrize("faults", RECOVERED.values(), ids=RECOVERED)
async def test_everything_is_warmed_nevertheless(tmp_path, faults):
    """The totals are those of the tree, exactly: nothing is lost, nothing counts twice."""
    async with ScriptedServer(TREE, faults) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert (status.state, report["errors"]) == (JobState.COMPLETED, [])
    assert (report["files"], report["bytes"], report["skipped_files"]) == (SMALL + 1, BYTES, 2)
    assert (report["directories"], report["failed_files"], report["vanished_files"]) == (12, 0, 0)
    assert server.complaints == []


@pytest.mark.parametrize("trick", [Trick.SILENCE, Trick.EMPTY_FRAGMENTS])
async def test_a_connection_that_goes_quiet_is_made_again(tmp_path, trick, caplog):
    """A reply that does not come within the limit is asked for again on another connection, and the user is told."""
    caplog.set_level(logging.INFO)
    async with ScriptedServer(TREE, Faults(trick=trick, trick_after=25, trick_times=3)) as server:
        status = await warmed(server.url(), tmp_path, IMPATIENT)
    assert status.state is JobState.COMPLETED
    assert ("no reply within 0.5 s" in caplog.text) == (trick is Trick.SILENCE)
    assert (Report.of_job(status, 0).document()["files"], Report.of_job(status, 0).document()["bytes"]) == (
        SMALL + 1,
        BYTES,
    )


async def test_a_server_that_never_answers_is_given_up(tmp_path):
    """The job ends with one line that names the server and the reason."""
    async with ScriptedServer(TREE, Faults(trick=Trick.SILENCE)) as server:
        settings = replace(IMPATIENT, nfs=replace(IMPATIENT.nfs, reconnect_attempts=2))
        status = await warmed(server.url(), tmp_path, settings)
    assert status.state is JobState.FAILED
    assert "127.0.0.1" in status.reason
    assert "no reply within 0.5 s" in status.reason
    assert "\n" not in status.reason


@pytest.mark.parametrize(
    "trick", [Trick.GARBAGE, Trick.HUGE_RECORD, Trick.WRONG_XID, Trick.CALL, Trick.TRUNCATED, Trick.DROP]
)
@pytest.mark.parametrize("program", ["mount", "nfs"])
async def test_a_server_that_only_talks_nonsense_is_given_up(tmp_path, trick, program):
    """From the first reply on: the job fails with one line, whether it is mountd or nfsd."""
    async with ScriptedServer(TREE, Faults(trick=trick, trick_program=program)) as server:
        settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, reconnect_attempts=2, connect_seconds=2))
        status = await warmed(server.url(), tmp_path, settings)
    assert status.state is JobState.FAILED
    assert status.reason
    assert "\n" not in status.reason
    assert "127.0.0.1" in status.reason


async def test_what_may_not_be_read_is_counted_and_named(tmp_path):
    """Denied and broken files and directories fail one by one; all else is warmed."""
    faults = Faults(denied=frozenset({b"d3/f7", b"d4"}), failing={b"d5/f9": 5, b"d6/f1": 10006})
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, fault_limit_seconds=1.0))
    async with ScriptedServer(TREE, faults) as server:
        status = await warmed(server.url(), tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert report["files"] == SMALL + 1 - 30 - 3
    assert (report["failed_files"], report["failed_directories"]) == (3, 1)
    assert report["bytes"] == BYTES - sum(4 * f * 100 for f in range(30)) - 100 * (3 * 7 + 5 * 9 + 6 * 1)
    said = {error["path"]: error["error"] for error in report["errors"]}
    assert set(said) == {"/export/d3/f7", "/export/d4", "/export/d5/f9", "/export/d6/f1"}
    assert "NFS3ERR_ACCES" in said["/export/d3/f7"]
    assert "NFS3ERR_ACCES" in said["/export/d4"]
    assert "NFS3ERR_IO" in said["/export/d5/f9"]
    assert all("\n" not in error for error in said.values())


async def test_what_vanished_is_counted_and_no_failure(tmp_path):
    """A file that was listed and is gone when it is read: the handle is stale and its name leads nowhere."""
    async with ScriptedServer(TREE, Faults(vanished=frozenset({b"d3/f7", b"d5/f9"}))) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["vanished_files"], report["failed_files"]) == (SMALL - 1, 2, 0)
    assert report["bytes"] == BYTES - 100 * (3 * 7 + 5 * 9)


async def test_a_file_that_ends_before_its_size_is_named_and_one_that_grows_is_not_followed(tmp_path):
    """The server still says how long the first are, and gives less: what is missing can't be warm. No call goes past the
    size that was seen."""
    faults = Faults(real_sizes={b"d3/f7": 100, b"d5/f9": 1 << 40, b"d9/f9": 0})
    async with ScriptedServer(TREE, faults) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (report["files"], report["failed_files"]) == (SMALL - 1, 2)
    assert {error["path"] for error in report["errors"]} == {"/export/d3/f7", "/export/d9/f9"}
    assert report["bytes"] == BYTES - (2100 - 100) - 8100
    assert server.read_bytes == report["bytes"]


async def test_a_file_that_never_gives_a_byte_fails(tmp_path):
    """READ without bytes and without eof is asked again a few times; then the file failed, it is not called warm."""
    async with ScriptedServer({b"full": 100, b"empty": 0}, Faults(empty_reads=True)) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (report["files"], report["failed_files"], report["bytes"]) == (1, 1, 0)
    assert "returns no data" in report["errors"][0]["error"]


async def test_jukebox_that_does_not_end_fails_the_file_alone(tmp_path):
    """After the limit the file counts as failed; others are warm long before."""
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, jukebox_limit_seconds=0.3))
    tree = {b"good": 100, b"tape": 100}
    async with ScriptedServer(tree, Faults(failing={b"tape": 10008})) as server:
        status = await warmed(server.url(), tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["failed_files"]) == (1, 1)
    assert "NFS3ERR_JUKEBOX" in report["errors"][0]["error"]


async def test_a_fault_of_the_server_that_does_not_end_fails_the_file_alone(tmp_path):
    """NFS3ERR_SERVERFAULT for one file: it is asked for again until the limit, and named."""
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, fault_limit_seconds=0.3))
    async with ScriptedServer({b"good": 100, b"odd": 100}, Faults(failing={b"odd": 10006})) as server:
        status = await warmed(server.url(), tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["failed_files"]) == (1, 1)
    assert "NFS3ERR_SERVERFAULT" in report["errors"][0]["error"]


async def test_jukebox_now_and_then_is_waited_for_each_time(tmp_path):
    """The limit is for one wait: a large file that tapes bring piece by piece may take as long as it takes."""
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, window_calls=1, jukebox_limit_seconds=0.1))
    async with ScriptedServer({b"tape": 60_000}, Faults(rtmax=4096, jukebox_every=3)) as server:
        status = await warmed(server.url(), tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert (report["files"], report["failed_files"], report["bytes"]) == (1, 0, 60_000)
    assert report["calls"] > 15 + 5, "it was told to wait several times"


async def test_a_name_that_can_be_none_is_named_and_not_followed(tmp_path):
    """One that would lead elsewhere, or nowhere: it is no file, and nothing of it is asked for."""
    odd = {b"../d": {b"f": 5}, b"/etc": {b"f": 5}, b"a/b": 7, b"nul\0": 7, b"..": {b"f": 5}, b".": {b"f": 5}}
    async with ScriptedServer({b"good": 10} | odd) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (report["files"], report["bytes"], report["directories"]) == (1, 10, 1)
    assert report["failed_files"] + report["failed_directories"] == 4
    assert server.calls["READDIRPLUS"] == 1
    assert server.calls["READ"] == 1


async def test_a_listing_in_circles_is_noticed(tmp_path):
    """A directory without end is an error, not a scan without end."""
    async with ScriptedServer(TREE, Faults(page_entries=2, circling=True)) as server:
        status = await warmed(server.url(), tmp_path)
    assert status.state is JobState.FAILED
    assert "over and over" in status.reason


@pytest.mark.parametrize(("setting", "value"), [("directory_entries", 20), ("directory_seconds", 1e-9)])
async def test_a_directory_that_takes_more_than_it_may_is_named_with_the_setting(tmp_path, setting, value):
    """It alone counts as failed, in one line, and what it listed until then is warmed."""
    tree = {b"huge": {b"f%d" % number: 10 for number in range(100)}, b"small": {b"f": 10}}
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, **{setting: value}))
    async with ScriptedServer(tree, Faults(page_entries=10)) as server:
        status = await warmed(server.url(), tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert report["failed_directories"] == 1
    assert any("/huge" in error["path"] and setting in error["error"] for error in report["errors"])
    assert "\n" not in "".join(error["error"] for error in report["errors"])


async def test_a_listing_that_can_not_go_on_starts_again(tmp_path):
    """Cookies that went bad for good: the listing begins anew, and no name comes twice."""
    async with ScriptedServer(TREE, Faults(page_entries=8, bad_cookies=2)) as server:
        status = await warmed(server.url(), tmp_path)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"]) == (SMALL + 1, BYTES)


async def test_another_address_takes_over_from_one_that_talks_nonsense(tmp_path):
    """Work goes to the next address when one fails; the report is that of one tree."""
    async with ScriptedServer(TREE, host="127.0.0.1") as good:
        bad = ScriptedServer(TREE, Faults(trick=Trick.GARBAGE, trick_after=40), host="127.0.0.2", port=good.port)
        async with bad:
            settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, reconnect_attempts=2))
            target = good.url().replace("127.0.0.1", "127.0.0.1,127.0.0.2")
            status = await warmed(target, tmp_path, settings)
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED
    assert (report["files"], report["bytes"]) == (SMALL + 1, BYTES)


async def test_many_connections_share_the_work(tmp_path):
    """Several connections to one address are all used, and each file is still read once."""
    settings = replace(SETTINGS, nfs=replace(SETTINGS.nfs, connections=4, window_calls=64))
    async with ScriptedServer(TREE, Faults(read_delay=0.002)) as server:
        status = await warmed(server.url(), tmp_path, settings)
    assert (Report.of_job(status, 0).document()["bytes"], server.calls["READ"]) == (BYTES, NOT_EMPTY + 5)
    assert server.connections >= 4


async def test_ipv6(tmp_path):
    """An address in brackets is reached over IPv6."""
    try:
        probe = await asyncio.start_server(lambda *_: None, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    probe.close()
    await probe.wait_closed()
    async with ScriptedServer(TREE, host="::1") as server:
        status = await warmed(server.url(), tmp_path)
    assert (status.state, Report.of_job(status, 0).document()["bytes"]) == (JobState.COMPLETED, BYTES)


@pytest.mark.parametrize("trick", list(Trick))
async def test_a_lost_connection_is_let_go_at_once(trick):
    """Its error must not hold it in a cycle: with its buffer it would wait for the garbage collector's last stage."""
    async with ScriptedServer(TREE, Faults(trick=trick, trick_after=30, trick_times=3)) as server:
        target = parse_target(server.url())
        gc.collect()
        gc.disable()
        try:
            async with SessionPool(IMPATIENT, open_session) as pool:
                session = await pool.session(Mount.of(make_job(target).access, target.access.addresses[0], target.path))
                done = asyncio.Semaphore(0)
                for number in range(60):
                    session.read(
                        ReadRequest(b"d%d/f%d" % (number % 10, number // 10), b"", 0, 100, lambda _: done.release())
                    )
                for _ in range(60):
                    await done.acquire()
                assert [one for one in gc.get_objects() if isinstance(one, Channel) and one.closed] == []
        finally:
            gc.enable()
