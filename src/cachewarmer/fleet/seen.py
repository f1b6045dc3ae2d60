"""The workers that a fleet has seen, and how each ended: for fleets that are told of every end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cachewarmer.errors import FleetError
from cachewarmer.fleet.base import MachineTime


class WorkersSeen:
    """Every worker by its name, in the order they were seen; one that ended at once is complained of."""

    def __init__(self) -> None:
        self._times: dict[str, MachineTime] = {}
        self._given_up: set[str] = set()
        """The machines that this process has stopped."""
        self._complaint = ""
        self.evicted = 0
        """Workers that went away before their time, and not by us."""

    def started(self, name: str, at: float) -> MachineTime:
        """Notes a worker, at Unix seconds ``at``, unless it is known; returns what is known of it."""
        return self._times.setdefault(name, MachineTime(name=name, started_at=at))

    def give_up(self, names: Iterable[str]) -> None:
        """Marks machines as stopped by us, which is not an eviction."""
        self._given_up.update(names)

    def ended(self, name: str, at: float, end: str, why: str = "") -> None:
        """Notes that a worker ended at Unix seconds ``at``, and how (as in ``MachineTime.end``) if it was not given up.

        ``why``: how it failed and where its log is, should it have ended as soon as it had come.
        """
        worker = self._times[name]
        end = "deleted" if name in self._given_up else end
        worker = self._times[name] = replace(worker, ended_at=max(worker.started_at, at), end=end)
        self.evicted += end in ("evicted", "failed")
        if worker.failed_early:
            self._complaint = f"worker {name} ended at once {why}"

    def complain(self) -> None:
        """Tells once of a worker that ended at once.

        Raises:
            FleetError: there was one since the last call.
        """
        complaint, self._complaint = self._complaint, ""
        if complaint:
            raise FleetError(complaint)

    def forget_complaint(self) -> None:
        """The fleet is given up: what its workers failed with is no longer of interest."""
        self._complaint = ""

    def running(self) -> list[MachineTime]:
        """The machines that have not ended."""
        return [one for one in self._times.values() if not one.ended_at]

    def times(self) -> list[MachineTime]:
        """All of them."""
        return list(self._times.values())
