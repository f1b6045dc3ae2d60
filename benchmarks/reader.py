"""The direct reader and the whole command against nfs-rs, over NFS-Ganesha on loopback.

    python -m benchmarks.reader [ROUNDS [small|large]]

Every round runs each client once, one after the other, so that what else the machine does falls on all of them. Printed
are medians with their spread, and what must hold as ratios of the same round; a ratio that does not hold is marked.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.servers.ganesha import GaneshaServer, ganesha

WINDOW = 64
READERS = 64
PEER_TRIES = 5
"""nfs-rs 0.8.7 now and then ends with a segmentation fault."""
MANY = 100_000
"""From so many files on, starting the command is no longer what it is measured by."""


class Server(Protocol):
    """What a client must know of a server that runs."""

    @property
    def address(self) -> str: ...
    @property
    def nfs_port(self) -> int: ...
    @property
    def mount_port(self) -> int: ...
    @property
    def export(self) -> str: ...
    def target(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one client."""

    files: int
    bytes: int
    seconds: float
    cpu_seconds: float

    @property
    def files_rate(self) -> float:
        return self.files / self.seconds

    @property
    def bytes_rate(self) -> float:
        return self.bytes / self.seconds


def small_files(root: Path, count: int) -> None:
    """Files of a log-normal size around 13 KB, a hundred to a directory."""
    sizes = random.Random(count)
    block = os.urandom(1 << 20)
    for number in range(count):
        directory = root / f"d{number // 100:04d}"
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / f"frame.{number % 100:04d}").write_bytes(block[: max(1, int(sizes.lognormvariate(9.0, 1.0)))])


def large_files(root: Path) -> None:
    """4 x 512 MiB, sparse: what is compared is the clients, not the disk."""
    root.mkdir()
    for number in range(4):
        with (root / f"large{number}").open("wb") as file:
            file.truncate(512 << 20)


def client(kind: str, server: Server, concurrency: int) -> Sample:
    """One client of ``benchmarks.clients``, in a process of its own. A peer that crashes is given another try."""
    place = [server.address, str(server.nfs_port), str(server.mount_port), server.export]
    for left in reversed(range(PEER_TRIES)):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.clients", kind, *place, str(concurrency)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not done.returncode:
            return Sample(**json.loads(done.stdout))
        if kind == "direct" or not left:
            raise SystemExit(f"{kind} ended with {done.returncode}\n{done.stderr}")
        print(f"{kind} ended with {done.returncode}: once more")
    raise AssertionError("unreachable")


def command(server: Server, window: int) -> Sample:
    """``cachewarmer warm``, from its start to its end, with everything that takes."""
    with tempfile.TemporaryDirectory() as state:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "cachewarmer", "warm", server.target(), "--json", "-q", "--window", str(window)],
            env=os.environ | {"XDG_STATE_HOME": state},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        report = json.loads(child.stdout.read())
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    if child.returncode:
        raise SystemExit(f"warm ended with {child.returncode}: {report}")
    return Sample(report["files"], report["bytes"], seconds, used.ru_utime + used.ru_stime)


def summary(values: list[float], unit: str) -> str:
    """Median and spread."""
    return f"{statistics.median(values):12,.1f} {unit} ({min(values):,.1f} to {max(values):,.1f})"


def ratio(name: str, values: list[float], least: float) -> None:
    """One line of what must hold: every value is the ratio of one round."""
    middle = statistics.median(values)
    held = "holds" if middle >= least else "DOES NOT HOLD"
    print(f"  {name}: {middle:.2f} ({min(values):.2f} to {max(values):.2f}), wanted {least:.2f}: {held}")


def compare(name: str, root: Path, rounds: int, *, small: bool) -> None:
    """All clients on one tree."""
    clients: dict[str, Callable[[GaneshaServer], Sample]] = {
        f"direct reader, window {WINDOW}": lambda server: client("direct", server, WINDOW),
        f"nfs-rs, {READERS} readers": lambda server: client("nfs-rs", server, READERS),
        f"cachewarmer warm, window {WINDOW}": lambda server: command(server, WINDOW),
        "cachewarmer warm, as it comes": lambda server: command(server, 16),
    }
    samples: dict[str, list[Sample]] = {key: [] for key in clients}
    with ganesha(root) as server:
        client("direct", server, WINDOW)  # the server's own first look at the disk counts for nobody
        for _ in range(rounds):
            for key, run in clients.items():
                samples[key].append(run(server))
    print(f"{name}: {samples[next(iter(clients))][0].files} files, {rounds} rounds")
    for key, runs in samples.items():
        rate = (
            summary([run.files_rate for run in runs], "files/s")
            if small
            else summary([run.bytes_rate / 1e6 for run in runs], "MB/s")
        )
        cost = (
            summary([run.cpu_seconds / run.files * 1e6 for run in runs], "us CPU/file")
            if small
            else summary([run.cpu_seconds / run.bytes * 1e12 for run in runs], "ms CPU/GB")
        )
        print(f"  {key:32} {rate}  {cost}")
    ours, peers, whole, _ = samples.values()
    pairs = list(zip(ours, peers, strict=True))
    ratio("rate over the peer's", [a.bytes_rate / b.bytes_rate for a, b in pairs], 5 if small else 1)
    ratio("the peer's CPU over ours", [b.cpu_seconds / a.cpu_seconds for a, b in pairs], 8 if small else 3)
    if ours[0].files >= MANY:
        parts = [a.files_rate / b.files_rate for a, b in zip(whole, ours, strict=True)]
        ratio("the whole command's rate over the bare reader's", parts, 0.7)


def main() -> None:
    """See the module."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    chosen = sys.argv[2] if len(sys.argv) > 2 else ""
    print(f"{platform.machine()}, {os.cpu_count()} cores shared with the server, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as base:
        for count in () if chosen == "large" else (10_000, 100_000):
            small_files(Path(base) / str(count), count)
            compare(f"small files, {count}", Path(base) / str(count), rounds, small=True)
        if chosen == "small":
            return
        large_files(Path(base) / "large")
        compare("large files, 4 x 512 MiB", Path(base) / "large", rounds, small=False)


if __name__ == "__main__":
    main()
