"""Observes the backlog and the fleet, lets the policy decide, and carries out the decision, one fleet call at a time.

The driver runs concurrently with the other work of the manager and never delays it; a failure is one line of the log,
and the call is tried again. Two managers of one broker do no harm: both see the same, and every call of a fleet may be
repeated. Where that is not so (``Fleet.one_manager``), one manager drives the fleet, and another takes its place when
the first one is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from cachewarmer.broker.base import Backlog, Broker
from cachewarmer.config import FleetSettings
from cachewarmer.errors import BrokerError, FleetError, FleetUnavailable
from cachewarmer.eventloop import end_tasks
from cachewarmer.fleet.base import Action, Decision, Fleet, FleetSize, MachineTime
from cachewarmer.fleet.lease import RENEW_SECONDS, FleetLease
from cachewarmer.fleet.policy import Policy

log = logging.getLogger(__name__)

T = TypeVar("T")

CALL_SECONDS = 1800.0
"""Timeout of a call of a fleet; after it, the policy decides again."""
CHECK_SECONDS = 60.0
"""Timeout of a check before the start: systemd waits 90 s for a service."""
LEAVE_SECONDS = 60.0
"""Maximum time that a stopping manager waits for the provider: systemd kills a service after 90 s."""


class FleetDriver:
    """Drives ``fleet``, and closes it at the end of ``run``.

    ``beside`` runs a worker in this process until its event is set; it reads what no machine is worth starting for.
    """

    def __init__(
        self,
        broker: Broker,
        fleet: Fleet,
        settings: FleetSettings,
        *,
        beside: Callable[[asyncio.Event], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        leave_seconds: float = LEAVE_SECONDS,
        lease_renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        self._broker = broker
        self._fleet = fleet
        self._settings = settings
        self._policy = Policy(settings, clock())
        self._lease = FleetLease(broker, fleet.name, shared=not fleet.one_manager, renew_seconds=lease_renew_seconds)
        self._leads = True
        self._clock = clock
        self._leave_seconds = leave_seconds
        self._leave_by = 0.0
        self._beside = _Beside(beside)
        self._complaints: dict[str, str] = {}
        self._reported = 0
        self._was_there = False
        self.size: FleetSize | None = None
        """The fleet as last observed; None: it has not been observed yet, or can't be observed now."""
        self.may_have_machines = True
        """Whether machines may exist; true until the fleet has been observed, and while it can't be."""

    def __repr__(self) -> str:
        return f"<FleetDriver {self._fleet!r}>"

    @property
    def name(self) -> str:
        """The name of the fleet at its provider."""
        return self._fleet.name

    def machines(self) -> list[MachineTime]:
        """The machines that this process has seen, with their times."""
        return self._fleet.ledger()

    async def check(self) -> None:
        """Checks, before the manager reports that it is ready, whether machines can be started at all.

        Raises:
            FleetError: they can't until somebody acts, and there is no fleet that would have to be looked after. The
                fleet has been closed.
        """
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._fleet.check()
        except TimeoutError:
            log.warning("fleet %s: no answer for %.0f s; continuing without", self._fleet.name, CHECK_SECONDS)
        except FleetError as error:
            if error.transient or await self._is_there():
                log.warning("fleet %s: %s", self._fleet.name, error)
                return
            await self._fleet.close()
            raise

    async def _is_there(self) -> bool:
        """Whether the fleet exists; False also if that can't be found out."""
        with suppress(FleetError, TimeoutError):
            async with asyncio.timeout(CHECK_SECONDS):
                return (await self._fleet.observe()).is_there
        return False

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps the fleet as large as the work needs until ``stop`` is set, then leaves or deletes it."""
        watcher = asyncio.create_task(self._note_stop(stop))
        keeping = asyncio.create_task(self._lease.keep())
        try:
            while not stop.is_set():
                await self._turn(stop)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._policy.seconds_to_next_look(self._clock()))
        finally:
            stop.set()
            await watcher
            await self._leave(stop)
            await end_tasks(keeping)

    async def _note_stop(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._leave_by = time.monotonic() + self._leave_seconds

    async def _turn(self, stop: asyncio.Event) -> None:
        if not await self._take():
            return
        # The backlog is read last, so that a decision to delete rests on the latest one.
        size = await self._size(stop)
        backlog = await self._backlog()
        if stop.is_set():
            return
        decision = self._policy.decide(self._clock(), backlog, size)
        self._beside.keep(decision.beside)
        if decision.action is not Action.NOTHING:
            await self._carry_out(decision, stop)

    async def _take(self) -> bool:
        """Whether this manager drives the fleet."""
        leads = await self._lease.take()
        if leads and not self._leads:
            self._policy = Policy(self._settings, self._clock())  # its observations are out of date
            self.may_have_machines = True
        if not leads:
            self._beside.keep(wanted=False)
        if self._lease.is_anothers:
            self.may_have_machines = False
        self._leads = leads
        return leads

    async def _backlog(self) -> Backlog | None:
        try:
            backlog = await self._broker.backlog()
        except BrokerError as error:
            self._complain("backlog", f"the backlog can't be seen: {error}")
            return None
        except Exception as error:  # even so, running machines must be deleted in time
            self._complain("backlog", f"the backlog can't be seen: {type(error).__name__}: {error}")
            log.debug("the backlog can't be seen", exc_info=error)
            return None
        self._complain("backlog", "")
        return backlog

    async def _size(self, stop: asyncio.Event) -> FleetSize | None:
        try:
            size = await self._limited(self._fleet.observe(), stop)
        except FleetError as error:
            self._complain("size", f"fleet {self._fleet.name} can't be seen: {error}")
            self.may_have_machines = True
            self.size = None
            return None
        self.size = size
        self._complain("size", "")
        self.may_have_machines = size.is_there
        self._was_there |= size.is_there
        if not size.is_there:
            self._report()
        return size

    async def _carry_out(self, decision: Decision, stop: asyncio.Event) -> bool:
        """Carries out a decision; returns False after a failure, which is logged, and then the policy decides again."""
        fleet, action = self._fleet, decision.action
        what = str(action) if action is Action.DELETE else f"{action} to {decision.workers}"
        log.info("fleet %s: %s: %s", fleet.name, what, decision.reason)
        calls = {Action.CREATE: fleet.create, Action.SCALE_OUT: fleet.resize, Action.SCALE_IN: fleet.resize}
        try:
            if action is Action.DELETE:
                await self._limited(fleet.delete(), stop)
            else:
                await self._limited(calls[action](decision.workers), stop)
        except FleetError as error:
            wait = self._policy.failed(self._clock(), decision, error)
            log.warning("fleet %s: %s: %s; trying again in %.0f s", fleet.name, what, error, wait)
            return False
        self._policy.succeeded(decision)
        self._was_there |= action is not Action.DELETE
        if action is Action.DELETE:
            self._report()
        return True

    async def _limited(self, call: Awaitable[T], stop: asyncio.Event) -> T:
        """Returns the result of a fleet call, which must come within ``CALL_SECONDS`` and before the manager must end.

        Raises:
            FleetUnavailable: the call took too long. What the provider has accepted continues nevertheless.
        """
        task = asyncio.ensure_future(call)
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({task, stopped}, timeout=CALL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and stop.is_set():
                await asyncio.wait({task}, timeout=max(0.0, self._leave_by - time.monotonic()))
            if task.done():
                return _result(task)
            raise FleetUnavailable("the provider has not finished; what it has accepted continues")
        finally:
            await end_tasks(task, stopped)

    # -- the end ---------------------------------------------------------------------------------------------------

    async def _leave(self, stop: asyncio.Event) -> None:
        await self._beside.end()
        try:
            if self._fleet.outlives_manager and self._leads:
                await self._decide_to_leave(stop)
        finally:
            await self._lease.give_back()
            try:
                await self._fleet.close()
            except FleetError as error:
                log.warning("fleet %s: %s", self._fleet.name, error)
            self._report()

    async def _decide_to_leave(self, stop: asyncio.Event) -> None:
        size = await self._size(stop)
        if size is not None and not size.is_there:
            return
        decision = self._policy.leave(await self._backlog())
        name = self._fleet.name
        if size is None and not self._was_there:
            log.warning("fleet %s was never seen; if an earlier manager made it, only a manager deletes it", name)
        elif decision.action is Action.NOTHING:
            machines = f"{size.running} machines" if size is not None else "machines"
            end = "it ends by itself when idle" if self._fleet.ends_by_itself else "only a manager deletes it"
            log.warning("fleet %s with %s: %s; %s", name, machines, decision.reason, end)
        elif not await self._carry_out(decision, stop):
            log.warning("fleet %s may still be there: start a manager again, or delete it by hand", name)

    def _report(self) -> None:
        """Logs how long each machine of a fleet that has ended existed, and the sum."""
        machines = self._fleet.ledger()[self._reported :]
        if not machines:
            return
        self._reported += len(machines)
        for line in ledger_lines(machines, time.time()):
            log.info("fleet %s: %s", self._fleet.name, line)

    def _complain(self, about: str, complaint: str) -> None:
        """Logs once, not at every look, that something can't be observed, and when it can be again."""
        before, self._complaints[about] = self._complaints.get(about, ""), complaint
        if complaint and complaint != before:
            log.warning("%s", complaint)
        elif before and not complaint:
            log.info("the %s can be seen again", "fleet" if about == "size" else about)


def _result(task: asyncio.Future[T]) -> T:
    """The result of a fleet call. Any other exception becomes a ``FleetError``, so that the driver continues."""
    error = task.exception()
    if error is None or isinstance(error, FleetError):
        return task.result()
    log.debug("a fleet's call failed", exc_info=error)
    raise FleetError(f"{type(error).__name__}: {error}") from error


class _Beside:
    """The worker in the process of the manager, started and stopped as the decisions require."""

    def __init__(self, work: Callable[[asyncio.Event], Awaitable[None]] | None) -> None:
        self._work = work
        self._task: asyncio.Future[Any] | None = None
        self._stop = asyncio.Event()

    def keep(self, wanted: bool) -> None:
        """Starts the worker, also after it has failed, if it is ``wanted``; otherwise lets it finish its items."""
        if self._task is not None and self._task.done():
            if self._task.exception() is not None:
                log.warning("the worker beside the manager ended: %s", self._task.exception())
            self._task = None
        if not wanted:
            self._stop.set()
        elif self._task is None and self._work is not None:
            log.info("a worker beside the manager reads")
            self._stop = asyncio.Event()
            self._task = asyncio.ensure_future(self._work(self._stop))

    async def end(self) -> None:
        self.keep(wanted=False)
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


def ledger_lines(machines: list[MachineTime], now: float) -> list[str]:
    """A line for each machine and one for their sum; ``now`` is in Unix seconds."""
    lines = [f"{one.name}: {one.seconds(now):.0f} s, {one.end or 'still there'}" for one in machines]
    total = sum(one.seconds(now) for one in machines)
    ends = [one.end or "still there" for one in machines]
    counts = ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))
    return [*lines, f"{len(machines)} machines took {total:.0f} VM-seconds ({counts})"]
