"""What does a page that is open on a large job cost the server, while the job is worked on?

    python -m benchmarks.open_page [--items N] [--seconds N] [--brokers sqlite postgres azurite] [--pages N]

A job of so many work items (100,000, each of one file) is scanned by a manager with ``--http`` and read by a worker, at a rate
that leaves it work for the whole measurement. The manager's processor time is taken over so many seconds without a page,
then with pages open on the job, each a stream of events as the page in a browser has it; and the most memory that it ever
took, which the scan is part of.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from benchmarks.live_rows import PROGRAM, store
from tests.servers.ports import accepts, free_port, stop, wait_until

TICKS = os.sysconf("SC_CLK_TCK")
FILE_BYTES = 4096
CONFIG = "[plan]\nitem_files = 1\n"


def cpu_seconds(process: int) -> float:
    """What a process has taken so far (proc(5): utime and stime)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(process: int, which: str) -> float:
    """``VmHWM``, the most memory that a process ever took, or ``VmRSS``, what it takes now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:")) * 1024 / 1e6


async def watched(process: int, seconds: float) -> float:
    """The share of a core that a process takes."""
    began, before = time.monotonic(), cpu_seconds(process)
    await asyncio.sleep(seconds)
    return (cpu_seconds(process) - before) / (time.monotonic() - began)


class Page:
    """Reads the events of a job and counts them."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.job: dict[str, object] = {}

    async def read(self, session: aiohttp.ClientSession, base: str, job: str) -> None:
        token = (await (await session.get(f"{base}/api/v1/session")).json())["token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(f"{base}/api/v1/events?job={job}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            kind = ""
            async for line in answer.content:
                self.bytes += len(line)
                if line.startswith(b"event: "):
                    kind = line[7:].strip().decode()
                    self.events += 1
                elif line.startswith(b"data: ") and kind == "job":
                    self.job = json.loads(line[6:])


async def measure(port: int, job: str, manager: int, pages: int, seconds: float) -> str:
    """Without pages, and with them."""
    alone = await watched(manager, seconds)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=1 << 22) as session:
        opened = [Page() for _ in range(pages)]
        reading = [asyncio.create_task(page.read(session, f"http://127.0.0.1:{port}", job)) for page in opened]
        await asyncio.sleep(2)
        begun = opened[0].job["files"]
        share = await watched(manager, seconds)
        for one in reading:
            if one.done():
                one.result()
            one.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    seen = opened[0]
    items = seen.job["live"]["items"]  # type: ignore[index, call-overload]
    assert seen.job["state"] == "warming", "the job was over before the measurement"
    assert seen.job["files"] != begun, "nothing was read meanwhile"
    return (
        f"{100 * alone:.2f} % of a core without, {100 * share:.2f} % with {pages} open; {memory_mb(manager, 'VmRSS'):.0f} MB, "
        f"at most {memory_mb(manager, 'VmHWM'):.0f} MB; a page got {seen.events / (seconds + 2):.1f} events and "
        f"{seen.bytes / (seconds + 2) / 1000:.1f} KB a second; {items['published']:,} items, {items['done']:,} done"
    )


def run(kind: str, target: str, chosen: argparse.Namespace) -> None:
    """One broker."""
    with store(kind) as (url, more), tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder) / "config.toml", Path(folder) / "log"
        config.write_text(CONFIG)
        environment = {**os.environ, **more, "CACHEWARMER_BROKER": url(), "CACHEWARMER_CONFIG": str(config)}
        port = free_port()
        # So slow that half of it is left in the end, whatever the scan takes.
        rate = chosen.items * FILE_BYTES // int(4 * chosen.seconds + 60)
        with log.open("wb") as output:
            manager = subprocess.Popen(
                [*PROGRAM, "manager", "--http", f"127.0.0.1:{port}"], env=environment, stdout=output, stderr=output
            )
            worker = None
            try:
                wait_until(lambda: accepts(port), manager, "the manager", log)
                submit = [*PROGRAM, "submit", target, "-q", "--max-bandwidth", str(rate)]
                job = subprocess.run(submit, env=environment, check=True, capture_output=True, text=True).stdout.strip()
                _scanned(environment, job)
                worker = subprocess.Popen([*PROGRAM, "worker"], env=environment, stdout=output, stderr=output)
                time.sleep(5)
                print(
                    f"{kind:9} {asyncio.run(measure(port, job, manager.pid, chosen.pages, chosen.seconds))}", flush=True
                )
            finally:
                for one in (worker, manager):
                    if one is not None:
                        stop(one)


def _scanned(environment: dict[str, str], job: str) -> None:
    for _ in range(1200):
        told = subprocess.run([*PROGRAM, "status", job, "--json"], env=environment, capture_output=True, check=False)
        if told.stdout and json.loads(told.stdout)["scan_finished"]:
            return
        time.sleep(0.5)
    raise SystemExit("the scan does not end")


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured for so long each time (default: 30)")
    parser.add_argument("--pages", type=int, default=1, help="default: 1")
    parser.add_argument("--brokers", nargs="+", default=["sqlite", "postgres"])
    chosen = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}: {chosen.items:,} items, {chosen.seconds:g} s each"
    )
    command = [sys.executable, "-m", "cachewarmer.testing", "--million-tree", "--entries", str(chosen.items)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        tree = json.loads(server.stdout.readline())
        for kind in chosen.brokers:
            run(kind, tree["target"], chosen)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
