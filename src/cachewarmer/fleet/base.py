"""The contract between the policy, which decides, and a fleet, which carries it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from cachewarmer.values import dataclass

EARLY_SECONDS = 10.0
"""A worker that ends with an error within this time of its start would probably do so again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSize:
    """The size of a fleet, as its provider reports it now."""

    exists: bool = False
    """Whether the scale set (or whatever groups the machines) exists, even without any machine in it."""
    wanted: int = 0
    """The capacity that was last requested, by whichever manager."""
    running: int = 0
    """Machines that exist or are being started; those being deleted do not count."""
    queued: int = 0
    """Machines that wait in a queue of the provider; they need not be requested again."""
    evicted: int = 0
    """Machines that ended early and not by our doing, as far as this process has seen; it never decreases."""

    @property
    def is_there(self) -> bool:
        """Whether there is a fleet to resize or to delete: it exists, or it was requested and will soon exist."""
        return self.exists or self.wanted > 0


class Action(StrEnum):
    """What a decision requires a fleet to do."""

    NOTHING = "nothing"
    CREATE = "create"
    SCALE_OUT = "scale out"
    SCALE_IN = "scale in"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done now."""

    action: Action = Action.NOTHING
    workers: int = 0
    """The capacity to request, with CREATE, SCALE_OUT and SCALE_IN."""
    beside: bool = False
    """Whether a worker in the process of the manager should read, because there is work and no machine for it (yet)."""
    reason: str = ""
    """One line for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTime:
    """How long a machine of a fleet existed, which is what it costs, and how it ended."""

    name: str
    started_at: float
    """Unix seconds."""
    ended_at: float = 0.0
    """Unix seconds; 0: it still exists."""
    end: str = ""
    """``evicted``, ``deleted``, ``failed`` (by itself, with an error) or ``ended`` (by itself); empty: it exists."""

    def seconds(self, now: float) -> float:
        """Seconds that it has existed, until ``now`` (Unix seconds) at most."""
        return max(0.0, (self.ended_at or now) - self.started_at)

    @property
    def failed_early(self) -> bool:
        """Whether it ended with an error within ``EARLY_SECONDS`` of its start."""
        return self.end == "failed" and self.seconds(self.ended_at) < EARLY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLaunch:
    """What a machine of the fleet needs to become a worker. It holds no secret."""

    broker_url: str
    """The broker that the workers serve, as ``open_broker`` takes it."""
    storage_resource_group: str = ""
    """The resource group where workers whose identity has no data role look up the key of the storage account."""
    bootstrap_mount_address: str = ""
    bootstrap_export_path: str = ""
    """The NFS export with the bootstrap folder, for machines that start empty."""
    bootstrap_script_path: str = ""
    """The script that makes a machine a worker, as a path below the export."""
    bootstrap_mount_options: str = ""
    """Further options of mount(8) for the export, separated by commas."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables for the bootstrap script, for machines that start empty."""
    local_options: tuple[str, ...] = ()
    """Further options of ``cachewarmer worker``, for workers that are started on this machine."""


class Fleet(ABC):
    """Machines that run workers. One fleet serves one broker prefix; the driver calls one method at a time.

    Every method may be called again after it raised or was cancelled, or after another manager was killed in the middle
    of it: what exists already is found and used, and what this program did not create is never touched.

    Raises (every method): CapacityError: the provider has no room for the machines. FleetUnavailable: the provider
    can't be reached or is busy. FleetError: the provider refused, and will do so again until somebody acts.
    """

    name: str
    """Its name at the provider."""
    outlives_manager: bool = True
    """Whether the machines stay when this process ends."""
    one_manager: bool = False
    """Whether two managers that ask at the same time would get twice as many machines; then only one may drive it."""
    ends_by_itself: bool = False
    """Whether machines that have been idle for a while end without being deleted."""

    @abstractmethod
    async def check(self) -> None:
        """Checks, before there is work, whether machines could be started. Changes nothing.

        Raises:
            FleetError: they can't be; the error says what to correct.
        """

    @abstractmethod
    async def observe(self) -> FleetSize:
        """Returns the size of the fleet now, and records machines that started or ended since the last call.

        A fleet that another process is creating or deleting counts as existing.
        """

    @abstractmethod
    async def create(self, workers: int) -> None:
        """Creates the fleet with ``workers`` machines; returns when the provider has accepted the request.

        A fleet that exists already is resized.
        """

    @abstractmethod
    async def resize(self, workers: int) -> None:
        """Requests a total of ``workers`` machines.

        The same number again replaces machines that have ended. A smaller number gives up machines that have not come
        yet, but never one that runs.
        """

    @abstractmethod
    async def delete(self) -> None:
        """Deletes the fleet and returns when it is gone. It is not an error if there is none."""

    @abstractmethod
    def ledger(self) -> list[MachineTime]:
        """Every machine that this process has seen, in that order, including those of fleets that were deleted."""

    @abstractmethod
    async def close(self) -> None:
        """Closes connections, and ends machines that can't outlive this process. Idempotent."""
