"""The calls of one address: what is in flight over which channel, and what becomes of it. No socket, no real time."""

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.config import NfsSettings
from cachewarmer.errors import ConnectionLost
from cachewarmer.rpc import nfs3
from cachewarmer.rpc.receiving import ReadReply, Reply
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import ReadRequest
from cachewarmer.targets.nfs3.calls import REFILL_SECONDS, Calls
from tests import clock

SETTINGS = NfsSettings(
    window_calls=8, window_bytes=1 << 30, connections=2, max_read_bytes=100, reconnect_attempts=3, reply_seconds=8.0
)


class Rpc:
    """Keeps the contexts of calls by the order they were made in."""

    def __init__(self):
        self.flying = {}
        self.made = 0

    @property
    def oldest_xid(self):
        return next(iter(self.flying), None)

    def call(self, program, version, procedure, arguments, context, reply_limit, credential=b""):
        self.made += 1
        self.flying[self.made] = context
        return b"call"

    def call_read(self, handle, offset, count, context):
        return self.call(nfs3.PROGRAM, nfs3.VERSION, nfs3.READ, b"", context, 0)

    def abandon(self):
        contexts = list(self.flying.values())
        self.flying.clear()
        return contexts


class Channel:
    """A connection whose other end is the test."""

    def __init__(self, calls):
        self.calls = calls
        self.rpc = Rpc()
        self.in_flight = 0
        self.out = []
        self.oldest = (None, 0.0)
        self.heard = asyncio.get_running_loop().time()
        self.closed = False

    def flush(self):
        self.out.clear()

    def answer(self, count=None):
        """Answers the oldest calls as a healthy server does."""
        self.heard = asyncio.get_running_loop().time()
        events = []
        for xid in list(self.rpc.flying)[:count]:
            context = self.rpc.flying.pop(xid)
            is_read = isinstance(context, tuple)
            events.append(ReadReply(context, 0, context[3], eof=False) if is_read else Reply(context, Unpacker(b"")))
        self.calls.on_events(self, events)

    def fail(self, error):
        if not self.closed:
            self.closed = True
            self.calls.on_lost(self, error)


class Address:
    """The calls of an address with the channels made for it."""

    def __init__(self, **settings):
        self.made = []
        self.down = False
        self.done = []
        self.calls = Calls(replace(SETTINGS, **settings), self.connect, self.resolve, "a:2049", b"/e")

    async def connect(self, calls):
        if self.down:
            raise ConnectionLost("refused")
        self.made.append(Channel(calls))
        return self.made[-1]

    async def resolve(self, path, known_bad):
        return b"found"

    def read(self, count, size=100):
        for number in range(count):
            self.calls.read(ReadRequest(b"f%d" % number, b"h", 0, size, self.done.append))

    def list(self, count):
        return [self.calls.call(nfs3.READDIRPLUS, b"", 1000) for _ in range(count)]

    @property
    def open(self):
        return [one for one in self.made if not one.closed]

    @property
    def flying(self):
        return [context for one in self.open for context in one.rpc.flying.values()]


async def settle():
    """Until nothing is left to do at this time."""
    for _ in range(10):
        await asyncio.sleep(0)


def on_clock(test):
    """Runs an asynchronous test on a clock that jumps."""

    def run():
        clock.run(test())

    run.__doc__ = test.__doc__
    run.__name__ = test.__name__
    return run


@on_clock
async def test_listing_and_reading_share_one_window():
    """Listing takes at most half of it while there is something to read; all of it else."""
    address = Address()
    address.list(20)
    await settle()
    assert len(address.flying) == 8
    address.read(20)
    await settle()
    address.made[0].answer()
    await settle()
    reads = [one for one in address.flying if isinstance(one, tuple)]
    assert (len(address.flying), len(reads)) == (8, 4)
    assert address.calls.window.in_flight == 8
    await address.calls.close()


@on_clock
async def test_reading_uses_all_connections_and_listing_one():
    """Each gets its share of the window, once all of them are there."""
    address = Address()
    address.list(8)
    await settle()
    assert len(address.made) == 1
    address.made[0].answer()
    address.read(30)
    await settle()
    for channel in address.made:
        channel.answer()
    await settle()
    assert sorted(len(one.rpc.flying) for one in address.made) == [4, 4]
    await address.calls.close()


@on_clock
async def test_what_is_free_of_a_window_is_filled_though_less_than_half_of_it():
    """At once where a connection has no call left, else a moment later, though no further answer comes."""
    address = Address(window_calls=7)
    address.read(2)
    await settle()
    address.read(100)
    await settle()
    first, second = address.made
    assert (first.in_flight, second.in_flight) == (4, 3)
    first.answer()
    assert address.calls.window.in_flight == 7
    first.answer(1)
    second.answer()
    assert second.in_flight
    assert address.calls.window.in_flight == 7
    second.answer(1)
    assert address.calls.window.in_flight == 6
    await settle()
    first.answer(1)
    assert address.calls.window.in_flight == 5
    await asyncio.sleep(3 * REFILL_SECONDS)
    assert address.calls.window.in_flight == 7
    await address.calls.close()


@on_clock
async def test_everything_asked_for_is_answered_once():
    address = Address(window_calls=3)
    asked = address.list(7)
    address.read(9, size=250)
    await settle()
    for _ in range(40):
        for channel in address.open:
            channel.answer(1)
        await settle()
    assert all(one.done() for one in asked)
    assert sorted(request.path for request in address.done) == [b"f%d" % number for number in range(9)]
    assert {(request.bytes_read, request.error) for request in address.done} == {(250, None)}
    snapshot = address.calls.snapshot()
    assert (snapshot.calls["READ"], snapshot.calls["READDIRPLUS"]) == (27, 7)
    assert (snapshot.in_flight, snapshot.waiting, snapshot.bytes, snapshot.retries) == (0, 0, 9 * 250, 0)
    await address.calls.close()


@on_clock
async def test_what_a_lost_connection_had_in_flight_is_asked_again_on_another():
    address = Address(connections=1)
    asked = address.list(4)
    address.read(4)
    await settle()
    address.made[0].fail(ConnectionLost("gone"))
    assert address.calls.window.in_flight == 0
    await asyncio.sleep(1.0)
    assert len(address.made) == 2
    assert len(address.flying) == 8
    address.made[1].answer()
    assert all(one.result() is not None for one in asked)
    assert [request.error for request in address.done] == [None] * 4
    snapshot = address.calls.snapshot()
    assert (snapshot.retries, snapshot.reconnects) == (8, 1)
    await address.calls.close()


@on_clock
async def test_an_address_that_is_gone_ends_what_waits_for_it():
    """Each request and each call with the error that names the address; who comes later may find it back."""
    address = Address(connections=1)
    address.down = True
    asked = address.list(2)
    address.read(2)
    await asyncio.sleep(60.0)
    errors = [one.exception() for one in asked] + [request.error for request in address.done]
    assert [(type(one), one.address) for one in errors] == [(ConnectionLost, "a:2049")] * 4
    address.down = False
    (late,) = address.list(1)
    await settle()
    address.made[0].answer()
    assert late.result() is not None
    await address.calls.close()


@on_clock
async def test_a_call_whose_connections_are_lost_again_and_again_ends():
    """It may be what the server dies of."""
    address = Address(connections=1)
    (asked,) = address.list(1)
    for _ in range(3):
        await asyncio.sleep(1.0)
        address.open[0].fail(ConnectionLost("gone"))
    assert isinstance(asked.exception(), ConnectionLost)
    await address.calls.close()


@on_clock
async def test_a_server_that_falls_silent_loses_its_connection_and_nothing_else():
    """The patience for a reply counts from when the connection stopped being idle."""
    address = Address(connections=1)
    address.list(1)
    await settle()
    address.made[0].answer()
    await asyncio.sleep(100.0)
    (asked,) = address.list(1)
    await asyncio.sleep(6.0)
    assert not address.made[0].closed
    await asyncio.sleep(10.0)
    assert address.made[0].closed
    address.open[0].answer()
    assert asked.result() is not None
    await address.calls.close()


@pytest.mark.parametrize("connected", [True, False])
def test_closing_ends_what_is_under_way(connected):
    """Whether or not there is a connection, and any number of times; what is asked afterwards ends at once."""

    async def main():
        address = Address()
        address.down = not connected
        asked = address.list(2)
        address.read(20)
        await settle()
        await address.calls.close()
        await address.calls.close()
        asked += address.list(1)
        await settle()
        assert {str(one.exception().problem) for one in asked} == {"the session is closed"}
        assert len(address.done) == 20
        assert all(isinstance(request.error, ConnectionLost) for request in address.done)
        assert address.calls.window.in_flight == address.calls.window.bytes_in_flight == 0

    clock.run(main())
