"""What a process has done at each address, including closed sessions, and what is known about its window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import NamedTuple

from cachewarmer.model import AddressReport, Bound
from cachewarmer.targets.base import SessionSnapshot
from cachewarmer.targets.breaker import Failures, Outage
from cachewarmer.targets.latency import LatencyHistogram
from cachewarmer.values import dataclass

READ_CALLS = ("READ", "read")
"""The names under which READ calls are counted: over NFS, and for local files."""


class Knee(NamedTuple):
    """What the search for the window of an address has found so far."""

    calls: int = 0
    """The window beyond which more calls gain nothing, or make other clients wait; 0 if unknown."""
    bound: Bound = Bound.UNKNOWN
    """Why it is not larger."""
    canary_idle_seconds: float = 0.0
    """Duration of a call of the canary without load; 0 if unknown."""
    canary_seconds: float = 0.0
    """Duration of its last call; 0 if unknown."""


@dataclass(slots=True)
class Traffic:
    """The counts of one address, summed over sessions."""

    reads: int = 0
    bytes: int = 0
    retries: int = 0
    jukebox_waits: int = 0
    reconnects: int = 0
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)

    def plus(self, seen: SessionSnapshot) -> Traffic:
        """The sum with the counts of another session."""
        return Traffic(
            reads=self.reads + sum(seen.calls.get(name, 0) for name in READ_CALLS),
            bytes=self.bytes + seen.bytes,
            retries=self.retries + seen.retries,
            jukebox_waits=self.jukebox_waits + seen.jukebox_waits,
            reconnects=self.reconnects + seen.reconnects,
            latencies=self.latencies.merge(seen.latencies),
        )


def address_report(
    address: str,
    past: Traffic,
    sessions: Iterable[SessionSnapshot],
    *,
    window: int,
    knee: Knee,
    failures: Failures,
    outage: Outage | None,
    now: float,
) -> AddressReport:
    """The report on an address. ``past`` are the counts of closed sessions; ``now`` is of the clock of ``outage``."""
    traffic, in_flight, waiting = past, 0, 0
    for seen in sessions:
        traffic = traffic.plus(seen)
        in_flight += seen.in_flight
        waiting += seen.waiting
    return AddressReport(
        address=address,
        window=window,
        in_flight=in_flight,
        waiting=waiting,
        knee=knee.calls,
        bound=knee.bound,
        canary_idle_ms=1000 * knee.canary_idle_seconds,
        canary_ms=1000 * knee.canary_seconds,
        calls=traffic.reads,
        bytes=traffic.bytes,
        latency_seconds=traffic.latencies.seconds,
        latencies=tuple((place, calls) for place, calls in enumerate(traffic.latencies.counts) if calls),
        retries=traffic.retries,
        jukebox_waits=traffic.jukebox_waits,
        reconnects=traffic.reconnects,
        failures=failures.times,
        last_failure=failures.last,
        silent_seconds=max(0.001, now - outage.since) if outage is not None else 0.0,
        problem=outage.problem if outage is not None else "",
    )
