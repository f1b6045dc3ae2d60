"""Is a bandwidth held? Counted at the server, over every 10 s after the first 15.

    python -m benchmarks.limits [--broker URL] [--seconds N] [CASE ...]

Cases: ``one`` and ``four`` processes of ``warm``; ``killed``: four workers, of which three are killed, measured from 15 s
after that; ``changed``: the same, and ``limit`` is called in the middle, measured from when its workers have taken it up.
The limit is 10 MiB/s; files of 13 KB and of 64 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path

from tests.e2e.limiting import MIB, Meter, Site, furthest, site, until

LIMIT = 10 * MIB
WINDOW_SECONDS = 10.0
SETTLING_SECONDS = 15.0
SIZES = {"13 KB": 13_000, "64 MiB": 64 * MIB}


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["one", "four", "killed", "changed"])
    parser.add_argument("--broker", default="", help="default: an SQLite file of its own")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured for so long (default: 30)")
    chosen = parser.parse_args()
    worst = 0.0
    for case in chosen.cases:
        for label, size in SIZES.items():
            files = int(4 * LIMIT * (chosen.seconds + 90)) // size + 1
            with tempfile.TemporaryDirectory() as base:
                async with site(Path(base), files, size, chosen.broker) as (there, meter):
                    off, said = await CASES[case](there, meter, chosen.seconds)
            worst = max(worst, off)
            print(f"{case:8} {label:>7}: {said}", flush=True)
    return 1 if worst > 0.1 else 0


async def _measure(meter: Meter, begin: float, seconds: float, limit: int) -> tuple[float, str]:
    await asyncio.sleep(begin + seconds - time.monotonic())
    rates = meter.rates(WINDOW_SECONDS, begin, begin + seconds)
    off = furthest(rates, limit)
    shown = f"{min(rates) / MIB:.2f} to {max(rates) / MIB:.2f} MiB/s in {len(rates)} windows of {WINDOW_SECONDS:.0f} s"
    return off, f"{shown}: at most {100 * off:.1f} % off"


async def _warm(there: Site, meter: Meter, seconds: float, processes: int) -> tuple[float, str]:
    more = ("--max-bandwidth", "10M", "--processes", str(processes), "-q")
    await there.launch("warm", there.server.url(), *more)
    begin = await until(lambda: meter.server.read_bytes > 0)
    return await _measure(meter, begin + SETTLING_SECONDS, seconds, LIMIT)


async def one(there: Site, meter: Meter, seconds: float) -> tuple[float, str]:
    return await _warm(there, meter, seconds, 1)


async def four(there: Site, meter: Meter, seconds: float) -> tuple[float, str]:
    return await _warm(there, meter, seconds, 4)


async def _fleet(there: Site, meter: Meter) -> float:
    """A manager and four workers, three of which were just killed: the moment when."""
    await there.launch("manager")
    workers = [await there.launch("worker", "--name", f"w{number}") for number in range(4)]
    await there.run("submit", there.server.url(), "--max-bandwidth", "10M", "-q")
    await until(lambda: meter.server.read_bytes > 0)
    await asyncio.sleep(SETTLING_SECONDS)
    for worker in workers[:3]:
        worker.send_signal(signal.SIGKILL)
    return time.monotonic()


async def killed(there: Site, meter: Meter, seconds: float) -> tuple[float, str]:
    at = await _fleet(there, meter)
    before = meter.rates(SETTLING_SECONDS / 3, at - SETTLING_SECONDS / 2, at)
    off, said = await _measure(meter, at + SETTLING_SECONDS, seconds, LIMIT)
    return off, f"{said}; just before, with four: {sum(before) / max(1, len(before)) / MIB:.2f} MiB/s"


async def changed(there: Site, meter: Meter, seconds: float) -> tuple[float, str]:
    await _fleet(there, meter)
    await asyncio.sleep(SETTLING_SECONDS)
    job = str((await there.job())["job"])
    await there.run("limit", job, "20M", "-q")
    at = time.monotonic()

    def taken_up() -> bool:
        return bool(rates := meter.rates(2.0, time.monotonic() - 3.0, time.monotonic())) and rates[-1] > 1.9 * LIMIT

    took = await until(taken_up) - at
    up, said_up = await _measure(meter, time.monotonic() + 1, seconds, 2 * LIMIT)
    await there.run("limit", job, "5M", "-q")
    at = time.monotonic()
    fell = await until(lambda: meter.rates(2.0, time.monotonic() - 3.0, time.monotonic())[-1] < 0.55 * LIMIT) - at
    down, said_down = await _measure(meter, time.monotonic() + 1, seconds, LIMIT // 2)
    return max(up, down), f"20M after {took:.1f} s, {said_up}; 5M after {fell:.1f} s, {said_down}"


CASES = {"one": one, "four": four, "killed": killed, "changed": changed}

if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
