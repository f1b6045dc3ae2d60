"""A fleet of worker processes on this machine, with the same contract and policy as fleets of VMs.

The standard input of each worker is a pipe to which nothing is written. When this process ends, in whatever way, the
kernel closes the pipe, and the workers (``--exit-on-eof``) hand back their items and exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from cachewarmer.config import child_environment, process_name
from cachewarmer.errors import CapacityError, FleetError
from cachewarmer.fleet.base import Fleet, FleetSize, MachineTime, WorkerLaunch
from cachewarmer.fleet.seen import WorkersSeen

STOP_SECONDS = 30.0
"""Time from SIGTERM to SIGKILL; longer than a worker takes to finish or hand back its work
(``LeaseSettings.drain_seconds``).
"""
HEAR_SECONDS = 1.0
"""Time from SIGTERM until the standard input of a worker that still runs is closed too.

A process may miss a signal, such as one that comes between its last check for signals and a call that blocks.
"""


class LocalFleet(Fleet):
    """A fleet of worker processes.

    ``command`` returns the command line of a worker, given its name; None: this program as ``cachewarmer worker``.
    """

    outlives_manager = False

    def __init__(
        self,
        launch: WorkerLaunch,
        *,
        stop_seconds: float = STOP_SECONDS,
        command: Callable[[str], Sequence[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = process_name()
        self._launch = launch
        self._stop_seconds = stop_seconds
        self._command = command or self._own_command
        self._clock = clock
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        """The running processes, by the names of their workers."""
        self._told: set[str] = set()
        """Names of the workers that were sent SIGTERM."""
        self._workers = WorkersSeen()
        self._exists = False
        self._wanted = 0

    def __repr__(self) -> str:
        return f"<LocalFleet {self.name} running={len(self._processes)}/{self._wanted}>"

    def _own_command(self, name: str) -> list[str]:
        program = ["cachewarmer"] if _frozen() else [sys.executable, "-m", "cachewarmer"]
        options = ["--name", name, "--exit-on-eof"]
        if self._launch.storage_resource_group:
            options += ["--storage-resource-group", self._launch.storage_resource_group]
        return [*program, "worker", *options, *self._launch.local_options]

    async def check(self) -> None:
        pass  # what a worker process needs, this process has

    async def observe(self) -> FleetSize:
        self._reap()
        return FleetSize(
            exists=self._exists, wanted=self._wanted, running=len(self._processes), evicted=self._workers.evicted
        )

    async def create(self, workers: int) -> None:
        self._exists = True
        await self.resize(workers)

    async def resize(self, workers: int) -> None:
        self._reap()
        self._workers.complain()
        running = len(self._processes)
        self._wanted = max(workers, running)
        for _ in range(self._wanted - running):
            self._start()

    async def delete(self) -> None:
        self._reap()
        for name in self._processes.keys() - self._told:  # a second SIGTERM would end it without handing anything back
            self._processes[name].terminate()
        self._told |= self._processes.keys()
        self._workers.give_up(self._processes)
        told_at = time.monotonic()
        while self._processes and time.monotonic() < told_at + self._stop_seconds:
            await asyncio.sleep(0.05)
            self._reap()
            if time.monotonic() >= told_at + HEAR_SECONDS:
                self._close_inputs()
        for process in self._processes.values():
            # The session too: the single-file program is two processes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._reap()
        self._exists, self._wanted = False, 0
        self._workers.forget_complaint()

    def _close_inputs(self) -> None:
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()

    def ledger(self) -> list[MachineTime]:
        return self._workers.times()

    async def close(self) -> None:
        await self.delete()

    def _start(self) -> None:
        name = f"{self.name}.{len(self._workers.times()) + 1}"
        try:
            self._processes[name] = subprocess.Popen(  # noqa: S603  # our own program
                self._command(name),
                executable=sys.executable if _frozen() else None,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                env=child_environment(self._launch.broker_url),
                start_new_session=True,  # an interrupt of the terminal is for the manager, which then stops them
            )
        except OSError as error:
            kind = CapacityError if error.errno in (errno.EAGAIN, errno.ENOMEM) else FleetError
            raise kind(f"a worker process can't be started on this machine: {error}") from error
        self._workers.started(name, self._clock())

    def _reap(self) -> None:
        """Records which processes have ended."""
        for name, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            assert process.stdin is not None
            process.stdin.close()
            del self._processes[name]
            why = f"with exit code {code}: its own lines say why"
            self._workers.ended(name, self._clock(), "failed" if code > 0 else "evicted", why)


def _frozen() -> bool:
    """Whether this is the single-file program, which is its own interpreter."""
    return bool(getattr(sys, "frozen", False))
