"""Time, bounds, operations and cost by number of workers. Pure: the cache that was found and the work go in."""

from __future__ import annotations

import math

from cachewarmer.broker.effort import Items
from cachewarmer.forecast.fitting import Fitted, mixed, simulate
from cachewarmer.forecast.operations import operations
from cachewarmer.forecast.prices import Prices
from cachewarmer.forecast.workload import Workload
from cachewarmer.model.bound import Bound
from cachewarmer.values import dataclass

START_SECONDS = 0.3
"""Time from the start of a job to its first READ, plus that from the last READ to the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a number of workers would do."""

    workers: int
    calls_in_flight: int
    """Of all workers together."""
    seconds: float
    files_per_second: float
    bytes_per_second: float
    bound: Bound
    beyond_probe: bool
    """More calls in flight than were tried, and the ceiling is not known: at best so fast."""
    operations: dict[str, int]
    """By broker."""
    machine_hours: float
    cost: dict[str, float] | None
    """Cost by broker; None: no prices were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plan is made for."""

    work: Workload
    items: Items
    window: int
    """Calls in flight of a worker; 0: as many as the probe found worth it, shared by all if it found a ceiling."""
    most_window: int = 0
    """Maximum number of calls in flight of a worker where ``window`` is 0; 0: no maximum."""
    window_share: float = 1.0
    """How much a worker holds of the window that it finds."""
    max_bandwidth: int = 0
    """Bytes per second of the whole job; 0: no limit."""
    scan_seconds: float = 0.0
    """Time of the listing; 0 if unknown."""
    prices: Prices | None = None


def worker_counts(most: int) -> list[int]:
    """1, 2, 4, … and ``most``."""
    return [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]


def forecast(found: Fitted, asked: Asked, workers: int) -> Row:
    """What this many workers would do."""
    work = asked.work
    # An automatic window continues where the probe ended, or shares the ceiling that it found.
    alone = found.worth_calls if found.ceiling is Bound.WINDOW else max(1, found.worth_calls // workers)
    window = asked.window or max(1, min(int(alone * asked.window_share), asked.most_window or alone))
    if work.calls:
        calls, read, bound = simulate(found, mixed(work), window, workers)
        seconds = work.calls / calls
        if asked.max_bandwidth and read > asked.max_bandwidth:
            seconds, bound = max(seconds, work.bytes / asked.max_bandwidth), Bound.PACE
    else:
        seconds, bound = 0.0, Bound.SCAN
    if asked.scan_seconds > seconds:
        seconds, bound = asked.scan_seconds, Bound.SCAN
    seconds += START_SECONDS
    count = operations(asked.items, seconds=seconds, workers=workers)
    machines = math.ceil(workers / (asked.prices.workers_per_machine if asked.prices else 1))
    hours = machines * seconds / 3600
    return Row(
        workers=workers,
        calls_in_flight=window * workers,
        seconds=seconds,
        files_per_second=work.files / seconds,
        bytes_per_second=work.bytes / seconds,
        bound=bound,
        beyond_probe=found.ceiling is Bound.WINDOW and window * workers > found.probed_calls,
        operations=count,
        machine_hours=hours,
        cost=_cost(asked.prices, count, hours),
    )


def _cost(prices: Prices | None, count: dict[str, int], hours: float) -> dict[str, float] | None:
    if prices is None:
        return None
    machines = hours * prices.machine_hour
    return {
        name: machines + number * prices.per_million_operations.get(name, 0.0) / 1e6 for name, number in count.items()
    }
