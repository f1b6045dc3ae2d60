"""Looks at a tree for a plan: counts it, keeps some of its files to probe with, and probes the address."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import field

from cachewarmer.broker.effort import Items
from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError
from cachewarmer.eventloop import end_tasks
from cachewarmer.forecast.probing import Probe, Sample, probe
from cachewarmer.forecast.workload import SMALL_BYTES
from cachewarmer.model import ScanTotals, WarmJob, WorkItem
from cachewarmer.paths import join_bytes, to_bytes
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets import open_session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady
from cachewarmer.values import dataclass

MOST_SAMPLES = 8192
"""Maximum number of samples of each kind, small and large."""
ENOUGH_SECONDS = 3.0
"""If only files for the probe are needed, the listing ends after this time, once it has found some."""
SHOW_SECONDS = 0.25
WEIGHED_ITEMS = 50
"""Items whose messages are made, to see how long they are."""


@dataclass
class Samples:
    """Files at random, as many of the small as of the large: a bounded number of however many there are."""

    address: str
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    small: list[Sample] = field(default_factory=list)
    large: list[Sample] = field(default_factory=list)
    seen_small: int = 0
    seen_large: int = 0
    weighed_files: int = 0
    weighed_bytes: int = 0
    weighed_items: int = 0

    async def take(self, items: Sequence[WorkItem]) -> None:
        """Work items of the scan."""
        for item in items:
            if self.weighed_items < WEIGHED_ITEMS:
                self.weighed_items += 1
                self.weighed_files += item.file_count
                self.weighed_bytes += len(item.to_json())
            if item.start > 0:
                continue
            for entry in item.files or ():
                path = join_bytes(to_bytes(item.path.strip("/")), to_bytes(entry.path)) if entry.path else None
                handle = entry.handle if item.address in ("", self.address) else b""
                self._keep(Sample(path if path is not None else to_bytes(item.path.strip("/")), handle, entry.size))

    def _keep(self, sample: Sample) -> None:
        if sample.size <= SMALL_BYTES:
            self.seen_small += 1
            kept, seen = self.small, self.seen_small
        else:
            self.seen_large += 1
            kept, seen = self.large, self.seen_large
        if len(kept) < MOST_SAMPLES:
            kept.append(sample)
        elif (place := self.chance.randrange(seen)) < MOST_SAMPLES:
            kept[place] = sample

    def items(self, totals: ScanTotals, files: int) -> Items:
        """The work items of this many files."""
        each = totals.items / totals.files if totals.files else 0.0
        file_bytes = self.weighed_bytes / self.weighed_files if self.weighed_files else 0.0
        return Items(max(1, round(each * files)), round(files * file_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found."""

    totals: ScanTotals
    scan_seconds: float
    probe: Probe
    samples: Samples
    address: str


async def look(
    job: WarmJob,
    settings: Settings,
    *,
    whole: bool,
    on_scanned: Callable[[ScanTotals], None],
    on_probing: Callable[[], None],
    file_list: AsyncIterable[bytes] | None = None,
) -> Looked:
    """Counts a tree and probes its first address; without ``whole``, lists only what the probe needs.

    Raises:
        CacheWarmerError: the target can't be opened, listed or read; or there are no files to probe with.
    """
    counter = ScanCounter()
    async with SessionPool(settings, open_session, announce=False) as pool:
        sessions = await open_sessions(job, pool)
        samples = Samples(sessions[0].address)
        began = time.monotonic()
        scanning = asyncio.create_task(
            scan_tree(job, steady(sessions, pool), settings.plan, counter, samples.take, file_list=file_list, pool=pool)
        )
        try:
            while not scanning.done():
                await asyncio.wait({scanning}, timeout=SHOW_SECONDS)
                on_scanned(counter.totals())
                enough = samples.seen_small + samples.seen_large > 0 and time.monotonic() - began > ENOUGH_SECONDS
                if not whole and (enough or samples.seen_small + samples.seen_large > MOST_SAMPLES):
                    break
            if scanning.done():
                scanning.result()
        finally:
            await end_tasks(scanning)
        seconds = time.monotonic() - began
        totals = counter.totals(finished=whole)
        samples.chance.shuffle(samples.small)
        samples.chance.shuffle(samples.large)
        chosen = [*samples.small, *samples.large]
        if not any(one.size for one in chosen):
            raise CacheWarmerError(
                "nothing to plan: there are no files to read" if whole else "there are no files to probe with",
                subject=to_bytes(job.full_path),
                address=sessions[0].address,
            )
        on_probing()
        found = await probe(sessions[0], chosen)
    return Looked(totals=totals, scan_seconds=seconds, probe=found, samples=samples, address=sessions[0].address)
