"""What limits the rate, in words."""

from __future__ import annotations

from cachewarmer.amounts import milliseconds
from cachewarmer.model import Bound, Verdict
from cachewarmer.paths import printable

BOUNDS: dict[str, str] = {
    Bound.UNKNOWN: "",
    Bound.WORK: "too little work",
    Bound.SCAN: "bound by the scan",
    Bound.OUTAGE: "no address answers",
    Bound.PACE: "held back by the bandwidth limit",
    Bound.CPU: "bound by this worker's CPU",
    Bound.WINDOW: "bound by the window",
    Bound.LINK: "bound by the link",
    Bound.THREADS: "bound by the cache's threads",
    Bound.DISK: "bound by the disk",
}
"""The words for each verdict about a worker."""


def short(bound: Bound) -> str:
    """The limit in words for the progress line; empty if that would say nothing new."""
    if bound in (Bound.WORK, Bound.OUTAGE):
        return ""
    return BOUNDS[bound].replace("this worker's CPU", "CPU")


def bound_line(verdict: Verdict) -> str:
    """A line for a report: the limit, the measurements behind it, and what would raise the rate. May be empty."""
    said = short(verdict.bound)
    if not said:
        return ""
    numbers = [
        f"window {verdict.window:,}" if verdict.window else "",
        f"knee {verdict.knee:,}" if verdict.knee else "",
        _from_to("canary", verdict.canary_idle_ms, verdict.canary_ms),
        _from_to("round trip", verdict.way_idle_ms, verdict.way_ms),
    ]
    known = ", ".join(one for one in numbers if one)
    at = f" at {printable(verdict.address)}" if verdict.address and known else ""
    return f"{said}{at}{f' ({known})' if known else ''}" + (
        f"; faster with {verdict.raised_by}" if verdict.raised_by else ""
    )


def _from_to(what: str, idle: float, now: float) -> str:
    """Two durations in milliseconds, without load and now; empty unless both are known."""
    return f"{what} {milliseconds(idle / 1000)} → {milliseconds(now / 1000)} ms" if idle and now else ""
