"""The metrics for Prometheus, from a broker, its workers and the fleet. Pure.

Names follow the conventions of Prometheus (https://prometheus.io/docs/practices/naming/). The number of series is
bounded: a job that is over has none, and neither has a worker that is lost or has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cachewarmer.broker.counted import CALL_SECONDS, CallCounts
from cachewarmer.model import AddressReport, JobState, JobStatus, Report, WorkerReport
from cachewarmer.targets.latency import BUCKETS, OCTAVE_BUCKETS, upper_bound
from cachewarmer.values import dataclass
from cachewarmer.web.documents import items_document

CONTENT_TYPE = CONTENT_TYPE_LATEST
ADDRESS_LABELS = ("worker", "address")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen at the last look; ``fleet`` as ``documents.fleet_document`` has it, None: this process has none."""

    away: bool = False
    """The broker did not answer: nothing else is known then."""
    statuses: Sequence[JobStatus] = ()
    workers: Sequence[WorkerReport] = ()
    fleet: Mapping[str, Any] | None = None
    results: Sequence[JobStatus] = ()
    """Jobs that are over and are told all the same: the writer of a file has nobody else to tell of them."""
    calls: CallCounts | None = None
    """What this process has asked its broker; None: it is not counted."""
    has_jobs: bool = True
    """Off for a worker, which does not look at the jobs of its broker."""


def exposition(seen: Seen) -> bytes:
    """The text that a scrape is answered with (Prometheus text format)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(families(seen)))
    return generate_latest(registry)


def families(seen: Seen) -> list[Metric]:
    """All metrics. While the broker is away only that is told, so that old numbers do not look like new ones."""
    up = GaugeMetricFamily("cachewarmer_broker_up", "1 if the broker answered at the last look.", value=not seen.away)
    found: list[Metric] = [up]
    if seen.has_jobs and not (seen.away and not seen.results):
        going_on = [] if seen.away else [one for one in seen.statuses if not one.over]
        found += _jobs([*going_on, *seen.results], seen.workers)
    if not (seen.has_jobs and seen.away):  # a worker tells of itself, whatever its broker does
        found += _workers([one for one in seen.workers if one.at_work], seen.workers)
    if seen.results:
        found += _results(seen.results)
    if seen.fleet is not None:
        found += _fleet(seen.fleet)
    if seen.calls is not None:
        found += _calls(seen.calls)
    return found


class _Once(Collector):
    """Hands out what was made."""

    def __init__(self, made: Iterable[Metric]) -> None:
        self._made = made

    def collect(self) -> Iterable[Metric]:
        return self._made


def _jobs(told: Sequence[JobStatus], workers: Sequence[WorkerReport]) -> Iterator[Metric]:
    by_state = GaugeMetricFamily("cachewarmer_jobs", "Jobs that are not over, by their state.", labels=["state"])
    for state in JobState:
        if not state.final:
            by_state.add_metric([state], sum(one.state is state for one in told))
    yield by_state
    info = GaugeMetricFamily(
        "cachewarmer_job_info", "The name and the state of a job.", labels=["job_id", "name", "state"]
    )
    items = GaugeMetricFamily(
        "cachewarmer_job_items", "Work items of a job, by their state.", labels=["job_id", "state"]
    )
    read = _job_counter("read_files", "Files that were read, by the receipts of workers.")
    read_bytes = _job_counter("read_bytes", "Bytes that were read, by the receipts of workers.")
    failed = _job_counter("failed_files", "Files that failed.")
    scanned = _job_counter("scanned_files", "Files that the scan has seen and the filters let through.")
    scanned_bytes = _job_counter("scanned_bytes", "Bytes of those files.")
    for one in told:
        labels = [one.job.job_id]
        info.add_metric([one.job.job_id, _utf8(one.job.name), one.state], 1)
        for where, count in items_document(one, workers).items():
            if where != "published":
                items.add_metric([one.job.job_id, where], count)
        read.add_metric(labels, one.total("files"))
        read_bytes.add_metric(labels, one.total("bytes"))
        failed.add_metric(labels, one.failed_files)
        scanned.add_metric(labels, one.scan.files)
        scanned_bytes.add_metric(labels, one.scan.bytes)
    yield from (info, items, read, read_bytes, failed, scanned, scanned_bytes)


def _job_counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"cachewarmer_job_{name}", text, labels=["job_id"])


def _utf8(text: str) -> str:
    """A name may hold half a surrogate pair, which Prometheus doesn't take as text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _workers(at_work: Sequence[WorkerReport], known: Sequence[WorkerReport]) -> Iterator[Metric]:
    counts = GaugeMetricFamily("cachewarmer_workers", "Workers that the broker knows, by state.", labels=["state"])
    counts.add_metric(["at_work"], len(at_work))
    counts.add_metric(["lost"], sum(not one.at_work and not one.ended for one in known))
    yield counts
    held = GaugeMetricFamily("cachewarmer_held_items", "Work items that a worker has leased.", labels=["worker"])
    files = CounterMetricFamily(
        "cachewarmer_worker_read_files",
        "Files that a worker has read, of the jobs that it still knows.",
        labels=["worker"],
    )
    busy = GaugeMetricFamily("cachewarmer_worker_cpu_cores", "Processor time per second.", labels=["worker"])
    for key, worker in {worker.key: worker for worker in at_work}.items():
        held.add_metric([key], sum(one.items for one in worker.jobs))
        files.add_metric([key], sum(one.files + one.settled_files for one in worker.jobs))
        busy.add_metric([key], worker.cpu_share)
    yield from (held, files, busy)
    # Rows are anybody's: a series that is there twice would spoil the whole scrape.
    rows = {(worker.key, row.address): row for worker in at_work for row in worker.addresses}.items()
    for name, text, field in (
        ("read_bytes", "Bytes read from an address.", "bytes"),
        ("retries", "Calls that were sent again.", "retries"),
        ("jukebox_waits", "Answers NFS3ERR_JUKEBOX, each of which was waited for.", "jukebox_waits"),
        ("reconnects", "Connections that had to be made again.", "reconnects"),
        ("address_failures", "Requests that failed with the address.", "failures"),
    ):
        counter = CounterMetricFamily(f"cachewarmer_{name}", text, labels=ADDRESS_LABELS)
        for labels, row in rows:
            counter.add_metric(labels, getattr(row, field))
        yield counter
    for name, text, field, scale in (
        ("window_calls", "READ calls that may be in flight.", "window", 1),
        ("in_flight_calls", "READ calls in flight.", "in_flight", 1),
        ("waiting_calls", "READ calls of items in hand that are not done: the queue in a worker.", "waiting", 1),
        ("knee_calls", "The window beyond which more calls bring nothing; 0: not known.", "knee", 1),
        ("canary_seconds", "What another client waits for a server thread; 0: not known.", "canary_ms", 1e-3),
        ("canary_idle_seconds", "The same without load; 0: not known.", "canary_idle_ms", 1e-3),
        ("address_silent_seconds", "For how long an address has not answered; 0: it does.", "silent_seconds", 1),
    ):
        gauge = GaugeMetricFamily(f"cachewarmer_{name}", text, labels=ADDRESS_LABELS)
        for labels, row in rows:
            gauge.add_metric(labels, getattr(row, field) * scale)
        yield gauge
    latency = HistogramMetricFamily("cachewarmer_read_latency_seconds", "Seconds of READ calls.", labels=ADDRESS_LABELS)
    for labels, row in rows:
        latency.add_metric(labels, _cumulative(row), row.latency_seconds)
    yield latency


def _cumulative(row: AddressReport) -> list[tuple[str, float]]:
    """The buckets of ``targets.latency``, four joined to one that ends at a power of two, each with all before it."""
    counts = [0] * BUCKETS
    for place, calls in row.latencies:
        if place < BUCKETS:
            counts[place] += calls
    below = [*accumulate(counts)]
    ends = range(OCTAVE_BUCKETS - 1, BUCKETS - 1, OCTAVE_BUCKETS)  # the last bucket has no end
    return [*((repr(upper_bound(end)), below[end]) for end in ends), ("+Inf", below[-1])]


def _fleet(fleet: Mapping[str, Any]) -> Iterator[Metric]:
    name = [str(fleet["name"])]
    for key, text in (
        ("wanted", "Machines that the fleet was asked for."),
        ("running", "Machines that are there or on their way."),
        ("queued", "Machines that wait in a queue of the provider's."),
    ):
        gauge = GaugeMetricFamily(f"cachewarmer_fleet_{key}_machines", text, labels=["fleet"])
        gauge.add_metric(name, fleet[key])
        yield gauge
    evicted = CounterMetricFamily("cachewarmer_fleet_evictions", "Machines that were taken away.", labels=["fleet"])
    evicted.add_metric(name, fleet["evicted"])
    yield evicted


def _results(results: Sequence[JobStatus]) -> Iterator[Metric]:
    labels = ["job_id", "name"]
    success = GaugeMetricFamily(
        "cachewarmer_job_success", "1 if a job that is over has warmed all it was to warm.", labels=labels
    )
    seconds = GaugeMetricFamily("cachewarmer_job_seconds", "How long a job that is over took.", labels=labels)
    ended = GaugeMetricFamily("cachewarmer_job_end_time_seconds", "When it ended, in Unix time.", labels=labels)
    for one in results:
        values = [one.job.job_id, _utf8(one.job.name)]
        success.add_metric(values, one.state is JobState.COMPLETED)
        seconds.add_metric(values, Report.of_job(one).seconds)
        ended.add_metric(values, one.finished_at or 0.0)
    yield from (success, seconds, ended)


def _calls(calls: CallCounts) -> Iterator[Metric]:
    label = ["operation"]
    errors = CounterMetricFamily(
        "cachewarmer_broker_call_errors", "Calls of this process to its broker that failed.", labels=label
    )
    seconds = HistogramMetricFamily(
        "cachewarmer_broker_call_seconds", "Seconds of the calls of this process to its broker.", labels=label
    )
    for name, one in sorted(calls.operations.items()):
        errors.add_metric([name], one.errors)
        ends = (*(repr(end) for end in CALL_SECONDS), "+Inf")
        seconds.add_metric([name], [*zip(ends, accumulate(one.buckets), strict=True)], one.seconds)
    yield from (errors, seconds)
