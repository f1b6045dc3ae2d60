"""What is seen of a window while it is held, and whether that is enough to judge it. Pure."""

from __future__ import annotations

from cachewarmer.values import dataclass

ROUND_TRIPS = 1.5
"""A window is judged over at least so many mean latencies …"""
LEAST_ROUND_SECONDS = 0.15
"""… and over at least this long, for a rate that means something where calls are quick."""
COUNTED_ROUND_TRIPS = 8.0
"""A rate is counted where a round is longer than this; else it comes from the latencies."""
ROUND_CALLS = 20
"""A few calls more or less make no difference to the rate of so many …"""
MOST_CALLS_SECONDS = 2.0
"""… which are waited for this long."""
MOST_ROUND_SECONDS = 1.0
"""A round ends after this long even if less was seen."""
ROUND_CANARIES = 4
QUICK_SECONDS = 0.04
"""At the start a window is judged over one latency, or at least this long where calls are quick, and if the rate grew
with it the next one follows. What that leaves open is judged over a whole round."""
FIRST_SECONDS = 0.01
"""The same for the first window: near servers answer hundreds of calls in that time."""
QUICK_ROUND_TRIPS = 1.0
SETTLED_ROUND_TRIPS = 1.1
"""After so many latencies, calls that were in flight when the window changed are answered."""
QUICK_CANARIES = 2
"""So many canaries are answered, since it changed, before a window is left for a larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What happened at one address since the observation before."""

    now: float
    """Seconds of a monotonic clock."""
    calls: int
    """READ calls answered."""
    seconds: float
    """Sum of their latencies."""
    bytes: int = 0
    """Bytes that these calls have read; 0: not known."""
    in_flight: float = 0.0
    """READ calls in flight now; 0: not known."""
    limited: bool
    """Whether the window was what held the reader back: at least one request waited."""
    canary: tuple[float, ...] = ()
    """Seconds that each canary answered since then took."""
    canary_waiting: float = 0.0
    """Seconds that the canary in flight has waited so far; 0: there is none."""
    path_seconds: float = 0.0
    """The round trip to the address without any thread of it, as a connection's handshake takes; 0: not known."""


class Round:
    """What was seen since the window last changed, or since the last judgement of it."""

    __slots__ = (
        "alarmed",
        "began",
        "calls",
        "canaries",
        "doubted",
        "draining",
        "in_flight",
        "looks",
        "seconds",
        "settled",
        "slow",
        "starved",
    )

    def __init__(self, now: float, *, draining: bool, settled: bool = False, canaries: int = 0, slow: int = 0) -> None:
        self.began = now
        self.calls = 0
        self.seconds = 0.0
        """The sum of their latencies."""
        self.looks = 0
        self.in_flight = 0.0
        """The sum of what was in flight at each look."""
        self.alarmed = 0.0
        """When it became clear that others wait; 0: they do not."""
        self.canaries, self.slow = canaries, slow
        """Answered canaries, and the slow ones among them."""
        self.doubted = False
        """A first, quick judgement of the rate did not settle it: a whole round does."""
        self.draining = draining
        """The window shrank: calls beyond it are still in flight, and the canary still feels them."""
        self.settled = settled
        """What was in flight before the change has been answered."""
        self.starved = False
        """The reader had too little to read to fill the window: the rate says nothing about it."""

    def rate(self, now: float) -> float:
        """Calls a second.

        Over a few latencies a count of answers depends on when in a latency it begins and ends: there, calls in flight
        divided by their latency (Little's law) tell it better.
        """
        age = now - self.began
        if self.calls and self.in_flight and age * self.calls < COUNTED_ROUND_TRIPS * self.seconds:
            return self.in_flight / self.looks * self.calls / self.seconds
        return self.calls / age

    def add(self, seen: Observation) -> None:
        """Takes an observation, but for its canaries."""
        self.calls += seen.calls
        self.seconds += seen.seconds
        self.looks += 1
        self.in_flight += seen.in_flight
        self.starved = self.starved or not seen.limited

    def is_complete(self, age: float, window: int, latency: float) -> bool:
        """Whether so many seconds have shown what a window brings whose calls take ``latency`` seconds."""
        if age < max(LEAST_ROUND_SECONDS, ROUND_TRIPS * latency):
            return False
        if self.calls < window or (self.calls < ROUND_CALLS and age < MOST_CALLS_SECONDS):
            return False
        return self.canaries >= ROUND_CANARIES or age > MOST_ROUND_SECONDS

    def is_complete_quickly(self, age: float, window: int, latency: float, *, first: bool, suspected: bool) -> bool:
        """At the start: whether a window has settled, or may be left for a larger one.

        ``first``: it is no larger than the first one. ``suspected``: there is some evidence that others wait.
        """
        if not self.calls:
            return False
        if not self.settled or self.starved:
            return first or age >= SETTLED_ROUND_TRIPS * latency
        least = FIRST_SECONDS if first else QUICK_SECONDS
        if age < max(least, QUICK_ROUND_TRIPS * latency) or self.calls < window:
            return False
        enough = 1 if first else QUICK_CANARIES
        return (self.canaries >= enough and not suspected) or age > MOST_ROUND_SECONDS
