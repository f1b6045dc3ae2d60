"""What does a ledger cost: of the throughput, and in memory?

    python -m benchmarks.ledger [ENTRIES] [ROUNDS]

A tree of ENTRIES tiny files (1,000,000), served by the scripted server in a process of its own, warmed by one process with
and without ``--ledger``, in turn, ROUNDS times (3); once ``--since`` that ledger; and once since one in which each thousandth
file is missing, or has another mtime: just these must be read. Prints, for each round, files a second of
both and their ratio, by the clock and by the CPU of the client, and the most memory that the client took.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.scale import Run, run_command


def main() -> None:
    """Runs the rounds."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3  # noqa: PLR2004  # the second argument
    server = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer.testing", "--million-tree", "--entries", str(entries)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    ports = json.loads(server.stdout.readline())
    target = f"nfs://127.0.0.1{ports['export']}?nfsport={ports['nfs_port']}&mountport={ports['mount_port']}"
    print(f"{platform.machine()}, Python {platform.python_version()}: {entries:,} files, {rounds} rounds")
    try:
        with tempfile.TemporaryDirectory() as folder:
            _measure(target, Path(folder) / "ledger.jsonl", rounds)
    finally:
        server.terminate()
        server.wait()


def _measure(target: str, ledger: Path, rounds: int) -> None:
    by_clock, by_cpu = [], []
    for number in range(rounds):
        order = (False, True) if number % 2 == 0 else (True, False)  # whatever changes meanwhile falls on both
        runs = {kept: _warm(target, *(("--ledger", str(ledger)) if kept else ())) for kept in order}
        plain, kept = runs[False], runs[True]
        with ledger.open("rb") as file:
            records = sum(1 for _ in file)
        assert records == kept.report["files"] == plain.report["files"]
        by_clock.append(plain.seconds / kept.seconds)
        by_cpu.append(plain.cpu_seconds / kept.cpu_seconds)
        print(f"  {_line('without', plain)}   {_line('with', kept)}   ratio {by_clock[-1]:.2f}, CPU {by_cpu[-1]:.2f}")
    print(
        f"throughput with over without: median {statistics.median(by_clock):.2f}, CPU {statistics.median(by_cpu):.2f}"
    )
    again = _warm(target, "--since", str(ledger), "--ledger", str(ledger))
    unchanged = again.report["unchanged_files"]
    print(f"{_line('since', again)}: {again.report['files']} files read, {unchanged} unchanged")
    changed = _age(ledger, earlier := ledger.with_name("earlier.jsonl"))
    partly = _warm(target, "--since", str(earlier), "--ledger", str(ledger))
    with ledger.open() as file:
        read = {row["path"] for row in map(json.loads, file) if row["status"] == "read"}
    assert read == changed
    print(
        f"{_line('since an older one', partly)}: {partly.report['files']} files read, just the {len(changed)} that differ"
    )


def _age(ledger: Path, earlier: Path) -> set[str]:
    """Writes a ledger as it was before some files changed and others came; their paths."""
    changed = set()
    with ledger.open() as file, earlier.open("w") as out:
        for number, line in enumerate(file):
            row = json.loads(line)
            if number % 1000 == 0:
                changed.add(row["path"])
                if number % 2000:
                    continue
                row["mtime"] -= 1
            out.write(json.dumps(row) + "\n")
    return changed


def _warm(target: str, *more: str) -> Run:
    return run_command(["warm", target, "--window", "64", "--processes", "1", *more])


def _line(what: str, run: Run) -> str:
    read, unchanged = run.report["files"], run.report["unchanged_files"]
    assert isinstance(read, int)
    assert isinstance(unchanged, int)
    found = read + unchanged
    return f"{what} {found / run.seconds:,.0f} files/s, {run.cpu_seconds:.1f} s CPU, {run.peak_mib:.0f} MiB"


if __name__ == "__main__":
    main()
