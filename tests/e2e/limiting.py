"""How well a job's bandwidth is held, counted at the server: for a benchmark, and in small for a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cachewarmer.testing import ScriptedServer

SAMPLE_SECONDS = 0.1
MIB = 1 << 20


@dataclass
class Meter:
    """What a server has sent of files, at moments."""

    server: ScriptedServer
    samples: list[tuple[float, int]] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            self.samples.append((time.monotonic(), self.server.read_bytes))
            await asyncio.sleep(SAMPLE_SECONDS)

    def rates(self, window_seconds: float, begin: float, end: float) -> list[float]:
        """Bytes per second over every window of that length between two moments (``time.monotonic``)."""
        samples = [one for one in self.samples if begin <= one[0] <= end]
        found, last = [], 0
        for moment, count in samples:
            while last < len(samples) and samples[last][0] < moment + window_seconds:
                last += 1
            if last == len(samples):
                break
            then, later = samples[last]
            found.append((later - count) / (then - moment))
        return found


def tree(files: int, size: int) -> dict[bytes, dict[bytes, int]]:
    """Files of one size in directories of 50."""
    return {
        b"d%d" % number: {b"f%d" % one: size for one in range(min(50, files - 50 * number))}
        for number in range(-(-files // 50))
    }


class Site:
    """Commands of this program against one broker and one server; all are ended with the block."""

    def __init__(self, server: ScriptedServer, broker: str, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self.server = server
        self.broker = broker
        self._running: list[asyncio.subprocess.Process] = []

    async def launch(self, command: str, *more: str) -> asyncio.subprocess.Process:
        arguments = ["-m", "cachewarmer", command, *more, "--broker", self.broker]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        self._running.append(process)
        return process

    async def run(self, command: str, *more: str) -> str:
        """The standard output of a command that must succeed."""
        process = await self.launch(command, *more)
        output, _ = await process.communicate()
        assert process.returncode == 0, (command, more, process.returncode)
        return output.decode()

    async def job(self) -> dict[str, object]:
        """The newest job, as ``status --json`` has it."""
        jobs = json.loads(await self.run("status", "--json"))["jobs"]
        return dict(jobs[0]) if jobs else {}

    async def end(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()


@contextlib.asynccontextmanager
async def site(files: int, size: int, broker: str, environment: Mapping[str, str]) -> AsyncIterator[tuple[Site, Meter]]:
    """A server with a tree, and a meter that runs."""
    async with ScriptedServer(tree(files, size)) as server:
        made, meter = Site(server, broker, environment), Meter(server)
        metering = asyncio.create_task(meter.run())
        try:
            yield made, meter
        finally:
            await made.end()
            metering.cancel()


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """The moment when it was so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(SAMPLE_SECONDS)
    return time.monotonic()


def furthest(rates: Sequence[float], limit: float) -> float:
    """How far the worst of the rates is from the limit, as a part of it."""
    return max((abs(rate - limit) / limit for rate in rates), default=float("inf"))
