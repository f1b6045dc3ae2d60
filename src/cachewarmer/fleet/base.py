"""The contract between the policy, which decides, and a fleet, which carries it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSize:
    """How large a fleet is, as its provider says now."""

    exists: bool = False
    """The scale set (or whatever groups the machines) is there, even with no machine in it."""
    wanted: int = 0
    """The capacity it was last asked for."""
    running: int = 0
    """Machines that are there or on their way; those being deleted don't count."""
    evicted: int = 0
    """Machines that were taken away and not by us, since the fleet was made."""


class Action(StrEnum):
    """What a decision asks of a fleet."""

    NOTHING = "nothing"
    CREATE = "create"
    SCALE_OUT = "scale out"
    SCALE_IN = "scale in"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now."""

    action: Action = Action.NOTHING
    workers: int = 0
    """The capacity to ask for, with CREATE, SCALE_OUT and SCALE_IN."""
    reason: str = ""
    """One line for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTime:
    """One machine of a fleet: what it cost."""

    name: str
    started_at: float
    """Unix seconds."""
    ended_at: float = 0.0
    """0: still there."""
    end: str = ""
    """``evicted``, ``deleted`` or ``failed``."""

    def seconds(self, now: float) -> float:
        """How long it was there, until ``now``."""
        return max(0.0, (self.ended_at or now) - self.started_at)


class Fleet(ABC):
    """Machines that run workers. One fleet serves one broker prefix; the driver calls one method at a time.

    Every method may be called again after it raised, or after another manager was killed in the middle of it: what is
    there already is found and gone on with, and what this program did not make is never touched.

    Raises (every method): CapacityError: there is no room for the machines anywhere on the list. FleetError: the
    provider refused, or can't be reached (``transient``).
    """

    name: str

    @abstractmethod
    async def observe(self) -> FleetSize:
        """How large the fleet is now; also notes machines that came or went since the last call."""

    @abstractmethod
    async def create(self, workers: int) -> None:
        """Makes the fleet with that many machines; returns when the provider has accepted it."""

    @abstractmethod
    async def resize(self, workers: int) -> None:
        """Asks for another capacity: larger, or smaller where the machines taken away hold no work."""

    @abstractmethod
    async def delete(self) -> None:
        """Deletes the fleet and returns when it is gone; no fleet is no error."""

    @abstractmethod
    def ledger(self) -> list[MachineTime]:
        """Every machine this process saw, in the order it saw them."""

    async def close(self) -> None:
        """Lets go of connections; the machines stay."""
