"""The workers that a fleet has seen and how each ended, for fleets whose provider reports every end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cachewarmer.errors import FleetError
from cachewarmer.fleet.base import MachineTime


class WorkersSeen:
    """Every worker by its name, in the order in which they were seen; keeps a complaint if one ended at once."""

    def __init__(self) -> None:
        self._times: dict[str, MachineTime] = {}
        self._given_up: set[str] = set()
        """Names of the workers that this process has stopped."""
        self._complaint = ""
        self.evicted = 0
        """Workers that were evicted or failed and had not been given up."""

    def started(self, name: str, at: float) -> MachineTime:
        """Records that a worker started at ``at`` (Unix seconds), unless it is known; returns its record."""
        return self._times.setdefault(name, MachineTime(name=name, started_at=at))

    def give_up(self, names: Iterable[str]) -> None:
        """Marks workers as stopped by us, so that their end is not an eviction."""
        self._given_up.update(names)

    def ended(self, name: str, at: float, end: str, why: str = "") -> None:
        """Records that a worker ended.

        Args:
            name: the worker.
            at: when it ended, in Unix seconds.
            end: how it ended, as in ``MachineTime.end``; a worker that was given up counts as ``deleted``.
            why: how it failed and where its log is, for the complaint about a worker that ended at once.
        """
        worker = self._times[name]
        end = "deleted" if name in self._given_up else end
        worker = self._times[name] = replace(worker, ended_at=max(worker.started_at, at), end=end)
        self.evicted += end in ("evicted", "failed")
        if worker.failed_early:
            self._complaint = f"worker {name} ended at once {why}"

    def complain(self) -> None:
        """Raises the complaint about a worker that ended at once, if there is one, and forgets it.

        Raises:
            FleetError: a worker has failed at once since the last call.
        """
        complaint, self._complaint = self._complaint, ""
        if complaint:
            raise FleetError(complaint)

    def forget_complaint(self) -> None:
        """Forgets the complaint, because the fleet is deleted and the failures of its workers no longer matter."""
        self._complaint = ""

    def running(self) -> list[MachineTime]:
        """The workers that have not ended."""
        return [one for one in self._times.values() if not one.ended_at]

    def times(self) -> list[MachineTime]:
        """All workers that were seen."""
        return list(self._times.values())
