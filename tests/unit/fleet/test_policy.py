"""What the policy decides, situation by situation. Time is a number."""

from dataclasses import replace

import pytest

from cachewarmer.broker.base import Backlog
from cachewarmer.config import FleetSettings
from cachewarmer.errors import CapacityError, FleetError, FleetUnavailable
from cachewarmer.fleet.base import Action, FleetSize
from cachewarmer.fleet.policy import Policy

SETTINGS = FleetSettings(workers=10)
NONE = FleetSize()


def backlog(items=0, **values):
    return Backlog(**{"unsettled_items": items, "active_jobs": 1 if items else 0, **values})


def size(wanted, running=None, evicted=0):
    return FleetSize(exists=True, wanted=wanted, running=wanted if running is None else running, evicted=evicted)


def does(decision):
    return decision.action, decision.workers


@pytest.mark.parametrize(("items", "workers"), [(1, 1), (7, 7), (10, 10), (5000, 10)])
def test_a_fleet_is_made_with_no_more_workers_than_work_and_the_limit_allow(items, workers):
    """One item is enough to start; more than the limit never are."""
    decision = Policy(SETTINGS, 0).decide(0, backlog(items), NONE)
    assert does(decision) == (Action.CREATE, workers)
    assert str(items) in decision.reason


def test_a_worker_may_be_worth_several_items():
    """``items_per_worker`` divides the work, rounded up."""
    policy = Policy(replace(SETTINGS, items_per_worker=100), 0)
    assert does(policy.decide(0, backlog(101), NONE)) == (Action.CREATE, 2)


def test_without_work_there_is_no_fleet():
    """Nor while a scan has published nothing yet."""
    policy = Policy(SETTINGS, 0)
    assert policy.decide(0, backlog(), NONE).action is Action.NOTHING
    assert policy.decide(5, backlog(scanning_jobs=1), NONE).action is Action.NOTHING


def test_it_grows_with_the_work_and_up_to_the_limit():
    """Once for each step, and not again while the machines are on their way."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(2), NONE)
    assert does(policy.decide(5, backlog(6), size(2))) == (Action.SCALE_OUT, 6)
    assert policy.decide(10, backlog(6), size(6)).action is Action.NOTHING
    assert does(policy.decide(15, backlog(99), size(6))) == (Action.SCALE_OUT, 10)
    assert policy.decide(20, backlog(500), size(10)).action is Action.NOTHING


def test_a_fleet_that_is_being_made_is_not_made_again():
    """Its provider may not list it yet; and it is deleted like any other when the work is gone."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(3), NONE)
    coming = FleetSize(wanted=3)
    assert policy.decide(5, backlog(3), coming).action is Action.NOTHING
    assert does(policy.decide(10, backlog(5), coming)) == (Action.SCALE_OUT, 5)
    policy.decide(15, backlog(), coming)
    assert policy.decide(35, backlog(), coming).action is Action.DELETE


def test_evicted_machines_are_replaced_at_once_while_there_is_work():
    """And only as many as there is work for."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(100), NONE)
    assert policy.decide(5, backlog(100), size(10)).action is Action.NOTHING
    decision = policy.decide(10, backlog(90), size(10, running=8, evicted=2))
    assert does(decision) == (Action.SCALE_OUT, 10)
    assert decision.reason == "2 evicted, 90 items are left"
    assert policy.decide(15, backlog(80), size(10, running=10, evicted=2)).action is Action.NOTHING
    assert policy.decide(20, backlog(3), size(10, running=5, evicted=7)).action is Action.NOTHING
    assert does(policy.decide(25, backlog(3), size(10, running=2, evicted=10))) == (Action.SCALE_OUT, 3)


def test_a_provider_that_lowers_the_capacity_itself_is_asked_again():
    """With eviction policy Delete the capacity may fall with the machine."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(100), NONE)
    assert does(policy.decide(10, backlog(90), size(8, evicted=2))) == (Action.SCALE_OUT, 10)


def test_machines_that_never_came_are_asked_for_again_after_a_minute():
    """Not at every look: the provider may still be at it."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(10), NONE)
    for now in range(5, 60, 5):
        assert policy.decide(now, backlog(10), size(10, running=7)).action is Action.NOTHING
    decision = policy.decide(60, backlog(10), size(10, running=7))
    assert does(decision) == (Action.SCALE_OUT, 10)
    assert decision.reason == "3 of them have not come"
    assert policy.decide(65, backlog(10), size(10, running=7)).action is Action.NOTHING


def test_only_capacity_that_has_not_come_is_given_up():
    """A machine that runs may hold work, which nobody can see from outside: none is taken, however little is left."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(10), NONE)
    for now in range(5, 65, 5):
        assert policy.decide(now, backlog(2), size(10, running=6)).action is Action.NOTHING
    assert does(policy.decide(65, backlog(2), size(10, running=6))) == (Action.SCALE_IN, 6)
    assert policy.decide(70, backlog(2), size(6)).action is Action.NOTHING
    policy = Policy(SETTINGS, 0)
    assert {policy.decide(now, backlog(1), size(10)).action for now in range(0, 1000, 5)} == {Action.NOTHING}


def test_another_managers_larger_fleet_is_left_as_it_is():
    """Two managers with different limits don't pull it to and fro: the larger one holds."""
    policy = Policy(replace(SETTINGS, workers=3), 0)
    found = {policy.decide(now, backlog(100), size(10, running=6)).action for now in range(0, 1000, 5)}
    assert found == {Action.NOTHING}


def test_it_is_deleted_twenty_seconds_after_the_last_lease_is_settled():
    """Counted from the first look that sees nothing left; an item that is leased is left."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(1), size(1))
    assert policy.decide(1000, backlog(1), size(1)).action is Action.NOTHING
    assert policy.decide(1003, backlog(), size(1)).action is Action.NOTHING
    assert policy.decide(1022.9, backlog(), size(1)).action is Action.NOTHING
    assert policy.seconds_to_next_look(1022.9) == pytest.approx(0.1)
    decision = policy.decide(1023, backlog(), size(1))
    assert (decision.action, decision.reason) == (Action.DELETE, "nothing was left to read for 20 s")


def test_work_that_comes_meanwhile_begins_the_wait_anew():
    """Twenty seconds without work, not since there was none once."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(), size(1))
    policy.decide(15, backlog(1), size(1))
    assert policy.decide(20, backlog(), size(1)).action is Action.NOTHING
    assert policy.decide(39, backlog(), size(1)).action is Action.NOTHING
    assert policy.decide(40, backlog(), size(1)).action is Action.DELETE


def test_a_scan_keeps_the_machines_for_some_minutes():
    """More work may come of it; but not for ever, should it hang."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(1), size(1))
    scanning = backlog(scanning_jobs=1)
    assert {policy.decide(now, scanning, size(1)).action for now in range(5, 305, 5)} == {Action.NOTHING}
    assert policy.decide(305, scanning, size(1)).action is Action.DELETE


def test_a_scan_that_ends_without_more_work_frees_them():
    """The twenty seconds have long passed."""
    policy = Policy(SETTINGS, 0)
    policy.decide(0, backlog(scanning_jobs=1), size(1))
    assert policy.decide(100, backlog(scanning_jobs=1), size(1)).action is Action.NOTHING
    assert policy.decide(101, backlog(), size(1)).action is Action.DELETE


def test_a_manager_that_finds_a_fleet_goes_on_with_it():
    """One that starts sees work and machines, and changes nothing; or no work, and deletes them after the wait."""
    assert Policy(SETTINGS, 500).decide(500, backlog(9), size(9)).action is Action.NOTHING
    policy = Policy(SETTINGS, 500)
    assert policy.decide(500, backlog(), size(9)).action is Action.NOTHING
    assert policy.decide(520, backlog(), size(9)).action is Action.DELETE


def test_blind_for_fifteen_minutes_it_leaves_nothing_running():
    """Not before; and once, unless something is there again."""
    policy = Policy(SETTINGS, 0)
    policy.decide(10, backlog(9), size(9))
    for now in range(15, 910, 5):
        assert policy.decide(now, None, size(9)).action is Action.NOTHING
    assert policy.seconds_to_next_look(909) == pytest.approx(1)
    decision = policy.decide(910, None, size(9))
    assert (decision.action, decision.reason) == (Action.DELETE, "the queues could not be seen for 900 s")
    policy.succeeded(decision)
    assert policy.decide(915, None, NONE).action is Action.NOTHING
    assert policy.decide(920, None, None).action is Action.NOTHING
    assert policy.decide(925, None, size(1)).action is Action.DELETE


def test_blind_to_the_fleet_too_it_still_deletes_it():
    """Deleting what is not there is no error, and then it is surely gone."""
    policy = Policy(SETTINGS, 0)
    decision = policy.decide(900, None, None)
    assert decision.action is Action.DELETE
    assert policy.decide(905, None, None).action is Action.DELETE, "the first one may have failed"
    policy.succeeded(decision)
    assert policy.decide(910, None, None).action is Action.NOTHING


def test_while_the_fleet_can_not_be_seen_it_is_left_alone():
    """What is there is not known, so neither is what to ask for."""
    policy = Policy(SETTINGS, 0)
    assert policy.decide(0, backlog(100), None).action is Action.NOTHING
    assert policy.decide(100, backlog(), None).action is Action.NOTHING


def test_no_room_is_tried_again_later_and_later():
    """A minute, two, four … ten; what succeeds ends the series."""
    policy = Policy(SETTINGS, 0)
    now, waits = 0.0, []
    for _ in range(6):
        decision = policy.decide(now, backlog(5), NONE)
        assert decision.action is Action.CREATE
        wait = policy.failed(now, decision, CapacityError("no room"))
        assert policy.decide(now + wait - 1, backlog(5), NONE).action is Action.NOTHING
        waits.append(wait)
        now += wait
    assert waits == [60, 120, 240, 480, 600, 600]
    policy.succeeded(policy.decide(now, backlog(5), NONE))
    decision = policy.decide(now + 5, backlog(9), size(5))
    assert policy.failed(now + 5, decision, CapacityError("no room")) == 60


def test_a_busy_provider_is_asked_again_soon_and_a_refusal_after_five_minutes():
    """The first passes by itself; for the other somebody must do something."""
    policy = Policy(SETTINGS, 0)
    decision = policy.decide(0, backlog(5), NONE)
    assert policy.failed(0, decision, FleetUnavailable("busy")) == 5
    assert policy.failed(5, decision, FleetUnavailable("busy")) == 10
    assert policy.failed(15, decision, FleetError("a role is missing")) == 300
    assert policy.decide(300, backlog(5), NONE).action is Action.NOTHING
    assert policy.decide(315, backlog(5), NONE).action is Action.CREATE


def test_a_deletion_that_fails_is_tried_again_whatever_else_was_refused():
    """Machines cost money: at most a minute between two attempts, and no wait of the growing is waited for."""
    policy = Policy(SETTINGS, 0)
    growing = policy.decide(0, backlog(9), size(1))
    policy.failed(0, growing, FleetError("a role is missing"))
    policy.decide(1, backlog(), size(1))
    decision = policy.decide(21, backlog(), size(1))
    assert decision.action is Action.DELETE
    now = 21.0
    for _ in range(8):
        wait = policy.failed(now, decision, FleetError("a lock"))
        assert wait <= 60
        assert policy.decide(now + wait - 0.5, backlog(), size(1)).action is Action.NOTHING
        now += wait
        decision = policy.decide(now, backlog(), size(1))
        assert decision.action is Action.DELETE


LOCALLY = replace(SETTINGS, local_seconds=60, worker_bytes_per_second=1000, worker_files_per_second=10)


def test_little_work_is_done_beside_the_manager():
    """Bytes and files both count; more than a minute of them starts machines."""
    for work in ({"unsettled_bytes": 59_500}, {"unsettled_files": 600}):
        decision = Policy(LOCALLY, 0).decide(0, backlog(5, **work), NONE)
        assert (decision.action, decision.beside) == (Action.NOTHING, True)
    for work in ({"unsettled_bytes": 59_000, "unsettled_files": 20}, {"unsettled_files": 601}):
        decision = Policy(LOCALLY, 0).decide(0, backlog(5, **work), NONE)
        assert (decision.action, decision.beside) == (Action.CREATE, True)


def test_an_estimate_that_was_wrong_starts_machines():
    """A minute of reading that takes longer was more than it seemed."""
    policy = Policy(LOCALLY, 0)
    little = backlog(5, unsettled_bytes=1000)
    for now in range(0, 60, 5):
        assert policy.decide(now, little, NONE).action is Action.NOTHING
    assert policy.decide(60, little, NONE).action is Action.CREATE


def test_the_worker_beside_the_manager_goes_on_until_a_machine_is_there():
    """And not beside one; a fleet that is there already does small jobs too."""
    policy = Policy(LOCALLY, 0)
    assert policy.decide(0, backlog(500, unsettled_bytes=10**9), NONE).beside
    assert policy.decide(5, backlog(500, unsettled_bytes=10**9), size(10, running=0)).beside
    assert policy.decide(7, None, size(10, running=0)).beside, "what can't be seen changes nothing"
    assert not policy.decide(10, backlog(500, unsettled_bytes=10**9), size(10, running=1)).beside
    assert not policy.decide(15, backlog(), size(10)).beside


def test_nobody_works_beside_the_manager_unless_asked_to():
    """``local_seconds`` is 0 by default."""
    policy = Policy(SETTINGS, 0)
    assert not policy.decide(0, backlog(1, unsettled_files=1), NONE).beside


def test_items_of_no_known_job_are_looked_at_beside_the_manager():
    """They may be left of jobs that ended, for which no machine is started."""
    policy = Policy(SETTINGS, 0)
    decision = policy.decide(0, backlog(stray_items=3), NONE)
    assert (decision.action, decision.beside) == (Action.NOTHING, True)
    assert not policy.decide(5, backlog(stray_items=3), size(2)).beside
    assert not policy.decide(10, backlog(), NONE).beside


def test_a_manager_that_stops_leaves_the_fleet_only_to_work():
    """What is left, or being scanned, is the next manager's; without work the machines go at once."""
    policy = Policy(SETTINGS, 0)
    assert policy.leave(backlog(3)).reason == "it stays for the next manager: 3 items are left"
    assert policy.leave(backlog(scanning_jobs=1)).action is Action.NOTHING
    assert policy.leave(None).action is Action.NOTHING
    assert policy.leave(backlog()).action is Action.DELETE
