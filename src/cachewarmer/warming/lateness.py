"""Whether a canary is slow because others have to wait, or only now and then, as on any busy machine. Pure.

A full window holds a small cache's threads all the time: then nearly every canary is slow. What a scheduler or a
network does makes a part of them slow, whatever the window. Evidence is added up canary by canary as in Page's
cumulative sum test (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954): each answer counts by how much
likelier it is when others wait than it is usually, the sum never falls below zero, and beyond ``ALARM`` others wait.
"""

from __future__ import annotations

from math import log

WAITING_SHARE = 0.85
"""So many canaries are slow, at the least, while others have to wait."""
LEAST_USUAL, MOST_USUAL = 0.05, 0.5
"""What may be believed of the share of canaries that are slow for other reasons."""
PRIOR_CANARIES = 20.0
"""The weight of the first belief, ``LEAST_USUAL``, in canaries."""
MEMORY_CANARIES = 400.0
"""What was seen longer ago than about so many canaries is forgotten."""
ALARM = 5.0
"""Two slow canaries on end on a machine where they are rare; six where a third of them is slow."""


class Lateness:
    """Judges canaries, and learns how many are slow usually."""

    __slots__ = ("_canaries", "_evidence", "_pending", "_pending_slow", "_slow")

    def __init__(self) -> None:
        self._slow = LEAST_USUAL * PRIOR_CANARIES
        self._canaries = PRIOR_CANARIES
        self._evidence = 0.0
        self._pending = self._pending_slow = 0

    def __repr__(self) -> str:
        return f"<Lateness usual={self.usual:.2f} evidence={self._evidence:.1f}>"

    @property
    def usual(self) -> float:
        """The share of canaries that are slow though nobody has to wait for a thread."""
        return min(MOST_USUAL, max(LEAST_USUAL, self._slow / self._canaries))

    @property
    def others_wait(self) -> bool:
        """Whether there is enough evidence of it."""
        return self._evidence >= ALARM

    @property
    def suspected(self) -> bool:
        """Whether there is any evidence of it."""
        return self._evidence > 0

    def begin(self) -> None:
        """The window has changed: what comes now is judged anew."""
        self._evidence = 0.0
        self._pending = self._pending_slow = 0

    def add(self, *, slow: bool) -> None:
        """Takes one canary."""
        self._pending += 1
        self._pending_slow += slow
        usual = self.usual
        self._evidence += log(WAITING_SHARE / usual) if slow else log((1 - WAITING_SHARE) / (1 - usual))
        if self._evidence <= 0:
            self._evidence = 0.0
            self.learn()

    def learn(self) -> None:
        """What was seen since the last acquittal is usual."""
        if not self._pending:
            return
        keep = max(0.0, 1 - self._pending / MEMORY_CANARIES) if self._canaries > MEMORY_CANARIES else 1.0
        self._slow = self._slow * keep + self._pending_slow
        self._canaries = self._canaries * keep + self._pending
        self._pending = self._pending_slow = 0

    def correct(self, share: float) -> None:
        """It was measured what is usual, at a window that makes nobody wait."""
        self._slow = share * PRIOR_CANARIES
        self._canaries = PRIOR_CANARIES
