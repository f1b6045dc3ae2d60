"""What a process has done at each of its addresses, also through sessions that are closed by now; and what was found out
about their windows.
"""

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
"""What a READ call is counted as: over NFS, and on this machine's own files."""


class Knee(NamedTuple):
    """What the search for an address's window has found so far."""

    calls: int = 0
    """The window beyond which more calls bring nothing, or make others wait; 0 if unknown."""
    bound: Bound = Bound.UNKNOWN
    """Why it is not larger."""
    canary_idle_seconds: float = 0.0
    canary_seconds: float = 0.0
    """The canary's time without load, and the last one."""


@dataclass(slots=True)
class Traffic:
    """Counts of one address: sums over its sessions."""

    reads: int = 0
    bytes: int = 0
    retries: int = 0
    jukebox_waits: int = 0
    reconnects: int = 0
    latencies: LatencyHistogram = field(default_factory=LatencyHistogram)

    def plus(self, seen: SessionSnapshot) -> Traffic:
        """The sum with another session's."""
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
    """How an address does. ``past``: what its closed sessions did; ``now`` by the clock of ``outage.since``."""
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
