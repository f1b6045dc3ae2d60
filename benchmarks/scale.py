"""Does time stay linear, and memory bounded, up to a million files?

    python -m benchmarks.scale [ENTRIES]

One directory of N entries, and a tree of N files in N/100 directories, both served by the scripted server in a process
of its own, for N = a tenth of ENTRIES and ENTRIES (1,000,000). Prints seconds, entries a second, CPU seconds and peak
memory of the client process, and the ratio of the two runs' time to the ratio of their entries (1.0 is linear): by the
clock, and by the CPU's, which other work on the machine does not change.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One finished command."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    report: dict[str, object]


def run_command(arguments: list[str]) -> Run:
    """Runs ``cachewarmer ARGUMENTS --json`` in a state directory of its own."""
    with tempfile.TemporaryDirectory() as state:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "cachewarmer", *arguments, "--json", "-q"],
            env=os.environ | {"XDG_STATE_HOME": state},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{arguments} ended with {child.returncode}: {output!r}")
        cpu_seconds = usage.ru_utime + usage.ru_stime
        return Run(time.monotonic() - began, cpu_seconds, usage.ru_maxrss / 1024, json.loads(output))


def measure(shape: str, entries: int, command: list[str]) -> Run:
    """Serves one synthetic tree and runs the command on it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "cachewarmer.testing", f"--million-{shape}", "--entries", str(entries)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        ports = json.loads(server.stdout.readline())
        target = f"nfs://127.0.0.1{ports['export']}?nfsport={ports['nfs_port']}&mountport={ports['mount_port']}"
        return run_command([command[0], target, *command[1:]])
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; one sample each")
    for shape in ("flat", "tree"):
        for command in (["scan"], ["warm", "--window", "64", "--processes", "1"]):
            small = measure(shape, entries // 10, command)
            large = measure(shape, entries, command)
            clock, cpu = large.seconds / small.seconds / 10, large.cpu_seconds / small.cpu_seconds / 10
            for count, run in ((entries // 10, small), (entries, large)):
                print(
                    f"{command[0]:5} {shape:5} {count:>9,} entries: {run.seconds:7.1f} s, "
                    f"{count / run.seconds:9,.0f} entries/s, CPU {run.cpu_seconds:5.1f} s, peak {run.peak_mib:5.0f} MiB"
                )
            print(f"{command[0]:5} {shape:5} time over entries, tenfold: {clock:.2f}; by CPU {cpu:.2f}")


if __name__ == "__main__":
    main()
