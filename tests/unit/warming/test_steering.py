"""The driver of the window: what it tells the finder, and what it does with the answer."""

import asyncio
import time
from dataclasses import replace

import pytest

from cachewarmer.config import Settings
from cachewarmer.errors import ConnectionLost
from cachewarmer.targets.base import Mount, Session, SessionSnapshot, Window
from cachewarmer.targets.latency import LatencyHistogram
from cachewarmer.targets.pool import SessionPool
from cachewarmer.warming import steered
from cachewarmer.warming.steering import _Steered

READ_SECONDS = 0.001
AUTOMATIC = Settings()
AUTOMATIC = replace(AUTOMATIC, nfs=replace(AUTOMATIC.nfs, window_auto=True, window_max_calls=12))


class Canary:
    path_seconds = 0.0

    def __init__(self):
        self.calls, self.closed = 0, False

    async def call(self):
        self.calls += 1
        return 0.0001

    def close(self):
        self.closed = True


class Busy(Session):
    """A session whose every window is full, and whose rate is that of its window."""

    lookup = list_page = read = None
    listed = 0

    def __init__(self, mount, made):
        self.address, self.window = mount.address, Window(calls=16, bytes=1)
        self.made, self.answered, self.looked, self.windows = made, 0.0, time.monotonic(), []

    def canary(self):
        canary = Canary()
        self.made.append(canary)
        return canary

    def snapshot(self):
        calls, now = self.window.calls, time.monotonic()
        self.answered += (now - self.looked) * calls / READ_SECONDS
        self.looked = now
        latencies = LatencyHistogram()
        latencies.add(READ_SECONDS, int(self.answered))
        return SessionSnapshot(
            calls={"READ": int(self.answered) + calls, "READDIRPLUS": 0},
            window_calls=calls,
            in_flight=calls,
            waiting=10 * calls,
            bytes=0,
            latencies=latencies,
        )

    def set_window(self, calls):
        self.window.calls = calls
        self.windows.append(calls)

    async def close(self):
        pass


Busy.__abstractmethods__ = frozenset()


async def use(settings, until):
    """Steers one address until ``until`` says so; gives the session and its canaries."""
    made = []

    async def opener(mount, _):
        return Busy(mount, made)

    async with (
        SessionPool(settings, opener) as pool,
        steered(pool),
        asyncio.timeout(60),
        pool.lend(Mount(address="a", transport="nfs", export="/e")) as session,
    ):
        while not until(session, pool):
            await asyncio.sleep(0.02)
    return session, made


async def test_the_window_grows_while_the_rate_does_up_to_its_maximum_and_so_does_what_is_claimed():
    session, canaries = await use(AUTOMATIC, lambda session, pool: pool.window_calls == 12)
    assert session.windows[0] == 2
    assert max(session.windows) == session.window.calls == 12
    (canary,) = canaries
    assert canary.calls > 0
    assert canary.closed


async def test_while_there_is_something_to_read_listings_teach_nothing(monkeypatch):
    """The cache answers them by itself, maybe: their rate says nothing about what READs gain by a window."""
    seen, observation = [], _Steered.observation
    monkeypatch.setattr(
        _Steered, "observation", lambda *given: seen.append(observation(*given)) or seen[-1], raising=True
    )

    def snapshot(self):
        self.listed += 1000
        counts = {"READ": 4, "READDIRPLUS": self.listed}
        return SessionSnapshot(calls=counts, window_calls=4, in_flight=4, waiting=9, bytes=0, others_in_flight=3)

    monkeypatch.setattr(Busy, "snapshot", snapshot)
    await use(AUTOMATIC, lambda *_: len(seen) > 3)
    assert [one.calls for one in seen] == [0] * len(seen)
    assert {one.in_flight for one in seen} == {1}


@pytest.mark.parametrize("lists", [False, True])
async def test_however_long_others_wait_a_call_to_read_is_left_and_one_to_list(monkeypatch, lists):
    """Four readers that list nothing leave threads of a cache of eight to others, then."""

    async def call(self):
        self.calls += 1
        return 0.0001 if self.calls < 3 else 1.0

    snapshot = Busy.snapshot
    monkeypatch.setattr(Busy, "snapshot", lambda self: replace(snapshot(self), others_in_flight=int(lists)))
    monkeypatch.setattr(Canary, "call", call)
    least = 2 if lists else 1
    made_calls = 60 if lists else 0
    session, _ = await use(
        AUTOMATIC,
        lambda session, _: session.window.calls == least and sum(one.calls for one in session.made) > made_calls,
    )
    assert min(session.windows) == least


async def test_what_has_no_canary_keeps_the_fixed_window(monkeypatch):
    """Files of this machine hold no thread of a cache: as much is claimed for them as ever."""
    monkeypatch.setattr(Busy, "canary", lambda _: None)
    settings = replace(AUTOMATIC, nfs=replace(AUTOMATIC.nfs, window_max_calls=64))
    session, _ = await use(settings, lambda session, pool: pool.window_calls == 16)
    assert session.window.calls == 16


async def test_a_fixed_window_is_left_alone():
    looks = iter(range(10))
    session, canaries = await use(Settings(), lambda *_: next(looks, None) is None)
    assert set(session.windows) == {16}
    assert not canaries


async def test_a_canary_that_is_not_answered_at_all_is_asked_again(monkeypatch):
    """Whether an address is away is for the pool to find out: here it only means that nothing was learnt."""
    monkeypatch.setattr("cachewarmer.warming.steering.AWAY_SECONDS", 0.001)

    async def call(self):
        self.calls += 1
        raise ConnectionLost("gone")

    monkeypatch.setattr(Canary, "call", call)
    _, (canary,) = await use(AUTOMATIC, lambda session, pool: bool(session.made and session.made[0].calls > 5))
    assert canary.closed


async def test_where_nothing_is_read_any_more_the_canary_falls_silent_and_the_window_is_kept():
    made = []

    async def opener(mount, _):
        return Busy(mount, made)

    async with SessionPool(AUTOMATIC, opener) as pool, steered(pool), asyncio.timeout(60):
        place = Mount(address="a", transport="nfs", export="/e")
        async with pool.lend(place) as session:
            while pool.window_calls < 12:
                await asyncio.sleep(0.02)
        while not made[0].closed:
            await asyncio.sleep(0.02)
        asked = made[0].calls
        await asyncio.sleep(0.2)
        assert (len(made), made[0].calls) == (1, asked)
        async with pool.lend(place) as again:
            assert again is session
            while made[0].calls == asked:
                await asyncio.sleep(0.02)
        assert session.window.calls == 12


async def test_an_address_that_is_away_is_not_looked_at(monkeypatch):
    """What its window brings says nothing about it then."""
    looks, observation = [], _Steered.observation
    monkeypatch.setattr(_Steered, "observation", lambda *given: looks.append(1) or observation(*given), raising=True)
    made = []

    async def opener(mount, _):
        return Busy(mount, made)

    async def probe(self):
        raise ConnectionLost("gone")

    monkeypatch.setattr(Busy, "probe", probe)
    async with (
        SessionPool(AUTOMATIC, opener) as pool,
        steered(pool),
        asyncio.timeout(60),
        pool.lend(Mount(address="a", transport="nfs", export="/e")) as session,
    ):
        while not looks:
            await asyncio.sleep(0.02)
        pool.failed(session, ConnectionLost("gone"))
        before = len(looks)
        await asyncio.sleep(0.3)
        assert len(looks) == before
