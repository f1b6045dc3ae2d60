"""Listing that goes on at another address, or later."""

import asyncio

import pytest

from cachewarmer.config import LeaseSettings, Settings
from cachewarmer.errors import ConnectFailed, ConnectionLost, FileError, FileVanished, TransportError
from cachewarmer.targets.base import Mount, Page, PageRequest
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import MAX_TRIES, ListingMoved, steady
from tests.memory import MemorySession, opener

TREE = {b"d": {b"f%d" % number: 1 for number in range(5)}}


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr("cachewarmer.targets.breaker.FIRST_PROBE_SECONDS", 0.001)
    monkeypatch.setattr("cachewarmer.targets.breaker.MAX_PROBE_SECONDS", 0.002)


@pytest.fixture
async def made():
    """A pool, two sessions as they are, and the steady ones."""
    async for one in make():
        yield one


async def make(patience=0.0):
    plain = [MemorySession(TREE, address) for address in "ab"]
    settings = Settings(lease=LeaseSettings(patience_seconds=patience))
    async with SessionPool(settings, opener(*plain)) as pool, pool.scope() as scope:
        mounts = [Mount(address=address, export="/", path="/") for address in "ab"]
        yield pool, plain, steady([await scope.session(mount) for mount in mounts], pool)


async def names(session, path=b"d", handle=b"h"):
    return [(entry.name, entry.handle) async for page in session.list_directory(path, handle) for entry in page.entries]


async def test_a_healthy_address_lists_by_itself(made):
    _, _, (first, _) = made
    assert [handle for _, handle in await names(first)] == [b"h:af%d" % number for number in range(5)]


async def test_what_one_address_does_not_list_is_listed_at_another_without_handles(made):
    pool, plain, (first, _) = made
    plain[0].down = ConnectFailed("refused", address="a")
    assert await names(first) == [(b"f%d" % number, b"") for number in range(5)]
    assert (await first.lookup(b"d")).handle == b""
    assert [one.address for one in pool.outages()] == ["a"]


async def test_an_address_that_does_not_answer_to_what_needs_no_task_is_down(made):
    """The directory is then listed by a task, at another address; while it is down, nothing is asked there."""
    pool, plain, (first, _) = made
    answers = []
    plain[0].asks_pages = True
    assert first.ask_page(PageRequest(b"d", b"h", answers.append))
    while not answers:
        await asyncio.sleep(0)
    assert [len(page.entries) for page in answers] == [3]
    assert len((await first.list_page(b"d", b"h", answers.pop().cookie)).entries) == 2
    plain[0].down = ConnectFailed("refused", address="a")
    assert first.ask_page(PageRequest(b"d", b"h", answers.append))
    while not answers:
        await asyncio.sleep(0)
    assert pool.failures().times == 1
    assert not isinstance(answers.pop(), Page)
    pool.failed(plain[0], plain[0].down)
    assert not first.ask_page(PageRequest(b"d", b"h", answers.append))


async def test_while_no_address_answers_the_call_waits(made):
    _, plain, (first, _) = made
    for one in plain:
        one.down = ConnectFailed("refused", address=one.address)
    listing = asyncio.create_task(names(first))
    while not all(one.probes > 2 for one in plain):
        await asyncio.sleep(0.001)
    assert not listing.done()
    plain[0].down = None
    assert len(await listing) == 5


async def test_a_listing_that_was_begun_elsewhere_is_to_be_begun_again(made):
    """A cookie is good at one address alone: the caller starts over, and is told so by an error that passes."""
    _, plain, (first, _) = made
    page = await first.list_page(b"d", b"h")
    plain[0].down = ConnectionLost("gone", address="a")
    with pytest.raises(ListingMoved) as caught:
        await first.list_page(b"d", b"h", page.cookie)
    assert caught.value.transient
    assert len(await names(first)) == 5


async def test_other_errors_are_the_directorys(made):
    with pytest.raises(FileVanished):
        await made[2][0].list_page(b"nothing", b"")
    assert made[0].outages() == ()


async def test_a_directory_that_no_address_lists_though_all_answer_fails_alone(made, monkeypatch):
    """The server drops the connection at this directory, again and again: the scan goes on without it."""
    _, plain, (first, _) = made
    tries = []

    async def drop(path, handle, cookie=None):
        tries.append(path)
        raise ConnectionLost("gone")

    for one in plain:
        monkeypatch.setattr(one, "list_page", drop)
    with pytest.raises(FileError):
        await first.list_page(b"d", b"h")
    assert len(tries) == MAX_TRIES


async def test_patience_ends_the_waiting():
    async for _, plain, (first, _) in make(patience=0.02):
        for one in plain:
            one.down = ConnectFailed("refused", address=one.address)
        with pytest.raises(TransportError, match="no answer for"):
            await first.list_page(b"d", b"h")


async def test_a_scan_is_told_to_begin_again_when_only_an_address_answers_that_it_began_without():
    """Else it would wait for the two that it knows, and none of its files is read through the third."""
    plain = {address: MemorySession(TREE, address) for address in "abc"}
    refused = ConnectFailed("refused", address="c")
    dead = {"c"}

    async def open_one(mount, settings):
        if mount.address in dead:
            raise refused
        return plain[mount.address]

    mounts = [Mount(address=address, export="/", path="/") for address in "abc"]
    settings = Settings(lease=LeaseSettings(patience_seconds=0.0))
    async with SessionPool(settings, open_one) as pool, pool.scope() as scope:
        with pytest.raises(ConnectFailed):
            await scope.session(mounts[2])
        first, _ = steady([await scope.session(mount) for mount in mounts[:2]], pool, mounts)
        assert len(await names(first)) == 5
        for address in "ab":
            plain[address].down = ConnectFailed("refused", address=address)
        listing = asyncio.create_task(names(first))
        await asyncio.sleep(0.01)
        assert not listing.done()
        dead.clear()
        with pytest.raises(TransportError, match="began without it"):
            await listing
