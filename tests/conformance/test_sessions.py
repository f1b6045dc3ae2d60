"""What every session does alike: the direct reader over two servers, local directories, and the double in memory.

A new target is one more lab here.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from cachewarmer.config import LocalSettings, NfsSettings
from cachewarmer.errors import CacheWarmerError, FileVanished, TransportError
from cachewarmer.target import make_job, parse_target
from cachewarmer.targets.base import FileKind, Mount, ReadRequest
from cachewarmer.targets.local.session import open_local
from cachewarmer.targets.nfs3.session import open_nfs3
from cachewarmer.testing import ScriptedServer
from tests.memory import MemorySession
from tests.reads import requests_for
from tests.servers.ganesha import ganesha
from tests.volume import Volume, asks

FILES = 40
TREE = {
    b"many": {b"f%02d" % number: 100 * number for number in range(FILES)},
    b"deep": {b"er": {b"file": 4321}},
    b"big": 3_000_000,
    b"none": 0,
    b"raw \xff\n": 7,
}


def lay_down(folder: bytes, tree) -> None:
    for name, what in tree.items():
        path = os.path.join(folder, name)
        if isinstance(what, dict):
            os.mkdir(path)
            lay_down(path, what)
        else:
            with open(path, "wb") as file:
                file.truncate(what)


def mount_of(url):
    job = make_job(parse_target(url), transport="nfs")
    return Mount.of(job.access, job.access.addresses[0], job.warm_path)


@asynccontextmanager
async def scripted(_folder):
    async with ScriptedServer(TREE) as server:
        yield await open_nfs3(mount_of(server.url()), NfsSettings())


@asynccontextmanager
async def over_ganesha(folder):
    with ganesha(folder) as server:
        yield await open_nfs3(mount_of(server.target()), NfsSettings())


@asynccontextmanager
async def local(folder):
    yield await open_local(str(folder), LocalSettings())


@asynccontextmanager
async def asked(folder):
    """Local, on a mount that is asked to fill its cache."""
    opened = await open_local(str(folder), LocalSettings())
    asks(opened, Volume(os.fsencode(folder)))
    yield opened


@asynccontextmanager
async def memory(_folder):
    yield MemorySession(TREE)


@pytest.fixture(params=[scripted, over_ganesha, local, asked, memory], ids=lambda lab: lab.__name__)
async def session(request, tmp_path):
    lay_down(os.fsencode(tmp_path), TREE)
    async with request.param(tmp_path) as opened:
        yield opened
        await opened.close()


async def listed(session, path, handle=b""):
    return [entry async for page in session.list_directory(path, handle) for entry in page.entries]


async def read(session, *requests):
    """Reads them all at once; each is (path, start, stop)."""
    made, wait = requests_for(*requests)
    for request in made:
        session.read(request)
    return await wait()


async def test_a_directory_is_listed_whole_each_name_once(session):
    """With kinds and sizes, over several parts, names of any bytes included; never ``.`` or ``..``."""
    entries = await listed(session, b"")
    assert {entry.name: entry.kind for entry in entries} == {
        name: FileKind.DIRECTORY if isinstance(what, dict) else FileKind.REGULAR for name, what in TREE.items()
    }
    assert len(entries) == len(TREE)
    files = await listed(session, b"many")
    assert {entry.name: entry.size for entry in files} == TREE[b"many"]


async def test_what_is_listed_can_be_listed_by_its_handle_and_by_its_path(session):
    (deep,) = [entry for entry in await listed(session, b"") if entry.name == b"deep"]
    assert [entry.name for entry in await listed(session, b"deep", deep.handle)] == [b"er"]
    assert [entry.name for entry in await listed(session, b"deep/er")] == [b"file"]


async def test_an_entry_is_looked_up_by_its_path(session):
    """The root too, which has no name."""
    assert (await session.lookup(b"")).kind is FileKind.DIRECTORY
    found = await session.lookup(b"deep/er/file")
    assert (found.name, found.kind, found.size) == (b"file", FileKind.REGULAR, 4321)


async def test_what_is_not_there_has_vanished(session):
    with pytest.raises(FileVanished):
        await session.lookup(b"many/gone")
    with pytest.raises(FileVanished):
        await listed(session, b"gone")


async def test_ranges_are_read_to_their_last_byte_and_no_further(session):
    """Whole files, parts of a file, and nothing of an empty one."""
    whole, part, none = await read(session, (b"big", 0, 3_000_000), (b"big", 1_000_000, 1_500_001), (b"none", 0, 0))
    assert [one.error for one in (whole, part, none)] == [None] * 3
    assert (whole.bytes_read, part.bytes_read, none.bytes_read) == (3_000_000, 500_001, 0)
    assert part.calls >= 1
    assert none.calls == 0


async def test_many_files_are_read_at_the_same_time(session):
    requests = await read(session, *((b"many/" + name, 0, size) for name, size in TREE[b"many"].items()))
    assert all(one.error is None for one in requests)
    assert sum(one.bytes_read for one in requests) == sum(TREE[b"many"].values())
    seen = session.snapshot()
    assert seen.bytes == sum(TREE[b"many"].values())
    assert (seen.in_flight, seen.waiting) == (0, 0)


async def test_a_request_lowered_to_nothing_ends_without_an_error(session):
    """That is how cancel, pause and eviction end what is being read."""
    ended = asyncio.Event()
    request = ReadRequest(b"big", b"", 0, 3_000_000, lambda _: ended.set())
    request.stop = request.start
    session.read(request)
    async with asyncio.timeout(10):
        await ended.wait()
    assert (request.error, request.bytes_read) == (None, 0)


async def test_a_listing_of_a_file_is_an_error_of_that_name_alone(session):
    """The session stays usable after it."""
    if isinstance(session, MemorySession):
        pytest.skip("the double keeps no such rule")
    with pytest.raises(CacheWarmerError) as caught:
        await listed(session, b"big")
    assert not isinstance(caught.value, TransportError)
    assert (await session.lookup(b"big")).size == 3_000_000


async def test_it_answers_a_probe_and_shows_its_window(session):
    assert await session.probe() >= 0.0
    assert session.window.calls >= 1
    assert session.snapshot().window_calls == session.window.calls


async def test_closing_twice_is_closing_once_and_ends_what_waits(session):
    ended = []
    if isinstance(session, MemorySession):
        pytest.skip("the double has nothing that could wait")
    for _ in range(3):
        session.read(ReadRequest(b"big", b"", 0, 3_000_000, ended.append))
    await session.close()
    await session.close()
    async with asyncio.timeout(10):
        while len(ended) < 3:
            await asyncio.sleep(0.01)
    assert all(one.error is None or isinstance(one.error, TransportError) for one in ended)
