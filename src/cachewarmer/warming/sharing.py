"""Several readers at one cache come to equal shares without talking: they hear each other in its queue. Pure.

Every few seconds one reader *calls*: it overfills the cache for a moment, so that READs take half as long again as without
a queue. All readers notice that within some tens of milliseconds, and this moment is the clock that they share. Each cuts
its window to half of its share, so that the differences between them shrink as well, and then lets it grow by the same
amounts, which depend on the time since that moment and not on the window, until the cache is full. Cuts in proportion and
gains in equal amounts make shares equal, whatever they were (D.-M. Chiu and R. Jain, "Analysis of the increase and decrease
algorithms for congestion avoidance in computer networks", 1989).

Two more things follow from it. While all windows are small, a READ takes what it takes without a queue, and a reader that
came to a full cache learns that too. And when the cache is full, each reader knows by how much: the READs that fit are those
in flight by the share of their time that is not spent in the queue (Little's law). So all of them step back to what fills
the cache, however late they noticed.
"""

from __future__ import annotations

import math
import random
from enum import StrEnum

from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation

FIRST_CUTS = 3
PERIOD_SECONDS, FIRST_PERIOD_SECONDS, PERIOD_LATENCIES = 8.0, 5.0, 40.0
"""Time from one common moment to the next call: the second value for the first few moments (``FIRST_CUTS``), which make
shares similar soon, then the first; plus this many least latencies."""
CALL_FACTOR, CALL_CALLS, MOST_CALL_FACTOR = 2.0, 2, 16.0
"""To call, a reader multiplies its window by the first and adds the second, repeatedly, up to the third times its share."""
LOUDER_SECONDS, LOUDER_LATENCIES = 0.1, 1.8
"""Time between two such steps, plus this many least latencies."""
UNHEARD_SECONDS, UNHEARD_LATENCIES = 1.0, 5.0
"""A call that has had no effect for this long ends all the same."""
LOUD_FACTOR = 1.45
"""READs that take this many times the least tell of a call."""
FULL_FACTOR = 1.3
"""READs that take this many times the least tell of a full cache."""
CUT = 0.5
"""The part of a share that is left at a common moment."""
SMALL_SECONDS, SMALL_LATENCIES = 0.3, 1.7
"""Time that windows stay small after a common moment, plus this many latencies: the queue has to drain first."""
GROWTH_CALLS, GROWTH_RATE, GROWTH_LATENCIES = 2.0, 2.5, 5.0
"""After ``t`` seconds of growth, a window has gained CALLS · (e^(RATE · t) - 1) calls. The rate is divided by one plus
LATENCIES times the least latency in seconds: where READs take long, the queue is noticed late."""
MOST_EXPONENT = 20.0
"""The exponent's limit, beyond any window: a reader may have stood still for long."""
HEARD_SECONDS, HEARD_LATENCIES = 0.15, 1.0
"""Time that a window which fills the cache, or calls, is held so that all notice, plus this many latencies."""
KEPT, KEPT_LESS = 0.97, 0.5
"""Of the READs that fit a reader keeps this part, less this many calls."""
WAITING_CUT = 0.93
"""The most that a reader keeps of its window when canaries are slow."""
DEAF_SECONDS, DEAF_LATENCIES = 0.3, 1.5
"""Time after stepping back, plus this many latencies, in which what is left of the queue counts for nothing."""
MISHEARD_SHARE = 0.7
"""A cache that seems full below this part of the last share, and no longer does a moment later, was a busy machine."""
OTHER_FACTOR = 3.0
"""READs that take this many times the least although no window grew are different ones, and the search begins anew."""
LATENCY_CALLS, LATENCY_SECONDS = 30, 0.3
"""A latency is the mean over a window's calls, or over this many; where calls are few, over this time."""
FIRST_CHECK_SECONDS, CHECK_SECONDS = 25.0, 60.0
"""Time until a reader finds out whether it is still in company, the first time and later: half of this to twice as long, by
chance. It calls, keeps its window, and listens whether others regrow."""
COMPANY_FACTOR = 1.06
"""Others that regrow make READs take this many times as long, at the least."""
LISTEN_SECONDS, LISTEN_LATENCIES = 4.0, 10.0
"""A reader that hears nobody for this long, plus this many latencies, is alone."""
MOST_USUAL = 0.35
"""Where a larger part of the canaries is slow for other reasons, readers hear different things and don't share this way."""


class Stage(StrEnum):
    """What a reader does between two common moments."""

    SMALL = "small"
    """The window has been cut, and the queue drains."""
    GROW = "grow"
    FULL = "full"
    """The window fills the cache, and is held until all have noticed."""
    HOLD = "hold"
    """The window is the reader's share."""
    CALL = "call"
    """The window grows beyond it until the call shows."""
    CALLED = "called"
    """The call is held until all have noticed."""
    CHECK = "check"
    """The reader has called but not cut its window, to learn whether others regrow."""


class Queue:
    """What the latencies of a reader's own READs say of the queue at the cache."""

    def __init__(self, latency: float, least: float, now: float) -> None:
        self.latency = latency
        self.least = least
        """The least since the last common moment; 0: not known yet."""
        self.peak = latency
        self._error, self._spread, self._looked_at = 0.0, 0.0, now
        """What the mean may be off by, and the variance of a single READ."""
        self._fresh = False

    @property
    def surely(self) -> float:
        """What READs take at the least, given what the mean may be off by; in seconds."""
        return self.latency - self._error

    @property
    def at_most(self) -> float:
        """What READs take at the most, given what the mean may be off by; in seconds."""
        return self.latency + self._error

    def exceeds(self, factor: float) -> bool:
        """Whether READs take more than so many times the least."""
        return self.least > 0 and self.surely > factor * self.least

    def begin(self) -> None:
        """The windows have changed, and what was in flight is answered: earlier latencies don't count."""
        self._fresh = True

    def follow(self, seen: Observation, window: float, *, learn: bool) -> None:
        """Takes an observation at this window; ``learn``: it may be the least."""
        passed, self._looked_at = seen.now - self._looked_at, seen.now
        if not seen.calls:
            return
        mean = seen.seconds / seen.calls
        if self._fresh:
            self._fresh, weight, self.latency, self._spread = False, 1.0, mean, 0.0
        else:
            few = passed / max(LATENCY_SECONDS, self.latency)
            weight = min(1.0, max(seen.calls / max(window, LATENCY_CALLS), few))
        off = mean - self.latency
        self._spread += 0.1 * (seen.calls * off * off - self._spread)
        self._error = math.sqrt(self._spread * weight / 2 / seen.calls)
        self.latency += weight * off
        self.peak = max(self.peak, self.latency)
        if learn:
            self.least = min(self.least or math.inf, self.at_most)


class Sharing:
    """One reader's part in it. ``observe`` gives the next window, or ``None`` once it is over.

    ``latency`` and ``least`` are what its READs take and what they took at the least, in seconds. ``heard``: it begins
    because another reader has just been heard, and so at a common moment; otherwise with a call.
    """

    def __init__(
        self, window: int, now: float, latency: float, least: float, chance: random.Random, *, heard: bool
    ) -> None:
        self.window = float(window)
        self.queued = False
        """Whether it was a queue of READs that ended the growth, and not the canaries."""
        self._chance = chance
        self._queue = Queue(latency, least, now)
        self._share = self._base = self.window
        """The window that is held, and the one that growth begins from."""
        self._stage, self._entered_at = Stage.HOLD, now
        self._moment, self._cuts = now, 0
        """The last common moment, and how many there were."""
        self._small_until = self._deaf_until = self._louder_at = now
        self._full_at = 0.0
        """While it holds: since when the cache has been full; 0: it is not."""
        self._alone_latency = 0.0
        """While it checks: what READs take at the most as long as nobody regrows."""
        self._check_at = now + FIRST_CHECK_SECONDS * chance.uniform(0.5, 2)
        if heard:
            self._cut(now)
        else:
            self._enter(Stage.CALL, now)
            self._call(now)

    def __repr__(self) -> str:
        return f"<Sharing {self._stage} window={self.window:.1f}>"

    def observe(self, seen: Observation, lateness: Lateness, least: int, most: int) -> int | None:
        """Takes an observation and the evidence of canaries; ``least`` and ``most`` bound the window."""
        now, queue = seen.now, self._queue
        queue.follow(seen, self.window, learn=self._stage in (Stage.GROW, Stage.HOLD))
        if lateness.usual > MOST_USUAL or (self._stage is Stage.HOLD and self._are_others()):
            return None
        slow = self._is_slow(now, lateness)
        full = now >= self._deaf_until and (slow or queue.exceeds(FULL_FACTOR))
        before = self._stage
        if before is Stage.SMALL:
            if now >= self._small_until:
                self._enter(Stage.GROW, now)
                queue.begin()
        elif before is Stage.GROW:
            self._grow(seen, full=full, slow=slow, most=most)
        elif before is Stage.FULL:
            self._be_full(now, slow=slow)
        elif before is Stage.HOLD:
            self._hold(now, full=full, slow=slow)
        elif before is Stage.CALL:
            self._go_on_calling(now, slow=slow, most=most)
        elif before is Stage.CALLED:
            self._end_call(now)
        elif not self._check(now, full=full):
            return None
        if self._stage is not before and self._stage is not Stage.FULL:
            lateness.begin()
        self.window = max(float(least), min(float(most), self.window))
        return max(least, int(self.window + 1e-6))

    # -- stages ------------------------------------------------------------------------------------------------------

    def _grow(self, seen: Observation, *, full: bool, slow: bool, most: int) -> None:
        if full:
            self.queued = not slow
            self._enter(Stage.FULL, seen.now)
            self._queue.peak = self._queue.latency
        elif self.window >= most or seen.now - self._moment > self._period:  # nothing ends the growth
            self.window = self._share = max(self._share, self.window)
            self._enter(Stage.HOLD, seen.now)
        elif seen.limited:
            exponent = GROWTH_RATE * (seen.now - self._small_until) / (1 + GROWTH_LATENCIES * self._queue.least)
            self.window = self._base + GROWTH_CALLS * math.expm1(min(MOST_EXPONENT, max(0.0, exponent)))

    def _be_full(self, now: float, *, slow: bool) -> None:
        if now - self._entered_at < HEARD_SECONDS + HEARD_LATENCIES * self._queue.latency:
            return
        if not slow and not self._queue.exceeds(FULL_FACTOR) and self.window < MISHEARD_SHARE * self._share:
            self._enter(Stage.GROW, now)
        else:
            self._step_back(now, self._queue.peak, 1.0)
            self._enter(Stage.HOLD, now)

    def _hold(self, now: float, *, full: bool, slow: bool) -> None:
        latency = self._queue.latency
        if self._queue.exceeds(LOUD_FACTOR) and now - self._entered_at > DEAF_SECONDS + DEAF_LATENCIES * latency:
            self._cut(now)
        elif full and not self._full_at:
            self._full_at = now
        elif self._full_at and now - self._full_at >= 2 * (HEARD_SECONDS + HEARD_LATENCIES * latency):
            self._step_back(now, latency, WAITING_CUT if slow else 1.0)
        elif now - self._moment >= self._period:
            self._enter(Stage.CALL, now)
            self._call(now)

    def _go_on_calling(self, now: float, *, slow: bool, most: int) -> None:
        loudest = self.window >= min(float(most), MOST_CALL_FACTOR * self._share)
        unheard = now - self._entered_at > UNHEARD_SECONDS + UNHEARD_LATENCIES * self._queue.latency
        if self._queue.exceeds(LOUD_FACTOR) or unheard or (slow and loudest and now >= self._louder_at):
            self._moment = now
            self._enter(Stage.CALLED, now)
        elif now >= self._louder_at and not loudest:
            self._call(now)

    def _end_call(self, now: float) -> None:
        if now - self._moment < HEARD_SECONDS + HEARD_LATENCIES * self._queue.least:
            return
        if now > self._check_at:
            self.window, self._alone_latency = self._share, math.inf
            self._enter(Stage.CHECK, now)
            self._deaf_until = now + DEAF_SECONDS + DEAF_LATENCIES * self._queue.latency
        else:
            self._cut(self._moment)

    def _check(self, now: float, *, full: bool) -> bool:
        """Returns whether it may go on: not if nobody else was heard."""
        queue = self._queue
        if now >= self._deaf_until:
            self._alone_latency = min(self._alone_latency, COMPANY_FACTOR * queue.at_most)
        if full or queue.surely > self._alone_latency:
            self._check_at = now + CHECK_SECONDS * self._chance.uniform(0.5, 2)
            self._enter(Stage.HOLD, now)
            self._deaf_until = now + DEAF_SECONDS + DEAF_LATENCIES * queue.latency
        return now - self._moment <= LISTEN_SECONDS + LISTEN_LATENCIES * queue.latency

    # -- moves -------------------------------------------------------------------------------------------------------

    @property
    def _period(self) -> float:
        """Seconds from one common moment to the next call."""
        seconds = FIRST_PERIOD_SECONDS if self._cuts <= FIRST_CUTS else PERIOD_SECONDS
        return seconds + PERIOD_LATENCIES * self._queue.least

    def _enter(self, stage: Stage, now: float) -> None:
        self._stage, self._entered_at = stage, now

    def _cut(self, moment: float) -> None:
        """All readers do so at a common moment."""
        self._moment = moment
        self._cuts += 1
        self._full_at = 0.0
        self._enter(Stage.SMALL, moment)
        self.window = self._base = max(1.0, CUT * self._share)
        self._small_until = self._deaf_until = moment + SMALL_SECONDS + SMALL_LATENCIES * self._queue.latency
        self._queue.least = 0.0

    def _call(self, now: float) -> None:
        self.window = CALL_FACTOR * self.window + CALL_CALLS
        self._louder_at = now + LOUDER_SECONDS + LOUDER_LATENCIES * self._queue.least

    def _step_back(self, now: float, latency: float, most: float) -> None:
        """Keeps the READs that fit, where those of the whole window take so long; at ``most`` this share of them."""
        fits = min(most, self._queue.least / latency) if self._queue.least and latency else most
        self.window = self._share = max(1.0, KEPT * fits * self.window - KEPT_LESS)
        self._full_at = 0.0
        self._deaf_until = now + DEAF_SECONDS + DEAF_LATENCIES * self._queue.latency

    # -- what was seen -----------------------------------------------------------------------------------------------

    def _is_slow(self, now: float, lateness: Lateness) -> bool:
        """Whether canaries tell that others wait; not while what was in flight before a window shrank still makes them."""
        if lateness.others_wait and now < self._deaf_until:
            lateness.begin()
        return lateness.others_wait

    def _are_others(self) -> bool:
        """Whether these are other READs than those that the least latency was learnt from."""
        return self._queue.exceeds(OTHER_FACTOR * max(1.0, self.window / self._base))
