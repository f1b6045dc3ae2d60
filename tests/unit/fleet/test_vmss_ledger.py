"""What the listings of a scale set say about its machines."""

from cachewarmer.fleet.vmss.ledger import Machine, MachineLedger


def machines(*names, state="succeeded", created_at=0.0):
    return [Machine(name=name, state=state, created_at=created_at) for name in names]


def ends(ledger):
    return {one.name: (one.started_at, one.ended_at, one.end) for one in ledger.times()}


def test_what_is_missing_was_evicted():
    """A Spot machine under the policy Delete leaves no other trace, even if it was seen going."""
    ledger = MachineLedger()
    assert ledger.note(machines("a", "b"), 10) == []
    ledger.note([*machines("a"), *machines("b", state="deleting")], 15)
    assert [one.name for one in ledger.note(machines("a"), 20)] == ["b"]
    assert ends(ledger) == {"a": (10, 0, ""), "b": (10, 20, "evicted")}
    assert ledger.evicted == 1


def test_what_we_delete_was_not_evicted():
    """Nor is what goes with the whole set."""
    ledger = MachineLedger()
    ledger.note(machines("a", "b", "c"), 10)
    ledger.going(["a"])
    ledger.note(machines("b", "c"), 20)
    ledger.all_gone(30)
    assert [one.end for one in ledger.times()] == ["deleted"] * 3
    assert [one.ended_at for one in ledger.times()] == [20, 30, 30]
    assert ledger.evicted == 0


def test_what_never_came_up_failed():
    """It counts for its cost, and not as an eviction."""
    ledger = MachineLedger()
    ledger.note(machines("a", state="failed"), 10)
    ledger.note([], 15)
    assert ends(ledger) == {"a": (10, 15, "failed")}
    assert ledger.evicted == 0


def test_a_machine_began_when_azure_says_so():
    """Not when this manager, perhaps a later one, first saw it."""
    raw = {"name": "a", "properties": {"provisioningState": "Succeeded", "timeCreated": "1970-01-01T00:01:40.1234567Z"}}
    machine = Machine.from_json(raw)
    assert (machine.alive, round(machine.created_at, 3)) == (True, 100.123)
    ledger = MachineLedger()
    ledger.note([machine], 500)
    assert ledger.times()[0].seconds(600) == 600 - machine.created_at


def test_which_machines_count():
    """Those that are there or coming."""
    states = {"creating": True, "updating": True, "succeeded": True, "failed": False, "deleting": False}
    assert {state: Machine(name="a", state=state).alive for state in states} == states
