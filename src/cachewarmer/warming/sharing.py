"""Several readers at one cache come to equal shares without talking: they share a clock. Pure.

At the same moments of the wall clock all of them cut their windows by the same factor, so that their differences shrink with
them, and then regrow by the same amounts, which depend on the time since that moment and not on the window, until the cache
is full. Cuts in proportion and gains in equal amounts make shares equal whatever they were (D.-M. Chiu and R. Jain, 1989);
here all readers make them at the same time. While the windows are small, a READ takes what it takes without a queue: those
that came later learn it too. ``Company`` finds out whether there are other readers at all.
"""

from __future__ import annotations

import math
import random
from enum import StrEnum

from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation

PERIOD_SECONDS = 8.0
"""From one common moment to the next, by the wall clock."""
CUT, FIRST_CUT = 0.6, 0.35
"""What is left of the window at a common moment, and at the first ones that a reader takes part in …"""
FIRST_CUTS = 4
"""… which are so many."""
CUT_SECONDS = 0.25
"""The windows stay small for so long. Then they grow by e^(rate · seconds) - 1 calls …"""
GROWTH_RATE = 4.0
"""… at this rate, which reaches one call as well as hundreds within two seconds."""
HEARD_SECONDS = 0.15
"""A window that makes others wait is held for so long: time for the other readers to notice it too …"""
UNHEARD_SECONDS = 0.15
"""… and had become too large so long before that was noticed. READs in a queue tell it a latency later still …"""
FAR_SECONDS = 0.05
"""… and those that take longer than this by what they take beyond it, too: their mean follows them."""
KEPT = 0.98
"""What is kept of the window that was reached before it became too large."""
WAITING_CUT = 0.93
"""What is left of the window when others wait between two common moments, and on beginning."""
QUEUE_FACTOR = 1.3
"""READs that take so many times the least since the common moment wait in a queue, such as that for a link."""
OTHER_FACTOR = 3.0
"""Where they take so many times the least though nothing grew, they are other READs: then it is searched anew."""
LATENCY_CALLS, LATENCY_SECONDS = 30, 0.3
"""Their latency is a mean over so many of them, or over this time where they are few."""
ALONE_SECONDS = 60.0
"""After half of this to the whole, by chance, a reader keeps its window at a common moment. If nobody is late to regrow
then, it is alone."""
LEFT_SHARE = 0.1
"""A window that has shrunk to this of what it was at the beginning is searched for anew."""
MOST_USUAL = 0.15
"""Where more canaries than this are slow for other reasons, readers don't hear the same: there they share as before."""

PROVED_SECONDS = 1.0
"""A window is proved once it was held for so long and made nobody wait."""
REMEMBERED_SECONDS = 60.0
"""For so long it counts that a window was proved, or made others wait."""
MOVED_FACTOR, MOVED_CALLS = 1.5, 2
"""The knee has moved if a good window is larger by this, and by so many calls, than one that made others wait."""
GROWN_FACTOR, QUEUED_FACTOR = 1.25, 1.5
"""Latencies that grow by this though the window stays, or are this by the least of late, are those of a queue that others
are in as well."""
COMPARED_CALLS = 400
"""They are compared over so many calls, or over a second."""
LISTEN_SECONDS = 2.5
"""After a common moment, nobody who does not take part tries a larger window: what is heard then is that others regrow …"""
APART_SECONDS = 3.0
"""… and such trials begin within this time after it, by chance: of two at once, none tells anything."""
BEGUN_FACTOR = 1.15
"""A trial that has not gone beyond this at a common moment is given up."""


def period(wall: float) -> tuple[int, float]:
    """Which common moment was the last one, and how many seconds ago."""
    number = math.floor(wall / PERIOD_SECONDS)
    return number, wall - number * PERIOD_SECONDS


class Stage(StrEnum):
    """What a reader does between two common moments."""

    CUT = "cut"
    GROW = "grow"
    HEARD = "heard"
    """Others wait; the window stays a moment longer."""
    HOLD = "hold"
    KEEP = "keep"
    """The window was not cut at this moment, to hear whether others regrow."""


class Sharing:
    """One reader's part in it. ``observe`` gives the next window, or ``None`` once it is over."""

    def __init__(self, window: int, now: float, wall: float, latency: float, chance: random.Random) -> None:
        self.window = float(window)
        self.queued = False
        """Whether the window was last too large for a queue, not for the threads."""
        self._began_with = window
        self._chance = chance
        self._stage = Stage.HOLD
        self._number, _ = period(wall)
        self._cuts = 0
        self._base = self.window
        self._alone_at = self._next_check(now)
        self._deaf_until = self._settled(now, latency)
        self._heard_at = 0.0
        self._grown_seconds: float | None = None
        """Of what was heard: how long after the common moment the window became too large; ``None``: it did not grow."""
        self._latency, self._error, self._spread, self._looked_at = latency, 0.0, 0.0, now
        """The mean latency, what it may be off by, and the variance of a single one."""
        self._least_latency = 0.0

    def observe(self, seen: Observation, lateness: Lateness, latency: float, least: int, most: int) -> int | None:
        """``latency``: that of the last round trip."""
        if seen.wall is None:
            return None
        self._follow(seen, latency)
        number, since = period(seen.wall)
        alarmed = self._is_alarmed(seen.now, lateness)
        if number != self._number:
            if self._stage is Stage.KEEP:
                return None
            self._begin_period(number, seen.now, least)
        if lateness.usual > MOST_USUAL or (self._stage is Stage.HOLD and self._is_lost()):
            return None
        if self._stage in (Stage.CUT, Stage.GROW):
            self._regrow(seen, since, lateness, latency, alarmed=alarmed)
        elif self._stage in (Stage.HOLD, Stage.KEEP) and alarmed:
            if self._stage is Stage.KEEP:
                self._alone_at = self._next_check(seen.now)
            self._hear(seen.now, None)
        if self._stage is Stage.HEARD and seen.now - self._heard_at >= HEARD_SECONDS:
            self._step_back(seen.now, latency)
            lateness.begin()
        self.window = max(float(least), min(float(most), self.window))
        return max(least, int(self.window + 1e-6))

    def _next_check(self, now: float) -> float:
        return now + ALONE_SECONDS * self._chance.uniform(0.5, 1.0)

    @staticmethod
    def _settled(now: float, latency: float) -> float:
        return now + 0.1 + 1.1 * latency

    def _is_alarmed(self, now: float, lateness: Lateness) -> bool:
        """Calls that were in flight before a window shrank still make others wait."""
        if not lateness.others_wait:
            return False
        if now < self._deaf_until:
            lateness.begin()
            return False
        return True

    def _is_lost(self) -> bool:
        grown = max(1.0, self.window / self._base)
        others = self._least_latency > 0 and self._latency > OTHER_FACTOR * grown * self._least_latency
        return others or (self._began_with >= 4 and self.window < LEFT_SHARE * self._began_with)

    def _follow(self, seen: Observation, latency: float) -> None:
        if not seen.calls:
            return
        passed, self._looked_at = seen.now - self._looked_at, seen.now
        weight = min(1.0, max(seen.calls / max(self.window, LATENCY_CALLS), passed / max(LATENCY_SECONDS, latency)))
        off = seen.seconds / seen.calls - self._latency
        self._spread += 0.1 * (seen.calls * off * off - self._spread)
        self._error = math.sqrt(self._spread * weight / 2 / seen.calls)
        self._latency += weight * off
        if self._stage in (Stage.CUT, Stage.GROW):
            self._least_latency = min(self._least_latency or math.inf, self._latency + self._error)

    def _begin_period(self, number: int, now: float, least: int) -> None:
        self._number = number
        if now > self._alone_at:
            self._stage = Stage.KEEP
            return
        self._cuts += 1
        self._stage = Stage.CUT
        self.window = self._base = max(float(least), self.window * (FIRST_CUT if self._cuts <= FIRST_CUTS else CUT))
        self._least_latency = 0.0

    def _regrow(self, seen: Observation, since: float, lateness: Lateness, latency: float, *, alarmed: bool) -> None:
        if self._stage is Stage.CUT:
            if since >= CUT_SECONDS:
                self._stage = Stage.GROW
                self._deaf_until = seen.now
                lateness.begin()
            return
        queued = self._least_latency > 0 and self._latency - self._error > QUEUE_FACTOR * self._least_latency
        if alarmed or queued:
            self.queued = not alarmed
            late = 0.0 if alarmed else latency + max(0.0, latency - FAR_SECONDS)
            self._hear(seen.now, since - UNHEARD_SECONDS - late)
        elif seen.limited:
            self.window = self._base + self._gain(since)

    @staticmethod
    def _gain(since: float) -> float:
        return math.expm1(GROWTH_RATE * max(0.0, since - CUT_SECONDS))

    def _hear(self, now: float, grown_seconds: float | None) -> None:
        self._stage, self._heard_at, self._grown_seconds = Stage.HEARD, now, grown_seconds

    def _step_back(self, now: float, latency: float) -> None:
        if self._grown_seconds is None:
            self.window *= WAITING_CUT
        else:
            self.window = KEPT * min(self.window, self._base + self._gain(self._grown_seconds))
        self._stage, self._deaf_until = Stage.HOLD, self._settled(now, latency)


class Company:
    """What shows a reader that others read there too."""

    def __init__(self) -> None:
        self._proved, self._proved_at = 0, 0.0
        self._waited, self._waited_at = 0, 0.0
        """The last window that made others wait."""
        self._held_since = -1.0
        self._calls, self._seconds, self._compared_at = 0, 0.0, 0.0
        self._least = 0.0

    def held(self, window: int, now: float, since: float, *, suspected: bool) -> None:
        """A window is held, and nobody waits."""
        if now - since >= PROVED_SECONDS and not suspected:
            self._proved, self._proved_at = window, now

    def forget(self) -> None:
        """Other calls: what their windows were says nothing."""
        self._waited = 0

    def others_wait(self, window: int, now: float) -> bool:
        """Whether a window that now makes others wait did not do so before."""
        self._waited, self._waited_at = window, now
        return 0 < window <= self._proved and now - self._proved_at < REMEMBERED_SECONDS

    def left(self, good: int, now: float) -> bool:
        """Whether a good window is larger than one that made others wait: others took the threads, or left them."""
        if not self._waited or now - self._waited_at >= REMEMBERED_SECONDS:
            return False
        moved = good > MOVED_FACTOR * self._waited and good - self._waited > MOVED_CALLS
        if moved:
            self._waited = 0
        return moved

    def queues(self, seen: Observation, window: int, since: float, least_latency: float) -> bool:
        """Whether READs take longer though the window is held since then."""
        if since != self._held_since:
            self._held_since, self._least = since, 0.0
            self._calls, self._seconds, self._compared_at = 0, 0.0, seen.now
        self._calls += seen.calls
        self._seconds += seen.seconds
        enough = self._calls >= COMPARED_CALLS or seen.now - self._compared_at > 1
        if not enough or self._calls < 2 * window:
            return False
        mean = self._seconds / self._calls
        self._least = min(self._least or mean, mean)
        self._calls, self._seconds, self._compared_at = 0, 0.0, seen.now
        grown = mean > GROWN_FACTOR * self._least or 0 < QUEUED_FACTOR * least_latency < mean
        return grown and seen.now - since >= PROVED_SECONDS
