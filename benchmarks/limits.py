"""Is a bandwidth held? Counted at the server, over every 10 s after the first 15.

    python -m benchmarks.limits [--broker sqlite|azurite|postgres] [--rate 10M] [--seconds N] [CASE ...]

Cases: ``one`` and ``four`` processes of ``warm``; ``killed``: four workers, of which three are killed, measured from 15 s
after that; ``changed``: the same, and ``limit`` is called in the middle, measured from when its workers have taken it up.
The limit is 10 MiB/s unless ``--rate`` says otherwise; files of 13 KB and of 64 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cachewarmer.target import parse_rate
from tests.e2e.limiting import MIB, Meter, Site, furthest, site, until
from tests.servers.azurite import azurite
from tests.servers.postgres import postgres

WINDOW_SECONDS = 10.0
SETTLING_SECONDS = 15.0


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    rate: int
    """Bytes per second."""
    seconds: float


SIZES = {"13 KB": 13_000, "64 MiB": 64 * MIB}


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["one", "four", "killed", "changed"])
    parser.add_argument("--broker", choices=("sqlite", "azurite", "postgres"), default="sqlite")
    parser.add_argument("--rate", type=parse_rate, default=10 * MIB, help="default: 10M")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured for so long (default: 30)")
    parser.add_argument("--files", choices=SIZES, nargs="*", default=list(SIZES), help="default: both sizes")
    chosen = parser.parse_args()
    worst = 0.0
    for case in chosen.cases:
        for label in chosen.files:
            size = SIZES[label]
            files = int(3 * chosen.rate * (chosen.seconds + 90)) // size + 1
            with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as servers:
                url, environment = broker(chosen.broker, Path(base), servers)
                async with site(files, size, url, environment) as (there, meter):
                    off, said = await CASES[case](there, meter, Plan(chosen.rate, chosen.seconds))
            worst = max(worst, off)
            print(f"{case:8} {label:>7}: {said}", flush=True)
    return 1 if worst > 0.1 else 0


def broker(kind: str, base: Path, servers: contextlib.ExitStack) -> tuple[str, dict[str, str]]:
    """An empty one: its URL, and what commands need in their environment."""
    if kind == "azurite":
        return "azure://warmtest/limits", {"AZURE_STORAGE_CONNECTION_STRING": servers.enter_context(azurite())}
    if kind == "postgres":
        return servers.enter_context(postgres()).url, {}
    return f"sqlite:///{base}/broker.db", {}


async def _measure(meter: Meter, begin: float, seconds: float, limit: float) -> tuple[float, str]:
    await asyncio.sleep(begin + seconds - time.monotonic())
    rates = meter.rates(WINDOW_SECONDS, begin, begin + seconds)
    off = furthest(rates, limit)
    shown = f"{min(rates) / MIB:.2f} to {max(rates) / MIB:.2f} MiB/s in {len(rates)} windows of {WINDOW_SECONDS:.0f} s"
    return off, f"{shown}: at most {100 * off:.1f} % off"


async def _warm(there: Site, meter: Meter, plan: Plan, processes: int) -> tuple[float, str]:
    more = ("--max-bandwidth", str(plan.rate), "--processes", str(processes), "-q")
    await there.launch("warm", there.server.url(), *more)
    begin = await until(lambda: meter.server.read_bytes > 0)
    return await _measure(meter, begin + SETTLING_SECONDS, plan.seconds, plan.rate)


async def one(there: Site, meter: Meter, plan: Plan) -> tuple[float, str]:
    return await _warm(there, meter, plan, 1)


async def four(there: Site, meter: Meter, plan: Plan) -> tuple[float, str]:
    return await _warm(there, meter, plan, 4)


async def _fleet(there: Site, meter: Meter, plan: Plan) -> float:
    """A manager and four workers, three of which were just killed: the moment when."""
    await there.launch("manager")
    workers = [await there.launch("worker", "--name", f"w{number}") for number in range(4)]
    await there.run("submit", there.server.url(), "--max-bandwidth", str(plan.rate), "-q")
    await until(lambda: meter.server.read_bytes > 0)
    await asyncio.sleep(SETTLING_SECONDS)
    for worker in workers[:3]:
        worker.send_signal(signal.SIGKILL)
    return time.monotonic()


async def killed(there: Site, meter: Meter, plan: Plan) -> tuple[float, str]:
    at = await _fleet(there, meter, plan)
    before = meter.rates(SETTLING_SECONDS / 3, at - SETTLING_SECONDS / 2, at)
    off, said = await _measure(meter, at + SETTLING_SECONDS, plan.seconds, plan.rate)
    return off, f"{said}; just before, with four: {sum(before) / max(1, len(before)) / MIB:.2f} MiB/s"


async def changed(there: Site, meter: Meter, plan: Plan) -> tuple[float, str]:
    await _fleet(there, meter, plan)
    await asyncio.sleep(SETTLING_SECONDS)
    job = str((await there.job())["job"])
    await there.run("limit", job, str(2 * plan.rate), "-q")
    at = time.monotonic()

    def taken_up() -> bool:
        return bool(rates := meter.rates(2.0, time.monotonic() - 3.0, time.monotonic())) and rates[-1] > 1.9 * plan.rate

    took = await until(taken_up) - at
    up, said_up = await _measure(meter, time.monotonic() + 1, plan.seconds, 2 * plan.rate)
    await there.run("limit", job, str(plan.rate // 2), "-q")
    at = time.monotonic()
    fell = await until(lambda: meter.rates(2.0, time.monotonic() - 3.0, time.monotonic())[-1] < 0.55 * plan.rate) - at
    down, said_down = await _measure(meter, time.monotonic() + 1, plan.seconds, plan.rate / 2)
    return max(up, down), f"twice that after {took:.1f} s, {said_up}; half of it after {fell:.1f} s, {said_down}"


CASES = {"one": one, "four": four, "killed": killed, "changed": changed}

if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
