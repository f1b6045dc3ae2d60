"""What a user's program looks like to a type checker: a test runs mypy --strict over it. Nothing here is run."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cachewarmer
from cachewarmer import JobState, Progress, Report, Verified


def frames() -> Iterator[str]:
    yield "plates/plate.1001.exr"


def ranges() -> Iterator[str | bytes | tuple[str, int, int]]:
    yield "shot42/shot42.usda"
    yield ("shot42/cache.vdb", 1_048_576, 65_536)


async def frames_of_a_database() -> AsyncIterator[bytes]:
    yield b"plates/plate.1001.exr"


async def warmed() -> Report | None:
    report: Report | None = None
    async for progress in cachewarmer.warm(
        "nfs://cache1/projects",
        include=["*.exr"],
        exclude=("*.tmp",),
        max_file_size="2GiB",
        newer_than=datetime(2026, 11, 1, tzinfo=UTC),
        files_from=frames(),
        transport="nfs",
        max_bandwidth="800Mbit",
        window="auto",
        processes=2,
        broker="sqlite:////tmp/jobs.db",
        name="shot42",
    ):
        shown: Progress = progress
        state: JobState = shown.state
        rate: float = shown.bytes_per_second
        left: float | None = shown.seconds_left
        print(state, rate, left, shown.files + shown.bytes)
        report = shown.report
    return report


async def nightly(ledger: Path) -> int:
    unchanged = 0
    async for progress in cachewarmer.warm(
        "nfs://cache1,cache2/projects",
        since=ledger,
        ledger=ledger,
        each_address=True,
        address_subset=["cache2"],
        fan_out=True,
        access_as=["1000:100", "1001"],
        priority="low",
        patience="15m",
        max_window=64,
        gentle=True,
        connections=2,
        uid=0,
        gid=0,
        hardlink_dedup=False,
    ):
        unchanged = progress.report.unchanged_files
    async for progress in cachewarmer.warm(failed_of="nightly", keep_ledger=True):
        print(progress.report.failed_files)
    return unchanged


async def lists() -> None:
    async for progress in cachewarmer.warm(
        "nfs://cache1/projects",
        files_from=ranges(),
        frames=["shot42/plate.####.exr 1001-1240"],
        usd=Path("/mnt/p/shot42.usda"),
        map={"P:\\": "/projects"},
        head="1MiB",
        tail=65536,
        in_order=True,
    ):
        print(progress.files)
    async for progress in cachewarmer.warm("nfs://cache1/projects", metadata_only=True):
        print(progress.files)


async def others() -> float | None:
    totals: Report = await cachewarmer.scan(Path("/mnt/projects"), files_from=frames_of_a_database(), window=16)
    found: Verified = await cachewarmer.verify(
        "cache1:/projects", expect=0.99, what=["data", "access"], identity="1000:100"
    )
    print(totals.files, totals.document())
    return found.main.warm.value if found.main.warm else None


async def proved(job: str) -> dict[str, float | None]:
    found: Verified = await cachewarmer.verify(
        job=job, broker="postgresql://db/warm", each_address=True, address_subset=["cache2"], expect=0.99, window=4
    )
    enough: bool = found.meets(0.99)
    print(enough, found.main.coldest, found.document())
    by_address: tuple[Verified, ...] = found.addresses
    return {one.address: one.main.warm.value if one.main.warm else None for one in by_address}


async def wrong() -> None:
    """Each of these is an error that the types tell of: mypy complains of an ignored error that is none."""
    await cachewarmer.scan(42)  # type: ignore[arg-type]
    await cachewarmer.scan("cache1:/projects", transport="smb")  # type: ignore[arg-type]
    await cachewarmer.scan("cache1:/projects", in_order=True)  # type: ignore[call-arg]
    await cachewarmer.scan("cache1:/projects", inclde="*.exr")  # type: ignore[call-arg]
    await cachewarmer.scan("cache1:/projects", files_from=[("a", "0", 5)])  # type: ignore[list-item]
    await cachewarmer.verify("cache1:/projects", access_as=["1000"])  # type: ignore[call-arg]
    await cachewarmer.verify("cache1:/projects", what=["smell"])  # type: ignore[list-item]
    await cachewarmer.verify(job=42)  # type: ignore[arg-type]
    await cachewarmer.verify("cache1:/projects", expect="99%")  # type: ignore[arg-type]
    async for progress in cachewarmer.warm("cache1:/projects", window="wide"):  # type: ignore[arg-type]
        progress.state = JobState.COMPLETED  # type: ignore[misc]
        print(progress.speed)  # type: ignore[attr-defined]
