"""Decides when machines are started and deleted, from the work that is left and the machines that exist.

Pure: no clock, no loop, no network. ``now`` is the time in seconds of any clock that never goes back. The driver passes
in what it observes, carries out the decision, and reports a failure. Nothing has to be remembered from one manager to
the next: a new manager, or a second one, makes the same decisions from the same observations.
"""

from __future__ import annotations

import math

from cachewarmer.broker.base import Backlog
from cachewarmer.config import FleetSettings
from cachewarmer.errors import CapacityError, FleetError
from cachewarmer.fleet.base import Action, Decision, FleetSize

REPLACE_SECONDS = 60.0
"""Wait before machines that were requested but have not come are requested again, if none was evicted."""
SURPLUS_SECONDS = 60.0
"""Time after which capacity that has not come and is not needed is given up: needs vary during a scan."""
FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS = 5.0, 60.0
"""Wait after the provider could not be reached or was busy; doubles with each failure up to the second value."""
FIRST_CAPACITY_SECONDS, MOST_CAPACITY_SECONDS = 60.0, 600.0
"""Wait after the provider had no room for the machines; doubles likewise."""
REFUSED_SECONDS = 300.0
"""Wait after a refusal that somebody must act on, such as a missing role."""
SOONEST_SECONDS = 0.05


class Policy:
    """Makes the decisions of one driver, which started at ``now``."""

    def __init__(self, settings: FleetSettings, now: float) -> None:
        self._settings = settings
        self._seen_at = now
        self._idle_since: float | None = None
        self._beside = False
        self._beside_since: float | None = None
        self._surplus_since: float | None = None
        self._asked_at = -math.inf
        self._evicted_when_asked = 0
        self._failures = 0
        self._not_before = {Action.CREATE: -math.inf, Action.DELETE: -math.inf}
        self._deleted_blindly = False
        self._wake_at = math.inf

    def decide(self, now: float, backlog: Backlog | None, size: FleetSize | None) -> Decision:
        """Decides what to do now. ``backlog`` or ``size`` is None if it could not be observed."""
        decision = self._decide(now, backlog, size)
        self._beside = decision.beside
        return decision

    def _decide(self, now: float, backlog: Backlog | None, size: FleetSize | None) -> Decision:
        self._wake_at = math.inf
        if backlog is None:
            return self._blind(now, size)
        self._seen_at = now
        self._deleted_blindly = False
        if backlog.unsettled_items:
            self._idle_since = None
        else:
            self._beside_since = self._surplus_since = None
            if self._idle_since is None:
                self._idle_since = now
        if size is None:
            return Decision(beside=self._beside, reason="the fleet can't be listed")
        if backlog.unsettled_items:
            return self._staff(now, backlog, size)
        return self._rest(now, backlog, size)

    def succeeded(self, decision: Decision) -> None:
        """Records that the provider accepted a decision."""
        self._failures = 0
        if decision.action is Action.DELETE:
            self._deleted_blindly = True

    def failed(self, now: float, decision: Decision, error: FleetError) -> float:
        """Records that a decision could not be carried out; returns the seconds until it will be made again."""
        if isinstance(error, CapacityError):
            first, most = FIRST_CAPACITY_SECONDS, MOST_CAPACITY_SECONDS
        else:
            first, most = FIRST_RETRY_SECONDS, MOST_RETRY_SECONDS
        wait = min(most, first * 2.0 ** min(self._failures, 10))
        deleting = decision.action is Action.DELETE
        if not error.transient and not deleting:
            wait = REFUSED_SECONDS
        self._failures += 1
        self._asked_at = -math.inf
        self._not_before[Action.DELETE if deleting else Action.CREATE] = now + wait
        return wait

    def leave(self, backlog: Backlog | None) -> Decision:
        """Decides whether a fleet that would outlive this manager is deleted when the manager stops."""
        if backlog is None:
            return Decision(reason="it stays: the queues can't be read, so it is unknown whether work is left")
        if backlog.unsettled_items or backlog.scanning_jobs:
            return Decision(reason=f"it stays for the next manager: {_work(backlog)} left")
        return Decision(action=Action.DELETE, reason="the manager stops, and no work is left")

    def seconds_to_next_look(self, now: float) -> float:
        """Seconds until the driver should look again: ``look_seconds``, or less if a decision falls due before."""
        return max(SOONEST_SECONDS, min(self._settings.look_seconds, self._wake_at - now))

    # -- the three situations --------------------------------------------------------------------------------------

    def _blind(self, now: float, size: FleetSize | None) -> Decision:
        due = self._seen_at + self._settings.blind_seconds
        if now < due:
            self._wake_at = due
            return Decision(beside=self._beside, reason="the queues can't be read")
        if size.is_there if size is not None else not self._deleted_blindly:
            return self._delete(now, f"the queues could not be seen for {self._settings.blind_seconds:.0f} s")
        return Decision(reason="the queues can't be read, and no machine is left")

    def _staff(self, now: float, backlog: Backlog, size: FleetSize) -> Decision:
        """The decision while there is work."""
        needed = math.ceil(backlog.unsettled_items / max(1, self._settings.items_per_worker))
        workers = min(self._settings.workers, needed)
        beside = self._settings.local_seconds > 0 and not size.running
        if beside and self._beside_since is None:
            self._beside_since = now
        if not size.is_there:
            if self._is_small(now, backlog):
                return Decision(beside=True, reason=f"{_work(backlog)} left, too little to start a machine for")
            return self._grow(now, Action.CREATE, workers, size, beside, f"{_work(backlog)} left")
        if workers > size.wanted:
            return self._grow(now, Action.SCALE_OUT, workers, size, beside, f"{_work(backlog)} left")
        if size.running + size.queued < workers:
            lost = size.evicted - self._evicted_when_asked
            if lost > 0:
                return self._grow(
                    now, Action.SCALE_OUT, workers, size, beside, f"{lost} evicted, {_work(backlog)} left"
                )
            if now >= self._asked_at + REPLACE_SECONDS:
                missing = workers - size.running - size.queued
                return self._grow(now, Action.SCALE_OUT, workers, size, beside, f"{missing} of them have not come")
        surplus = size.wanted - max(needed, size.running)
        if surplus <= 0:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = now
        elif now >= self._surplus_since + SURPLUS_SECONDS and now >= self._not_before[Action.CREATE]:
            # It is unknown which machines hold work, so only machines that have not come are given up.
            self._surplus_since = None
            return Decision(
                action=Action.SCALE_IN,
                workers=size.wanted - surplus,
                beside=beside,
                reason=f"{surplus} have not started and are no longer needed",
            )
        return Decision(beside=beside)

    def _rest(self, now: float, backlog: Backlog, size: FleetSize) -> Decision:
        """The decision while there is no work."""
        assert self._idle_since is not None
        beside = backlog.stray_items > 0 and not size.running
        if not size.is_there:
            return Decision(beside=beside)
        patience = self._settings.idle_seconds
        if backlog.scanning_jobs:  # more work may come at any moment, and machines take minutes to start
            patience = max(patience, self._settings.scan_seconds)
        if now < self._idle_since + patience:
            self._wake_at = self._idle_since + patience
            return Decision(beside=beside)
        return self._delete(now, f"nothing was left to read for {now - self._idle_since:.0f} s")

    def _grow(self, now: float, action: Action, workers: int, size: FleetSize, beside: bool, reason: str) -> Decision:
        if now < self._not_before[Action.CREATE]:
            self._wake_at = self._not_before[Action.CREATE]
            return Decision(beside=beside)
        self._asked_at = now
        self._evicted_when_asked = size.evicted
        self._surplus_since = None
        return Decision(action=action, workers=workers, beside=beside, reason=reason)

    def _delete(self, now: float, reason: str) -> Decision:
        if now < self._not_before[Action.DELETE]:
            self._wake_at = self._not_before[Action.DELETE]
            return Decision()
        return Decision(action=Action.DELETE, reason=reason)

    def _is_small(self, now: float, backlog: Backlog) -> bool:
        """Whether the worker beside the manager will finish all that is left within ``local_seconds`` of its start."""
        settings = self._settings
        if settings.local_seconds <= 0 or self._beside_since is None:
            return False
        seconds = backlog.unsettled_bytes / max(1, settings.worker_bytes_per_second)
        seconds += max(backlog.unsettled_files, backlog.unsettled_items) / max(1, settings.worker_files_per_second)
        return now - self._beside_since + seconds <= settings.local_seconds


def _work(backlog: Backlog) -> str:
    """What is left, for the log."""
    if not backlog.unsettled_items:
        return "a scan is"
    return "1 item is" if backlog.unsettled_items == 1 else f"{backlog.unsettled_items} items are"
