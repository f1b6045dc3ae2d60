"""How urgent a job is beside others, and how work is shared out between the urgent and the rest. Pure."""

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
        """0 for the most urgent; how a database keeps it."""
        return _RANKS[self]

    @property
    def above(self) -> Priority | None:
        """The next more urgent one; None if there is none."""
        return BY_RANK[self.rank - 1] if self.rank else None


BY_RANK: Sequence[Priority] = tuple(Priority)
"""The most urgent first."""
_RANKS = {priority: rank for rank, priority in enumerate(BY_RANK)}
_H, _N, _L = BY_RANK
TURNS: Sequence[Priority] = (_H, _H, _H, _N, _H, _H, _L, _H, _N, _H)
"""Whose turn it is, over and over. A turn of which nothing waits goes to the most urgent that does wait: so beside high
ones, the normal jobs have two or three turns of ten, and low ones always have at least one."""


class Turns:
    """The position of a process in ``TURNS``."""

    def __init__(self) -> None:
        self._at = 0

    def __repr__(self) -> str:
        return f"<Turns at={self._at}>"

    @property
    def next(self) -> Priority:
        """Whose turn is the next one."""
        return TURNS[self._at]

    def of(self, most: int) -> list[int]:
        """How many of the next ``most`` turns each priority has, by rank."""
        counts = [0] * len(BY_RANK)
        for step in range(most):
            counts[TURNS[(self._at + step) % len(TURNS)].rank] += 1
        return counts

    def choose(self, waiting: Sequence[Sequence[T]], most: int) -> list[T]:
        """Up to ``most`` of what waits, which is given by rank: the most urgent first, none in another one's turn.

        What would be left over because nothing waits whose turn it is goes to the most urgent that do wait.
        """
        counts = self.of(most)
        order = sorted(
            (place >= counts[rank], rank, place) for rank, there in enumerate(waiting) for place in range(len(there))
        )
        return [waiting[rank][place] for _, rank, place in order[:most]]

    def taken(self, count: int) -> None:
        """This many turns were used."""
        self._at = (self._at + count) % len(TURNS)
