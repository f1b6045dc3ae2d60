"""How urgent a job is compared with others, and how work is shared out between urgent jobs and the rest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Priority(StrEnum):
    """How urgent a job is."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent; this is the number that databases store."""
        return _RANKS[self]

    @property
    def above(self) -> Priority | None:
        """The next more urgent priority; None if there is none."""
        return BY_RANK[self.rank - 1] if self.rank else None


BY_RANK: Sequence[Priority] = tuple(Priority)
"""All priorities, the most urgent first."""
_RANKS = {priority: rank for rank, priority in enumerate(BY_RANK)}
_H, _N, _L = BY_RANK
TURNS: Sequence[Priority] = (_H, _H, _H, _N, _H, _H, _L, _H, _N, _H)
"""Which priority has its turn, over and over again. If nothing of that priority is waiting, the turn goes to the most
urgent that is. So, next to urgent jobs, normal ones have two turns of ten and low ones have one.
"""


class Turns:
    """The position of a process in ``TURNS``."""

    def __init__(self) -> None:
        self._at = 0

    def __repr__(self) -> str:
        return f"<Turns at={self._at}>"

    @property
    def next(self) -> Priority:
        """The priority whose turn is next."""
        return TURNS[self._at]

    def of(self, most: int) -> list[int]:
        """How many of the next ``most`` turns each priority has, by rank."""
        counts = [0] * len(BY_RANK)
        for step in range(most):
            counts[TURNS[(self._at + step) % len(TURNS)].rank] += 1
        return counts

    def choose(self, waiting: Sequence[Sequence[T]], most: int) -> list[T]:
        """Chooses up to ``most`` of ``waiting``, which holds what is waiting by rank. The most urgent come first.

        Each priority gets its turns. Turns that it has nothing for go to the most urgent of the others.
        """
        counts = self.of(most)
        order = sorted(
            (place >= counts[rank], rank, place) for rank, there in enumerate(waiting) for place in range(len(there))
        )
        return [waiting[rank][place] for _, rank, place in order[:most]]

    def taken(self, count: int) -> None:
        """Call this when this many turns were used."""
        self._at = (self._at + count) % len(TURNS)
