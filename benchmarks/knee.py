"""``--window auto`` against fixed windows, before a modelled cache: T server threads, an origin some milliseconds away.

    python -m benchmarks.knee [--write] [--processes N] [THREADS:MILLISECONDS[:SIZE[:MBITS]]…]

Every call needs a thread of the cache, and a cold READ keeps its thread until the origin has answered, through a link of
MBITS (none: any rate). SIZE is that of the files in bytes (8192). Measured for each window: files or bytes a second from the tenth second after
the first READ on, and how long another client's READ of a warm file takes at p90, before and during. A window is *polite* if
that stays below three times its idle value plus 2 ms. With --write the results go into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page
from benchmarks.programs import MemoryServer, Model, Place, built
from cachewarmer.config import Settings
from cachewarmer.targets import open_session
from cachewarmer.targets.base import ReadRequest, Session

ROWS = (
    "8:20",
    "64:20",
    "512:20",
    "512:80",
    "4:50",
    "16:10",
    "128:2",
    "64:200",
    "1024:50",
    "64:20:67108864:1000",
    "64:20:8192:100",
)
SMALL = 1 << 20
"""Files below this are counted; of larger ones the bytes."""
FILES = 1_000_000
SETTLE_SECONDS = 10.0
MEASURE_SECONDS = 5.0
IDLE_SECONDS = 2.0
PROBE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Row:
    """One cache and what is read through it."""

    threads: int
    milliseconds: float
    size: int = 8192
    megabits: float = 0

    @classmethod
    def parse(cls, text: str) -> Row:
        parts = [float(part) for part in text.split(":")]
        if not 2 <= len(parts) <= 4:
            raise SystemExit(f"not THREADS:MILLISECONDS[:SIZE[:MBITS]]: {text}")
        return cls(int(parts[0]), parts[1], *[int(part) for part in parts[2:3]], *parts[3:])

    def __str__(self) -> str:
        size = f"{self.size >> 10:,} KiB" if self.size < SMALL else f"{self.size >> 20:,} MiB"
        link = f", {self.megabits:g} Mbit/s" if self.megabits else ""
        return f"{self.threads} threads, {self.milliseconds:g} ms, {size}{link}"

    def server(self, programs: Path) -> MemoryServer:
        model = Model(self.threads, self.milliseconds, self.megabits * 1e6)
        shape = (FILES // 100, 100) if self.size < SMALL else (100, 100)
        return MemoryServer(programs, *shape, self.size, model)

    def windows(self) -> list[int]:
        """Those that are tried: around the cache's threads, and what would fill its link."""
        some = {16, 64, self.threads // 2, 3 * self.threads // 4, self.threads - 1, min(1024, 2 * self.threads)}
        if self.megabits:
            call = min(self.size, SMALL)
            fill = self.megabits * 1e6 / 8 * self.milliseconds / 1e3 / call
            some |= {int(fill) + 1, 2 * int(fill) + 2}
        return sorted(one for one in some if one > 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One window at one cache."""

    window: str
    rate: float
    """Files a second, or bytes of large files."""
    idle_seconds: float
    during_seconds: float

    @property
    def polite(self) -> bool:
        return self.during_seconds <= 3 * self.idle_seconds + 0.002

    @property
    def wait(self) -> str:
        return f"{1000 * self.idle_seconds:.1f} → {1000 * self.during_seconds:.1f} ms"


async def warm_read(session: Session, entry_handle: bytes, path: bytes, size: int) -> float:
    """Seconds of one READ of a warm file."""
    done = asyncio.Event()
    began = time.monotonic()
    session.read(ReadRequest(path, entry_handle, 0, min(size, 8192), lambda _: done.set()))
    await done.wait()
    return time.monotonic() - began


async def others(session: Session, size: int, seconds: float) -> tuple[float, int]:
    """p90 of another client's READs of what is warm (the first directory), in seconds, and how many there were."""
    directory = await session.lookup(b"d0000001")
    listed = await session.list_page(b"d0000001", directory.handle)
    times, end, number = [], time.monotonic() + seconds, 0
    while time.monotonic() < end:
        entry = listed.entries[number % len(listed.entries)]
        times.append(await warm_read(session, entry.handle, b"d0000001/" + entry.name, size))
        number += 1
        await asyncio.sleep(PROBE_SECONDS)
    return sorted(times)[int(0.9 * (len(times) - 1))], len(times)


def start_warm(place: Place, window: str, processes: int, state: str) -> subprocess.Popen[bytes]:
    command = ["warm", place.target(), "-q", "--window", window, "--processes", str(processes)]
    return subprocess.Popen(
        [sys.executable, "-m", "cachewarmer", *command],
        env={**os.environ, "XDG_STATE_HOME": state},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def measure(row: Row, window: str, processes: int, programs: Path) -> Outcome:
    """Warms with one window for some seconds, before a cache of its own."""
    small = row.size < SMALL
    with row.server(programs) as server, tempfile.TemporaryDirectory() as state:
        place = server.place
        session = await open_session(place.mount(), Settings())
        idle, _ = await others(session, row.size, IDLE_SECONDS)
        probed = server.read()[0]
        warm = start_warm(place, window, processes, state)
        try:
            while server.read()[0] == probed:  # the scan comes first, and the start of Python
                await asyncio.sleep(0.1)
            await asyncio.sleep(SETTLE_SECONDS)
            before, began = server.read(), time.monotonic()
            during, probes = await others(session, row.size, MEASURE_SECONDS)
            after, seconds = server.read(), time.monotonic() - began
        finally:
            warm.kill()
            warm.wait()
        await session.close()
    read = after[0] - before[0] - probes if small else after[1] - before[1]
    return Outcome(window, read / seconds, idle, during)


def compare(row: Row, processes: int, programs: Path) -> list[Outcome]:
    """All windows at one cache, one after the other; the search first."""
    print(f"\n{row}\n", flush=True)
    outcomes = []
    for window in ["auto", *map(str, row.windows())]:
        one = asyncio.run(measure(row, window, processes, programs))
        print(
            f"  {window:>5}  {shown(row, one.rate):>14}  {one.wait}{'' if one.polite else '  (others wait)'}",
            flush=True,
        )
        outcomes.append(one)
    return outcomes


def shown(row: Row, rate: float) -> str:
    return f"{rate:,.0f} files/s" if row.size < SMALL else f"{rate / 1e6:,.0f} MB/s"


def best(outcomes: Sequence[Outcome], *, polite: bool) -> Outcome | None:
    """The fixed window that reads most."""
    some = [one for one in outcomes[1:] if one.polite or not polite]
    return max(some, key=lambda one: one.rate) if some else None


def cells(row: Row, outcomes: Sequence[Outcome]) -> list[str]:
    """The line of the table."""
    found, polite, any_ = outcomes[0], best(outcomes, polite=True), best(outcomes, polite=False)
    assert any_ is not None
    return [
        str(row),
        shown(row, found.rate),
        f"{polite.window}: {shown(row, polite.rate)}" if polite else "none",
        f"{any_.window}: {shown(row, any_.rate)}",
        f"{100 * found.rate / polite.rate:.0f} %" if polite else "-",
        found.wait + ("" if found.polite else " (others wait)"),
    ]


HEAD = (
    "cache",
    "auto",
    "best polite fixed window",
    "best fixed window",
    "auto / best polite",
    "another client's warm READ, p90, idle → during auto",
)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knee")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("rows", nargs="*", metavar="THREADS:MILLISECONDS[:SIZE[:MBITS]]")
    given = parser.parse_args()
    rows = [Row.parse(text) for text in given.rows or ROWS]
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with built("memory_server") as programs:
        results = [(row, compare(row, given.processes, programs)) for row in rows]
    text = page.table(HEAD, [cells(row, outcomes) for row, outcomes in results])
    print(f"\n{text}")
    if given.write:
        charts = [chart(row, outcomes) for row, outcomes in results[:3]]
        page.write("knee", "\n\n".join([text, *charts]))


def chart(row: Row, outcomes: Sequence[Outcome]) -> str:
    """Rate by fixed window, and the search's as a level line."""
    fixed = outcomes[1:]
    unit, share = ("files/s", 1.0) if row.size < SMALL else ("MB/s", 1e6)
    lines = [[one.rate / share for one in fixed], [outcomes[0].rate / share] * len(fixed)]
    return page.plot(f"{row}: fixed windows, and what auto reads", "window", [one.window for one in fixed], unit, lines)


if __name__ == "__main__":
    main()
