"""The functions for programs, over a small tree of this machine, and their examples in the docs."""

import argparse
import asyncio
import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cachewarmer
from cachewarmer.choice.arguments import Choosing
from cachewarmer.cli import verify as verify_command
from cachewarmer.cli import warm as warm_command
from cachewarmer.errors import CacheWarmerError, JobFailed, UsageError
from cachewarmer.model import JobState
from cachewarmer.testing import Faults, ScriptedServer

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "python.md"
TARGET = "nfs://cache1/projects/shot42"
CLUSTER = "nfs://cache1,cache2,cache3/projects/shot42"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for directory in range(4):
        (root / f"d{directory}").mkdir(parents=True)
        for file in range(5):
            (root / f"d{directory}" / f"f{file}.exr").write_bytes(b"x" * 1000)
            (root / f"d{directory}" / f"f{file}.tmp").write_bytes(b"x" * 10)
    return root


@pytest.fixture(autouse=True)
def _own_broker(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHEWARMER_BROKER", f"sqlite:///{tmp_path}/broker.db")


async def warmed(*args, **options):
    return [progress async for progress in cachewarmer.warm(*args, **options)]


# -- warm --------------------------------------------------------------------------------------------------------------


async def test_the_last_value_has_the_final_report(tree):
    """Exact totals; no value but the last is of the end, and files never exceed what there is."""
    *before, last = await warmed(tree, include=["*.exr"], name="shot42")
    assert last.over
    assert last.state is JobState.COMPLETED
    assert (last.files, last.bytes, last.report.excluded_files) == (20, 20_000, 20)
    assert (last.report.name, last.report.job, last.seconds_left) == ("shot42", last.job, 0.0)
    assert not any(progress.over for progress in before)
    assert all(progress.files <= 20 for progress in before)


async def test_a_server_is_read_through_the_protocol():
    async with ScriptedServer({b"d": {b"f%d" % n: 100 * n for n in range(10)}}) as server:
        *_, last = await warmed(server.url(), transport="nfs", window=4)
    assert (last.files, last.bytes) == (10, 4500)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        ({"exclude": "*.tmp"}, 20),
        ({"max_file_size": "500"}, 20),
        ({"newer_than": datetime(2999, 1, 1, tzinfo=UTC)}, 0),
        ({"newer_than": "3d"}, 40),
        ({"files_from": ["d0/f0.exr", b"d1/f1.tmp"]}, 2),
        ({"min_file_size": "500"}, 20),
        ({"frames": "d0/f#.exr 0-2"}, 3),
        ({"frames": ["d0/f#.exr 0-2"], "files_from": ["d1/f1.tmp", "d1/f2.tmp"]}, 5),
        ({"files_from": ["P:\\f1.tmp", "p:\\f2.tmp"], "map": {"P:\\": "d1"}}, 2),
        ({"frames": "/mnt/f#.exr 1-2", "map": ["/mnt=d0"]}, 2),
    ],
)
async def test_each_option_chooses_files(tree, options, files):
    assert (await cachewarmer.scan(str(tree), **options)).files == files
    assert (await warmed(tree, **options))[-1].files == files


async def test_a_list_may_come_of_an_asynchronous_source(tree):
    async def names():
        for number in range(5):
            await asyncio.sleep(0)
            yield f"d0/f{number}.exr"

    assert (await warmed(tree, files_from=names()))[-1].files == 5


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"head": 10}, 40 * 10),
        ({"head": "20", "tail": "300"}, 20 * 320 + 20 * 10),
        ({"files_from": [("d0/f0.exr", 100, 50), (b"d0/f1.exr", 0, 25), "d0/f2.exr"]}, 75 + 1000),
    ],
)
async def test_parts_of_files_are_read(tree, options, size):
    assert (await warmed(tree, **options))[-1].bytes == size


async def test_rules_and_scenes_come_from_files(tree, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("- *.tmp\n")
    assert (await warmed(tree, filter_from=rules))[-1].files == 20
    pytest.importorskip("pxr", reason="the extra usd is not installed")
    scene = tree / "shot.usda"
    scene.write_text('#usda 1.0\ndef "A" {\n  asset inputs:file = @./d0/f0.exr@\n}\n')
    last = (await warmed(tree, usd=scene))[-1]
    assert (last.files, last.bytes) == (2, 1000 + scene.stat().st_size)


async def test_a_list_in_order_is_read_in_its_order():
    """All of the large file before the last one is asked for, though each file gets its first READ early otherwise."""
    tree, asked = {b"small": 1000, b"large": 3_000_000, b"last": 10}, []
    async with ScriptedServer(tree) as server:
        find = server.procedures.tree.find
        server.procedures.tree.find = lambda handle: asked.append(find(handle)) or asked[-1]
        names = ["small", "large", "last"]
        last = (await warmed(server.url(), transport="nfs", connections=1, files_from=names, in_order=True))[-1]
    assert last.files == 3
    places = {size: place for place, size in enumerate(tree.values())}
    order = [places[node.size] for node in asked if node.size in places]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}


# -- what readers ask, several caches ----------------------------------------------------------------------------------


async def test_the_access_of_others_is_asked_for_and_no_file_is_read():
    async with ScriptedServer({b"d": {b"f%d" % n: 1000 for n in range(10)}}) as server:
        options = {"transport": "nfs", "access_as": ["1000", "1001:100,101"], "metadata_only": True}
        last = (await warmed(server.url(), **options))[-1]
        asked, read = server.calls["ACCESS"], server.read_bytes
    assert read == 0
    assert asked >= 2 * 11
    assert (last.state, last.bytes) == (JobState.COMPLETED, 0)


@pytest.mark.parametrize("fan_out", [False, True])
async def test_each_address_is_warmed(fan_out):
    tree = {b"d": {b"f%d" % n: 1000 for n in range(10)}}
    async with ScriptedServer(tree) as first, ScriptedServer(tree, host="127.0.0.2", port=first.port) as second:
        target = first.url().replace("127.0.0.1", "127.0.0.1,127.0.0.2")
        last = (await warmed(target, transport="nfs", each_address=True, fan_out=fan_out))[-1]
        again = (await warmed(target, transport="nfs", each_address=True, address_subset=["127.0.0.2"]))[-1]
        assert (first.read_bytes, second.read_bytes) == (10_000, 20_000)
    assert (last.files, again.files) == (20, 10)


# -- the ledger --------------------------------------------------------------------------------------------------------


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_what_is_new_or_changed_since_a_ledger_is_read(tree, tmp_path):
    """Since its file, and since the job of that name; and the ledger is there with the last value."""
    ledger = tmp_path / "l.jsonl"
    async for progress in cachewarmer.warm(tree, ledger=ledger, name="nightly"):
        if progress.over:
            assert [one["status"] for one in records(ledger)] == ["read"] * 40
    (tree / "d0" / "new.exr").write_bytes(b"y" * 500)
    for since in (ledger, "nightly"):
        last = (await warmed(tree, since=since))[-1]
        assert (last.files, last.bytes, last.report.unchanged_files) == (1, 500, 40)
    kept = (await warmed(tree, keep_ledger=True, name="kept"))[-1]
    assert kept.files == 41
    assert (await warmed(tree, since=kept.job))[-1].files == 0


async def test_what_a_scene_names_and_is_not_there_is_read_when_it_is(tree, tmp_path):
    """It has a record of its own in the ledger."""
    pytest.importorskip("pxr", reason="the extra usd is not installed")
    scene, ledger = tree / "shot.usda", tmp_path / "l.jsonl"
    scene.write_text('#usda 1.0\ndef "A" {\n  asset inputs:file = @./late.exr@\n}\n')
    last = (await warmed(tree, usd=scene, ledger=ledger))[-1]
    assert (last.files, last.report.failed_files) == (1, 1)
    assert {one["path"]: one["status"] for one in records(ledger)} == {
        str(scene): "read",
        str(tree / "late.exr"): "failed",
    }
    (tree / "late.exr").write_bytes(b"x" * 300)
    again = (await warmed(failed_of=last.job))[-1]
    assert (again.files, again.bytes) == (1, 300)


async def test_what_failed_is_read_again(tmp_path):
    files = {b"d": {b"f%d" % n: 1000 for n in range(10)}}
    async with ScriptedServer(files, Faults(denied=frozenset({b"d/f3"}))) as server:
        last = (await warmed(server.url(), transport="nfs", keep_ledger=True, name="first"))[-1]
        assert (last.files, last.report.failed_files) == (9, 1)
        port = server.port
    async with ScriptedServer(files, port=port) as server:
        again = (await warmed(failed_of="first"))[-1]
        assert (again.files, server.read_bytes) == (1, 1000)


@pytest.mark.parametrize("leave", ["break", "cancel"])
async def test_a_loop_that_is_left_stops_its_job_which_can_be_resumed(tree, leave):
    """The first value leaves it: with 4 kB/s nearly all is still to be read."""
    seen = []

    async def watch():
        async with contextlib.aclosing(cachewarmer.warm(tree, max_bandwidth=4000)) as job:
            async for progress in job:
                seen.append(progress)
                if leave == "break":
                    break
                task.cancel()

    task = asyncio.create_task(watch())
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert task.cancelled() is (leave == "cancel")
    assert len(asyncio.all_tasks()) == 1, "nothing goes on behind the back of who left"
    assert not seen[-1].over

    again = cachewarmer.warm(resume=seen[-1].job)
    async with contextlib.aclosing(again):
        resumed = await anext(again)
    assert (resumed.job, resumed.report.target) == (seen[-1].job, str(tree))


async def test_a_job_that_does_not_stop_in_time_is_ended(tree, monkeypatch):
    """With no time at all to stop in, nothing of it goes on either."""
    monkeypatch.setattr("cachewarmer.api.STOP_SECONDS", 0)
    async with contextlib.aclosing(cachewarmer.warm(tree, max_bandwidth=4000)) as job:
        await anext(job)
    assert len(asyncio.all_tasks()) == 1


async def test_the_latest_job_of_a_target_is_resumed(tree):
    async with contextlib.aclosing(cachewarmer.warm(tree, max_bandwidth=4000)) as job:
        first = await anext(job)
    async with contextlib.aclosing(cachewarmer.warm(tree, resume=True)) as job:
        assert (await anext(job)).job == first.job


async def test_a_job_that_fails_says_so_and_raises(tmp_path):
    """The last value has the report of it; the error its parts."""
    seen = []

    async def watch():
        async for progress in cachewarmer.warm(tmp_path / "absent"):
            seen.append(progress)

    with pytest.raises(JobFailed) as raised:
        await watch()
    assert seen[-1].state is JobState.FAILED
    assert raised.value.failure == seen[-1].report.failure
    assert "absent" in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": ""}, "needs a target"),
        ({"resume": "j0123"}, "not both"),
        ({"target": "", "resume": ""}, "id of a job"),
        ({"processes": 0}, "between 1 and 64"),
        ({"window": 0}, "window must be"),
        ({"window": "wide"}, "window must be"),
        ({"transport": "smb"}, "transport must be one of"),
        ({"max_file_size": "2 lots"}, "not a valid size"),
        ({"max_file_size": -1}, "must not be negative"),
        ({"max_bandwidth": -1}, "must not be negative"),
        ({"newer_than": "yesterday"}, "not a valid time"),
        ({"include": ["[a"]}, "[a"),
        ({"files_from": ["a\0b"]}, "NUL"),
        ({"files_from": ["a" * 9000]}, "more than 8192 bytes"),
        ({"resume": True}, "no unfinished job"),
        ({"in_order": True}, "in_order needs files_from, frames or usd"),
        ({"map": {"P:": "/p"}}, "map needs files_from, frames or usd"),
        ({"map": "P", "files_from": ["a"]}, "write FROM=TO"),
        ({"frames": ["plate 1-2"]}, "not a sequence of frames"),
        ({"files_from": [("a", 5, 0)]}, "not a range of bytes"),
        ({"head": "-1"}, "not a valid size"),
        ({"tail": -1}, "tail must not be negative"),
        ({"fan_out": True}, "fan_out needs each_address"),
        ({"address_subset": ["a"]}, "address_subset needs each_address"),
        ({"each_address": True}, "each_address is for mount addresses"),
        ({"access_as": ["1000"]}, "access_as is for the direct NFS reader"),
        ({"access_as": ["root"], "target": "cache1:/p"}, "is not UID[:GID[,GID...]]"),
        ({"uid": 5}, "uid and gid are for NFS"),
        ({"uid": -5, "target": "cache1:/p"}, "Uid"),
        ({"ledger": "/absent/l"}, "there is no directory /absent"),
        ({"ledger": "l", "metadata_only": True}, "ledger records what was read, but metadata_only reads nothing"),
        ({"since": "/absent"}, "reading the ledger"),
        ({"since": "x", "resume": True}, "resume continues an existing job, but since and failed_of start a new one"),
        ({"failed_of": "x"}, "not both"),
        ({"failed_of": "x", "target": "", "files_from": ["a"]}, "leave out files_from"),
        ({"window": 5, "gentle": True}, "max_window and gentle need an automatic one"),
        ({"max_window": 0}, "max_window must be between"),
        ({"connections": 0}, "connections must be between"),
        ({"patience": "soon"}, "not a number of seconds"),
        ({"patience": -1}, "patience must be"),
        ({"usd": "/absent/a.usda"}, "/absent/a.usda"),
        ({"filter_from": "/absent"}, "/absent"),
    ],
)
async def test_what_makes_no_sense_is_said(tree, options, said):
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        await warmed(**{"target": tree, **options})
    assert "--" not in str(raised.value)


@pytest.mark.parametrize("function", [warmed, cachewarmer.scan, cachewarmer.verify])
async def test_an_argument_that_there_is_none_of_is_told_as_python_does(tree, function):
    with pytest.raises(TypeError, match=r"\(\) got an unexpected keyword argument 'inclde'"):
        await function(tree, inclde="*.exr")


def test_every_option_of_the_command_has_its_argument():
    """But for those that are about the terminal, about files with events, or about what a program does itself."""
    parser = argparse.ArgumentParser()
    warm_command.add_arguments(parser)
    options = {text for action in parser._actions for text in action.option_strings if text.startswith("--")}
    of_the_command = {
        *("--help", "--json", "--quiet", "--verbose", "--log-format", "--log-file"),
        *(
            "--events",
            "--stats",
            "--metrics-file",
            "--on-end",
            "--webhook",
            "--http",
            "--http-host",
            "--http-token-file",
            "--allow-empty",
            "--null",
        ),
        *("--verify", "--expect"),
    }
    names = {"no_hardlink_dedup": "hardlink_dedup"}
    wanted = [one[2:].replace("-", "_") for one in options - of_the_command]
    there = set(inspect.signature(cachewarmer.warm).parameters) | set(Choosing.__annotations__)
    assert {names.get(name, name) for name in wanted} - there == set()


# -- scan, verify ------------------------------------------------------------------------------------------------------


async def test_a_scan_tells_how_far_it_is(tree):
    seen = []
    report = await cachewarmer.scan(tree, on_progress=seen.append)
    assert (report.files, report.bytes, report.scan_finished) == (40, 20_200, True)
    assert seen[-1].files <= 40
    assert report.document()["largest_files"][0]["bytes"] == 1000


async def test_a_scan_of_nothing_raises(tmp_path):
    with pytest.raises(CacheWarmerError, match="absent"):
        await cachewarmer.scan(tmp_path / "absent")


async def test_a_sample_is_verified():
    """A scripted server is no cache: its reads are all alike, whichever way they are judged."""
    seen = []
    async with ScriptedServer({b"d": {b"f%d" % n: 1000 for n in range(10)}}) as server:
        found = await cachewarmer.verify(server.url(), samples=30, seed=1, on_progress=seen.append)
    assert (found.files, found.bytes, found.seed) == (10, 10_000, 1)
    assert found.main.samples == 10
    assert found.main.complete
    assert found.main.warm is not None or found.main.reason
    assert seen


async def test_what_a_job_has_read_is_verified(tree):
    """Its own files, by its name or id; whether it named them one by one is said."""
    job = (await warmed(tree, include="*.exr", name="shot42"))[-1].job
    for text in ("shot42", job):
        found = await cachewarmer.verify(job=text, window=4)
        assert (found.files, found.bytes, found.main.method) == (20, 20_000, "mincore")
        assert found.addresses == ()
    await warmed(tree, files_from=["d0/f0.exr"], name="listed")
    with pytest.raises(UsageError, match="is no longer kept"):
        await cachewarmer.verify(job="listed")
    with pytest.raises(CacheWarmerError, match="shot43"):
        await cachewarmer.verify(job="shot43")


async def test_each_address_is_judged_by_itself():
    """Also of a job that was warmed so, and of a list that comes once; what is known of one that is gone is why."""
    files = {b"d": {b"f%d" % n: 1000 for n in range(10)}}
    async with ScriptedServer(files) as first, ScriptedServer(files, host="127.0.0.2", port=first.port) as second:
        target = first.url().replace("127.0.0.1", "127.0.0.1,127.0.0.2")
        options = {"each_address": True, "transport": "nfs"}
        found = await cachewarmer.verify(target, files_from=iter(["d/f1", "d/f2"]), samples=20, seed=7, **options)
        assert [(one.address, one.files, one.main.samples) for one in found.addresses] == [
            ("127.0.0.1", 2, 2),
            ("127.0.0.2", 2, 2),
        ]
        assert (found.files, found.bytes, found.main.samples, found.seed) == (4, 4000, 4, 7)
        assert len(found.document()["targets"]) == 2
        subset = await cachewarmer.verify(target, address_subset="127.0.0.2", samples=20, **options)
        assert (subset.address, subset.files, subset.addresses) == ("127.0.0.2", 10, ())
        job = (await warmed(target, **options))[-1].job
        await second.close()
        found = await cachewarmer.verify(job=job, samples=20)
    alive, dead = found.addresses
    assert (alive.files, alive.main.failed, dead.files, dead.main.failed) == (10, 0, 0, 20)
    assert dead.main.warm is None
    assert dead.main.reason
    assert not found.meets(0.5)
    assert found.main.failed == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"job": "shot42"}, "either a target or a job"),
        ({"job": "shot42", "target": "", "include": "*"}, "has its own choice of files"),
        ({"target": ""}, "needs either a target or a job"),
        ({"address_subset": ["127.0.0.2"]}, "needs each_address"),
        ({"each_address": True}, "each_address is for mount addresses"),
        ({"interval": 0.4}, "interval must be between"),
        ({"expect": 1.5}, "expect must be between"),
        ({"samples": -1}, "samples must be between"),
        ({"what": ["smell"]}, "smell"),
        ({"identity": "root"}, "is not UID"),
    ],
)
async def test_a_sample_that_makes_no_sense_is_refused(tree, options, said):
    with pytest.raises(UsageError, match=said):
        await cachewarmer.verify(**{"target": tree, **options})


def test_every_option_of_verify_has_its_argument():
    """But for those that mean nothing where no job is made. ``--as`` is ``identity``, as ``as`` is a word of Python."""
    parser = argparse.ArgumentParser()
    verify_command.add_arguments(parser)
    options = {text for action in parser._actions for text in action.option_strings if text.startswith("--")}
    of_the_command = {
        *("--help", "--json", "--quiet", "--verbose", "--log-format", "--log-file", "--null", "--allow-empty"),
        *("--name", "--max-bandwidth", "--in-order"),
    }
    names = {"no_hardlink_dedup": "hardlink_dedup", "no_ask": "ask", "as": "identity"}
    wanted = [one[2:].replace("-", "_") for one in options - of_the_command]
    there = set(inspect.signature(cachewarmer.verify).parameters) | set(Choosing.__annotations__)
    assert {names.get(name, name) for name in wanted} - there == set()


# -- the package -------------------------------------------------------------------------------------------------------


def python(*arguments, folder=ROOT, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_the_package_loads_nothing():
    """Neither a module of its own nor one of the library that was not loaded before."""
    code = "import sys; old = set(sys.modules); import cachewarmer; print(sorted(set(sys.modules) - old))"
    assert python("-c", code).stdout.strip() == "['cachewarmer']"


def test_every_name_of_the_package_is_there():
    assert set(cachewarmer.__all__) <= set(dir(cachewarmer))
    for name in cachewarmer.__all__:
        assert getattr(cachewarmer, name) is not None
    assert callable(cachewarmer.verify)
    with pytest.raises(AttributeError, match="warn"):
        cachewarmer.warn  # noqa: B018


def test_a_users_program_is_checked_by_its_types():
    """In strict mode: right use passes, and each wrong one is found."""
    found = python("-m", "mypy", "--strict", "tests/unit/api/uses_api.py")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_an_example_of_the_docs_runs(example, tree, tmp_path):
    """As a program of its own, as somebody would paste it: for a tree of this machine, or for three servers."""
    program = tmp_path / "example.py"
    async with contextlib.AsyncExitStack() as stack:
        if CLUSTER in example:
            files = {b"d": {b"f%d" % number: 1000 for number in range(10)}}
            port, hosts = 0, ("127.0.0.1", "127.0.0.2", "127.0.0.3")
            for host in hosts:
                server = await stack.enter_async_context(ScriptedServer(files, host=host, port=port))
                port = server.port
            target = server.url().replace(hosts[-1], ",".join(hosts))
            program.write_text(example.replace(CLUSTER, target))
        else:
            assert TARGET in example
            program.write_text(example.replace(TARGET, str(tree)))
        ended = await asyncio.to_thread(python, "-W", "error", str(program), folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert not ended.stderr
    assert "NOT WARM" not in ended.stdout


def test_there_are_examples():
    said = "".join(EXAMPLES)
    assert all(f"cachewarmer.{name}(" in said for name in ("warm", "scan", "verify"))
