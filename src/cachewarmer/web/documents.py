"""The documents of the page, with keys in addition to those of ``--json``, from a broker and its workers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cachewarmer.fleet.base import FleetSize, MachineTime
from cachewarmer.model import AddressReport, JobStatus, Report, WorkerReport, with_in_hand
from cachewarmer.targets.latency import BUCKETS, LatencyHistogram, upper_bound
from cachewarmer.values import dataclass

LISTED = (
    "job",
    "name",
    "target",
    "state",
    "priority",
    "reason",
    "files",
    "bytes",
    "failed_files",
    "scanned_files",
    "scanned_bytes",
    "scan_finished",
    "seconds",
    "files_per_second",
    "bytes_per_second",
)
"""The keys of a job in the list that is sent again and again."""

Rates = Mapping[str, tuple[float, float]]
"""By a worker's key: files and bytes per second recently."""


def listed(status: JobStatus, workers: Sequence[WorkerReport], now: float) -> dict[str, Any]:
    """A job in the list: some of the keys of ``--json``, and when it was submitted (Unix seconds)."""
    document = Report.of_job(with_in_hand(status, workers), now).document()
    return {key: document[key] for key in LISTED} | {
        "submitted_at": status.submitted_at,
        "workers": sum(one.at_work and one.in_hand(status.job.job_id) is not None for one in workers),
    }


def job_document(status: JobStatus, workers: Sequence[WorkerReport], now: float, rates: Rates) -> dict[str, Any]:
    """A job in detail: the keys of ``status JOB --json``, and ``live``."""
    mine = [one for one in workers if one.in_hand(status.job.job_id) is not None]
    at_work = [one for one in mine if one.at_work and not status.state.final]
    return Report.of_job(with_in_hand(status, workers), now).document() | {
        "live": {
            "items": items_document(status, workers),
            "submitted_at": status.submitted_at,
            "started_at": status.started_at,
            "finished_at": status.finished_at,
            "max_bandwidth": status.job.max_bandwidth,
            "workers": [worker_document(one, status.job.job_id, rates) for one in mine],
            "addresses": [merged(rows) for rows in by_address(at_work or mine).values()],
        }
    }


def items_document(status: JobStatus, workers: Iterable[WorkerReport]) -> dict[str, int]:
    """The work items of a job, by where they are; what workers hold is as they last said."""
    at_work = [one for one in workers if one.at_work and not status.state.final]
    held = [one.in_hand(status.job.job_id) for one in at_work]
    done, poisoned = status.total("items"), status.poisoned_items
    unsettled = max(0, status.scan.items - done - poisoned)
    leased = min(sum(one.items for one in held if one is not None), unsettled)
    return {
        "published": status.scan.items,
        "waiting": unsettled - leased,
        "leased": leased,
        "done": done,
        "poison": poisoned,
    }


def worker_document(worker: WorkerReport, job_id: str, rates: Rates) -> dict[str, Any]:
    """A worker, as it last said of itself; with ``job_id`` what it has of that job."""
    held = worker.in_hand(job_id) if job_id else None
    files, read = rates.get(worker.key, (0.0, 0.0)) if worker.at_work else (0.0, 0.0)
    return {
        "worker": worker.worker,
        "host": worker.host,
        "seen_seconds": round(worker.seen_seconds, 1),
        "at_work": worker.at_work,
        "ended": worker.ended,
        "bound": str(worker.bound),
        "cpu_share": round(worker.cpu_share, 3),
        "items": held.items if held else sum(one.items for one in worker.jobs),
        "files_per_second": round(files, 1),
        "bytes_per_second": round(read, 1),
        "addresses": [one.address for one in worker.addresses],
    }


def by_address(workers: Iterable[WorkerReport]) -> dict[str, list[AddressReport]]:
    """What all workers say of each address."""
    found: dict[str, list[AddressReport]] = {}
    for worker in workers:
        for one in worker.addresses:
            found.setdefault(one.address, []).append(one)
    return dict(sorted(found.items()))


def merged(rows: Sequence[AddressReport]) -> dict[str, Any]:
    """One address over all workers: counts added; the slowest canary, since that is what somebody waits for."""
    latency = _latency(rows)
    worst = max(rows, key=lambda row: row.canary_ms)
    silent = max(rows, key=lambda row: row.silent_seconds)
    return {
        "address": rows[0].address,
        "window": sum(row.window for row in rows),
        "in_flight": sum(row.in_flight for row in rows),
        "knee": sum(row.knee for row in rows),
        "bound": str(next((row.bound for row in rows if row.bound), "")),
        "canary_idle_ms": round(worst.canary_idle_ms, 3),
        "canary_ms": round(worst.canary_ms, 3),
        "calls": sum(row.calls for row in rows),
        "retries": sum(row.retries for row in rows),
        "jukebox_waits": sum(row.jukebox_waits for row in rows),
        "reconnects": sum(row.reconnects for row in rows),
        "silent_seconds": round(silent.silent_seconds, 1),
        "problem": silent.problem,
        "latency_ms": {
            name: round(1000 * latency.quantile(share), 3)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
        "latencies": [
            {"below_ms": round(1000 * upper_bound(place), 4), "calls": calls}
            for place, calls in enumerate(latency.counts)
            if calls
        ],
    }


def _latency(rows: Sequence[AddressReport]) -> LatencyHistogram:
    counts = [0] * BUCKETS
    for row in rows:
        for bucket, calls in row.latencies:
            if bucket < BUCKETS:
                counts[bucket] += calls
    return LatencyHistogram(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePrice:
    """What a machine of the fleet costs, by somebody's table."""

    hour: float
    """Of one machine."""
    currency: str
    source: str
    """Where the price is from, and of when."""


def fleet_document(
    name: str,
    size: FleetSize | None,
    machines: Sequence[MachineTime],
    now: float,
    dollars_an_hour: float,
    price: MachinePrice | None = None,
) -> dict[str, Any]:
    """The fleet of this manager; ``dollars_an_hour`` is the most that one of its machines may cost, 0 if unknown;
    ``price`` what one does cost, None: not known.
    """
    seconds = sum(one.seconds(now) for one in machines)
    size_known = size or FleetSize()
    return {
        "name": name,
        "seen": size is not None,
        "wanted": size_known.wanted,
        "running": size_known.running,
        "queued": size_known.queued,
        "evicted": max(size_known.evicted, sum(one.end == "evicted" for one in machines)),
        "machine_seconds": round(seconds, 1),
        "most_dollars": round(seconds / 3600 * dollars_an_hour, 2) if dollars_an_hour > 0 else None,
        "cost": round(seconds / 3600 * price.hour, 4) if price is not None else None,
        "currency": price.currency if price is not None else "",
        "prices": price.source if price is not None else "",
    }


def aged(workers: Iterable[WorkerReport], seconds: float) -> list[WorkerReport]:
    """Rows that were fetched so long ago."""
    return [replace(one, seen_seconds=one.seen_seconds + seconds) for one in workers]
