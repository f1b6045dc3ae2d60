"""Items of a scan that are published together."""

import asyncio

import pytest

from cachewarmer.errors import BrokerError, ConnectionLost
from cachewarmer.manager.publishing import MOST_ITEMS, MOST_WAITING, Publisher
from cachewarmer.model import FileEntry, WorkItem


def items(first, last, files=1):
    return [WorkItem(path=f"/{number}", files=(FileEntry("f", 1, b""),) * files) for number in range(first, last)]


class Calls:
    """What was published, call by call; while ``gate`` is closed, a call waits."""

    def __init__(self):
        self.calls = []
        self.gate = asyncio.Event()
        self.error = None

    async def publish(self, some):
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.calls.append([int(item.path[1:]) for item in some])


async def test_what_comes_during_a_call_goes_with_the_next_in_its_order():
    calls = Calls()
    async with Publisher(calls.publish) as publisher:
        await publisher.add(items(0, 1))
        await asyncio.sleep(0)
        for number in range(1, 41):
            await publisher.add(items(number, number + 1))
        calls.gate.set()
    assert calls.calls == [[0], [*range(1, 1 + MOST_ITEMS)], [*range(1 + MOST_ITEMS, 41)]]


async def test_a_scan_waits_while_too_much_waits_to_be_published():
    calls = Calls()
    async with Publisher(calls.publish) as publisher:
        adding = asyncio.create_task(publisher.add(items(0, 2, files=MOST_WAITING)))
        await asyncio.sleep(0.01)
        assert not adding.done()
        calls.gate.set()
        await adding
    assert calls.calls == [[0, 1]]


async def scan(calls, *parts, error=None, pause=0.0):
    """A scan that adds these items, one list after the other, and then ends with ``error``."""
    async with Publisher(calls.publish) as publisher:
        for some in parts:
            await publisher.add(some)
            await asyncio.sleep(pause)
        calls.gate.set()
        if error is not None:
            raise error


@pytest.mark.parametrize("parts", [[items(0, 1)], [items(0, 1), items(1, 2)], [items(0, 2, files=MOST_WAITING)]])
async def test_an_error_ends_the_scan_at_its_next_item_or_its_end(parts):
    calls = Calls()
    calls.error = BrokerError("full")
    calls.gate.set()
    with pytest.raises(BrokerError):
        await scan(calls, *parts, pause=0.01)


@pytest.mark.parametrize(("error", "published"), [(ConnectionLost("gone"), [[0]]), (asyncio.CancelledError(), [])])
async def test_what_was_found_is_published_where_the_address_fails_and_not_where_the_scan_is_ended(error, published):
    calls = Calls()
    with pytest.raises(type(error)):
        await scan(calls, items(0, 1), error=error)
    assert calls.calls == published
