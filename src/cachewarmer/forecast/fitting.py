"""From what a probe measured to the cache that behaves so, and what workers would get of it: both by simulation. Pure.

The simulated cache has server threads that a cold READ holds, an origin so far away, a link, and a processor. The probe
with one call in flight gives the time of the origin; that with most gives the ceiling, as the cost of a call and of a
byte that the simulation needs to come to the same rate.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from cachewarmer.forecast.probing import GROWTH, Probe, Step
from cachewarmer.forecast.simulated import CacheModel, SimulatedCache, SimulatedWorker
from cachewarmer.forecast.workload import Workload
from cachewarmer.model.bound import Bound

WHOLE_TIMES = 1.5
"""What reading takes of a worker's processor with items, receipts and lists of files, as a multiple of what the bare
READs of the probe take (docs/benchmarks.md: a bare reader 15 to 21 µs a file, the whole command 22 to 32)."""
MANY_THREADS = 1 << 16
LEAST_CALL_SECONDS = 2e-6
"""No server answers a call in less than this: above half a million calls a second nothing is promised."""
LEAST_LINK = 1000.0
MOST_LINK = 1e11
"""Bytes per second."""
ROUNDS = 6
"""Windows of calls that a simulation goes on for, once it has settled …"""
LEAST_CALLS, MOST_CALLS = 1500, 30000
"""… and calls in all, at least and at most."""
FIT_STEPS = 14
FULL = 0.9
"""Of a resource: it is what bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A cache as the probe found it."""

    model: CacheModel
    worker_call_seconds: float
    worker_byte_seconds: float
    """Processor time of a worker for each call and each byte."""
    probed_calls: int
    """The most calls in flight that were tried."""
    ceiling: Bound
    """What kept the last step from bringing more; ``window``: nothing yet."""


class Rate(NamedTuple):
    """What a simulation came to."""

    calls: float
    bytes: float
    """A second."""
    bound: Bound


def fit(probe: Probe) -> Fitted:
    """The cache that behaves as the probe says."""
    small, large = probe.small, probe.large
    first = (small or large)[0]
    call_seconds, byte_seconds = _worker_costs(probe)
    ceiling = _ceiling(small) if small else Bound.WINDOW
    large_ceiling = _ceiling(large) if large else Bound.WINDOW
    latency = max(1e-6, first.latency - call_seconds)
    wire = min(probe.way_seconds, latency)
    model = CacheModel(
        threads=MANY_THREADS,
        origin_seconds=max(0.0, latency - wire),
        wire_seconds=wire,
        cpu_seconds=LEAST_CALL_SECONDS,
        link_bytes_per_second=MOST_LINK,
        jitter=0.0,
    )
    found = Fitted(
        model=model,
        worker_call_seconds=call_seconds,
        worker_byte_seconds=byte_seconds,
        probed_calls=max(one.window for one in (*small, *large)),
        ceiling=next((one for one in (ceiling, large_ceiling) if one is not Bound.WINDOW), Bound.WINDOW),
    )
    if large:
        found = _fit_link(found, large, alone=not small)
    if small:
        found = _fit_call(found, small[-1], ceiling)
    costs = replace(found, worker_call_seconds=WHOLE_TIMES * call_seconds, worker_byte_seconds=byte_seconds)
    return replace(costs, model=replace(costs.model, jitter=0.05))


def _worker_costs(probe: Probe) -> tuple[float, float]:
    """Processor seconds of a worker for a call and for a byte: of the last step of either kind, which is the busiest."""
    call = probe.small[-1].cpu_seconds / probe.small[-1].calls if probe.small else 0.0
    if not probe.large:
        return call, 0.0
    last = probe.large[-1]
    each = last.cpu_seconds / last.calls
    if not probe.small:
        return 0.0, last.cpu_seconds / max(1, last.bytes)
    return call, max(0.0, each - call) * last.calls / max(1, last.bytes)


def _ceiling(steps: tuple[Step, ...]) -> Bound:
    """What bound the last step, if it brought little more than the one before; ``window``: it brought what it should."""
    last = steps[-1]
    if last.bound is not Bound.WINDOW:
        return last.bound
    if len(steps) > 1 and last.calls_per_second < GROWTH * steps[-2].calls_per_second:
        return Bound.LINK  # more calls in flight brought no more, and nobody waits for a thread
    return Bound.WINDOW


def _fit_link(found: Fitted, steps: tuple[Step, ...], *, alone: bool) -> Fitted:
    """The link at which the simulation reads large files as fast as the last step did."""
    last = steps[-1]
    each = max(1, last.bytes // last.calls)
    if alone:  # the time of a call with nothing else in flight is the origin's and the link's
        link_seconds = min(steps[0].latency, 1 / max(one.calls_per_second for one in steps))
        origin = max(0.0, steps[0].latency - link_seconds - found.model.wire_seconds)
        found = replace(found, model=replace(found.model, origin_seconds=origin))

    def with_link(logarithm: float) -> Fitted:
        return replace(found, model=replace(found.model, link_bytes_per_second=10.0**logarithm))

    return _bisect(with_link, 3.0, 11.0, last, each, more_is_faster=True)


def _fit_call(found: Fitted, last: Step, ceiling: Bound) -> Fitted:
    """The threads, or the cost of a call, with which the simulation reads small files as fast as the last step did."""
    each = max(1, last.bytes // last.calls)
    if ceiling is Bound.THREADS:
        hold = found.model.origin_seconds + found.model.cpu_seconds
        threads = max(1, round(last.calls_per_second * hold))
        return replace(found, model=replace(found.model, threads=threads))
    most = 1 / last.calls_per_second

    def with_cost(cost: float) -> Fitted:
        return replace(found, model=replace(found.model, cpu_seconds=max(LEAST_CALL_SECONDS, cost)))

    return _bisect(with_cost, 0.0, most, last, each, more_is_faster=False)


def _bisect(
    make: Callable[[float], Fitted], low: float, high: float, last: Step, each: int, *, more_is_faster: bool
) -> Fitted:
    for _ in range(FIT_STEPS):
        middle = (low + high) / 2
        faster = simulate(make(middle), lambda: each, last.window, 1).calls > last.calls_per_second
        if faster == more_is_faster:
            high = middle
        else:
            low = middle
    return make((low + high) / 2)


def simulate(found: Fitted, call_bytes: Callable[[], int], window: int, workers: int) -> Rate:
    """What so many workers get, each with so many calls in flight."""
    cache = SimulatedCache(found.model)
    readers = [
        SimulatedWorker(
            cache,
            call_bytes,
            window=window,
            call_seconds=found.worker_call_seconds,
            byte_seconds=found.worker_byte_seconds,
        )
        for _ in range(workers)
    ]
    for one in readers:
        one.begin()
    in_flight = window * workers
    settle = min(MOST_CALLS, 2 * in_flight)
    wanted = settle + min(MOST_CALLS, max(LEAST_CALLS, ROUNDS * in_flight))
    _run(cache, readers, settle)
    began, calls, count = cache.now, sum(one.calls for one in readers), sum(one.bytes for one in readers)
    busy = sum(one.busy_seconds for one in readers)
    _run(cache, readers, wanted)
    seconds = max(1e-9, cache.now - began)
    calls_rate = (sum(one.calls for one in readers) - calls) / seconds
    bytes_rate = (sum(one.bytes for one in readers) - count) / seconds
    busy_share = (sum(one.busy_seconds for one in readers) - busy) / seconds / workers
    return Rate(calls_rate, bytes_rate, _bound(found, calls_rate, bytes_rate, busy_share))


def _run(cache: SimulatedCache, readers: list[SimulatedWorker], calls: int) -> None:
    """Until so many calls were done, a round trip at a time."""
    model = cache.model
    step = max(1e-4, (model.origin_seconds + model.wire_seconds) / 4)
    while sum(one.calls for one in readers) < calls:
        cache.run(cache.now + step)


def _bound(found: Fitted, calls: float, byte_rate: float, busy_share: float) -> Bound:
    """The resource that is in use up to its end."""
    model = found.model
    if busy_share >= FULL:
        return Bound.CPU
    if model.threads < MANY_THREADS and calls * (model.origin_seconds + model.cpu_seconds) >= FULL * model.threads:
        return Bound.THREADS
    if byte_rate >= FULL * model.link_bytes_per_second:
        return Bound.LINK
    if calls * model.cpu_seconds >= FULL:
        # The cost of a call stands for whatever the probe ran into.
        return found.ceiling if found.ceiling in (Bound.LINK, Bound.CPU) else Bound.LINK
    return Bound.WINDOW


def mixed(work: Workload, seed: int = 1) -> Callable[[], int]:
    """Gives the bytes of one READ after the other, small and large in the proportion of the workload."""
    chance = random.Random(seed)
    share = work.small_calls / max(1, work.calls)
    small = work.small_bytes // max(1, work.small_calls)
    large = work.large_bytes // max(1, work.large_calls)
    return lambda: small if chance.random() < share else large
