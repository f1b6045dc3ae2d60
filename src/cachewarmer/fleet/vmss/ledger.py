"""Records the machines of a scale set and how each ended, by comparing each listing with the last (pure).

A Spot machine that is evicted with the policy Delete leaves no trace: it is missing from the next listing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from cachewarmer.fleet.base import MachineTime
from cachewarmer.values import dataclass

GOING = frozenset({"deleting", "deallocating"})
FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as a listing shows it."""

    name: str
    instance_id: str = ""
    """Its id in a uniform set; empty in a flexible one, where it is a VM of its own."""
    state: str = ""
    """Its ``provisioningState`` in lower case: creating, succeeded, failed, deleting, …"""
    created_at: float = 0.0
    """Unix seconds; 0: the listing does not say."""

    @property
    def alive(self) -> bool:
        """Whether it exists or is being created: it has not failed and is not being deleted."""
        return self.state not in GOING and self.state != FAILED

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Machine:
        """Parses an entry of Virtual Machines - List, or of Virtual Machine Scale Set VMs - List."""
        properties = raw.get("properties") or {}
        created = str(properties.get("timeCreated") or "")
        return cls(
            name=str(raw["name"]),
            instance_id=str(raw.get("instanceId") or ""),
            state=str(properties.get("provisioningState") or "").lower(),
            created_at=datetime.fromisoformat(created).timestamp() if created else 0.0,
        )


class MachineLedger:
    """Every machine that was seen. Pass each listing to ``note``."""

    def __init__(self) -> None:
        self._times: dict[str, MachineTime] = {}
        self._state: dict[str, str] = {}
        self._ours: set[str] = set()
        self.evicted = 0
        """Machines that disappeared without having failed or been deleted by us."""

    def note(self, listing: Iterable[Machine], now: float) -> list[MachineTime]:
        """Takes a listing at ``now`` (Unix seconds); returns the machines that have disappeared since the last one."""
        seen = {one.name: one for one in listing}
        for name, machine in seen.items():
            known = self._times.get(name)
            if known is None or known.ended_at:
                self._times[name] = MachineTime(name=name, started_at=machine.created_at or now)
            self._state[name] = machine.state
        gone = [one for one in self._times.values() if not one.ended_at and one.name not in seen]
        return [self._end(one, now) for one in gone]

    def going(self, names: Collection[str]) -> None:
        """Marks machines as deleted by us, so that they do not count as evicted."""
        self._ours.update(names)

    def all_gone(self, now: float) -> None:
        """Records that the scale set is deleted, and every machine with it."""
        self.going([one.name for one in self._times.values() if not one.ended_at])
        self.note((), now)

    def times(self) -> list[MachineTime]:
        """Every machine, in the order in which they were seen."""
        return list(self._times.values())

    def _end(self, machine: MachineTime, now: float) -> MachineTime:
        # "Deleting" in a listing does not tell who deletes the machine: an evicted one is shown so too.
        failed = self._state.pop(machine.name, "") == FAILED
        end = "failed" if failed else "deleted" if machine.name in self._ours else "evicted"
        self.evicted += end == "evicted"
        ended = replace(machine, ended_at=now, end=end)
        self._times[machine.name] = ended
        return ended
