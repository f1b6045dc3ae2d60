"""The contract between the policy, which decides, and a fleet, which carries it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from cachewarmer.values import dataclass

EARLY_SECONDS = 10.0
"""A worker that ends with an error so soon after its start would do so again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSize:
    """How large a fleet is, as its provider says now."""

    exists: bool = False
    """The scale set (or whatever groups the machines) is there, even with no machine in it."""
    wanted: int = 0
    """The capacity it was last asked for, by whichever manager."""
    running: int = 0
    """Machines that are there or on their way; those being deleted don't count."""
    queued: int = 0
    """Machines that were asked for and wait in a queue of the provider's: they come, or not, without being asked for again."""
    evicted: int = 0
    """Machines that went away and not by us, as far as this process saw; it never falls."""

    @property
    def is_there(self) -> bool:
        """Whether there is something to enlarge or to delete: it exists, or is about to, since it was asked for."""
        return self.exists or self.wanted > 0


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
    beside: bool = False
    """One worker reads beside the manager: there is work, and no machine for it (yet)."""
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
    """``evicted``, ``deleted``, ``failed`` (it went away by itself, with an error), or ``ended`` (by itself, with none)."""

    def seconds(self, now: float) -> float:
        """How long it was there, until ``now``."""
        return max(0.0, (self.ended_at or now) - self.started_at)

    @property
    def failed_early(self) -> bool:
        """Whether it went away with an error as soon as it had come."""
        return self.end == "failed" and self.seconds(self.ended_at) < EARLY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLaunch:
    """What a machine of the fleet needs to become a worker. It holds no secret."""

    broker_url: str
    """The broker that the workers serve, as ``open_broker`` takes it."""
    storage_resource_group: str = ""
    """The resource group where the workers look up the key of the storage account, if their identity has no role for
    its data.
    """
    bootstrap_mount_address: str = ""
    bootstrap_export_path: str = ""
    """The NFS export with the bootstrap folder, for machines that start empty."""
    bootstrap_script_path: str = ""
    """The script that makes a machine a worker: its path below the export."""
    bootstrap_mount_options: str = ""
    """Further options for mount(8) of the export, separated by commas."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that the bootstrap script is given beside these, for machines that start empty."""
    local_options: tuple[str, ...] = ()
    """Further options of ``cachewarmer worker``, for workers that are started on this machine."""


class Fleet(ABC):
    """Machines that run workers. One fleet serves one broker prefix; the driver calls one method at a time.

    Every method may be called again after it raised or was cancelled, or after another manager was killed in the middle
    of it: what is there already is found and gone on with, and what this program did not make is never touched.

    Raises (every method): CapacityError: there is no room for the machines anywhere on the list. FleetUnavailable: the
    provider can't be reached or is busy. FleetError: it refused, and will again until somebody does something about it.
    """

    name: str
    """What it is called at its provider."""
    outlives_manager: bool = True
    """Whether the machines stay when this process ends."""
    one_manager: bool = False
    """Whether two managers that ask at the same time get twice as many: then only one of them drives the fleet."""
    ends_by_itself: bool = False
    """Whether machines that have had nothing to do for a while go away without being deleted."""

    @abstractmethod
    async def check(self) -> None:
        """Looks whether machines could be made, before there is work for them, and changes nothing.

        Raises:
            FleetError: they can't, as things are; it says what has to be mended.
        """

    @abstractmethod
    async def observe(self) -> FleetSize:
        """How large the fleet is now; also notes machines that came or went since the last call.

        A fleet that another process is making or deleting exists.
        """

    @abstractmethod
    async def create(self, workers: int) -> None:
        """Makes the fleet with that many machines; returns when the provider has accepted it. One that is there already is
        resized.
        """

    @abstractmethod
    async def resize(self, workers: int) -> None:
        """Asks that this many machines be there. The same number again replaces those that went away; a smaller one is
        never below the machines that run, and gives up those that have not come.
        """

    @abstractmethod
    async def delete(self) -> None:
        """Deletes the fleet and returns when it is gone; no fleet is not an error."""

    @abstractmethod
    def ledger(self) -> list[MachineTime]:
        """Every machine this process saw, in the order it saw them; also those of fleets that were deleted."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of connections, and of machines that can't outlive this process. Idempotent."""
