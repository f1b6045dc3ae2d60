"""The pool: sessions lent and closed, and addresses that go away and come back."""

import asyncio
import errno
from dataclasses import replace

import pytest

from cachewarmer.config import LeaseSettings, NfsSettings, Settings
from cachewarmer.errors import ConnectFailed, MountError, OwnResourceError, TransportError, UnknownHost
from cachewarmer.targets import lookout
from cachewarmer.targets.base import Mount
from cachewarmer.targets.pool import SessionPool
from tests.memory import MemorySession

TREE = {b"f": 1}
A, B = (Mount(address=address, export="/e", path="/") for address in "ab")


class Openings:
    """An opener that makes a new session each time, or raises what is set for the address."""

    def __init__(self):
        self.errors = {}
        self.made = []

    async def __call__(self, mount, settings):
        await asyncio.sleep(0)
        if error := self.errors.get(mount.address):
            raise error
        session = MemorySession(TREE, mount.address)
        self.made.append((mount, session))
        return session


@pytest.fixture
def openings():
    return Openings()


def settings(patience=0.0, **nfs):
    return Settings(nfs=NfsSettings(**nfs), lease=LeaseSettings(patience_seconds=patience))


@pytest.fixture
async def pool(openings):
    async with SessionPool(settings(sessions=2), openings) as made:
        yield made


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr("cachewarmer.targets.breaker.FIRST_PROBE_SECONDS", 0.001)
    monkeypatch.setattr("cachewarmer.targets.breaker.MAX_PROBE_SECONDS", 0.002)


async def test_those_who_ask_together_share_one_opening(pool, openings):
    async with pool.scope() as scope:
        first, second = await asyncio.gather(scope.session(A), scope.session(A))
    assert first is second
    assert len(openings.made) == 1


async def test_who_asks_when_it_is_open_overtakes_none_who_waited(pool):
    """Items of a list in order are read in the order in which they ask for the session."""
    came = []

    async def ask(number):
        await pool.borrow(A, wait=True)
        came.append(number)

    asking = [asyncio.create_task(ask(number)) for number in range(3)]
    opened = []
    while not opened:
        await asyncio.sleep(0)
        opened = [one for one in pool._sessions._all if one.opening.done()]
    assert came == [], "nobody has the session yet"
    asking += [asyncio.create_task(ask(number)) for number in range(3, 6)]
    late = asyncio.create_task(ask(6))
    late.cancel()
    await asyncio.gather(*asking)
    assert came == list(range(6))
    assert not opened[0]._waiting


async def test_a_failed_opening_is_not_kept(pool, openings):
    """The next who asks tries again: an export may be there by then."""
    openings.errors["a"] = MountError("no such export")
    with pytest.raises(MountError):
        async with pool.lend(A):
            pass
    openings.errors.clear()
    async with pool.lend(A) as session:
        assert session.address == "a"


async def test_the_session_unused_for_longest_is_closed_for_another(pool, openings):
    """Many uids, one each, do not hold a session each."""
    for uid in range(5):
        async with pool.lend(replace(A, uid=uid)):
            pass
    assert [session.closed for _, session in openings.made] == [True, True, True, False, False]


async def test_a_borrower_waits_while_all_sessions_are_in_use(pool, openings):
    """The limit holds without closing a session under somebody's feet."""
    async with pool.lend(A):
        held = await pool.borrow(B, wait=True)
        third = asyncio.create_task(pool.borrow(replace(A, uid=7), wait=True))
        await asyncio.sleep(0.01)
        assert not third.done()
        assert not held.closed
        pool.give_back(B)
        assert (await third).address == "a"
        assert held.closed
        pool.give_back(replace(A, uid=7))


async def test_a_scope_never_waits_for_itself(pool, openings):
    """A scan of more addresses than sessions are allowed holds them all at once."""
    async with pool.scope() as scope:
        sessions = [await scope.session(replace(A, address=str(number))) for number in range(4)]
        assert not any(session.closed for session in sessions)


@pytest.mark.parametrize(
    "error", [OwnResourceError("too many open files"), OSError(errno.EMFILE, "Too many open files", "module.py")]
)
async def test_unused_sessions_make_way_where_descriptors_run_out(openings, error):
    """A failure for want of descriptors is tried again with what closing the unused ones gives back."""

    class Short(Openings):
        async def __call__(self, mount, settings):
            if sum(not session.closed for _, session in self.made) >= 2:
                raise error
            return await super().__call__(mount, settings)

    short = Short()
    async with SessionPool(settings(sessions=64), short) as pool:
        for uid in range(5):
            async with pool.lend(replace(A, uid=uid)):
                pass
        assert pool.outages() == ()


async def test_a_failed_address_is_down_until_it_answers(pool, openings):
    """Nobody tries it meanwhile; the first answered probe brings it back."""
    async with pool.scope() as scope:
        session = await scope.session(A)
        session.down = ConnectFailed("refused", address="a")
        pool.failed(session, ConnectFailed("refused", address="a"))
        assert not pool.usable(A)
        assert not pool.usable(session)
        assert [(one.address, one.problem) for one in pool.outages()] == [("a", "refused")]
        assert pool.reaches_nothing
        with pytest.raises(TransportError, match="a: refused"):
            async with pool.lend(A):
                pass
        while session.probes < 3:
            await asyncio.sleep(0.001)
        session.down = None
        assert await pool.wait_until_up([A]) == A
        assert pool.outages() == ()


async def test_an_address_that_is_away_has_no_window(pool, openings):
    """One that was not opened yet has what every address begins with."""
    calls = pool.settings.nfs.window_calls
    async with pool.scope() as scope:
        session = await scope.session(A)
        assert pool.windows(["a", "new"]) == {"a": calls, "new": calls}
        session.down = ConnectFailed("refused", address="a")
        pool.failed(session, session.down)
        assert pool.windows(["a", "new"]) == {"new": calls}


async def test_an_address_that_was_never_opened_is_probed_by_opening_it(pool, openings):
    openings.errors["a"] = ConnectFailed("refused", address="a")
    with pytest.raises(ConnectFailed):
        async with pool.lend(A):
            pass
    assert not pool.usable(A)
    openings.errors.clear()
    assert await pool.wait_until_up([A]) == A


async def test_an_outage_is_told_of_a_name_only_where_it_was_known_before(pool, openings, caplog):
    """A name that nobody knows is a mistake that the job's end tells of, however often it is asked for until then."""
    caplog.set_level("WARNING")
    openings.errors["a"] = unknown = UnknownHost("no such host")
    with pytest.raises(UnknownHost):
        async with pool.lend(A):
            pass
    with pytest.raises(TransportError):
        await pool.wait_until_up([A], 0.05)  # some probes
    assert not caplog.records
    async with pool.lend(B) as session:
        session.down = unknown
        pool.failed(B, unknown)
    assert "b: no such host" in caplog.text


async def test_any_other_answer_than_silence_is_an_answer(pool, openings):
    """A server that refuses the export is there: whoever asks next is told of the refusal, not of an outage."""
    openings.errors["a"] = ConnectFailed("refused", address="a")
    with pytest.raises(ConnectFailed):
        async with pool.lend(A):
            pass
    openings.errors["a"] = MountError("not for you")
    await pool.wait_until_up([A])
    with pytest.raises(MountError):
        async with pool.lend(A):
            pass


async def test_the_first_of_several_that_is_up_is_given(pool, openings):
    openings.errors["a"] = ConnectFailed("refused", address="a")
    with pytest.raises(ConnectFailed):
        async with pool.lend(A):
            pass
    assert await pool.wait_until_up([A, B]) == B
    assert not pool.reaches_nothing


async def test_patience_ends_with_the_address_and_its_problem(openings):
    """All addresses down for that long: one line that names one, why, and for how long."""
    openings.errors = {"a": ConnectFailed("refused", address="a"), "b": ConnectFailed("refused", address="b")}
    async with SessionPool(settings(0.05), openings) as pool:
        for mount in (A, B):
            with pytest.raises(ConnectFailed):
                async with pool.lend(mount):
                    pass
        with pytest.raises(TransportError, match=r"[ab]: refused \(no answer for 0 s\)"):
            await pool.wait_until_up([A, B])
        assert await pool.reach([A, B]) > 0.0


async def test_a_silent_address_in_use_is_probed_and_interrupted(openings, monkeypatch):
    """Calls in flight that bring nothing: one probe tells, and everything that waits there ends at once."""
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(lookout, "PROBE_SECONDS", 0.01)
    interrupted = asyncio.Event()
    async with SessionPool(settings(), openings) as pool, pool.lend(A) as session:
        session.silent = True
        session.down = TransportError("no reply", address="a")
        session.interrupt = lambda error: interrupted.set()
        await interrupted.wait()
        assert not pool.usable(A)


async def test_a_slow_address_is_not_interrupted(openings, monkeypatch):
    """What answers others while the probe waits is slow, not away."""
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.01)
    async with SessionPool(settings(), openings) as pool, pool.lend(A) as session:
        session.silent = True

        async def slow_probe():
            session.probes += 1
            session.reads.append((b"f", 0, 1))
            raise TransportError("no reply", address="a")

        session.probe = slow_probe
        while session.probes < 3:
            await asyncio.sleep(0.01)
        assert pool.usable(A)


async def test_unused_sessions_are_closed_after_a_while(openings, monkeypatch):
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.01)
    async with SessionPool(settings(idle_seconds=0.0), openings) as pool:
        async with pool.lend(A) as session:
            await asyncio.sleep(0.03)
            assert not session.closed
        while not session.closed:
            await asyncio.sleep(0.01)


async def test_a_probe_that_finds_no_descriptor_takes_those_of_unused_sessions(openings):
    """They are what holds them all: as long as they stay, no probe can ever be answered."""
    async with SessionPool(settings(sessions=64), openings) as pool:
        for uid in range(5):
            async with pool.lend(replace(A, uid=uid)):
                pass
        sessions = [session for _, session in openings.made]

        async def probe():
            if any(not session.closed for session in sessions):
                raise OwnResourceError("too many open files")
            return 0.0

        for session in sessions:
            session.probe = probe
        pool.failed(A, OwnResourceError("too many open files"))
        assert await asyncio.wait_for(pool.wait_until_up([A]), 5) == A
        assert all(session.closed for session in sessions)


async def test_sessions_of_an_address_that_is_down_are_kept_for_probing_it(openings, monkeypatch):
    monkeypatch.setattr(lookout, "LOOK_SECONDS", 0.01)
    async with SessionPool(settings(idle_seconds=0.0), openings) as pool:
        async with pool.lend(A) as session:
            session.down = ConnectFailed("refused", address="a")
            pool.failed(session, ConnectFailed("refused", address="a"))
        await asyncio.sleep(0.05)
        assert not session.closed
        session.down = None
        while not session.closed:
            await asyncio.sleep(0.01)
