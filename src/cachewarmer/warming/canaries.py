"""The canaries of one address: what their time is without load, and which of them are slow. Pure."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from cachewarmer.warming.lateness import Lateness
from cachewarmer.warming.rounds import Observation

FLOOR_CANARIES = 16
"""Answers that one estimate of the canary's idle time is the median of."""
FLOOR_ESTIMATES = 80
"""The idle time is the lowest of so many estimates: about a minute of answers."""
PATH_FACTOR, PATH_EXTRA_SECONDS = 2.0, 0.0005
"""The idle time is no more than a handshake, which waits for no thread, by this factor and with this on top: a reader that
comes to a full cache has seen no idle canary yet."""
DISBELIEF_CANARIES = 40
"""Where so many canaries on end took longer than that and none ever did not, the path ends before the server, at a proxy."""
CANARY_SECONDS = 0.05
"""A canary that is not answered counts as a slow one for each time this passes …"""
UNKNOWN_SECONDS = 1.0
"""… and this, as long as none was ever answered: the server may be far away."""


class Judged(NamedTuple):
    """The canaries that were answered since the observation before."""

    answered: int
    slow: int


class Canaries:
    """Judges them. One may take its idle time multiplied by ``factor``, and ``extra_seconds`` on top."""

    def __init__(self, factor: float, extra_seconds: float) -> None:
        self._factor = factor
        self._extra_seconds = extra_seconds
        self.idle_seconds = 0.0
        """A canary's time without load, as far as is known; 0: not known yet."""
        self.lateness = Lateness()
        self._floor_canaries: list[float] = []
        self._floors: deque[float] = deque(maxlen=FLOOR_ESTIMATES)
        self._beyond_path = 0.0
        """Canaries so far that took longer than the path explains; -inf: one of them did not."""
        self._counted = 0
        """How often the canary in flight was counted as slow."""

    def __repr__(self) -> str:
        return f"<Canaries idle={self.idle_seconds:.6f} {self.lateness}>"

    @property
    def limit_seconds(self) -> float:
        """A canary that takes longer is slow."""
        return self._factor * (self.idle_seconds or 0.0005) + self._extra_seconds

    def learn(self, seen: Observation) -> None:
        """Learns of answers, and of the path, what the time without load is."""
        self._floor_canaries.extend(seen.canary)
        count = len(self._floor_canaries)
        if count >= FLOOR_CANARIES or (count and not self._floors):
            self._floors.append(sorted(self._floor_canaries)[count // 2])
            self._floor_canaries.clear()
        if self._floors:
            self.idle_seconds = min(self._floors)
            if seen.path_seconds and self._beyond_path < DISBELIEF_CANARIES:
                most = PATH_FACTOR * seen.path_seconds + PATH_EXTRA_SECONDS
                self._believe(seen.canary, most)
                self.idle_seconds = min(most, self.idle_seconds)

    def _believe(self, answers: tuple[float, ...], most: float) -> None:
        """Whether a canary's idle time may be as short as the path to the address says."""
        if any(seconds <= most for seconds in answers):
            self._beyond_path = -math.inf
        self._beyond_path += len(answers)

    def judge(self, seen: Observation) -> Judged:
        """Takes the canaries of an observation as evidence of whether others wait."""
        limit, slow = self.limit_seconds, 0
        for seconds in seen.canary:
            self.lateness.add(slow=seconds > limit)
            slow += seconds > limit
        known = self.idle_seconds > 0
        passed = int(seen.canary_waiting / (max(CANARY_SECONDS, limit) if known else UNKNOWN_SECONDS))
        if passed < self._counted:
            self._counted = 0
        for _ in range(min(passed, self._counted + 100) - self._counted):
            self.lateness.add(slow=True)
        self._counted = passed
        return Judged(len(seen.canary), slow)
