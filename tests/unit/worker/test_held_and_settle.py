"""What a worker holds, renews and settles, with a broker on paper and a clock of the test's own."""

import asyncio
import logging
from dataclasses import replace

import pytest

from cachewarmer.broker.base import WorkLease
from cachewarmer.errors import BrokerError, BrokerUnavailable, ConnectionLost, FileError, LeaseLost
from cachewarmer.model import Access, FileEntry, Receipt, WorkItem
from cachewarmer.warming.pace import Pace
from cachewarmer.warming.reader import Reading
from cachewarmer.warming.run import ItemRun
from cachewarmer.worker.held import Held, HeldItems, Renewer
from cachewarmer.worker.jobs import HIDING_SECONDS, Hiding
from cachewarmer.worker.settle import Settler


class Paper:
    """A broker that notes what it is asked and raises what it is told to."""

    def __init__(self):
        self.calls = []
        self.errors = []

    async def _call(self, *call):
        self.calls.append(call)
        if self.errors and (error := self.errors.pop(0)):
            raise error

    async def renew(self, lease, seconds):
        await self._call("renew", lease.item.item_id)

    async def abandon(self, lease, reason, delay=0.0):
        await self._call("abandon", lease.item.item_id, reason, delay)

    async def complete(self, worker, results):
        await self._call("complete", worker, [receipt.item_id for _, receipt in results])
        return [True] * len(results)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def broker():
    return Paper()


def held(name="i", *, files=3, pace=None, job="j", deliveries=1, at=1000.0):
    entries = None if files is None else tuple(FileEntry(f"f{n}", 100) for n in range(files))
    item = WorkItem(access=Access(addresses=("a",)), path="/d", item_id=name, job_id=job, files=entries)
    return Held(WorkLease("t", 0.0, deliveries, item), ItemRun(pace), at)


def together(*items):
    made = HeldItems()
    for one in items:
        made.add(one)
    return made


def settler(broker, items, clock):
    return Settler(broker, "w", items, 60.0, Hiding(clock))


def test_the_load_is_what_is_not_read_yet(clock):
    """Before an item is begun each of its files counts as a request; one whose files nobody knows counts as enough."""
    begun = held("b", files=5)
    begun.run.begun, begun.run.outstanding, begun.run.outcome.bytes = True, 2, 300
    load = together(held("a"), begun, held("c", files=None)).load(enough=64)
    assert (load.items, load.requests, load.bytes) == (3, 3 + 2 + 64, 300 + 200)


def test_the_pace_of_the_load_counts_each_job_once_and_only_if_all_have_one(clock):
    pace, other = Pace(100.0, 0.0), Pace(50.0, 0.0)
    items = together(held("a", pace=pace), held("b", pace=pace), held("c", pace=other, job="k"))
    assert items.load(1).bytes_per_second == 150.0
    items.add(held("d", job="l"))
    assert items.load(1).bytes_per_second == 0.0


def test_what_is_in_hand_is_known_for_each_address_of_the_jobs():
    """Also for those that have nothing to read yet; an item for one address alone says nothing of the others."""

    def at(address, files, only=""):
        made = held(f"{address}{files}", files=files)
        access = Access(addresses=("a", "b", "c"))
        item = replace(made.lease.item, access=access, address=address, only_address=only)
        made.lease = replace(made.lease, item=item)
        return made

    assert together(at("a", 3), at("a", 2), at("b", 4)).by_address(64) == {"a": 5, "b": 4, "c": 0}
    assert together(at("b", 2, only="b")).by_address(64) == {"b": 2}


async def test_a_lease_is_renewed_when_a_third_of_it_has_passed(broker, clock):
    items = together(held("a"), held("b", at=1015.0))
    renewer = Renewer(broker, items, 60.0, clock)
    clock.now = 1019.0
    await renewer.renew_due()
    assert broker.calls == []
    clock.now = 1020.0
    await renewer.renew_due()
    assert broker.calls == [("renew", "a")]
    clock.now = 1036.0
    await renewer.renew_due()
    assert broker.calls == [("renew", "a"), ("renew", "b")]


async def test_a_lost_lease_ends_the_reading_and_settles_nothing(broker, clock):
    one = held()
    items = together(one)
    broker.errors = [LeaseLost("taken")]
    clock.now = 1030.0
    await Renewer(broker, items, 60.0, clock).renew_due()
    assert one.lost
    assert one.run.aborted
    broker.calls.clear()
    await settler(broker, items, clock).settle(one, Reading(Receipt(item_id="i")))
    assert broker.calls == []
    assert not items


async def test_a_renewal_that_got_no_answer_is_made_again(broker, clock):
    one = held()
    broker.errors = [BrokerUnavailable("away"), None]
    renewer = Renewer(broker, together(one), 60.0, clock)
    clock.now = 1020.0
    await renewer.renew_due()
    await renewer.renew_due()
    assert len(broker.calls) == 2
    assert not one.lost


async def test_receipts_are_written_many_at_a_time(broker, clock):
    items = together(*(held(name) for name in "abc"))
    writing = settler(broker, items, clock)
    for one in items:
        await writing.settle(one, Reading(Receipt(item_id=one.lease.item.item_id)))
    assert broker.calls == []
    await writing.write_receipts()
    assert [(name, worker, sorted(ids)) for name, worker, ids in broker.calls] == [("complete", "w", ["a", "b", "c"])]
    assert not items


async def test_a_receipt_that_is_refused_lets_the_item_go(broker, clock):
    """When its lease has run out it is delivered again: better read twice than renewed for ever."""
    items = together(held())
    broker.errors = [BrokerError("refused")]
    writing = settler(broker, items, clock)
    await writing.settle(next(iter(items)), Reading(Receipt(item_id="i")))
    await writing.write_receipts()
    assert not items


@pytest.mark.parametrize(
    ("reading", "released", "reason", "delay"),
    [
        (Reading(error=FileError("denied")), "", "denied", 0.0),
        (Reading(error=ConnectionLost("lost")), "", "lost", 8.0),
        (Reading(error=ConnectionLost("lost"), unreachable=True), "", "", HIDING_SECONDS),
        (Reading(aborted=True), "paused", "", HIDING_SECONDS),
        (Reading(aborted=True), "ended", "", 0.0),
        (Reading(aborted=True), "stopping", "", 0.0),
    ],
)
async def test_what_is_not_read_is_handed_back(broker, clock, reading, released, reason, delay):
    """A reason counts against the item; a pause, a stop or an address that can't be reached from here does not."""
    one = held(deliveries=3)
    one.released = released
    items = together(one)
    await settler(broker, items, clock).settle(one, reading)
    assert broker.calls == [("abandon", "i", reason, delay)]
    assert not items


async def test_an_item_that_failed_is_told_with_its_place(broker, clock, caplog):
    """The reason is for all of its files, and names none of them."""
    one = held(deliveries=3)
    with caplog.at_level(logging.WARNING):
        await settler(broker, together(one), clock).settle(one, Reading(error=ConnectionLost("lost", address="a")))
    place = one.lease.item.path
    assert [record.getMessage() for record in caplog.records] == [f"/{place.strip('/')}: a: lost (delivery 3)"]


async def test_whoever_waits_for_room_is_woken(broker, clock):
    items = together(held())
    waiting = asyncio.create_task(items.room.wait())
    await settler(broker, items, clock).settle(next(iter(items)), Reading(aborted=True))
    await asyncio.wait_for(waiting, 5)


async def test_an_outage_of_the_broker_is_told_of_once(broker, clock, caplog):
    """Renewals and receipts fail together: one line, not one each."""
    items = together(*(held(str(number)) for number in range(20)))
    broker.errors = [BrokerUnavailable("away")] * 20
    clock.now = 1030.0
    with caplog.at_level(logging.INFO):
        await Renewer(broker, items, 60.0, clock).renew_due()
    assert len(caplog.records) == 1
