"""How many calls one cache address can take: observations and the time go in, a window comes out. Pure.

The knee is where more calls in flight bring no more files, or where the cache begins to make others wait. A cold READ
holds a server thread until the origin answers, so a *canary* (a NULL call on a connection of its own) shows when the
threads are used up: its time is what another client waits for one.

The search doubles the window while the rate grows with it, halves the interval once it has found a window that is too
large, and then holds. From time to time it tries larger windows. When others wait, the window shrinks by a quarter at
once. A reader that finds out that others read from the same cache (``company``) shares it with them (``sharing``). Where
canaries are too often slow for that, and for gentle readers, shares become similar more slowly: windows gain in equal steps
and lose in proportion to what they hold (additive increase, multiplicative decrease, as in TCP congestion control, RFC 5681).

Canaries are also late because a machine is busy. ``lateness`` tells the two apart, and from time to time half of the
window is tried: if fewer canaries are slow then, it is this reader that makes others wait.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from cachewarmer.model import Bound
from cachewarmer.values import dataclass
from cachewarmer.warming.canaries import CANARY_SECONDS, Canaries
from cachewarmer.warming.company import PROVED_SECONDS, Company
from cachewarmer.warming.lateness import LEAST_USUAL
from cachewarmer.warming.rounds import Observation, Round
from cachewarmer.warming.sharing import (
    HEARD_SECONDS,
    LOUD_FACTOR,
    MOST_USUAL,
    OTHER_FACTOR,
    SLOWEST_SECONDS,
    Queue,
    Sharing,
)

FIRST_WINDOW = 2
"""Calls in flight at the start: half of the threads of a very small cache."""
LARGE_BYTES, SLOW_SECONDS = 1 << 18, 0.1
"""READs of at least so many bytes that take longer than this may fill a link, few as they are: then the second window is not
guessed, and a search asks as much of a larger window as where calls wait in a queue."""
FIRST_CANARIES = 12
"""So many canaries are asked for in quick succession at the start."""
GROWTH_SHARE = 0.4
"""A larger window is kept if the rate grew by at least this share of what the window grew by."""
JUDGED_GROWTH = 0.2
JUDGED_CALLS = 3
"""A trial upwards is judged by its rate once the window has grown by this share, and by so many calls: less is lost in
the noise."""
BACK_OFF = 0.75
"""What is left of the window when others have to wait."""
SHARED_BACK_OFF = 0.75
"""What is left of the window where others read from this address as this reader does: so much that, while all of them
shrink and grow again, the cache is used well."""
SHARED_SECONDS = 60.0
"""A window that was held well became too large in so long a time: others take the threads."""
SHARED_HOLD_SECONDS = 1.6
"""Between two trials upwards while that goes on."""
QUEUE_FACTOR = 2.5
"""Calls that take so many times the least of late wait in a queue, such as that for a link …"""
QUEUE_GROWTH_SHARE = 0.85
"""… and then a larger window has to bring this share of its growth: less is taken from other readers."""
LATENCY_ROUNDS = 60
"""The rounds whose lowest latency is the least of late."""
WORSE_SHARE, MOST_RESTARTS = 0.6, 3
"""A search that sees less than this share of the rate of a smaller window begins anew, so often in a row: the calls are other
ones now, as where cold files follow warm ones."""
CLOSE_ENOUGH = 12
"""The search ends when good and bad window differ by no more than the good one divided by this."""
LEAST_HOLD_SECONDS = 1.0
MOST_HOLD_SECONDS = 8.0
"""Between two trials upwards: doubles from the one to the other while they fail; up to half of it more or less, by chance,
since of two readers that try at once neither learns anything."""
KNOWN_LATENCIES = 5
"""Before so many rounds have passed since the calls became different ones, windows say nothing about other readers."""
HALF_CANARIES = 20
"""A trial of half the window takes so many canaries …"""
HALF_SECONDS = 4.0
"""… and comes this long after the one before; twice as long each time it shows that we are not the reason."""
MOST_HALF_SECONDS = 120.0
WORTH_HALVING = 0.1
"""The share of slow canaries above which it is worth finding out whether we are the reason."""


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
    """Trying larger windows."""
    HALF = "half"
    """Trying half the window, to see whether we are the reason for slow canaries."""


NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.START: frozenset({Phase.START, Phase.SEEK, Phase.HOLD}),
    Phase.SEEK: frozenset({Phase.SEEK, Phase.HOLD, Phase.START}),
    Phase.HOLD: frozenset({Phase.HOLD, Phase.UP, Phase.HALF, Phase.START}),
    Phase.UP: frozenset({Phase.UP, Phase.HOLD, Phase.START}),
    Phase.HALF: frozenset({Phase.HALF, Phase.HOLD}),
}
"""The whole state machine. It begins anew where READs become ones that may fill a link (``KneeFinder._learn_latency``)."""


class KneeFinder:
    """The search at one address. Feed it observations some tens of milliseconds apart."""

    def __init__(
        self,
        limits: WindowLimits | None = None,
        *,
        first: int = FIRST_WINDOW,
        hint: int = 0,
        guess: int = 0,
        chance: random.Random | None = None,
    ) -> None:
        self.limits = limits or WindowLimits()
        self._least = self.limits.least
        self.limits = replace(self.limits, least=min(self._least, self.limits.most))
        self._hint = self._bounded(hint)
        """The window to try after the first one: others have found more than this; else the search doubles from there."""
        self._guess = self._bounded(guess)
        """The same where nothing is known of the address."""
        self._restarts = 0
        """How often the search has begun anew since it last found a window to hold."""
        self._read_bytes = 0.0
        """What a READ brings, at the last look."""
        self.window = self._bounded(first)
        self.phase = Phase.START
        self._bound = Bound.UNKNOWN
        self.canaries = Canaries(self.limits.canary_factor, self.limits.canary_extra_seconds)
        self.lateness = self.canaries.lateness
        self._first = self.window
        self._round: Round | None = None
        self._latency = 0.0
        self._good, self._good_rate, self._bad = 0, 0.0, 0
        self._base, self._base_rate = 0, 0.0
        """The window that a trial upwards is compared with, and its rate."""
        self._hold_seconds, self._hold_until, self._held_since = LEAST_HOLD_SECONDS, 0.0, 0.0
        self._half_seconds, self._half_after = HALF_SECONDS, 0.0
        self._step = 1
        self._pushed_at = -SHARED_SECONDS
        """When a window that was held last became too large."""
        self._latencies: deque[float] = deque(maxlen=LATENCY_ROUNDS)
        self._latency_window = 0
        """The window of the round whose latency is the last of them."""
        self._chance = chance or random.Random(0)
        self._company = Company()
        self._hearing = Queue(0.0, 0.0, 0.0)
        """What READs take, followed closely enough to hear others call."""
        self._sharing: Sharing | None = None

    def __repr__(self) -> str:
        return f"<KneeFinder {self._sharing or self.phase} window={self.window} {self.lateness}>"

    @property
    def canary_idle_seconds(self) -> float:
        """The canary's time without load, as far as is known; 0: not known yet."""
        return self.canaries.idle_seconds

    @property
    def bound(self) -> Bound:
        """What kept the last window that was too large from being kept: ``link`` or ``threads``. Unknown, also while the
        largest that is allowed is good: then nothing but that limit is known to bound it.
        """
        return Bound.UNKNOWN if self._good >= self.limits.most else self._bound

    def limit(self, most: int, least: int = 0) -> None:
        """Changes the largest window that is allowed, as processes do that share it, and the least (0: stays as it is).

        What the largest leaves room for is tried.
        """
        self._least = least or self._least
        limits = replace(self.limits, most=most, least=min(self._least, most))
        if limits == self.limits:
            return
        if self._good == self.limits.most < most:
            self._hold_seconds, self._hold_until = LEAST_HOLD_SECONDS, 0.0
        self.limits = limits
        self.window, self._good = self._bounded(self.window), min(self._good, most)

    @property
    def knee(self) -> int:
        """The largest window that was worth its calls, once the search has found it; 0: not known yet."""
        return self._good if self.phase in (Phase.HOLD, Phase.UP, Phase.HALF) else 0

    def observe(self, seen: Observation) -> int:
        """Takes an observation; returns how many calls may be in flight from now on."""
        self.canaries.learn(seen)
        if self._sharing is not None:
            return self._observe_sharing(self._sharing, seen)
        if self._round is not None:
            self._look_for_company(seen)
        if self._sharing is None:
            self._search(seen)
        return self.window

    def _search(self, seen: Observation) -> None:
        if self._round is None:
            self._round = Round(seen.now, draining=False)
            return
        this = self._round
        this.add(seen)
        self._follow_latency(seen)
        age = seen.now - this.began
        if this.draining and not this.settled and age < max(0.1, 1.1 * self._latency):
            return
        self._judge_canaries(this, seen)
        if self.phase is Phase.HALF:
            self._judge_half(this, seen.now)
        elif self.lateness.others_wait and self.window > self.limits.least:
            this.alarmed = this.alarmed or seen.now
            if seen.now - this.alarmed >= HEARD_SECONDS:
                self._shrink(seen.now)
        elif age > 0 and self._complete(this, age):
            self._end_round(this, seen.now, this.rate(seen.now))

    # -- sharing -----------------------------------------------------------------------------------------------------

    def _look_for_company(self, seen: Observation) -> None:
        """Begins to share once other readers show; a gentle reader does not look for them."""
        if self.limits.share != 1:
            return
        if len(self._latencies) < KNOWN_LATENCIES:
            self._company.forget()
        if self.phase in (Phase.HOLD, Phase.UP) and self._hears_a_call(seen):
            self._begin_to_share(seen.now, heard=True, queued=True)
        elif self.phase in (Phase.HOLD, Phase.UP) and self._company.left(self._good, seen.now):
            self._begin_to_share(seen.now, heard=False)
        elif self.phase is Phase.HOLD:
            self._company.held(self.window, seen.now, self._held_since, suspected=self.lateness.suspected)
            least = min(self._latencies, default=0.0)
            if self._is_settled(seen.now) and self._company.queues(seen, self.window, self._held_since, least):
                self._begin_to_share(seen.now, heard=True, queued=True)

    def _is_settled(self, now: float) -> bool:
        """Whether calls that were in flight before the window was held are answered."""
        return now - self._held_since > 0.1 + 1.1 * self._latency

    def _hears_a_call(self, seen: Observation) -> bool:
        """Whether READs take so much longer, all of a sudden, as when another reader calls."""
        self._hearing.follow(seen, self.window, learn=False)
        tries = self.phase is Phase.UP
        grown = max(1.0, self.window / max(1, self._base)) if tries else 1.0
        self._hearing.least = grown * min(self._latencies, default=0.0)
        known = len(self._latencies) >= KNOWN_LATENCIES and (tries or self._is_settled(seen.now))
        return known and self._hearing.exceeds(LOUD_FACTOR) and not self._hearing.exceeds(OTHER_FACTOR)

    def _begin_to_share(self, now: float, *, heard: bool, queued: bool = False) -> bool:
        """Returns whether it does: not if it is gentle, or canaries are often slow for other reasons. See ``Sharing``."""
        least = min(self._latencies, default=self._latency)
        if self.limits.share != 1 or self.lateness.usual > MOST_USUAL or least > SLOWEST_SECONDS:
            return False
        self._good, self.phase = self.window, Phase.HOLD
        latency = self._latency
        self._sharing = Sharing(self.window, now, latency, least, self._chance, heard=heard, queued=queued)
        self.lateness.begin()
        return True

    def _observe_sharing(self, sharing: Sharing, seen: Observation) -> int:
        """As ``observe``, while the cache is shared; afterwards the search holds the window that is left."""
        self._follow_latency(seen)
        self.canaries.judge(seen)
        window = sharing.observe(seen, self.lateness, self.limits.least, self.limits.most)
        self._bound = sharing.bound if sharing.bound is not Bound.UNKNOWN else self._bound
        self._good, self._good_rate = self._bounded(sharing.share), 0.0
        if window is None:
            self._sharing = None
            if self._waits_for_a_link:
                self._begin_anew(seen.now)
            else:
                self._latencies.clear()
                self._hold(self._good, seen.now, LEAST_HOLD_SECONDS)
        else:
            self.window = window
        return self.window

    # -- what was seen -----------------------------------------------------------------------------------------------

    def _follow_latency(self, seen: Observation) -> None:
        if seen.calls:
            self._read_bytes = seen.bytes / seen.calls
            weight = min(1.0, seen.calls / self.window) if self._latency else 1.0
            self._latency += weight * (seen.seconds / seen.calls - self._latency)

    def _end_round(self, this: Round, now: float, rate: float) -> None:
        if this.settled and self._learn_latency(now):
            self._begin_anew(now)
        elif this.starved or not this.settled:
            quick = self.phase is Phase.START and not this.settled
            canaries, slow = (this.canaries, this.slow) if quick else (0, 0)
            self._round = Round(now, draining=False, settled=True, canaries=canaries, slow=slow)
        elif self.phase is Phase.START and not this.doubted and not self._is_worth_its_growth(rate):
            this.doubted = True
        else:
            self._judge(now, rate)

    # -- canaries ----------------------------------------------------------------------------------------------------

    def _judge_canaries(self, this: Round, seen: Observation) -> None:
        judged = self.canaries.judge(seen)
        this.canaries += judged.answered
        this.slow += judged.slow
        few = self.window <= max(self._first, self.limits.least)
        if few and not self.lateness.others_wait:  # nobody waits for so few calls, unless others fill the cache
            self.lateness.learn()

    def _complete(self, this: Round, age: float) -> bool:
        if self.phase is not Phase.START or this.doubted:
            return this.is_complete(age, self.window, self._latency)
        first, suspected = self.window <= self._first, self.lateness.suspected
        return this.is_complete_quickly(age, self.window, self._latency, first=first, suspected=suspected)

    def _judge_half(self, this: Round, now: float) -> None:
        """Half of the window was held for a while: are fewer canaries slow?"""
        if this.canaries < HALF_CANARIES and now - this.began < 2 * HALF_CANARIES * CANARY_SECONDS:
            return
        usual, share = self.lateness.usual, this.slow / max(1, this.canaries)
        if this.canaries and share < usual / 2:
            self.lateness.correct(max(LEAST_USUAL, share))
            self._good, self._good_rate = self._bounded(self._good * BACK_OFF), 0.0
            self._half_seconds = HALF_SECONDS
        else:
            self._half_seconds = min(MOST_HALF_SECONDS, 2 * self._half_seconds)
        self._half_after = now + self._half_seconds
        self._hold(self._good, now, LEAST_HOLD_SECONDS)

    # -- moves -------------------------------------------------------------------------------------------------------

    def _bounded(self, window: float) -> int:
        return max(self.limits.least, min(self.limits.most, int(window)))

    def _move(self, window: float, phase: Phase, now: float) -> None:
        assert phase in NEXT[self.phase], (self.phase, phase)
        window = self._bounded(window)
        self._round = Round(now, draining=window < self.window)
        if window < self.window:
            self.lateness.begin()
        self.window, self.phase = window, phase

    def _hold(self, window: float, now: float, seconds: float) -> None:
        self._restarts = 0
        self._hold_seconds = min(MOST_HOLD_SECONDS, seconds)
        self._hold_until = now + self._hold_seconds * self._chance.uniform(0.5, 1.5)
        self._held_since = now
        self._half_after = self._half_after or now + self._half_seconds
        self._move(window * self.limits.share, Phase.HOLD, now)

    def _shrink(self, now: float) -> None:
        """Others wait: back to the last good window if this one was a trial, else to three quarters of it."""
        self._bad, self._bound = self.window, Bound.THREADS
        self.lateness.begin()
        proved = self._company.others_wait(self.window, now)
        held_well = self.phase is Phase.HOLD and (proved or now - self._held_since >= PROVED_SECONDS)
        if held_well or self.window <= FIRST_WINDOW:  # so few calls fill no cache: others were there before
            if self._begin_to_share(now, heard=True):
                return
            self._pushed_at = now
        shared = self._was_pushed(now)
        if self.phase is Phase.UP and self.window > self._base and not shared:
            self._good, self._good_rate = self._base, self._base_rate
            self._hold(self._good, now, 2 * self._hold_seconds)
        elif self.phase in (Phase.HOLD, Phase.UP):
            held = min(self.window - 1, self.window * (SHARED_BACK_OFF if shared else BACK_OFF))
            whole = held / self.limits.share if self.phase is Phase.HOLD else held
            self._good, self._good_rate = self._bounded(whole), 0.0
            self._hold(self._good, now, SHARED_HOLD_SECONDS if shared else LEAST_HOLD_SECONDS)
        else:
            self._seek(now)

    def _was_pushed(self, now: float) -> bool:
        return now - self._pushed_at < SHARED_SECONDS

    def _seek(self, now: float) -> None:
        if self._bad - self._good <= max(1.0, self._good / CLOSE_ENOUGH):
            self._hold(self._good, now, self._hold_seconds)
        else:
            self._move((self._good + self._bad) // 2, Phase.SEEK, now)

    # -- rates -------------------------------------------------------------------------------------------------------

    def _judge(self, now: float, rate: float) -> None:
        """A whole round at one window, and nobody waited: was it worth its calls?"""
        if self.phase is Phase.HOLD:
            self._held(now, rate)
        elif self.phase is Phase.UP:
            self._climb(now, rate)
        elif self._is_worth_its_growth(rate):
            self._keep(now, rate)
        elif rate < WORSE_SHARE * self._good_rate and self._restarts < MOST_RESTARTS:
            self._restarts += 1
            self._begin_anew(now)
        else:
            self._bad, self._bound = self.window, Bound.LINK
            self._seek(now)

    def _is_worth_its_growth(self, rate: float) -> bool:
        """Whether the window of a search that is under way is worth it, against the largest good one."""
        growth = self.window / self._good - 1 if self._good else 0.0
        return self._is_worth(rate, self._good_rate, growth, queued=self._may_fill_a_link)

    def _is_worth(self, rate: float, before: float, growth: float, *, queued: bool = False) -> bool:
        """Whether a rate pays for a window that grew by this share; ``queued``: calls wait in a queue in any case."""
        queued = queued or self._latency > QUEUE_FACTOR * min(self._latencies)
        return rate >= before * (1 + (QUEUE_GROWTH_SHARE if queued else GROWTH_SHARE) * growth)

    def _learn_latency(self, now: float) -> bool:
        """At the end of a round. Calls that suddenly take much longer or shorter are other calls: listings, warm files.

        Returns whether they are such as may fill a link, so that a window that was found with others is no place to begin.
        """
        before = self._latencies[-1] if self._latencies else self._latency
        grown = self.window / (self._latency_window or self.window)
        self._latency_window = self.window
        longer = self._latency > OTHER_FACTOR * max(1.0, grown) * before
        anew = self._waits_for_a_link and (longer or self.phase is not Phase.START)
        if longer or self._latency * OTHER_FACTOR < min(1.0, grown) * before:
            self._latencies.clear()
            self._hold_seconds, self._hold_until = LEAST_HOLD_SECONDS, min(self._hold_until, now)
            self._good_rate = 0.0
        self._latencies.append(self._latency)
        return anew

    def _begin_anew(self, now: float) -> None:
        """Begins the search again, with the first window."""
        self._good, self._good_rate, self._bad = 0, 0.0, 0
        self._latencies.clear()
        self._move(self._first, Phase.START, now)

    def _keep(self, now: float, rate: float) -> None:
        self._good, self._good_rate = self.window, rate
        if self.window >= self.limits.most:
            self._hold(self.window, now, self._hold_seconds)
        elif self.phase is Phase.START:
            self._move(max(2 * self.window, self._second_window()), Phase.START, now)
            self._hint = 0
        else:
            self._seek(now)

    def _second_window(self) -> int:
        """What is known or guessed of the window to try after the first one; 0: neither, or this is a later one."""
        guessed = self.window <= self._first and not self._may_fill_a_link
        return max(self._hint, self._guess if guessed else 0)

    @property
    def _may_fill_a_link(self) -> bool:
        """Whether READs are so large and take so long that a few of them may fill a link, as others may have done before."""
        return self._read_bytes >= LARGE_BYTES and self._latency > SLOW_SECONDS

    @property
    def _waits_for_a_link(self) -> bool:
        """Whether they take so much longer than at the least that they seem to wait in a queue for it."""
        least = min(self._latencies, default=math.inf)
        return self._may_fill_a_link and self._latency > OTHER_FACTOR * least and self.window > self._first

    def _held(self, now: float, rate: float) -> None:
        whole = self.limits.share == 1
        if whole:
            self._good = self.window
            self._good_rate += (rate - self._good_rate) / 3 if self._good_rate else rate
        usual = self.lateness.usual
        if now >= self._half_after and usual >= WORTH_HALVING and self.window // 2 >= self.limits.least:
            self._move(self.window // 2, Phase.HALF, now)
        elif now < self._hold_until or self._good >= self.limits.most:
            self._round = Round(now, draining=False, settled=True)
        elif whole:
            self._base, self._base_rate, self._step = self.window, self._good_rate, 1
            self._move(self.window + self._step, Phase.UP, now)
        else:  # what the whole of it brings now comes first, to compare with
            self._base, self._base_rate, self._step = self._good, 0.0, 1
            self._move(self._good, Phase.UP, now)

    def _climb(self, now: float, rate: float) -> None:
        """One step of a trial upwards is done."""
        growth = self.window / self._base - 1
        grown = self.window - self._base
        if (
            (growth >= JUDGED_GROWTH and grown >= min(JUDGED_CALLS, self._base))
            or self.window >= self.limits.most
            or not growth
        ):
            if not self._is_worth(rate, self._base_rate, growth):
                self._bad, self._bound = self.window, Bound.LINK
                self._hold(self._base, now, 2 * self._hold_seconds)
                return
            if growth:
                self._hold_seconds = LEAST_HOLD_SECONDS
            self._base, self._base_rate = self.window, rate
        self._good, self._good_rate = self.window, rate
        if self.window >= self.limits.most:
            self._hold(self.window, now, self._hold_seconds)
        else:
            if self._was_pushed(now):
                self._step += 1
            else:
                self._step = self._step * 2 if growth else 1
            self._move(self.window + self._step, Phase.UP, now)
