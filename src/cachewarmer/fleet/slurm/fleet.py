"""A fleet of Slurm jobs: each worker is one element of a job array.

The number of elements of an array is fixed, so the fleet grows by submitting another array. All arrays of a broker have
the same name, by which a later manager finds them. Slurm never requeues an element: one that was preempted, or lost
with its node, counts as ended, and the policy requests as many again while there is work.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence

from cachewarmer.config import SlurmSettings, shared_environment
from cachewarmer.errors import FleetUnavailable
from cachewarmer.fleet.base import Fleet, FleetSize, MachineTime, WorkerLaunch
from cachewarmer.fleet.seen import WorkersSeen
from cachewarmer.fleet.slurm.commands import Element, Phase, Slurm
from cachewarmer.fleet.slurm.script import array_options, batch_script, worker_environment

log = logging.getLogger(__name__)

MOST_ELEMENTS = 1000
"""Maximum size of an array: the default of Slurm's MaxArraySize is 1001."""
MOST_NAMES = 500
"""Maximum number of elements named on one command line."""
END_SECONDS = 60.0
"""Time from SIGTERM until workers that still run are cancelled; they finish or hand back their work sooner."""
GONE_SECONDS = 180.0
"""Time from then until the deletion counts as failed: Slurm kills cancelled workers after its KillWait (30 s)."""
FIRST_LOOK_SECONDS, MOST_LOOK_SECONDS = 0.2, 3.0


class SlurmFleet(Fleet):
    """The job arrays of the broker that ``launch`` names, submitted as the user of this process.

    ``script`` is the batch script; empty: the one that ``batch_script`` makes.
    """

    one_manager = True
    ends_by_itself = True

    def __init__(
        self,
        settings: SlurmSettings,
        launch: WorkerLaunch,
        *,
        script: str = "",
        clock: Callable[[], float] = time.time,
        end_seconds: float = END_SECONDS,
    ) -> None:
        self.name = fleet_name(launch.broker_url)
        self._settings = settings
        self._script = script or batch_script(launch, settings)
        self._environment = worker_environment(launch, settings, shared_environment())
        self._clock = clock
        self._end_seconds = end_seconds
        self._slurm = Slurm(self.name)
        self._workers = WorkersSeen()
        self._before: set[str] | None = None
        """Names of the elements that had ended before this process looked first; None: it has not looked yet."""
        self._wanted = 0
        self._reasons = ""

    def __repr__(self) -> str:
        return f"<SlurmFleet {self.name} running={len(self._workers.running())}/{self._wanted}>"

    async def check(self) -> None:
        await self._slurm.try_submit(self._script, self._environment, array_options(self._settings, 1))

    async def observe(self) -> FleetSize:
        elements = await self._look()
        running, queued = _in(elements, Phase.RUNNING), _in(elements, Phase.QUEUED)
        self._say_why_they_wait(queued)
        there = len(running) + len(queued)
        return FleetSize(
            exists=bool(there or self._wanted or _in(elements, Phase.LEAVING)),
            wanted=max(self._wanted, there),
            running=len(running),
            queued=len(queued),
            evicted=self._workers.evicted,
        )

    async def create(self, workers: int) -> None:
        await self.resize(workers)

    async def resize(self, workers: int) -> None:
        elements = await self._look()
        self._workers.complain()
        running, queued = _in(elements, Phase.RUNNING), _in(elements, Phase.QUEUED)
        there = len(running) + len(queued)
        for missing in _parts(workers - there, MOST_ELEMENTS):
            options = array_options(self._settings, missing)
            array = await self._slurm.submit(self._script, self._environment, options)
            log.info("fleet %s: job array %s: %d workers", self.name, array, missing)
        surplus = min(len(queued), there - workers)
        if surplus > 0:
            await self._cancel(queued[-surplus:])
        self._wanted = max(workers, len(running))

    async def delete(self) -> None:
        self._wanted = 0
        self._workers.forget_complaint()
        began, told = time.monotonic(), set[str]()
        wait, cancelled = FIRST_LOOK_SECONDS, False
        while elements := [one for one in await self._look() if one.phase is not Phase.ENDED]:
            seconds = time.monotonic() - began
            if seconds > self._end_seconds + GONE_SECONDS:
                raise FleetUnavailable(
                    f"{len(elements)} workers have not stopped after {seconds:.0f} s", doing="scancel"
                )
            if queued := _in(elements, Phase.QUEUED):
                await self._cancel(queued)
            running = _in(elements, Phase.RUNNING)
            if seconds > self._end_seconds and not cancelled:
                cancelled = True
                await self._cancel(running)
            elif fresh := [one for one in running if one.name not in told]:
                # Once each: a second SIGTERM would end a worker without handing anything back.
                told |= {one.name for one in fresh}
                self._workers.give_up(told)
                for part in _named(fresh):
                    await self._slurm.terminate(part)
            await asyncio.sleep(wait)
            wait = min(MOST_LOOK_SECONDS, wait * 1.5)

    def ledger(self) -> list[MachineTime]:
        return self._workers.times()

    async def close(self) -> None:
        pass  # the workers stay for the next manager, or end when they have nothing to do

    # -- what Slurm says -------------------------------------------------------------------------------------------

    async def _look(self) -> list[Element]:
        """Records which workers have started and ended since the last look; returns all elements that Slurm knows."""
        elements = await self._slurm.elements()
        if self._before is None:
            self._before = {one.name for one in elements if one.phase is Phase.ENDED}
        for one in elements:
            self._note(one)
        await self._note_forgotten({one.name for one in elements})
        return elements

    def _note(self, element: Element) -> None:
        assert self._before is not None
        if element.name in self._before or not element.started_at:
            return
        worker = self._workers.started(element.name, element.started_at)
        if element.phase is not Phase.ENDED or worker.ended_at:
            return
        where = self._settings.log_directory or "nowhere: set [fleet.slurm] log_directory"
        why = f"with exit code {element.exit_code}: its log says why ({where})"
        self._workers.ended(worker.name, element.ended_at or self._clock(), end_of(element), why)

    async def _note_forgotten(self, known: set[str]) -> None:
        """Records the end of workers that the controller has forgotten, because they ended too long ago."""
        lost = [one for one in self._workers.running() if one.name not in known]
        if not lost:
            return
        found = await self._slurm.accounted([one.name for one in lost])
        for worker in lost:
            element = found.get(worker.name)
            if element is None or element.phase is not Phase.ENDED:
                # It is unknown how it ended: the policy requests what is missing anyway.
                self._workers.ended(worker.name, self._clock(), "ended")
            else:
                self._note(element)

    async def _cancel(self, elements: Sequence[Element]) -> None:
        self._workers.give_up(one.name for one in elements)
        for part in _named(elements):
            await self._slurm.cancel(part)

    def _say_why_they_wait(self, queued: Sequence[Element]) -> None:
        """Logs why elements wait in the queue, whenever Slurm's reasons change."""
        reasons = ", ".join(sorted({one.reason for one in queued if one.reason}))
        if reasons and reasons != self._reasons:
            log.info("fleet %s: %d workers wait in Slurm's queue: %s", self.name, len(queued), reasons)
        self._reasons = reasons


def fleet_name(broker_url: str) -> str:
    """The name of the job arrays of a broker; a password in its URL does not change it."""
    plain = re.sub(r"(?<=//)([^/@:]*):[^/@]*@", r"\1@", broker_url)
    plain = re.sub(r"password=[^&]*&?", "", plain)
    return f"cachewarmer-{hashlib.sha256(plain.encode()).hexdigest()[:10]}"


def end_of(element: Element) -> str:
    """How a worker ended that was not given up, as in ``MachineTime.end``."""
    if element.state == "COMPLETED":
        return "ended"
    return "failed" if element.state == "OUT_OF_MEMORY" or element.exit_code else "evicted"


def _in(elements: Sequence[Element], phase: Phase) -> list[Element]:
    return [one for one in elements if one.phase is phase]


def _named(elements: Sequence[Element]) -> list[list[str]]:
    names = [one.name for one in elements]
    return [names[at : at + MOST_NAMES] for at in range(0, len(names), MOST_NAMES)]


def _parts(count: int, most: int) -> list[int]:
    """Splits ``count`` into numbers up to ``most``; empty if it is below 1."""
    return [min(most, count - at) for at in range(0, max(0, count), most)]
