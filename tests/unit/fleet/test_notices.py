"""A worker hears that its VM is about to go, is told to hand everything back, and only then lets it go."""

import asyncio
import logging
import os
import time

import pytest

from cachewarmer.azure.metadata import Imds, Schedule, ScheduledEvent
from cachewarmer.fleet.vmss.notices import ending, eviction_notices
from tests.azure_standin.one_vm import one_vm
from tests.servers.ports import NO_IMDS


@pytest.fixture
async def served():
    async with one_vm() as made:
        yield made


class Held:
    """A worker that holds something until it is evicted."""

    def __init__(self):
        self.evicted = asyncio.Event()

    async def run(self, served, released=None):
        async with eviction_notices(self.evicted.set, imds=Imds(served.url), poll_seconds=0.01):
            await asyncio.wait_for(self.evicted.wait(), 30)
            if released is not None:
                await released.wait()
            assert served.started == [], "not before everything is handed back"


@pytest.mark.parametrize("kind", ["Preempt", "Terminate"])
async def test_a_notice_for_this_vm_evicts_and_is_then_acknowledged(served, kind):
    """In whatever case the name comes."""
    event = served.announce(kind, "farm_4", 30)
    event["Resources"].append("FARM_3")
    await Held().run(served)
    assert served.started == [event["EventId"]]


async def test_the_notice_may_come_at_any_time(served):
    """It is asked for again and again, until the worker ends."""
    held = Held()
    running = asyncio.create_task(held.run(served))
    while served.asked < 5:
        await asyncio.sleep(0.005)
    assert not held.evicted.is_set()
    event = served.announce("Preempt", "farm_3", 30)
    await running
    assert served.started == [event["EventId"]]


def test_only_what_ends_this_very_vm_counts():
    """The events of all VMs of a scale set come to each of them; from a reboot a VM comes back."""
    events = [("Reboot", ("a",)), ("Freeze", ("a",)), ("Redeploy", ("a",)), ("Preempt", ("b",)), ("Terminate", ())]
    schedule = Schedule(
        incarnation=1,
        events=tuple(ScheduledEvent(event_id=kind, event_type=kind, resources=names) for kind, names in events),
    )
    assert ending(schedule, "a") == []
    assert [event.event_id for event in ending(schedule, "B")] == ["Preempt"]


async def test_without_a_metadata_service_nothing_is_watched_or_delayed(caplog):
    """Elsewhere than on Azure: no word of it, either."""
    caplog.set_level(logging.INFO)
    began = time.monotonic()
    async with eviction_notices(lambda: None, imds=Imds(NO_IMDS)):
        await asyncio.sleep(0.1)
    assert time.monotonic() - began < 10
    assert caplog.records == []


async def test_a_service_that_hangs_delays_neither_start_nor_end(served):
    """The first answer on a VM may take two minutes."""
    served.hangs = True
    began = time.monotonic()
    async with eviction_notices(lambda: None, imds=Imds(served.url)):
        await asyncio.sleep(0.05)
    assert time.monotonic() - began < 10


async def test_a_poll_that_fails_is_repeated(served):
    """One answer is nothing to rely on."""
    held = Held()
    running = asyncio.create_task(held.run(served))
    while not served.asked:
        await asyncio.sleep(0.005)
    served.statuses = [500, 410, 429]
    event = served.announce("Preempt", "farm_3", 30)
    await running
    assert served.started == [event["EventId"]]


async def test_an_acknowledgement_that_fails_is_one_line(served, caplog):
    """The VM goes anyway when its time is up."""
    served.announce("Preempt", "farm_3", 30)
    evicted = asyncio.Event()
    async with eviction_notices(evicted.set, imds=Imds(served.url), poll_seconds=0.01):
        await evicted.wait()
        served.statuses = [500]
    assert [record for record in caplog.records if "it will happen anyway" in record.getMessage()]


async def test_the_last_worker_of_a_vm_acknowledges(served):
    """An event acknowledged by the first would take the VM from under the others."""
    event = served.announce("Preempt", "farm_3", 30)
    slow, released = Held(), asyncio.Event()
    working = asyncio.create_task(slow.run(served, released))
    await asyncio.wait_for(slow.evicted.wait(), 30)
    await Held().run(served)
    assert served.started == []
    released.set()
    await working
    assert served.started == [event["EventId"]]


async def test_what_a_worker_leaves_in_the_state_directory_is_its_users_alone(served, tmp_path, monkeypatch):
    """Whatever the umask is: the broker's file may come to lie there later."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    before = os.umask(0)
    try:
        async with eviction_notices(lambda: None, imds=Imds(served.url), poll_seconds=0.01):
            async with asyncio.timeout(30):
                while not list(tmp_path.rglob("workers.lock")):
                    await asyncio.sleep(0.01)
            modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    assert modes == {"cachewarmer": 0o700, "workers.lock": 0o600}
