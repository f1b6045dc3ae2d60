"""How many calls one cache address can take: observations and the time go in, a window comes out. Pure.

The knee is where more calls in flight bring no more files, or where the cache begins to make others wait. A cold READ
holds a server thread until the origin answers, so a *canary* (a NULL call on a connection of its own) shows when the
threads are used up: its time is what another client waits for one.

The search doubles the window while the rate grows with it, halves the interval once it has found a window that is too
large, and then holds. From time to time it tries a slightly larger window. A slow canary shrinks the window by a
quarter at once. Several controllers at one cache converge to similar shares: they gain in equal steps and lose in
proportion to what they hold (additive increase, multiplicative decrease, as in TCP congestion control, RFC 5681).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import StrEnum

from cachewarmer.model import Bound
from cachewarmer.values import dataclass

ROUND_TRIPS = 2.5
"""A window is judged over at least so many mean latencies …"""
LEAST_ROUND_SECONDS = 0.15
"""… and over at least this long, for a rate that means something where calls are quick."""
MOST_ROUND_SECONDS = 1.0
"""A round ends after this long even if the canary was asked less often than ``ROUND_CANARIES``."""
ROUND_CANARIES = 4
FLOOR_CANARIES = 16
"""Answers that one estimate of the canary's idle time is the median of."""
FLOOR_ESTIMATES = 80
"""The idle time is the lowest of so many estimates: about a minute of answers."""
FIRST_WINDOW = 2
"""Calls in flight at the start: half of the threads of a very small cache."""
GROWTH_SHARE = 0.4
"""A larger window is kept if the rate grew by at least this share of what the window grew by."""
BACK_OFF = 0.75
"""What is left of the window when others have to wait."""
STEP_SHARE = 16
"""The first step of a trial upwards is the window divided by this; it doubles while it succeeds."""
CLOSE_ENOUGH = 12
"""The search ends when good and bad window differ by no more than the good one divided by this."""
LEAST_HOLD_SECONDS = 1.0
MOST_HOLD_SECONDS = 16.0
"""Between two trials upwards: doubles from the one to the other while they fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What happened at one address since the observation before."""

    now: float
    """Seconds of a monotonic clock."""
    calls: int
    """READ calls answered."""
    seconds: float
    """Sum of their latencies."""
    limited: bool
    """Whether the window was what held the reader back: at least one request waited."""
    canary: tuple[float, ...] = ()
    """Seconds that each canary answered since then took."""
    canary_waiting: float = 0.0
    """Seconds that the canary in flight has waited so far; 0: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimits:
    """What bounds a search. ``most`` and ``least`` are in calls."""

    least: int = 1
    most: int = 1024
    canary_factor: float = 2.5
    """The canary may take its idle time multiplied by this …"""
    canary_extra_seconds: float = 0.0015
    """… and this on top."""
    share: float = 1.0
    """How much of the window that was found is held."""

    @classmethod
    def gentle(cls, most: int = 1024) -> WindowLimits:
        """Half of the share and of the thresholds."""
        return cls(most=most, canary_factor=1.25, canary_extra_seconds=0.00075, share=0.5)


class Phase(StrEnum):
    """Where the search stands."""

    START = "start"
    """Doubling."""
    SEEK = "seek"
    """Halving the interval between a good and a bad window."""
    HOLD = "hold"
    UP = "up"
    """Trying a larger window."""


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.START: frozenset({Phase.START, Phase.SEEK, Phase.HOLD}),
    Phase.SEEK: frozenset({Phase.SEEK, Phase.HOLD}),
    Phase.HOLD: frozenset({Phase.HOLD, Phase.UP}),
    Phase.UP: frozenset({Phase.UP, Phase.HOLD}),
}
"""The whole state machine."""


class _Round:
    """What was seen since the window last changed, or since the last judgement of it."""

    __slots__ = ("began", "calls", "canaries", "draining", "settled", "starved")

    def __init__(self, now: float, *, draining: bool, settled: bool = False) -> None:
        self.began = now
        self.calls = 0
        self.canaries: list[float] = []
        self.draining = draining
        """The window shrank: calls beyond it are still in flight, and the canary still feels them."""
        self.settled = settled
        """What was in flight before the change has been answered."""
        self.starved = False
        """The reader had too little to read to fill the window: the rate says nothing about it."""


class KneeFinder:
    """The search at one address. Feed it observations some tens of milliseconds apart."""

    def __init__(self, limits: WindowLimits | None = None, *, first: int = FIRST_WINDOW) -> None:
        self.limits = limits or WindowLimits()
        self.window = self._bounded(first)
        self.phase = Phase.START
        self.canary_idle_seconds = 0.0
        """The canary's time without load, as far as is known; 0: not known yet."""
        self.bound = Bound.UNKNOWN
        """What kept the last window that was too large from being kept: ``link`` or ``threads``."""
        self._floor_canaries: list[float] = []
        self._floors: deque[float] = deque(maxlen=FLOOR_ESTIMATES)
        self._round: _Round | None = None
        self._latency = 0.0
        self._good, self._good_rate, self._bad = 0, 0.0, 0
        self._hold_seconds, self._hold_until = LEAST_HOLD_SECONDS, 0.0
        self._step = 1

    def __repr__(self) -> str:
        return f"<KneeFinder {self.phase} window={self.window}>"

    @property
    def canary_limit_seconds(self) -> float:
        """A canary that takes longer is slow."""
        return self.limits.canary_factor * (self.canary_idle_seconds or 0.0005) + self.limits.canary_extra_seconds

    @property
    def knee(self) -> int:
        """The largest window that was worth its calls, once the search has found it; 0: not known yet."""
        return self._good if self.phase in (Phase.HOLD, Phase.UP) else 0

    def observe(self, seen: Observation) -> int:
        """Takes an observation; returns how many calls may be in flight from now on."""
        self._learn_idle(seen.canary)
        if self._round is None:
            self._round = _Round(seen.now, draining=False)
            return self.window
        this = self._round
        this.calls += seen.calls
        this.canaries.extend(seen.canary)
        this.starved = this.starved or not seen.limited
        if seen.calls:
            weight = min(1.0, seen.calls / self.window) if self._latency else 1.0
            self._latency += weight * (seen.seconds / seen.calls - self._latency)
        age = seen.now - this.began
        if this.draining and not this.settled and age < max(0.1, 1.1 * self._latency):
            this.canaries.clear()
        elif self._others_wait(this, seen.canary_waiting):
            self._shrink(seen.now)
        elif self._complete(this, age):
            if not this.settled or this.starved:
                self._round = _Round(seen.now, draining=False, settled=True)
            else:
                self._judge(seen.now, this.calls / age)
        return self.window

    def _learn_idle(self, answers: tuple[float, ...]) -> None:
        self._floor_canaries.extend(answers)
        count = len(self._floor_canaries)
        if count >= FLOOR_CANARIES or (count and not self._floors):
            self._floors.append(sorted(self._floor_canaries)[count // 2])
            self.canary_idle_seconds = min(self._floors)
            self._floor_canaries.clear()

    def _others_wait(self, this: _Round, waiting: float) -> bool:
        limit = self.canary_limit_seconds
        slow = sum(one > limit for one in this.canaries) + (waiting > limit)
        few = len(this.canaries) <= 2
        return slow >= 2 or waiting > 4 * limit or (few and max(this.canaries, default=0.0) > 2 * limit)

    def _complete(self, this: _Round, age: float) -> bool:
        if age < max(LEAST_ROUND_SECONDS, ROUND_TRIPS * self._latency) or this.calls < self.window:
            return False
        return len(this.canaries) >= ROUND_CANARIES or age > MOST_ROUND_SECONDS

    def _bounded(self, window: float) -> int:
        return max(self.limits.least, min(self.limits.most, int(window)))

    def _move(self, window: float, phase: Phase, now: float) -> None:
        assert phase in NEXT[self.phase], (self.phase, phase)
        window = self._bounded(window)
        self._round = _Round(now, draining=window < self.window)
        self.window, self.phase = window, phase

    def _hold(self, window: float, now: float, seconds: float) -> None:
        self._hold_seconds = min(MOST_HOLD_SECONDS, seconds)
        self._hold_until = now + self._hold_seconds
        self._move(window * self.limits.share, Phase.HOLD, now)

    def _shrink(self, now: float) -> None:
        """Others wait: back to the last good window if this one was a trial, else to three quarters of it."""
        self._bad, self.bound = self.window, Bound.THREADS
        if self.phase is Phase.UP and self.window > self._good:
            self._hold(self._good, now, 2 * self._hold_seconds)
        elif self.phase in (Phase.HOLD, Phase.UP):
            held = min(self.window - 1, self.window * BACK_OFF)
            whole = held / self.limits.share if self.phase is Phase.HOLD else held
            self._good, self._good_rate = self._bounded(whole), 0.0
            self._hold(self._good, now, LEAST_HOLD_SECONDS)
        else:
            self._seek(now)

    def _seek(self, now: float) -> None:
        if self._bad - self._good <= max(1.0, self._good / CLOSE_ENOUGH):
            self._hold(self._good, now, self._hold_seconds)
        else:
            self._move((self._good + self._bad) // 2, Phase.SEEK, now)

    def _judge(self, now: float, rate: float) -> None:
        """A whole round at one window, and nobody waited: was it worth its calls?"""
        if self.phase is Phase.HOLD:
            whole = self.limits.share == 1
            if whole:
                self._good, self._good_rate = self.window, rate
            if now < self._hold_until or self._good >= self.limits.most:
                self._round = _Round(now, draining=False, settled=True)
            elif whole:
                self._step = max(1, self.window // STEP_SHARE)
                self._move(self.window + self._step, Phase.UP, now)
            else:  # what the whole of it brings now comes first, to compare with
                self._step, self._good_rate = max(1, self._good // (2 * STEP_SHARE)), 0.0
                self._move(self._good, Phase.UP, now)
            return
        growth = self.window / self._good - 1 if self._good else 0.0
        if rate >= self._good_rate * (1 + GROWTH_SHARE * growth):
            self._keep(now, rate)
        else:
            self._bad, self.bound = self.window, Bound.LINK
            if self.phase is Phase.UP:
                self._hold(self._good, now, 2 * self._hold_seconds)
            else:
                self._seek(now)

    def _keep(self, now: float, rate: float) -> None:
        larger = self.window > self._good
        self._good, self._good_rate = self.window, rate
        if self.window >= self.limits.most:
            self._hold(self.window, now, self._hold_seconds)
        elif self.phase is Phase.START:
            self._move(2 * self.window, Phase.START, now)
        elif self.phase is Phase.SEEK:
            self._seek(now)
        else:
            if larger:
                self._hold_seconds = LEAST_HOLD_SECONDS
            self._step *= 2
            self._move(self.window + self._step, Phase.UP, now)
