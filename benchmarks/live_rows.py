"""What do live rows cost a worker, and what does counting its broker's calls cost?

    python -m benchmarks.live_rows [--files N] [--rounds N] [--brokers sqlite postgres azurite]

A worker process warms a tree that the scripted server serves, over each broker, in turn: without live rows (and without
the looks that they are made of); with them as they are, every five seconds; and with all of that so many times more often
that its cost stands out from what else the machine does. The share of a worker's time is what the third takes of the
processor more than the first, by the clock, divided by that number. Then a call of the counting wrapper is
timed beside the same call of the broker itself, in alternation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from cachewarmer.broker import open_broker
from cachewarmer.broker.base import Broker
from cachewarmer.broker.counted import CallCounts, counted
from cachewarmer.config import Settings
from cachewarmer.model import Access, WarmJob
from tests.servers.azurite import azurite
from tests.servers.postgres import postgres

OFTEN = 50
PROGRAM = [sys.executable, "-m", "cachewarmer"]
NO_ROWS = """
import asyncio, sys
from cachewarmer.cli.main import main
from cachewarmer.worker.live import Live

async def nothing(*_, **__):
    await asyncio.Event().wait()

async def end(*_):
    pass

Live.run, Live.end = nothing, end
sys.exit(main())
"""
MORE_ROWS = f"""
import sys
from cachewarmer.cli.main import main
from cachewarmer.worker import live, watching
for module, names in ((live, ("NOTE_SECONDS", "LEAST_NOTE_SECONDS")),
                      (watching, ("LOOK_SECONDS", "FIRST_FEEL_SECONDS", "FEEL_SECONDS"))):
    for name in names:
        setattr(module, name, getattr(module, name) / {OFTEN})
sys.exit(main())
"""
WORKERS = {"without": [sys.executable, "-c", NO_ROWS], "with": PROGRAM, "often": [sys.executable, "-c", MORE_ROWS]}
CALLS, BATCHES = 200, 15


@dataclass(frozen=True)
class Took:
    """What a worker took for the job."""

    seconds: float
    cpu_seconds: float


@contextlib.contextmanager
def store(kind: str) -> Iterator[tuple[Callable[[], str], dict[str, str]]]:
    """Gives the URL of an empty broker at each call, and what its processes need in their environment."""
    if kind == "azurite":
        with azurite() as connection:
            yield lambda: f"azure://warmtest/r{secrets.token_hex(4)}", {"AZURE_STORAGE_CONNECTION_STRING": connection}
    elif kind == "postgres":
        with postgres(durable=True) as server:

            def database() -> str:
                name = f"r{secrets.token_hex(4)}"
                with psycopg.connect(server.url, autocommit=True) as connection:
                    connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
                return server.url.replace("/postgres", f"/{name}")

            yield database, {}
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield lambda: f"sqlite:///{folder}/{secrets.token_hex(4)}.db", {}


def warm(worker: list[str], target: str, files: int, environment: dict[str, str]) -> Took:
    """One job by one worker, which has nothing to do but that: started when all is published."""
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*PROGRAM, "submit", target, "-q", "--name", "rows"], check=True, **quiet)  # type: ignore[call-overload]
    manager = subprocess.Popen([*PROGRAM, "manager"], **quiet)  # type: ignore[call-overload]
    try:
        _wait(environment, lambda job: bool(job["scan_finished"]))
        began = time.monotonic()
        child = subprocess.Popen([*worker, "worker", "--window", "64", "--exit-when-idle", "0.5"], **quiet)  # type: ignore[call-overload]
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        job = _wait(environment, lambda job: job["state"] == "completed")
        assert (child.returncode, job["files"]) == (0, files), job
    finally:
        manager.terminate()
        manager.wait()
    return Took(seconds, usage.ru_utime + usage.ru_stime)


def _wait(environment: dict[str, str], there: Callable[[dict[str, object]], bool]) -> dict[str, object]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = subprocess.run([*PROGRAM, "status", "rows", "--json"], env=environment, capture_output=True, check=False)
        job = json.loads(done.stdout or b"{}")
        if job and there(job):
            return dict(job)
        time.sleep(0.5)
    raise SystemExit(f"the job did not get there: {done.stdout!r} {done.stderr!r}")


def rows(kind: str, target: str, files: int, rounds: int) -> None:
    """Measures the rows over one broker, and prints what they cost."""
    ratios, clocks, shares = [], [], []
    with store(kind) as (url, more):
        for number in range(rounds):
            order = list(WORKERS) if number % 2 == 0 else list(WORKERS)[::-1]
            took = {
                name: warm(WORKERS[name], target, files, {**os.environ, **more, "CACHEWARMER_BROKER": url()})
                for name in order
            }
            plain, usual, often = (took[name] for name in WORKERS)
            ratios.append(usual.cpu_seconds / plain.cpu_seconds)
            clocks.append(usual.seconds / plain.seconds)
            shares.append((often.cpu_seconds - plain.cpu_seconds) / often.seconds / OFTEN)
    print(
        f"{kind:9} with over without: CPU {_spread(ratios, '.2f')}, clock {_spread(clocks, '.2f')}; "
        f"share of a worker's time {_spread([100 * one for one in shares], '.2f')} %",
        flush=True,
    )


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


async def counting(kind: str) -> None:
    """What counting adds to the cheapest call of a worker, and to what is called for every batch of items."""
    with store(kind) as (url, more):
        os.environ.update(more)
        async with open_broker(url(), Settings().lease) as broker:
            job = await broker.submit(WarmJob(access=Access(addresses=("a",)), warm_path="/x"))
            wrapped = counted(broker, CallCounts())
            for name, ask in (("look", _look), ("claim", _claim)):
                bare, by = [], []
                for _ in range(BATCHES):
                    bare.append(await _per_call(broker, job, ask, CALLS))
                    by.append(await _per_call(wrapped, job, ask, CALLS))
                print(
                    f"{kind:9} {name}: {1e6 * statistics.median(bare):,.0f} µs, counted {1e6 * statistics.median(by):,.0f} µs"
                )


async def _look(broker: Broker, job: str) -> None:
    await broker.look(job)


async def _claim(broker: Broker, _: str) -> None:
    await broker.claim(32, 60)


async def _per_call(broker: Broker, job: str, ask: Callable[[Broker, str], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        await ask(broker, job)  # type: ignore[misc]
    return (time.perf_counter() - began) / calls


class _Nothing:
    """Answers at once: what is left is the wrapper's own time."""

    url, workers_are_rented, is_private, chooses_jobs = "none:", False, True, True

    async def look(self, _: str) -> None:
        return None


async def wrapper() -> float:
    """Seconds that counting adds to a call."""
    bare, by = [], []
    inner = _Nothing()
    wrapped = counted(inner, CallCounts())  # type: ignore[arg-type]
    for _ in range(BATCHES):
        bare.append(await _per_call(inner, "", _look, 20_000))  # type: ignore[arg-type]
        by.append(await _per_call(wrapped, "", _look, 20_000))
    return statistics.median(by) - statistics.median(bare)


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--brokers", nargs="+", default=["sqlite", "postgres", "azurite"])
    chosen = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}: {chosen.files:,} files, {chosen.rounds} rounds")
    command = [sys.executable, "-m", "cachewarmer.testing", "--million-tree", "--entries", str(chosen.files)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        target = json.loads(server.stdout.readline())["target"]
        for kind in chosen.brokers:
            rows(kind, target, chosen.files, chosen.rounds)
    finally:
        server.terminate()
        server.wait()
    print(f"counting adds {1e6 * asyncio.run(wrapper()):.2f} µs to a call")
    for kind in chosen.brokers:
        asyncio.run(counting(kind))


if __name__ == "__main__":
    main()
