"""Small files through a JuiceFS mount: ``cachewarmer warm`` beside JuiceFS's own ``juicefs warmup``.

Each round makes the cache cold, warms it with one program and asks JuiceFS how much is cached; the programs take turns,
so that a slow moment of the machine falls on both. ``cachewarmer`` asks the mount to fill its cache, as ``juicefs warmup``
does. Why it asks is shown by a reader that does nothing but read, at a rate that takes 1.5 times as long as ``juicefs
warmup`` (``benchmarks.paced``): of what comes through the mount, JuiceFS keeps only a part.

usage: python -m benchmarks.juicefs [ROUNDS [FILES [BYTES]]]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from tests.servers.juicefs import JuiceFs, juicefs

FILES, FILE_BYTES, ROUNDS = 5000, 8 * 1024, 5
PACED, PACED_RATIO = "paced reader", 1.5


def make_tree(volume: JuiceFs, files: int, size: int) -> None:
    for number in range(files):
        folder = volume.mount / "tree" / f"d{number // 500}"
        if number % 500 == 0:
            folder.mkdir(parents=True)
        (folder / f"f{number}").write_bytes(os.urandom(size))


def timed(volume: JuiceFs, command: list[object]) -> tuple[float, float]:
    """Seconds, and what fraction JuiceFS says is cached afterwards."""
    tree = volume.mount / "tree"
    volume.evict(tree)
    began = time.perf_counter()
    subprocess.run([str(one) for one in command], check=True, capture_output=True, timeout=600)
    took = time.perf_counter() - began
    return took, volume.cached_fraction(tree)


def main() -> None:
    given = [int(one) for one in sys.argv[1:]]
    rounds, files, size = (given + [ROUNDS, FILES, FILE_BYTES][len(given) :])[:3]
    with juicefs() as volume:
        make_tree(volume, files, size)
        tree = volume.mount / "tree"
        commands: dict[str, list[object]] = {
            "juicefs warmup": [volume.program, "warmup", tree],
            "cachewarmer": [sys.executable, "-m", "cachewarmer", "warm", tree, "-q"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*commands, PACED)}
        cached: dict[str, list[float]] = {name: [] for name in seconds}
        for _ in range(rounds):
            for name, command in commands.items():
                took, fraction = timed(volume, command)
                seconds[name].append(took)
                cached[name].append(fraction)
            rate = files / (PACED_RATIO * seconds["juicefs warmup"][-1])
            took, fraction = timed(volume, [sys.executable, "-m", "benchmarks.paced", tree, rate])
            seconds[PACED].append(took)
            cached[PACED].append(fraction)
        print(f"{files} files of {size} bytes, {rounds} rounds, {os.cpu_count()} cores")
        for name, times in seconds.items():
            print(
                f"{name:16} {statistics.median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f})  "
                f"cached {min(cached[name]):.1%}"
            )
        ratio = statistics.median(seconds["cachewarmer"]) / statistics.median(seconds["juicefs warmup"])
        print(f"ratio            {ratio:6.2f}")


if __name__ == "__main__":
    main()
