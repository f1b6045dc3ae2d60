"""``plan`` against what it plans: NFS-Ganesha behind a modelled cache whose origin is some milliseconds away.

    python -m benchmarks.plan [MILLISECONDS]…

For small files (13 KB) and large ones (16 MiB), each round plans and then warms the same tree, cold, with one reader
process. Printed are the planned and the measured seconds of each round, and their ratio. The modelled cache has no
threads that run out, and its CPU is shared with the reader's; at 0 ms, Ganesha is asked directly.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from cachewarmer.testing.model_cache import ModelCache
from tests.servers.ganesha import ganesha

ROUNDS = 3
ORIGINS = (0.0, 5.0, 20.0)
SMALL, SMALL_BYTES = (60, 200), 13_000
"""Directories, and files in each."""
LARGE, LARGE_BYTES = 40, 16 << 20


def make(where: Path) -> None:
    """The two trees."""
    content = os.urandom(SMALL_BYTES)
    for number in range(SMALL[0]):
        (where / "small" / f"d{number}").mkdir(parents=True)
        for file in range(SMALL[1]):
            (where / "small" / f"d{number}" / f"f{file}").write_bytes(content)
    (where / "large").mkdir()
    for number in range(LARGE):
        (where / "large" / f"f{number}").write_bytes(os.urandom(1 << 20) * (LARGE_BYTES >> 20))


async def run(*arguments: str) -> dict:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cachewarmer", *arguments, "--json", "-q", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return json.loads(out)


async def measure(origins: list[float]) -> None:
    print(f"{platform.platform()}, {os.cpu_count()} cores, {ROUNDS} rounds")
    print("| origin | files | planned s | measured s | planned / measured | planned bound | measured bound |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        with ganesha(place) as server:
            for milliseconds in origins:
                for kind in ("small", "large"):
                    await _compare(server, kind, milliseconds)


async def _compare(server, kind: str, milliseconds: float) -> None:
    planned, measured, bounds = [], [], set()
    async with ModelCache("127.0.0.1", server.nfs_port, origin_seconds=milliseconds / 1000) as cache:
        port = cache.port if milliseconds else server.nfs_port
        target = f"nfs://127.0.0.1{server.export}/{kind}?nfsport={port}&mountport={server.mount_port}"
        for _ in range(ROUNDS):
            cache.forget()
            (plan,) = (await run("plan", target, "--workers", "1"))["plans"]
            cache.forget()
            report = await run("warm", target, "--processes", "1")
            planned.append(plan["seconds"])
            measured.append(report["seconds"])
            bounds.add((plan["bound_by"], report["bound_by"]))
    ratios = [one / other for one, other in zip(planned, measured, strict=True)]
    print(
        f"| {milliseconds:g} ms | {kind} | {_spread(planned)} | {_spread(measured)} | {_spread(ratios, 2)} |"
        f" {', '.join(sorted({one for one, _ in bounds}))} | {', '.join(sorted({one for _, one in bounds}))} |",
        flush=True,
    )


def _spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    asyncio.run(measure([float(one) for one in sys.argv[1:]] or [*ORIGINS]))
