"""The functions for programs, over a small tree of this machine, and their examples in the docs."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cachewarmer
from cachewarmer.errors import CacheWarmerError, JobFailed, UsageError
from cachewarmer.model import JobState
from cachewarmer.testing import ScriptedServer

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "python.md"
TARGET = "nfs://cache1/projects/shot42"
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
        ({"transport": "smb"}, "transport is one of"),
        ({"max_file_size": "2 lots"}, "not a valid size"),
        ({"max_file_size": -1}, "must not be negative"),
        ({"max_bandwidth": -1}, "must not be negative"),
        ({"newer_than": "yesterday"}, "not a valid time"),
        ({"include": ["[a"]}, "[a"),
        ({"files_from": ["a\0b"]}, "NUL"),
        ({"files_from": ["a" * 9000]}, "more than 8192 bytes"),
        ({"resume": True}, "no unfinished job"),
    ],
)
async def test_what_makes_no_sense_is_said(tree, options, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        await warmed(**{"target": tree, **options})


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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": 0.4}, "interval must be between"),
        ({"expect": 1.5}, "expect must be between"),
        ({"samples": -1}, "samples must be between"),
        ({"what": ["smell"]}, "smell"),
    ],
)
async def test_a_sample_that_makes_no_sense_is_refused(tree, options, said):
    with pytest.raises(UsageError, match=said):
        await cachewarmer.verify(tree, **options)


# -- the package -------------------------------------------------------------------------------------------------------


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        cwd=ROOT,
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
def test_an_example_of_the_docs_runs(example, tree, tmp_path):
    """As a program of its own, as somebody would paste it, for a tree of this machine."""
    assert TARGET in example
    program = tmp_path / "example.py"
    program.write_text(example.replace(TARGET, str(tree)))
    ended = python("-W", "error", str(program))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert not ended.stderr


def test_there_are_examples():
    said = "".join(EXAMPLES)
    assert all(f"cachewarmer.{name}(" in said for name in ("warm", "scan", "verify"))
