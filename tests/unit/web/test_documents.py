"""What the page is told of addresses and of the fleet."""

from cachewarmer.fleet.base import FleetSize, MachineTime
from cachewarmer.model import AddressReport, WorkerReport
from cachewarmer.targets.latency import bucket
from cachewarmer.web.documents import MachinePrice, by_address, fleet_document, merged


def row(address="a", **more):
    return AddressReport(address=address, **more)


def test_an_address_is_merged_over_all_workers():
    """Counts are added; the slowest canary and the longest silence are shown."""
    fast, slow = bucket(0.001), bucket(0.1)
    workers = [
        WorkerReport(worker="x", addresses=(row(window=8, knee=9, canary_ms=1.0, latencies=((fast, 98),)), row("b"))),
        WorkerReport(
            worker="y",
            addresses=(row(window=4, canary_ms=7.0, silent_seconds=3.0, problem="gone", latencies=((slow, 2),)),),
        ),
    ]
    found = by_address(workers)
    assert list(found) == ["a", "b"]
    one = merged(found["a"])
    assert (one["window"], one["knee"], one["canary_ms"], one["problem"]) == (12, 9, 7.0, "gone")
    assert [part["calls"] for part in one["latencies"]] == [98, 2]
    assert one["latency_ms"]["p50"] < 2 < 100 <= one["latency_ms"]["p99"] < 130


def test_a_bucket_beyond_the_last_is_left_out():
    """Rows are anybody's."""
    assert merged([row(latencies=((127, 5),))])["latencies"] == []


def test_the_fleet_tells_its_machine_time_and_its_price_at_most():
    """No price where none is set; evictions as the ledger or the provider has them, whichever saw more."""
    machines = [
        MachineTime(name="m0", started_at=0, ended_at=3600, end="evicted"),
        MachineTime(name="m1", started_at=0),
    ]
    found = fleet_document("f", FleetSize(exists=True, wanted=2, running=1), machines, 7200, 0.5)
    assert (found["wanted"], found["running"], found["evicted"]) == (2, 1, 1)
    assert (found["machine_seconds"], found["most_dollars"]) == (10800, 1.5)
    assert (found["cost"], found["currency"], found["prices"]) == (None, "", "")
    price = MachinePrice(hour=0.3, currency="EUR", source="a table, 2026-01-31")
    priced = fleet_document("f", None, machines, 7200, -1.0, price)
    assert (priced["cost"], priced["currency"], priced["prices"]) == (0.9, "EUR", "a table, 2026-01-31")
    unseen = fleet_document("f", None, [], 0, -1.0)
    assert (unseen["seen"], unseen["most_dollars"]) == (False, None)
