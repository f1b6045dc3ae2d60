"""The bare reader and the whole command beside clients written in C, over NFS-Ganesha and over a server in memory.

    python -m benchmarks.peers [ROUNDS [CASE…]]

The peers are built from ``benchmarks/c/`` (gcc, libnfs-dev): ``blast`` reads by handles that it is given, which is the least a client must
do; ``libnfs`` lists and reads by libnfs' asynchronous calls; ``memory_server`` answers from memory, so that the clients are what
is measured. Every round runs each client once, in turn. Printed are medians with their spread, and ratios within a round, with
what is wanted of them. The cases: ``ganesha-small``, ``ganesha-large``, ``memory-small``, ``memory-large``, ``memory-lonely``
(one file a directory).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import MemoryServer, Place, built
from benchmarks.reader import Sample, client, command, large_files, ratio, small_files, summary
from cachewarmer.config import NfsSettings
from cachewarmer.targets.base import FileKind, Session
from cachewarmer.targets.nfs3.session import open_nfs3

WINDOW = 64
PROGRAMS = ("blast", "libnfs_read", "memory_server")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A ratio of one client's rate to another's."""

    ours: str
    peer: str
    least: float


@contextlib.contextmanager
def filer(make: Callable[[Path], None]) -> Iterator[Place]:
    """NFS-Ganesha before a tree on disk."""
    from tests.servers.ganesha import ganesha

    with tempfile.TemporaryDirectory() as base:
        make(Path(base) / "tree")
        with ganesha(Path(base) / "tree") as server:
            yield Place(server.nfs_port, server.mount_port, server.export)


async def handles(place: Place) -> list[str]:
    """Handle and size of each file, as ``blast`` takes them."""
    session: Session = await open_nfs3(place.mount(), NfsSettings(window_calls=WINDOW))
    lines, below = [], [(b"", b"")]
    while below:
        path, handle = below.pop()
        async for page in session.list_directory(path, handle):
            for entry in page.entries:
                if entry.kind is FileKind.DIRECTORY:
                    below.append((path + b"/" + entry.name if path else entry.name, entry.handle))
                elif entry.kind is FileKind.REGULAR:
                    lines.append(f"{entry.handle.hex()} {entry.size}\n")
    await session.close()
    return lines


def blast(programs: Path, place: Place, known: str) -> Sample:
    done = subprocess.run(
        [programs / "blast", str(place.nfs_port), str(WINDOW)],
        input=known,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Sample(**json.loads(done.stdout))


def libnfs(programs: Path, place: Place) -> Sample:
    where = [place.address, str(place.nfs_port), str(place.mount_port), place.export, str(WINDOW)]
    done = subprocess.run([programs / "libnfs_read", *where], stdout=subprocess.PIPE, text=True, check=True)
    return Sample(**json.loads(done.stdout))


def compare(name: str, programs: Path, place: Place, rounds: int, wanted: list[Wanted], *, large: bool) -> None:
    """All clients at one server, in turn."""
    known = "".join(asyncio.run(handles(place)))
    clients: dict[str, Callable[[], Sample]] = {
        "blast": lambda: blast(programs, place, known),
        "libnfs": lambda: libnfs(programs, place),
        "bare reader": lambda: client("direct", place, WINDOW),
        "warm": lambda: command(place, WINDOW),
    }
    samples: dict[str, list[Sample]] = {key: [] for key in clients}
    for _ in range(rounds):
        for key, run in clients.items():
            samples[key].append(run())
    read = {(run.files, run.bytes) for runs in samples.values() for run in runs}
    if len(read) != 1:
        raise SystemExit(f"{name}: the clients did not read the same: {sorted(read)}")
    files, size = read.pop()
    print(f"{name}: {files} files, {size / 1e6:,.0f} MB, {rounds} rounds, window {WINDOW}")
    for key, runs in samples.items():
        if large:
            rate = summary([run.bytes_rate / 1e6 for run in runs], "MB/s")
            cost = summary([run.cpu_seconds / run.bytes * 1e12 for run in runs], "ms CPU/GB")
        else:
            rate = summary([run.files_rate for run in runs], "files/s")
            cost = summary([run.cpu_seconds / run.files * 1e6 for run in runs], "us CPU/file")
        print(f"  {key:12} {rate}  {cost}")
    for one in wanted:
        pairs = zip(samples[one.ours], samples[one.peer], strict=True)
        ratio(f"rate of {one.ours} over {one.peer}'s", [a.bytes_rate / b.bytes_rate for a, b in pairs], one.least)


def lonely(programs: Path, rounds: int) -> None:
    """One file a directory against a hundred, by the CPU that a file costs."""
    costs = []
    with MemoryServer(programs, 20_000, 1, 8192) as alone, MemoryServer(programs, 200, 100, 8192) as together:
        for _ in range(rounds):
            cost = [command(server.place, WINDOW).cpu_seconds for server in (alone, together)]
            costs.append(cost[1] / cost[0])
    print(f"memory-lonely: 20,000 directories of one file against 200 of a hundred, {rounds} rounds")
    ratio("CPU of warm, a hundred a directory over one", costs, 0.5)


def main() -> None:
    """See the module."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    cases: dict[str, Callable[[Path], None]] = {
        "ganesha-small": lambda programs: _at_filer("small", programs, rounds),
        "ganesha-large": lambda programs: _at_filer("large", programs, rounds),
        "memory-small": lambda programs: _at_memory("small", programs, rounds),
        "memory-large": lambda programs: _at_memory("large", programs, rounds),
        "memory-lonely": lambda programs: lonely(programs, rounds),
    }
    chosen = sys.argv[2:] or list(cases)
    print(f"{platform.machine()}, {os.cpu_count()} cores shared with the server, Python {platform.python_version()}")
    with built(*PROGRAMS) as programs:
        for name in chosen:
            cases[name](programs)


def _at_filer(kind: str, programs: Path, rounds: int) -> None:
    small = kind == "small"
    with filer((lambda root: small_files(root, 50_000)) if small else large_files) as place:
        client("direct", place, WINDOW)  # the server's own first look at the disk counts for nobody
        wanted = (
            [Wanted("warm", "libnfs", 1)]
            if small
            else [Wanted("bare reader", "blast", 0.95), Wanted("warm", "blast", 0.95)]
        )
        compare(f"ganesha-{kind}", programs, place, rounds, wanted, large=not small)


def _at_memory(kind: str, programs: Path, rounds: int) -> None:
    small = kind == "small"
    # 187,000 files/s of libnfs, 150,000 of the bare reader and 100,000 of the command: as ratios, whatever the machine.
    wanted = [Wanted("bare reader", "libnfs", 0.8), Wanted("warm", "libnfs", 0.53)]
    with MemoryServer(programs, *((1000, 100, 8192) if small else (1, 64, 64 << 20))) as server:
        large = [Wanted("bare reader", "blast", 0.95), Wanted("warm", "blast", 0.95)]
        compare(f"memory-{kind}", programs, server.place, rounds, wanted if small else large, large=not small)


if __name__ == "__main__":
    main()
