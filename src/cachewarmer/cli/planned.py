"""The output of ``plan`` as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cachewarmer.amounts import duration, milliseconds, size
from cachewarmer.cli.bounds import short
from cachewarmer.errors import UsageError
from cachewarmer.forecast.fitting import MANY_THREADS, Fitted, best, fit
from cachewarmer.forecast.forecast import Asked, Row, forecast, worker_counts
from cachewarmer.forecast.workload import SMALL_BYTES, Workload
from cachewarmer.model import Bound
from cachewarmer.paths import printable
from cachewarmer.values import dataclass
from cachewarmer.warming.window import WindowLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cachewarmer.config import NfsSettings
    from cachewarmer.forecast.looking import Looked
    from cachewarmer.forecast.prices import Prices
    from cachewarmer.forecast.probing import Step
    from cachewarmer.model import WarmJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan, and what it was made from."""

    label: str
    looked: Looked
    counted: bool
    """Whether the files were counted; else the user gave their number."""
    work: Workload
    fitted: Fitted
    rows: tuple[Row, ...]
    prices: Prices | None
    cache_bytes: int


def made(
    job: WarmJob,
    looked: Looked,
    nfs: NfsSettings,
    prices: Prices | None,
    *,
    files: int = 0,
    byte_count: int = 0,
    workers: int,
    cache_bytes: int = 0,
) -> Plan:
    """Makes the plan for 1, 2, 4, ... ``workers``.

    ``files`` and ``byte_count`` are what to plan for if the files were not counted; 0 files: they were. ``cache_bytes``
    is the size of the cache; 0 if unknown.

    Raises:
        UsageError: the files to plan for are of a kind (small, large) that the target could not be probed with.
    """
    longest = looked.probe.read_bytes
    if files:
        work = Workload.of_numbers(files, byte_count, longest)
        _check_kinds(work, looked)
    else:
        work = Workload.of_histogram(looked.totals.histogram, looked.totals.bytes, longest)
    window = 0 if nfs.window_auto else nfs.window_calls
    fitted = fit(looked.probe, window)
    asked = Asked(
        work=work,
        items=looked.samples.items(looked.totals, work.files),
        window=window,
        most_window=nfs.window_max_calls,
        window_share=WindowLimits.gentle().share if nfs.gentle else 1.0,
        max_bandwidth=job.max_bandwidth,
        scan_seconds=0.0 if files else looked.scan_seconds,
        prices=prices,
    )
    return Plan(
        label=job.label,
        looked=looked,
        counted=not files,
        work=work,
        fitted=fitted,
        rows=tuple(forecast(fitted, asked, workers) for workers in worker_counts(workers)),
        prices=prices,
        cache_bytes=cache_bytes,
    )


def _check_kinds(work: Workload, looked: Looked) -> None:
    """Raises ``UsageError`` if the files to plan for are of a kind that the target has no files of to probe with."""
    for calls, steps, what in (
        (work.small_calls, looked.probe.small, f"at most {size(SMALL_BYTES)}"),
        (work.large_calls, looked.probe.large, f"more than {size(SMALL_BYTES)}"),
    ):
        if calls and not steps:
            raise UsageError(
                f"the plan is for files of {what}, but the target has none to probe with",
                address=looked.address,
                advice="use a target that has some",
            )


def document(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object."""
    probe, fitted, work, prices = plan.looked.probe, plan.fitted, plan.work, plan.prices
    return {
        "target": plan.label,
        "files": work.files,
        "bytes": work.bytes,
        "counted": plan.counted,
        "scan_seconds": round(plan.looked.scan_seconds, 3) if plan.counted else None,
        "read_calls": work.calls,
        "probe": {
            "address": plan.looked.address,
            "seconds": round(probe.seconds, 3),
            "bytes": probe.bytes,
            "round_trip_ms": round(1000 * probe.way_seconds, 3),
            "small": [_step_document(one) for one in probe.small],
            "large": [_step_document(one) for one in probe.large],
            "ceiling": str(fitted.ceiling) if fitted.ceiling is not Bound.WINDOW else "",
            "threads": fitted.model.threads if fitted.model.threads < MANY_THREADS else None,
        },
        "plans": [
            {
                "workers": row.workers,
                "calls_in_flight": row.calls_in_flight,
                "seconds": round(row.seconds, 3),
                "files_per_second": round(row.files_per_second, 1),
                "bytes_per_second": round(row.bytes_per_second, 1),
                "bound_by": str(row.bound),
                "beyond_probe": row.beyond_probe,
                "broker_operations": row.operations,
                "machine_hours": round(row.machine_hours, 4),
                "cost": {name: round(value, 6) for name, value in row.cost.items()} if row.cost is not None else None,
            }
            for row in plan.rows
        ],
        "prices": {"source": prices.source, "date": prices.date, "currency": prices.currency} if prices else None,
        "cache_bytes": plan.cache_bytes or None,
        "cached_bytes": work.cached_bytes,
        "fits": work.cached_bytes <= plan.cache_bytes if plan.cache_bytes else None,
        "warnings": list(plan.looked.totals.warnings),
    }


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "calls_in_flight": step.window,
        "calls_per_second": round(step.calls_per_second, 1),
        "bytes_per_second": round(step.bytes_per_second, 1),
        "latency_ms": round(1000 * step.latency, 3),
    }


def lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    work, looked = plan.work, plan.looked
    found = f"  {work.files:,} files, {size(work.bytes)}"
    how = (
        f" in {looked.totals.directories:,} directories, listed in {duration(looked.scan_seconds)}"
        if plan.counted
        else ""
    )
    said = [printable(plan.label), f"{found}{how}", *_probe_lines(plan), *_table(plan.rows, plan.prices)]
    if any(row.beyond_probe for row in plan.rows):
        said.append(
            f"  * at best: more than the {plan.fitted.probed_calls} calls in flight that were tried, and no ceiling was found"
        )
    said.append(_operations_line(plan.rows))
    if plan.prices is not None:
        said.append(f"  prices: {plan.prices.source}, {plan.prices.date}")
    if plan.cache_bytes:
        share = work.cached_bytes / plan.cache_bytes
        fits = "it fits" if share <= 1 else "IT DOES NOT FIT"
        said.append(f"  {fits}: about {size(work.cached_bytes)} of {size(plan.cache_bytes)} ({share:.0%})")
    return [*said, *(f"  warning: {printable(one)}" for one in looked.totals.warnings)]


def _probe_lines(plan: Plan) -> list[str]:
    probe = plan.looked.probe
    where = printable(plan.looked.address) or "this machine"
    trip = f", round trip {milliseconds(probe.way_seconds)} ms" if probe.way_seconds else ""
    said = [f"  probe of {where}: {probe.seconds:.1f} s, {size(probe.bytes)} read{trip}"]
    for what, steps in (("small files", probe.small), ("large files", probe.large)):
        if steps:
            first, last = steps[0], best(steps)
            much = (
                f"{last.calls_per_second:,.0f} files/s" if what == "small files" else f"{size(last.bytes_per_second)}/s"
            )
            said.append(f"    {what}: {milliseconds(first.latency)} ms a READ; {much} with {last.window} at once")
    return said


def _table(rows: Sequence[Row], prices: Prices | None) -> list[str]:
    """The lines of a table: a header, and a row for each number of workers."""
    header = ["workers", "time", "files/s", "rate", "machine hours", "bound by"]
    paid = sorted(prices.per_million_operations) if prices is not None else []
    if prices is not None:
        header[5:5] = [f"{prices.currency} ({name})" for name in paid] or [prices.currency]
    table = [header]
    table += [_cells(row, paid) for row in rows]
    widths = [max(len(cells[place]) for cells in table) for place in range(len(header))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if place == len(header) - 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in table
    ]


def _cells(row: Row, paid: Sequence[str]) -> list[str]:
    """The cells of one row; ``paid`` holds the names of the brokers that cost something."""
    cost = [] if row.cost is None else [f"{row.cost[name]:,.4f}" for name in (paid or sorted(row.cost)[:1])]
    return [
        f"{row.workers:,}",
        f"{duration(row.seconds)}{'*' if row.beyond_probe else ' '}",
        f"{row.files_per_second:,.0f}",
        f"{size(row.bytes_per_second)}/s",
        f"{row.machine_hours:,.3f}",
        *cost,
        short(row.bound).removeprefix("bound by ") or str(row.bound),
    ]


def _operations_line(rows: Sequence[Row]) -> str:
    """The numbers of broker operations for the fewest and for the most workers."""
    first, last = rows[0].operations, rows[-1].operations
    said = [
        f"{name} {first[name]:,}" + (f" to {last[name]:,}" if last[name] != first[name] else "")
        for name in sorted(first)
    ]
    return f"  broker operations, about: {', '.join(said)}"
