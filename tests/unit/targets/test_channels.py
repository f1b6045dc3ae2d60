"""The connections of one address, over channels without a socket and on a clock that jumps."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cachewarmer.config import NfsSettings
from cachewarmer.errors import ConnectionLost, MountError, ReplyTimeout
from cachewarmer.targets.nfs3.channels import Channels
from tests import clock

SETTINGS = NfsSettings(reconnect_attempts=5, reply_seconds=8.0)


class Channel:
    """What ``Channels`` looks at. ``oldest_xid`` is that of a call in flight; None: there is none."""

    def __init__(self, owner, oldest_xid=None):
        self.rpc = SimpleNamespace(oldest_xid=oldest_xid)
        self.oldest = (None, 0.0)
        self.heard = asyncio.get_running_loop().time()
        self.owner = owner

    def fail(self, error):
        self.owner.ended.append((asyncio.get_running_loop().time(), error))
        self.owner.channels.failed(self, error, in_flight=int(self.rpc.oldest_xid is not None))


class Address:
    """Refuses as many connections as told, and writes down when each was asked for."""

    def __init__(self, refuses=0, wanted=1, error=None, **settings):
        self.refuses = refuses
        self.error = error or ConnectionLost("refused")
        self.asked, self.ended, self.given_up = [], [], []
        self.ready = 0
        self.channels = Channels(
            replace(SETTINGS, **settings),
            "a:2049",
            connect=self.connect,
            wanted=lambda: wanted,
            on_ready=self.on_ready,
            on_given_up=self.given_up.append,
        )

    def on_ready(self):
        self.ready += 1

    async def connect(self):
        self.asked.append(round(asyncio.get_running_loop().time(), 6))
        if self.refuses:
            self.refuses -= 1
            raise self.error
        return Channel(self)

    async def settle(self, seconds=0.0):
        self.channels.keep()
        await asyncio.sleep(seconds)


@pytest.fixture
def on_clock():
    """Runs an asynchronous function on a clock that jumps."""
    return lambda main: clock.run(main())


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_as_many_connections_are_made_as_are_wanted(on_clock, wanted):
    """One at least, and no more for being asked again."""

    async def main():
        address = Address(wanted=wanted)
        for _ in range(3):
            await address.settle(1.0)
        assert len(address.channels.open) == address.ready == len(address.asked) == max(1, wanted)
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_an_address_that_refuses_is_asked_again_ever_later_and_then_given_up(on_clock):
    """Nobody waits for it any more: the error names it. Who asks once more begins anew."""

    async def main():
        address = Address(refuses=5)
        await address.settle(60.0)
        assert address.asked == [0.0, 0.1, 0.3, 0.7, 1.5]
        (error,) = address.given_up
        assert isinstance(error, ConnectionLost)
        assert error.address == "a:2049"
        await address.settle(1.0)
        assert address.asked[5:] == [60.0]
        assert (address.ready, len(address.given_up)) == (1, 1)
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_no_wait_is_longer_than_ten_seconds(on_clock):
    async def main():
        address = Address(refuses=20, reconnect_attempts=20)
        await address.settle(600.0)
        waits = [round(after - before, 3) for before, after in zip(address.asked, address.asked[1:], strict=False)]
        assert waits == sorted(waits)
        assert waits[-1] == 10.0
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_whatever_keeps_a_connection_from_being_made_says_that_the_address_failed(on_clock):
    """A refused mount too: as a failure of the transport, with the cause kept."""

    async def main():
        cause = MountError("not for you")
        address = Address(refuses=5, error=cause)
        await address.settle(60.0)
        (error,) = address.given_up
        assert isinstance(error, ConnectionLost)
        assert error.__cause__ is cause
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_connections_that_are_lost_with_calls_count_until_one_is_answered(on_clock):
    """An idle one that the server closes does not; while another is open, the address is not given up."""

    async def main():
        address = Address()
        channels = address.channels

        async def lose(*, in_flight, times=1):
            for _ in range(times):
                await address.settle(60.0)
                channels.failed(channels.open[0], ConnectionLost("gone"), in_flight=in_flight)

        await lose(in_flight=0, times=10)
        await lose(in_flight=1, times=4)
        channels.answered()
        await lose(in_flight=1, times=4)
        assert address.given_up == []
        await lose(in_flight=1)
        assert len(address.given_up) == 1
        assert channels.reconnects == 18
        await channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_while_one_connection_is_open_the_address_is_not_given_up(on_clock):
    async def main():
        address = Address(wanted=2)
        await address.settle(1.0)
        address.refuses = 100
        address.channels.failed(address.channels.open[0], ConnectionLost("gone"), in_flight=1)
        await address.settle(600.0)
        assert address.given_up == []
        assert len(address.asked) == 2 + 4, "it leaves off for now"
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_a_connection_that_says_nothing_is_given_up_and_an_idle_one_is_not(on_clock):
    """After the patience for a reply; a call must be in flight."""

    async def main():
        address = Address(wanted=2)
        await address.settle()
        idle, silent = address.channels.open
        silent.rpc.oldest_xid = 7
        await asyncio.sleep(30.0)
        ((ended, error),) = address.ended
        assert isinstance(error, ReplyTimeout)
        assert SETTINGS.reply_seconds < ended <= SETTINGS.reply_seconds * 1.5
        assert address.channels.open == [idle]
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


@pytest.mark.parametrize("answers_in_turn", [False, True])
def test_a_connection_that_answers_all_but_its_oldest_call_is_given_up(on_clock, answers_in_turn):
    """After twice the patience. One that is busy with ever new calls is not."""

    async def main():
        address = Address()
        await address.settle()
        (channel,) = address.channels.open
        for xid in range(100):
            channel.rpc.oldest_xid = xid if answers_in_turn else 7
            await asyncio.sleep(0.5)
            channel.heard = asyncio.get_running_loop().time()
        if answers_in_turn:
            assert address.ended == []
        else:
            assert 2 * SETTINGS.reply_seconds < address.ended[0][0] <= 2.5 * SETTINGS.reply_seconds + 0.5
        await address.channels.close(ConnectionLost("closed"))

    on_clock(main)


def test_closing_ends_every_connection_and_makes_no_other(on_clock):
    """Also while it waits to connect again; and nothing is left on the clock."""

    async def main():
        address = Address(wanted=2)
        await address.settle()
        address.refuses = 100
        address.channels.failed(address.channels.open[0], ConnectionLost("gone"), in_flight=1)
        await address.settle(0.15)
        closed = ConnectionLost("closed")
        await address.channels.close(closed)
        assert [error for _, error in address.ended] == [closed]
        asked = len(address.asked)
        await asyncio.sleep(600.0)
        assert (address.channels.open, len(address.asked)) == ([], asked)

    on_clock(main)
