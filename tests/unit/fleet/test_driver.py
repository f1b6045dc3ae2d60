"""The driver carries out what the policy decides, one call at a time, and turns what goes wrong into one line each."""

import asyncio
import contextlib
import logging
import time
from contextlib import asynccontextmanager

import pytest

from cachewarmer.config import FleetSettings
from cachewarmer.errors import BrokerUnavailable, CapacityError, FleetError, FleetUnavailable
from cachewarmer.fleet.base import MachineTime
from cachewarmer.fleet.driver import FleetDriver, ledger_lines
from tests.unit.fleet.doubles import PaperFleet, Queues

SETTINGS = FleetSettings(workers=4, idle_seconds=0.05, look_seconds=0.01, blind_seconds=0.2)


@asynccontextmanager
async def driven(queues, fleet, settings=SETTINGS, **options):
    """A running driver; stopped, and its end awaited, at the end."""
    stop = asyncio.Event()
    driver = FleetDriver(queues, fleet, settings, **options)
    task = asyncio.create_task(driver.run(stop))
    try:
        yield driver
        assert not task.done() or task.result() is None
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def lines(caplog):
    """What is logged, line by line."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


async def test_a_fleet_lives_as_long_as_its_work(lines):
    """Made, enlarged and deleted; the ledger has each machine and the sum; one call at a time."""
    queues, fleet = Queues(2), PaperFleet()
    async with driven(queues, fleet):
        await until(lambda: fleet.calls)
        queues.items = 9
        await until(lambda: len(fleet.calls) == 2)
        queues.items = 0
        await until(lambda: not fleet.size.exists)
    assert fleet.calls == [("create", 2), ("resize", 4), ("delete", 0)]
    assert fleet.most_busy == 1
    assert fleet.closed
    said = lines()
    assert "fleet paper: create to 2: 2 items are left" in said
    assert "fleet paper: scale out to 4: 9 items are left" in said
    assert sum("deleted" in line and line.startswith("fleet paper: m") for line in said) == 4
    assert [line for line in said if "4 machines took" in line and "VM-seconds (4 deleted)" in line]


async def test_a_second_life_has_a_ledger_of_its_own(lines):
    """What was reported once is not added again."""
    queues, fleet = Queues(1), PaperFleet()
    async with driven(queues, fleet):
        for life in (1, 2):
            queues.items = 1
            await until(lambda: fleet.size.exists)
            queues.items = 0
            await until(lambda life=life: fleet.calls.count(("delete", 0)) == life)
    assert len([line for line in lines() if "1 machines took" in line]) == 2


async def test_no_room_and_a_busy_provider_are_one_line_each_and_tried_again(lines):
    """With the reason and the wait; the manager's other work goes on."""
    queues, fleet = Queues(2), PaperFleet()
    now = [0.0]
    fleet.errors = [CapacityError("no room for Standard_D2s_v5"), FleetUnavailable("busy")]
    async with driven(queues, fleet, clock=lambda: now[0]):
        # The clock moves on only when a failure has been dealt with: its wait begins then.
        await until(lambda: any("no room" in line for line in lines()))
        await asyncio.sleep(0.1)
        assert len(fleet.calls) == 1, "not before its wait is over"
        now[0] = 60
        await until(lambda: any("busy" in line for line in lines()))
        now[0] = 80
        await until(lambda: fleet.size.exists)
    said = lines()
    assert "fleet paper: create to 2: no room for Standard_D2s_v5; trying again in 60 s" in said
    assert "fleet paper: create to 2: busy; trying again in 10 s" in said


async def test_a_deletion_that_fails_is_repeated():
    """Until it is done, as time passes."""
    queues, fleet = Queues(), PaperFleet()
    await fleet.create(3)
    now = [0.0]
    fleet.errors = [FleetError("a lock is on it")]

    def deleted_twice():
        now[0] += 0.1
        return fleet.calls.count(("delete", 0)) == 2

    async with driven(queues, fleet, clock=lambda: now[0]):
        await until(deleted_twice)
        assert not fleet.size.exists


async def test_what_can_not_be_seen_is_said_once(lines):
    """And again when it can be seen; blind for long enough, the fleet goes."""
    queues, fleet = Queues(1), PaperFleet()
    async with driven(queues, fleet):
        await until(lambda: fleet.size.exists)
        queues.error = BrokerUnavailable("no way to the account")
        await until(lambda: not fleet.size.exists)
        fleet.unseen = FleetUnavailable("no way to Azure")
        await until(lambda: "fleet paper can't be seen: no way to Azure" in lines())
        await asyncio.sleep(0.05)
        fleet.unseen = queues.error = None
        await until(lambda: fleet.size.exists)
    said = lines()
    assert said.count("the backlog can't be seen: no way to the account") == 1
    assert said.count("fleet paper can't be seen: no way to Azure") == 1
    assert {"the backlog can be seen again", "the fleet can be seen again"} <= set(said)
    assert [line for line in said if "delete: the queues could not be seen for 0 s" in line]


@pytest.mark.parametrize(("items", "scanning", "stays"), [(3, 0, True), (0, 1, True), (0, 0, False)])
async def test_a_manager_that_stops_leaves_the_fleet_to_the_work_that_is_left(lines, items, scanning, stays):
    """And deletes it at once if there is none."""
    queues, fleet = Queues(3), PaperFleet()
    slow = FleetSettings(workers=4, look_seconds=0.01)
    async with driven(queues, fleet, slow):
        await until(lambda: fleet.size.exists)
        queues.items, queues.scanning = items, scanning
    assert fleet.size.exists is stays
    assert fleet.closed
    assert [line for line in lines() if "stays for the next manager" in line] or not stays


async def test_a_fleet_that_ends_with_the_manager_is_only_closed():
    """Its machines are this process's own."""
    queues, fleet = Queues(3), PaperFleet(outlives_manager=False)
    async with driven(queues, fleet):
        await until(lambda: fleet.size.exists)
        queues.items = 0
    assert ("delete", 0) not in fleet.calls
    assert fleet.closed


async def test_a_call_that_does_not_end_holds_up_neither_the_manager_nor_its_stop(lines):
    """What the provider has accepted goes on without us."""
    queues, fleet = Queues(3), PaperFleet()
    fleet.slow = asyncio.Event()
    began = time.monotonic()
    async with driven(queues, fleet, leave_seconds=0.2):
        await until(lambda: fleet.calls)
        await asyncio.sleep(0.05)
        assert fleet.calls == [("create", 3)]
    assert time.monotonic() - began < 20
    assert fleet.closed
    assert [line for line in lines() if "create to 3: the provider has not finished" in line]


async def test_a_worker_beside_the_manager_does_what_is_little(lines):
    """It is stopped when nothing is left, and its failure is one line."""
    queues, fleet = Queues(3), PaperFleet()
    events = []

    async def beside(stop):
        events.append("started")
        if len(events) == 1:
            raise CapacityError("no thread")
        await stop.wait()
        events.append("stopped")

    async with driven(queues, fleet, FleetSettings(workers=4, look_seconds=0.01, local_seconds=60), beside=beside):
        await until(lambda: len(events) == 2)
        queues.items = 0
        await until(lambda: len(events) == 3)
    assert events == ["started", "started", "stopped"]
    assert fleet.calls == []
    assert "the worker beside the manager ended: no thread" in lines()


def test_the_ledger_counts_what_is_still_there():
    """One line a machine, with how it ended, and the sum."""
    machines = [
        MachineTime(name="a", started_at=100, ended_at=160, end="evicted"),
        MachineTime(name="b", started_at=100, ended_at=130, end="deleted"),
        MachineTime(name="c", started_at=190),
    ]
    assert ledger_lines(machines, 200) == [
        "a: 60 s, evicted",
        "b: 30 s, deleted",
        "c: 10 s, still there",
        "3 machines took 100 VM-seconds (1 evicted, 1 deleted, 1 still there)",
    ]


async def test_a_fleet_that_can_have_no_machines_is_an_error_before_anything_runs():
    """And is closed; one whose provider is only out of reach may still come."""
    queues, fleet = Queues(), PaperFleet()
    fleet.unready = FleetError("no identity")
    with pytest.raises(FleetError, match="no identity"):
        await FleetDriver(queues, fleet, SETTINGS).check()
    assert fleet.closed

    fleet = PaperFleet()
    fleet.unready = FleetUnavailable("busy")
    await FleetDriver(queues, fleet, SETTINGS).check()
    assert not fleet.closed


async def test_machines_that_are_there_are_looked_after_though_no_more_could_be_made():
    """A manager that ended instead would leave them running."""
    fleet = PaperFleet()
    await fleet.create(2)
    fleet.unready = FleetError("no identity")
    await FleetDriver(Queues(), fleet, SETTINGS).check()
    assert not fleet.closed


async def test_nothing_that_the_backlog_raises_ends_the_driver(caplog):
    """A row that can't be read is one line; the fleet is deleted when the queues were not seen for long."""
    queues, fleet = Queues(1), PaperFleet()
    async with driven(queues, fleet):
        await until(lambda: fleet.size.running)
        queues.error = ValueError("a damaged row")
        await until(lambda: ("delete", 0) in fleet.calls)
    assert "the backlog can't be seen: ValueError: a damaged row" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_call_of_the_fleet_that_fails_in_its_own_way_is_tried_again_too(caplog):
    """A fault of the fleet's code must not leave its machines to nobody."""
    queues, fleet = Queues(1), PaperFleet()
    fleet.unseen = KeyError("properties")
    async with driven(queues, fleet):
        await until(lambda: "can't be seen: KeyError: 'properties'" in caplog.text)
        fleet.unseen = None
        await until(lambda: fleet.size.running)


async def test_a_fleet_that_nobody_ever_saw_does_not_stay_for_anybody(caplog):
    """There may be one of an earlier manager, which is all that can be said."""
    fleet = PaperFleet()
    fleet.unseen = FleetUnavailable("no way")
    async with driven(Queues(3), fleet):
        await until(lambda: "can't be seen" in caplog.text)
    assert "was never seen" in caplog.text
    assert "stays" not in caplog.text


# -- several managers ----------------------------------------------------------------------------------------------


class LeasedQueues(Queues):
    """One broker for several managers; ``now`` is its clock."""

    def __init__(self, items=0):
        super().__init__(items)
        self.now = 0.0
        self.holder, self.until = "", 0.0

    async def take_fleet(self, fleet, manager, seconds):
        if self.error:
            raise self.error
        if self.holder not in ("", manager) and self.until > self.now:
            return False
        self.holder, self.until = manager, self.now + seconds
        return True


class OrderedFleet(PaperFleet):
    """Adds what it is asked for to what it sees, as job arrays are: two who look before either has asked get twice as many."""

    one_manager = True


async def test_of_two_managers_one_drives_a_fleet_that_asking_twice_would_double(lines):
    """The other one does not even look; it takes over when the first one stops, which leaves the fleet to the work."""
    queues, mine, theirs = LeasedQueues(3), OrderedFleet(), OrderedFleet()
    theirs.unseen = FleetError("the second manager must not look")
    async with driven(queues, mine), contextlib.AsyncExitStack() as second:
        await until(lambda: mine.size.exists)
        driver = await second.enter_async_context(driven(queues, theirs))
        await until(lambda: "fleet paper: another manager has it" in lines())
        assert not driver.may_have_machines
        theirs.unseen = None
        await asyncio.sleep(0.05)
        assert theirs.calls == []
        stack = second.pop_all()
    async with stack:
        await until(lambda: "fleet paper: this manager has it now" in lines())
        await until(lambda: theirs.calls)
    assert mine.calls == [("create", 3)]


async def test_a_manager_that_dies_is_replaced_when_its_time_is_over():
    queues, theirs = LeasedQueues(2), OrderedFleet()
    queues.holder, queues.until = "the dead one", 60.0
    async with driven(queues, theirs):
        await asyncio.sleep(0.05)
        assert theirs.calls == []
        queues.now = 60.0
        await until(lambda: theirs.calls == [("create", 2)])


async def test_who_drives_goes_on_while_the_broker_does_not_answer():
    """Nobody else can have taken the fleet, and somebody has to delete it when nothing was seen for long enough."""
    queues, mine = LeasedQueues(2), OrderedFleet()
    async with driven(queues, mine):
        await until(lambda: mine.size.exists)
        queues.error = BrokerUnavailable("away")
        await until(lambda: not mine.size.exists)
        queues.error = None


async def test_the_fleet_is_kept_during_a_call_that_takes_longer_than_the_lease():
    queues, mine = LeasedQueues(2), OrderedFleet()
    mine.slow = asyncio.Event()
    async with driven(queues, mine, lease_renew_seconds=0.01):
        await until(lambda: mine.calls)
        queues.now = 59.0
        await until(lambda: queues.until > 100)
        assert not await queues.take_fleet("paper", "another", 60.0)
        mine.slow.set()
