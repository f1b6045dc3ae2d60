"""What a user's program looks like to a type checker: a test runs mypy --strict over it. Nothing here is run."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cachewarmer
from cachewarmer import JobState, Progress, Report, Verified


def frames() -> Iterator[str]:
    yield "plates/plate.1001.exr"


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


async def others() -> float | None:
    totals: Report = await cachewarmer.scan(Path("/mnt/projects"), files_from=frames_of_a_database(), window=16)
    found: Verified = await cachewarmer.verify("cache1:/projects", expect=0.99, what=["data", "access"])
    print(totals.files, totals.document())
    return found.main.warm.value if found.main.warm else None


async def wrong() -> None:
    """Each of these is an error that the types tell of: mypy complains of an ignored error that is none."""
    await cachewarmer.scan(42)  # type: ignore[arg-type]
    await cachewarmer.scan("cache1:/projects", transport="smb")  # type: ignore[arg-type]
    await cachewarmer.verify("cache1:/projects", expect="99%")  # type: ignore[arg-type]
    async for progress in cachewarmer.warm("cache1:/projects", window="wide"):  # type: ignore[arg-type]
        progress.state = JobState.COMPLETED  # type: ignore[misc]
        print(progress.speed)  # type: ignore[attr-defined]
