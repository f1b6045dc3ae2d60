"""Several readers at one cache come to equal shares without talking: they hear each other in its queue. Pure.

Every few seconds one reader *calls*: it overfills the cache for a moment, so that READs take half as long again as without
a queue. All readers notice that within some tens of milliseconds, and this moment is the clock that they share. Each cuts
its window to half of its share (the first few times to less), so that the differences between them shrink as well, and
then lets it grow by the same amounts, which depend on the time since that moment and not on the window, until the cache is
full. Cuts in proportion and gains in equal amounts make shares equal, whatever they were (D.-M. Chiu and R. Jain, "Analysis
of the increase and decrease algorithms for congestion avoidance in computer networks", 1989).

Three more things follow from it. While all windows are small, a READ takes what it takes without a queue, and a reader that
came to a full cache learns that too. And when the cache is full, each reader knows by how much: the READs that fit are those
in flight by the share of their time that is not spent in the queue (Little's law). So all of them step back to what fills
the cache, however late they noticed. And while the others have cut their windows, the one that called raises its own: if
that makes a queue, nobody has made room, and the reader may be alone.
"""

from __future__ import annotations

import math
import random
from enum import StrEnum

from cachewarmer.model import Bound
from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation

FIRST_CUTS = 3
FIRST_PERIOD_SECONDS, FIRST_PERIOD_LATENCIES = 3.0, 40.0
PERIOD_SECONDS, PERIOD_LATENCIES = 8.0, 100.0
"""Time from one common moment to the next call, plus this many least latencies: the first values for the first few moments
(``FIRST_CUTS``), which make shares similar soon, then the second."""
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
FIRST_CUT, CUT, FAR_SECONDS = 0.3, 0.5, 0.1
"""The part of a share that is left at the second to fourth common moment, and at all others. The first may be a mistake of a
reader alone; and where READs take longer than FAR_SECONDS, it would take too long to grow again."""
SMALL_SECONDS, SMALL_LATENCIES = 0.3, 1.7
"""Time that windows stay small after a common moment, plus this many latencies: the queue has to drain first."""
GROWTH_CALLS, GROWTH_RATE, GROWTH_LATENCIES, GROWTH_SQUARED = 2.0, 2.5, 5.0, 12.0
"""After ``t`` seconds of growth, a window has gained CALLS · (e^(RATE · t) - 1) calls. The rate is divided by 1 + LATENCIES · l
+ SQUARED · l², where ``l`` is the least latency in seconds: where READs take long, the queue is noticed late."""
MOST_EXPONENT = 20.0
"""The exponent's limit, beyond any window."""
MOST_LOOK_SECONDS = 0.2
"""The most that one look adds to the time of growth: a reader that stood still for long did not grow meanwhile."""
MOST_LATENCY_SECONDS = 2.0
"""Where READs take longer, times that depend on their latency depend on this instead."""
HEARD_SECONDS, HEARD_LATENCIES = 0.15, 1.0
"""Time that a window which fills the cache, or calls, is held so that all notice, plus this many latencies."""
KEPT, KEPT_LESS = 0.97, 0.5
"""Of the READs that fit a reader keeps this part, less this many calls."""
WAITING_CUT = 0.93
"""Of that it keeps this part when canaries are slow although nobody calls or grows."""
MOST_STEPS_BACK = 2
"""If READs still take too long after so many steps back, the least latency is no longer true."""
QUEUE_KEPT = 1.05
"""Of that it keeps this part where a full cache makes no canary slow: it is a link that is full, and nobody waits for it."""
DEAF_SECONDS, DEAF_LATENCIES = 0.3, 1.5
"""Time after stepping back, plus this many latencies, in which what is left of the queue counts for nothing."""
MISHEARD_SHARE = 0.7
"""A cache that seems full below this part of the last share, and no longer does a moment later, was a busy machine."""
OTHER_FACTOR = 3.0
"""READs that take this many times the least although no window grew are different ones, and the search begins anew."""
LATENCY_CALLS, LATENCY_SECONDS = 30, 0.3
"""A latency is the mean over a window's calls, or over this many; where calls are few, over this time."""
TOLD_SECONDS = 0.1
DRAINED_FACTOR = 0.85
"""A cut that leaves READs more than this part of the latency that a reader was led to it by drained no queue: those were
slower READs, and not other readers. It is judged this long, and one latency, after the growth began (``TOLD_SECONDS``)."""
CHECK_FACTOR, CHECK_CALLS = 1.35, 2
"""A reader that has called raises its window to this many times its share, and by this many calls at the least, while others
should have cut theirs. A reader alone holds a call less than there are threads, so one more would make no queue."""
ANSWERED_FACTOR = 1.1
"""If READs then take this many times what they took before the call, nobody has made room."""
CHECKED_SHARE = 0.2
"""Once others have made room, only this part of the calls is checked, by chance: a check disturbs those who regrow."""
UNANSWERED_CALLS = 2
"""A reader whose calls are unanswered this many times in a row is alone. Once is not enough, since two readers that call at
the same time don't make room for each other."""
APART_SECONDS = 1.0
"""A call comes up to this much later, by chance, so that this is rare: who hears another's call before its own does not call."""
MOST_USUAL = 0.35
"""Where a larger part of the canaries is slow for other reasons, readers hear different things and don't share this way."""
SLOWEST_SECONDS = 1.0
"""Where READs take longer even at the least, a call would take minutes to be heard and to drain."""


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
    """The reader has called and raises its window, to learn whether others have cut theirs."""


class Queue:
    """What the latencies of a reader's own READs say of the queue at the cache."""

    def __init__(self, latency: float, least: float, now: float) -> None:
        self.latency = latency
        self.least = least
        """The least since the last common moment; 0: not known yet."""
        self.peak = latency
        self._error = 0.0
        """What the mean may be off by."""
        self._spread = 0.0
        """The variance of a single READ's latency."""
        self._looked_at = now
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

    ``latency`` and ``least`` are what its READs take and what they took at the least, in seconds. ``heard``: the reader
    begins because it has just heard another one, and so at a common moment; otherwise with a call. ``queued``: what it heard
    was a queue of READs, and not slow canaries.
    """

    def __init__(
        self,
        window: int,
        now: float,
        latency: float,
        least: float,
        chance: random.Random,
        *,
        heard: bool,
        queued: bool = False,
    ) -> None:
        self.window = float(window)
        self.share = self.window
        """The window that is held between two common moments."""
        self.bound = Bound.UNKNOWN
        """What ended the growth, once something has."""
        self._chance = chance
        self._queue = Queue(latency, least, now)
        self._heard_latency = latency if queued else 0.0
        """The latency of the queue that led to the last cut; 0: it was something else, or proved to be a queue."""
        self._base = self.window
        """The window that growth begins from."""
        self._grown_seconds = 0.0
        self._looked_at = now
        self._stage, self._entered_at = Stage.HOLD, now
        self._moment = now
        """The last common moment."""
        self._cuts = 0
        self._small_until = self._deaf_until = self._louder_at = now
        self._full_at = 0.0
        """When the cache became full while the window was held; 0: it did not, or that has been answered."""
        self._steps_back = 0
        """How often it was answered by stepping back since the last common moment."""
        self._call_at = now
        """When it calls, unless it hears another reader before."""
        self._usual_latency = latency
        """What READs took before it called."""
        self._measures_from = 0.0
        """While it checks: when the queue of the call has drained; 0: it has."""
        self._unanswered = 0
        """How many calls in a row nobody made room for."""
        self._has_company = False
        """Whether somebody made room for the last call that was checked."""
        if heard:
            self._cut(now)
        else:
            self._begin_call(now)

    def __repr__(self) -> str:
        return f"<Sharing {self._stage} window={self.window:.1f}>"

    def observe(self, seen: Observation, lateness: Lateness, least: int, most: int) -> int | None:
        """Takes an observation and the evidence of canaries; ``least`` and ``most`` bound the window."""
        now, queue = seen.now, self._queue
        passed, self._looked_at = min(MOST_LOOK_SECONDS, now - self._looked_at), now
        queue.follow(seen, self.window, learn=self._stage in (Stage.GROW, Stage.HOLD))
        slow = self._is_slow(now, lateness)
        if lateness.usual > MOST_USUAL or self._are_others():
            self.window = self.share
            return None
        full = now >= self._deaf_until and (slow or queue.exceeds(FULL_FACTOR))
        before = self._stage
        if before is Stage.SMALL:
            self._be_small(now)
        elif before is Stage.GROW:
            self._grow(seen, passed, full=full, slow=slow, most=most)
        elif before is Stage.FULL:
            self._be_full(now, slow=slow)
        elif before is Stage.HOLD:
            self._hold(now, full=full, slow=slow)
        elif before is Stage.CALL:
            self._go_on_calling(seen, slow=slow, most=most)
        elif before is Stage.CALLED:
            self._end_call(now)
        elif not self._check(now, most):
            return None
        if self._stage is not before and self._stage is not Stage.FULL:
            lateness.begin()
        self.window = max(float(least), min(float(most), self.window))
        return max(least, int(self.window + 1e-6))

    # -- stages ------------------------------------------------------------------------------------------------------

    def _be_small(self, now: float) -> None:
        if now >= self._small_until:
            self._enter(Stage.GROW, now)
            self._grown_seconds = min(SMALL_SECONDS, now - self._small_until)
            self._queue.begin()

    def _grow(self, seen: Observation, passed: float, *, full: bool, slow: bool, most: int) -> None:
        if self._was_no_queue(seen.now, slow=slow):
            self._take_back(seen.now)
        elif full:
            self._enter(Stage.FULL, seen.now)
            self._queue.peak = self._queue.latency
        elif self.window >= most or seen.now - self._moment > self._period:  # nothing ends the growth
            self.window = self.share = max(self.share, self.window)
            self._be_held(seen.now)
        elif seen.limited:
            self._grown_seconds += passed
            slowed = 1 + GROWTH_LATENCIES * self._least + GROWTH_SQUARED * self._least**2
            exponent = GROWTH_RATE * self._grown_seconds / slowed
            self.window = self._base + GROWTH_CALLS * math.expm1(min(MOST_EXPONENT, exponent))

    def _be_full(self, now: float, *, slow: bool) -> None:
        if now - self._entered_at < self._heard_seconds:
            return
        if not slow and not self._queue.exceeds(FULL_FACTOR) and self.window < MISHEARD_SHARE * self.share:
            self._enter(Stage.GROW, now)
        else:
            self.bound = Bound.THREADS if slow else Bound.LINK
            self._step_back(self._queue.peak, kept=1.0 if slow else QUEUE_KEPT)
            self._be_held(now)

    def _hold(self, now: float, *, full: bool, slow: bool) -> None:
        latency = self._queue.latency
        if self._queue.exceeds(LOUD_FACTOR) and now - self._entered_at > self._deaf_seconds:
            self._heard_latency = latency
            self._cut(now)
        elif full and not self._full_at:
            self._full_at = now
        elif self._full_at and now - self._full_at >= 2 * self._heard_seconds:
            if self._steps_back >= MOST_STEPS_BACK and not slow:  # it did not help: READs take longer by now
                self._queue.least, self._full_at = latency, 0.0
            else:
                self._steps_back += 1
                self._step_back(latency, kept=WAITING_CUT if slow else 1.0)
                self._be_deaf(now)
        elif now >= self._call_at and latency <= SLOWEST_SECONDS:
            self._begin_call(now)

    def _go_on_calling(self, seen: Observation, *, slow: bool, most: int) -> None:
        now = seen.now
        loudest = self.window >= min(float(most), MOST_CALL_FACTOR * self.share)
        unheard = now - self._entered_at > UNHEARD_SECONDS + UNHEARD_LATENCIES * self._latency
        if self._queue.exceeds(LOUD_FACTOR) or unheard or (slow and loudest and now >= self._louder_at):
            self._moment = now
            self._enter(Stage.CALLED, now)
        elif seen.limited and now >= self._louder_at and not loudest:
            self._call(now)

    def _end_call(self, now: float) -> None:
        if now - self._moment < HEARD_SECONDS + HEARD_LATENCIES * self._least:
            return
        if self._has_company and self._chance.random() >= CHECKED_SHARE:
            self._cut(self._moment)
            return
        self._enter(Stage.CHECK, now)
        self.window = max(CHECK_FACTOR * self.share, self.share + CHECK_CALLS)
        self._small_until = self._moment + SMALL_SECONDS + SMALL_LATENCIES * self._latency
        self._measures_from = now + self._latency + self._least

    def _check(self, now: float, most: int) -> bool:
        """Returns whether it may go on: not if several calls were unanswered.

        Where ``most`` leaves no room to check, so that no queue could form, that counts as no answer.
        """
        if self._measures_from and now >= self._measures_from:
            self._measures_from = 0.0
            self._queue.begin()
        if self._measures_from or now < max(self._small_until, self._entered_at + 3 * self._least):
            return True
        checked = CHECK_FACTOR * self.share <= most
        if checked and self._queue.latency <= ANSWERED_FACTOR * self._usual_latency:
            self._unanswered, self._has_company = 0, True
            self._cut(self._moment)
            return True
        self._unanswered, self._has_company = self._unanswered + 1, False
        self.window = self.share
        self._be_held(now)
        return self._unanswered < UNANSWERED_CALLS

    # -- moves -------------------------------------------------------------------------------------------------------

    @property
    def _latency(self) -> float:
        """What READs take, for times that depend on it; in seconds."""
        return min(MOST_LATENCY_SECONDS, self._queue.latency)

    @property
    def _least(self) -> float:
        """What they took at the least, in the same way; what they take, until READs of a small window have told."""
        return min(MOST_LATENCY_SECONDS, self._queue.least or self._queue.latency)

    @property
    def _heard_seconds(self) -> float:
        """How long a window that fills the cache is held."""
        return HEARD_SECONDS + HEARD_LATENCIES * self._latency

    @property
    def _deaf_seconds(self) -> float:
        """How long what is left of a queue counts for nothing."""
        return DEAF_SECONDS + DEAF_LATENCIES * self._latency

    @property
    def _period(self) -> float:
        """Seconds from one common moment to the next call."""
        if self._cuts <= FIRST_CUTS:
            return FIRST_PERIOD_SECONDS + FIRST_PERIOD_LATENCIES * self._least
        return PERIOD_SECONDS + PERIOD_LATENCIES * self._least

    def _enter(self, stage: Stage, now: float) -> None:
        self._stage, self._entered_at = stage, now

    def _be_held(self, now: float) -> None:
        """The window is now the reader's share, until it hears something or calls."""
        self._enter(Stage.HOLD, now)
        self._be_deaf(now)
        self._call_at = max(now, self._moment + self._period) + self._chance.uniform(0, APART_SECONDS)

    def _be_deaf(self, now: float) -> None:
        """What is left of the queue counts for nothing now."""
        self._full_at = 0.0
        self._deaf_until = now + self._deaf_seconds

    def _cut(self, moment: float) -> None:
        """All readers do so at a common moment."""
        self._moment = moment
        self._cuts += 1
        self._full_at, self._steps_back = 0.0, 0
        self._enter(Stage.SMALL, moment)
        first = 1 < self._cuts <= FIRST_CUTS + 1 and self._latency < FAR_SECONDS
        self.window = self._base = max(1.0, (FIRST_CUT if first else CUT) * self.share)
        self._small_until = self._deaf_until = moment + SMALL_SECONDS + SMALL_LATENCIES * self._latency
        self._queue.least = 0.0

    def _take_back(self, now: float) -> None:
        """Takes back a cut that nobody was the reason for, and calls, to learn whether there is anybody."""
        self.window = self.share
        self._be_held(now)
        self._call_at, self._has_company = self._deaf_until, False

    def _begin_call(self, now: float) -> None:
        self._enter(Stage.CALL, now)
        self._usual_latency = self._queue.latency
        self._call(now)

    def _call(self, now: float) -> None:
        self.window = CALL_FACTOR * self.window + CALL_CALLS
        self._louder_at = now + LOUDER_SECONDS + LOUDER_LATENCIES * self._least

    def _step_back(self, latency: float, *, kept: float) -> None:
        """Keeps this part of the READs that fit, where those of the whole window take so long."""
        fits = min(1.0, self._queue.least / latency) if self._queue.least and latency else 1.0
        window = kept * KEPT * fits * self.window - (KEPT_LESS if kept <= 1 else 0.0)
        self.window = self.share = max(1.0, min(self.window, window))

    # -- what was seen -----------------------------------------------------------------------------------------------

    def _is_slow(self, now: float, lateness: Lateness) -> bool:
        """Whether canaries tell that others wait; not while what was in flight before a window shrank still makes them."""
        if lateness.others_wait and now < self._deaf_until:
            lateness.begin()
        return lateness.others_wait

    def _are_others(self) -> bool:
        """Whether these are other READs than those that the least latency was learnt from, or too slow ones by now."""
        grown = max(1.0, self.window / self._base)
        others = self._queue.exceeds(OTHER_FACTOR * grown) or self._queue.least > SLOWEST_SECONDS
        return self._stage is Stage.HOLD and others

    def _was_no_queue(self, now: float, *, slow: bool) -> bool:
        """Whether what was heard before the last cut is there without a queue, too; asked once some READs have told."""
        if now - self._entered_at <= TOLD_SECONDS + self._latency:
            return False
        heard, self._heard_latency = self._heard_latency, 0.0
        return not slow and heard > 0 and self._queue.least > DRAINED_FACTOR * heard
