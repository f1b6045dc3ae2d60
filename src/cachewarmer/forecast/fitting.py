"""Fits a simulated cache to the measurements of a probe, and simulates what workers would get from it. Pure.

The simulated cache has server threads that a cold READ holds, an origin so far away, a link, and a processor. Where the
probe found a ceiling, that is the link, the threads or the processor of the cache, and the time of the origin is that of a
call with nothing else in flight. Where it found none, the calls took the time that the step most like the window says (Little's law), and
nothing is known of the ceiling but that it is higher.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from cachewarmer.forecast.probing import Probe, Step, grew
from cachewarmer.forecast.simulated import CacheModel, SimulatedCache, SimulatedWorker
from cachewarmer.forecast.workload import Workload
from cachewarmer.model.bound import Bound
from cachewarmer.values import dataclass

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
"""Windows of calls that a simulation continues for, once it has settled …"""
LEAST_CALLS, MOST_CALLS = 1500, 30000
"""… and calls in all, at least and at most."""
FULL = 0.9
"""The utilization from which a resource counts as the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A cache as the probe found it."""

    model: CacheModel
    worker_call_seconds: float
    worker_byte_seconds: float
    """Processor time of a worker for each call and each byte."""
    probed_calls: int
    """The most calls in flight that were tried."""
    worth_calls: int
    """The calls in flight that brought most."""
    ceiling: Bound
    """What kept the last steps from bringing more; ``window``: nothing yet."""


class Rate(NamedTuple):
    """What a simulation came to."""

    calls: float
    bytes: float
    """A second."""
    bound: Bound


def fit(probe: Probe, window: int = 0) -> Fitted:
    """The cache that behaves as the probe says; ``window``: the calls in flight of a worker, 0: what was best."""
    small, large = probe.small, probe.large
    call_seconds, byte_seconds = _worker_costs(probe)
    ceilings = [_ceiling(steps) for steps in (small, large) if steps]
    latency = max(1e-6, _latency(small or large, window) - call_seconds)
    wire = min(probe.way_seconds, latency)
    model = CacheModel(
        threads=MANY_THREADS,
        origin_seconds=latency - wire,
        wire_seconds=wire,
        cpu_seconds=LEAST_CALL_SECONDS,
        link_bytes_per_second=MOST_LINK,
    )
    if small:
        model = _with_call(model, best(small), _ceiling(small))
    if large:
        model = _with_byte(model, large, _latency(large, window) - latency)
    return Fitted(
        model=model,
        worker_call_seconds=WHOLE_TIMES * call_seconds,
        worker_byte_seconds=byte_seconds,
        worth_calls=max(best(steps).window for steps in (small, large) if steps),
        probed_calls=max(one.window for one in (*small, *large)),
        ceiling=next((one for one in ceilings if one is not Bound.WINDOW), Bound.WINDOW),
    )


def _latency(steps: Sequence[Step], window: int) -> float:
    """Seconds of a READ: with nothing else in flight where a ceiling was found, else in the step most like the window."""
    if _ceiling(steps) is not Bound.WINDOW:
        return steps[0].latency
    like = min(steps, key=lambda one: abs(one.window - window)) if window else best(steps)
    return like.window / like.calls_per_second


def _with_call(model: CacheModel, top: Step, ceiling: Bound) -> CacheModel:
    """With what small files were bound by."""
    if ceiling is Bound.THREADS:
        hold = model.origin_seconds + model.cpu_seconds
        return replace(model, threads=max(1, round(top.calls_per_second * hold)))
    if ceiling is Bound.WINDOW:
        return model
    return replace(model, cpu_seconds=max(LEAST_CALL_SECONDS, 1 / top.calls_per_second))


def _with_byte(model: CacheModel, steps: Sequence[Step], longer: float) -> CacheModel:
    """With what large files were bound by; ``longer``: what one of their READs takes beyond one of a small file."""
    top = best(steps)
    if _ceiling(steps) is not Bound.WINDOW:
        model = replace(model, link_bytes_per_second=max(LEAST_LINK, min(MOST_LINK, top.bytes_per_second)))
    each = max(1, top.bytes // top.calls)
    over_link = each / model.link_bytes_per_second
    return replace(model, byte_seconds=max(0.0, longer - over_link) / each)


def _worker_costs(probe: Probe) -> tuple[float, float]:
    """Processor seconds of a worker for a call and for a byte: of the last step of either kind, which is the busiest."""
    call = best(probe.small).cpu_seconds / best(probe.small).calls if probe.small else 0.0
    if not probe.large:
        return call, 0.0
    last = best(probe.large)
    each = last.cpu_seconds / last.calls
    if not probe.small:
        return 0.0, last.cpu_seconds / max(1, last.bytes)
    return call, max(0.0, each - call) * last.calls / max(1, last.bytes)


def _ceiling(steps: Sequence[Step]) -> Bound:
    """What bound the last step, if it brought little more than the one before; ``window``: it brought what it should."""
    if len(steps) < 2 or grew(steps[-2:]):
        return Bound.WINDOW
    return steps[-1].bound if steps[-1].bound in (Bound.THREADS, Bound.CPU) else Bound.LINK


def best(steps: Sequence[Step]) -> Step:
    """The step that brought most."""
    return max(steps, key=lambda one: one.calls_per_second)


def simulate(found: Fitted, call_bytes: Callable[[], int], window: int, workers: int) -> Rate:
    """What this many workers get, each with this many calls in flight."""
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
    """Until this many calls were done, a round trip at a time."""
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
