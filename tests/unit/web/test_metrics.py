"""What Prometheus is told."""

from prometheus_client.parser import text_string_to_metric_families

from cachewarmer.fleet.base import FleetSize
from cachewarmer.model import AddressReport, InHand, JobState, JobStatus, ScanTotals, Tally, WarmJob, WorkerReport
from cachewarmer.targets.latency import BUCKETS, bucket
from cachewarmer.web.documents import fleet_document
from cachewarmer.web.metrics import Seen, exposition
from tests.unit.web.conftest import TOKEN


def samples(seen):
    """By (name, labels): no series may be there twice."""
    found = {}
    for family in text_string_to_metric_families(exposition(seen).decode()):
        for one in family.samples:
            key = (one.name, tuple(sorted(one.labels.items())))
            assert key not in found
            found[key] = one.value
    return found


def of(found, name, /, **labels):
    return found[name, tuple(sorted(labels.items()))]


def status(job_id="j1", name="shot", state=JobState.WARMING):
    return JobStatus(
        job=WarmJob(job_id=job_id, name=name),
        state=state,
        scan=ScanTotals(files=30, bytes=3000, items=10),
        tallies=(Tally(worker="w", items=4, files=12, bytes=1200),),
        poisoned_items=1,
    )


def worker(name="w", **more):
    return WorkerReport(worker=name, host="h", pid=1, jobs=(InHand(job="j1", items=2),), **more)


def test_a_job_tells_its_items_and_what_was_read():
    """Of items that have no receipt, those that a worker holds are leased."""
    found = samples(Seen(statuses=[status()], workers=[worker()]))
    items = {state: of(found, "cachewarmer_job_items", job_id="j1", state=state) for state in ("waiting", "leased")}
    assert items == {"waiting": 3, "leased": 2}
    assert of(found, "cachewarmer_job_items", job_id="j1", state="poison") == 1
    assert of(found, "cachewarmer_job_read_bytes_total", job_id="j1") == 1200
    assert of(found, "cachewarmer_job_scanned_files_total", job_id="j1") == 30
    assert of(found, "cachewarmer_jobs", state="warming") == 1
    assert of(found, "cachewarmer_workers", state="at_work") == 1


def test_an_address_tells_its_latencies():
    """Buckets hold all that is below them, and a bucket that nobody has is left out."""
    fast, slow, slowest = bucket(0.001), bucket(0.1), bucket(1e6)
    row = AddressReport(
        address="a",
        window=8,
        canary_ms=2.5,
        retries=3,
        bytes=77,
        latencies=((fast, 5), (slow, 2), (slowest, 1), (BUCKETS + 1, 9)),
        latency_seconds=1.5,
    )
    found = samples(Seen(workers=[worker(addresses=(row,))]))
    labels = {"worker": "w/h/1", "address": "a"}
    below = {
        float(dict(key[1])["le"]): calls
        for key, calls in found.items()
        if key[0] == "cachewarmer_read_latency_seconds_bucket"
    }
    assert [below[end] for end in (2.0**-10, 2.0**-9, 2.0**-4, 2.0**-3, 2.0**7, float("inf"))] == [0, 5, 5, 7, 7, 8]
    assert of(found, "cachewarmer_read_latency_seconds_count", **labels) == 8
    assert of(found, "cachewarmer_read_latency_seconds_sum", **labels) == 1.5
    assert of(found, "cachewarmer_canary_seconds", **labels) == 0.0025
    assert of(found, "cachewarmer_retries_total", **labels) == 3
    assert of(found, "cachewarmer_read_bytes_total", **labels) == 77


def test_what_is_over_or_lost_has_no_series():
    """So their number does not grow with time."""
    gone = [worker(ended=True, addresses=(AddressReport(address="a"),)), worker("x", seen_seconds=1e6)]
    found = samples(Seen(statuses=[status(state=JobState.COMPLETED)], workers=gone))
    assert not [key for key in found if dict(key[1]).keys() & {"job_id", "worker", "address"}]
    assert of(found, "cachewarmer_workers", state="lost") == 1


def test_a_broker_that_is_away_leaves_no_old_numbers():
    """The fleet is this process's own."""
    fleet = fleet_document("f", FleetSize(exists=True, wanted=3, running=2, evicted=1), [], 0, 0.0)
    found = samples(Seen(away=True, statuses=[status()], workers=[worker()], fleet=fleet))
    assert of(found, "cachewarmer_broker_up") == 0
    assert of(found, "cachewarmer_fleet_wanted_machines", fleet="f") == 3
    assert of(found, "cachewarmer_fleet_evictions_total", fleet="f") == 1
    assert not [key for key in found if not key[0].startswith(("cachewarmer_broker_up", "cachewarmer_fleet_"))]


def test_hostile_rows_and_names_do_not_spoil_a_scrape():
    """The same worker twice, the same address twice, and names that end a line or are no text."""
    name = 'a"} 1\ncachewarmer_jobs 99\n\\\ud800'
    rows = (AddressReport(address='"\n', retries=1), AddressReport(address='"\n', retries=2))
    found = samples(Seen(statuses=[status(name=name)], workers=[worker(addresses=rows), worker(addresses=rows)]))
    assert ("cachewarmer_jobs", ()) not in found
    shown = name.replace("\ud800", "\\ud800")
    assert of(found, "cachewarmer_job_info", job_id="j1", name=shown, state="warming") == 1


async def test_the_server_answers_a_scrape(site):
    """With the type that Prometheus asks for; and the server's own calls to the broker are told."""
    feed = site.server.feed
    async with feed._changed:  # told at the end of a look, however long that takes
        await feed._changed.wait_for(lambda: not feed.away)
    code, text, headers = await site.ask("GET", "/metrics")
    assert code == 200
    assert "cachewarmer_broker_up 1.0" in text
    assert 'cachewarmer_broker_call_seconds_count{operation="jobs"}' in text
    assert headers["Content-Type"].startswith("text/plain; version=")


async def test_a_scrape_needs_the_token_where_there_is_one(site_of):
    """Names of jobs and addresses are not for everybody."""
    async with site_of(token=TOKEN) as site:
        assert (await site.ask("GET", "/metrics"))[0] == 401
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        assert (await site.ask("GET", "/metrics", headers=allowed))[0] == 200
