"""The whole command against the same command of another revision, over NFS-Ganesha on loopback.

    python -m benchmarks.against REVISION [--files 1,100,20000] [--rounds 7] [--window 64] [--processes N]
    python -m benchmarks.against REVISION --instructions [--files 1,2000]

Both run with this interpreter and its packages; of the other revision only ``src`` is checked out, into a temporary
directory. They run in strict alternation, each first as often as the other, so that what else the machine does falls on
both. Printed is the median of the ratios of the rounds, this revision over the other, with their range: below 1 is better.

``--instructions`` counts the instructions of one run of each with valgrind's callgrind. The count hardly depends on what
else the machine does, and says nothing about memory and waiting.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reader import small_files
from tests.servers.ganesha import GaneshaServer, ganesha

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took: seconds."""

    seconds: float
    cpu_seconds: float


def check_out(revision: str, place: Path) -> Path:
    """The directory of the packages of a revision of this repository."""
    packed = subprocess.run(["git", "archive", revision, "src"], cwd=HERE, capture_output=True, check=False)
    if packed.returncode:
        raise SystemExit(packed.stderr.decode(errors="replace").strip())
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(place, filter="data")
    return place / "src"


def _warm(source: Path, options: Sequence[str], files: int, under: Sequence[str] = ()) -> Cost:
    """One run of the command from ``source``; all files must have been read."""
    with tempfile.TemporaryDirectory() as state:
        began = time.monotonic()
        child = subprocess.Popen(
            [*under, sys.executable, "-m", "cachewarmer", "warm", *options, "--json", "-q"],
            env=os.environ | {"XDG_STATE_HOME": state, "PYTHONPATH": str(source)},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        report = json.loads(child.stdout.read() or "{}")
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    if child.returncode or report.get("files") != files:
        raise SystemExit(f"warm from {source} ended with {child.returncode}: {report}")
    return Cost(seconds, used.ru_utime + used.ru_stime)


def _instructions(source: Path, options: Sequence[str], files: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        log, out = Path(place) / "log", Path(place) / "out"
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--log-file={log}"]
        _warm(source, options, files, tool)
        counted = re.search(r"refs:\s*([\d,]+)", log.read_text())
    assert counted is not None
    return int(counted[1].replace(",", ""))


def _measured(ours: Path, other: Path, options: Sequence[str], files: int, rounds: int) -> list[tuple[Cost, Cost]]:
    pairs = []
    for source in (ours, other):  # compiled, and the server has looked at its disk, before anything counts
        _warm(source, options, files)
    for number in range(rounds):
        if number % 2:
            second, first = _warm(other, options, files), _warm(ours, options, files)
        else:
            first, second = _warm(ours, options, files), _warm(other, options, files)
        pairs.append((first, second))
    return pairs


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _row(files: int, pairs: Sequence[tuple[Cost, Cost]]) -> str:
    cpu = [ours.cpu_seconds / other.cpu_seconds for ours, other in pairs]
    times = [ours.seconds / other.seconds for ours, other in pairs]
    each = " against ".join(f"{statistics.median(pair[side].cpu_seconds for pair in pairs):.2f}" for side in (0, 1))
    return f"| {files:,} | {_spread(cpu)} | {_spread(times)} | {each} s |"


def _compare(ours: Path, other: Path, server: GaneshaServer, files: int, given: argparse.Namespace) -> str:
    options = [server.target(), "--window", str(given.window)]
    if given.processes:
        options += ["--processes", str(given.processes)]
    if not given.instructions:
        return _row(files, _measured(ours, other, options, files, given.rounds))
    for source in (ours, other):
        _warm(source, options, files)
    counts = [_instructions(source, options, files) / 1e6 for source in (ours, other)]
    return f"| {files:,} | {counts[0] / counts[1]:.2f} | {counts[0]:,.0f} M | {counts[1]:,.0f} M |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against")
    parser.add_argument("revision")
    parser.add_argument(
        "--files", default="", help="sizes of the tree (default: 1,100,20000; for instructions: 1,2000)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--processes", type=int, default=0)
    parser.add_argument("--instructions", action="store_true")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every run would compile the whole program again
    counts = [int(one) for one in (given.files or ("1,2000" if given.instructions else "1,100,20000")).split(",")]
    with tempfile.TemporaryDirectory() as base:
        other = check_out(given.revision, Path(base) / "other")
        last = f"this revision | {given.revision}" if given.instructions else "CPU"
        print(f"| files | {'instructions' if given.instructions else 'CPU ratio | time ratio'} | {last} |")
        print("| ---: | --- | --- | --- |")
        for count in counts:
            tree = Path(base) / str(count)
            small_files(tree, count)
            with ganesha(tree) as server:
                print(_compare(HERE / "src", other, server, count, given), flush=True)


if __name__ == "__main__":
    main()
