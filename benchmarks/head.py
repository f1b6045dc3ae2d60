"""What does ``--head SIZE`` cost where every file is smaller than that?

    python -m benchmarks.head [FILES] [ROUNDS] [HEAD]

FILES files (20,000) of about 13 KB, all smaller than HEAD (1M), served by NFS-Ganesha on loopback and warmed with and without
``--head HEAD`` by one process, in turn, ROUNDS times (7). Both read every byte. Prints the median of the ratios of the rounds,
with over without, by the CPU of the client and by the clock, with their range.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.reader import small_files
from benchmarks.scale import Run, run_command
from tests.servers.ganesha import ganesha


def main() -> None:
    """See the module."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every run would compile the whole program again
    files, rounds, head = [*sys.argv[1:], *("20000", "7", "1M")[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as base:
        tree = Path(base) / "tree"
        small_files(tree, int(files))
        with ganesha(tree) as server:
            pairs = _measured(["warm", server.target(), "--window", "64", "--processes", "1"], head, int(rounds))
    print(f"{platform.machine()}, Python {platform.python_version()}: {files} files, {rounds} rounds, --head {head}")
    for what, of in (("CPU", _cpu), ("time", _time)):
        ratios = [of(with_head) / of(plain) for plain, with_head in pairs]
        print(f"{what} with over without: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


def _cpu(run: Run) -> float:
    return run.cpu_seconds


def _time(run: Run) -> float:
    return run.seconds


def _measured(command: list[str], head: str, rounds: int) -> list[tuple[Run, Run]]:
    """(without, with) of each round; the order changes from one to the next."""
    kinds: tuple[list[str], list[str]] = ([], ["--head", head])
    for more in kinds:  # compiled, and the server has looked at its disk, before anything counts
        run_command([*command, *more])
    pairs = []
    for number in range(rounds):
        found = {place: run_command([*command, *kinds[place]]) for place in ((0, 1) if number % 2 else (1, 0))}
        plain, with_head = found[0], found[1]
        for key in ("files", "bytes", "failed_files"):
            assert plain.report[key] == with_head.report[key], key
        pairs.append((plain, with_head))
    return pairs


if __name__ == "__main__":
    main()
