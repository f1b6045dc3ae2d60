"""One verification: scans the tree for its sample, reads that, and judges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

from cachewarmer.config import Settings
from cachewarmer.errors import UsageError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Access, WarmJob, WorkItem
from cachewarmer.model.parts import ranges_of
from cachewarmer.paths import join_bytes, to_bytes
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.plan import open_sessions, scan_tree
from cachewarmer.targets import open_session
from cachewarmer.targets.base import Identity, Mount, Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.targets.steady import steady
from cachewarmer.values import dataclass
from cachewarmer.verification.asking import Asked, ask_juicefs, ask_page_cache, whom_to_ask
from cachewarmer.verification.found import Found, Verified, by_size, coldest
from cachewarmer.verification.intervals import samples_for, samples_to_show
from cachewarmer.verification.judging import Judgement, Pair, judge
from cachewarmer.verification.measuring import Aspect, Measured, Measurement, Measurer
from cachewarmer.verification.sampling import FoundFile, Sampler

DEFAULT_HALF_WIDTH = 0.05
TELL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What to measure, and how accurately."""

    half_width: float = DEFAULT_HALF_WIDTH
    """How far the interval may reach to each side."""
    samples: int = 0
    """Number of samples; 0: as many as the half width needs."""
    expected: float = 0.0
    """A warm fraction that the number of samples should be sufficient to confirm; 0: none."""
    seed: int = 0
    aspects: tuple[Aspect, ...] = (Aspect.DATA,)
    identity: Identity | None = None
    """Who asks for ACCESS; None: the user who reads."""
    ask: bool = True
    """Whether to ask caches that can be asked."""

    @property
    def count(self) -> int:
        """How many samples that makes."""
        if self.samples:
            return self.samples
        return max(samples_for(self.half_width), samples_to_show(self.expected) if self.expected else 0)


Progress = Callable[[str], None]
"""Called with the progress in words."""


async def verify(
    job: WarmJob,
    settings: Settings,
    demand: Demand,
    *,
    on_progress: Progress = lambda _: None,
    stop: asyncio.Event | None = None,
    file_list: AsyncIterable[bytes] | None = None,
) -> Verified:
    """Measures how much of a job's files is warm. Reads only the sample.

    When ``stop`` is set: what was found so far, interrupted.

    Raises:
        CacheWarmerError: the target can't be opened or listed, or does not answer any more.
    """
    stop = stop or asyncio.Event()
    async with SessionPool(settings, open_session) as pool:
        work = _Verification(job, pool, demand, on_progress, stop)
        working = asyncio.create_task(work.run(file_list))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done() and work.reading:
                await working  # it ends with the sample that is being read
            return working.result() if working.done() else work.result(interrupted=True)
        finally:
            await end_tasks(working, stopping)


class _Verification:
    def __init__(
        self, job: WarmJob, pool: SessionPool, demand: Demand, on_progress: Progress, stop: asyncio.Event
    ) -> None:
        self.reading = False
        """The scan is over."""
        self._job = job
        self._pool = pool
        self._demand = demand
        self._on_progress = on_progress
        self._stop = stop
        self._counter = ScanCounter()
        self._began = time.monotonic()
        self._found: list[Found] = []
        self._samplers: dict[bool, Sampler] = {}

    async def run(self, file_list: AsyncIterable[bytes] | None) -> Verified:
        demand, job = self._demand, self._job
        asked = await whom_to_ask(job.full_path) if job.access.is_local and demand.ask else Asked.NOBODY
        wants_all = (
            job.wanted.everything
            and not (job.wanted.head_bytes or job.wanted.tail_bytes)
            and file_list is None
            and not job.has_file_list
        )
        if asked is Asked.JUICEFS and not wants_all:
            asked = Asked.NOBODY  # it knows of directories, not of patterns
        await self._scan(file_list)
        self.reading = True
        for aspect in demand.aspects:
            if self._stop.is_set():
                break
            if aspect is Aspect.DATA and asked is not Asked.NOBODY:
                self._found.append(await self._ask(asked))
            else:
                self._found.append(await self._measure(aspect))
        return self.result(interrupted=self._stop.is_set())

    def result(self, *, interrupted: bool) -> Verified:
        """What was found so far."""
        totals = self._counter.totals()
        return Verified(
            target=self._job.label,
            files=totals.files,
            bytes=totals.bytes,
            seconds=time.monotonic() - self._began,
            seed=self._demand.seed,
            aspects=tuple(self._found),
            interrupted=interrupted,
            warnings=totals.warnings,
        )

    # -- the sample ------------------------------------------------------------------------------------------------

    async def _scan(self, file_list: AsyncIterable[bytes] | None) -> None:
        job, demand = self._job, self._demand
        opened = await open_sessions(job, self._pool)
        sessions = steady(opened, self._pool)
        root = to_bytes(job.warm_path.strip("/"))
        for aspect in demand.aspects:
            by_bytes = aspect is Aspect.DATA
            self._samplers.setdefault(by_bytes, Sampler(demand.count, seed=demand.seed, by_bytes=by_bytes, root=root))
        telling = asyncio.create_task(self._tell())
        try:
            settings = self._pool.settings.plan
            await scan_tree(job, sessions, settings, self._counter, self._take, file_list=file_list, pool=self._pool)
        finally:
            await end_tasks(telling)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            self._on_progress(f"scanning: {self._counter.files:,} files")

    async def _take(self, items: Sequence[WorkItem]) -> None:
        data, whole = self._samplers.get(True), self._samplers.get(False)
        for item in items:
            above = to_bytes(item.path.strip("/"))
            counted = item.start <= 0 and not item.further
            cut = ranges_of(item.parts)
            for number, (name, size, handle) in enumerate(item.files or ()):
                path = join_bytes(above, to_bytes(name))
                for start, stop in cut.get(number) or [(0, size) if item.start < 0 else (item.start, item.stop)]:
                    found = FoundFile(path, size, start, stop, handle, item.address, item.access.export)
                    if data is not None:
                        data.add(found)
                if whole is not None and counted:
                    whole.add(FoundFile(path, size, 0, size, handle, item.address, item.access.export))

    async def _session_of(self, file: FoundFile) -> Session:
        access: Access = replace(self._job.access, export=file.export)
        return await self._pool.session(Mount.of(access, file.address, ""))

    # -- what is found ---------------------------------------------------------------------------------------------

    async def _ask(self, asked: Asked) -> Found:
        if asked is Asked.JUICEFS:
            self._on_progress("asking JuiceFS")
            warm = await ask_juicefs(self._job.full_path)
            return Found(method=asked, samples=self._counter.files, complete=True, warm=warm)
        sampler = self._samplers[True]
        samples = sampler.samples()
        self._on_progress("asking the page cache")
        ask = partial(ask_page_cache, samples, complete=sampler.complete)
        answer, cold = await asyncio.get_running_loop().run_in_executor(None, ask)
        judgement = Judgement(warm=answer, cold=tuple(cold))
        measured = [Measured(sample, Pair(0, 0.0, 0.0, sample.weight)) for sample in samples]
        return Found(
            method=asked,
            samples=len(samples),
            complete=sampler.complete,
            warm=answer,
            reason="" if answer else "there is nothing to read",
            coldest=coldest(measured, judgement),
            sizes=by_size(measured, judgement),
        )

    async def _measure(self, aspect: Aspect) -> Found:
        sampler = self._samplers[aspect is Aspect.DATA]
        samples = sampler.samples()
        if not samples:
            return Found(aspect=aspect, reason="there is nothing to read")
        measurer = Measurer(self._session_of, aspect, self._stop, self._demand.identity)
        total = len(samples)
        result = await measurer.measure(samples, lambda done: self._on_progress(f"{aspect}: {done:,} of {total:,}"))
        if result.unavailable:
            raise UsageError(f"--what {aspect} is for NFS through the direct reader")
        complete = sampler.complete and len(result.measured) == len(samples)
        return _judged(aspect, result, complete=complete)


def _judged(aspect: Aspect, result: Measurement, *, complete: bool) -> Found:
    pairs = [one.pair for one in result.measured]
    judgement = judge(pairs, result.origin_seconds, complete=complete, by_counts=result.by_counts)
    return Found(
        aspect=aspect,
        samples=len(pairs),
        complete=complete,
        warm=judgement.warm,
        reason=judgement.reason,
        evidence=judgement.evidence,
        threshold_seconds=judgement.threshold_seconds,
        first=tuple(pair.first_seconds for pair in pairs),
        second=tuple(pair.second_seconds for pair in pairs),
        origin_seconds=median(result.origin_seconds) if result.origin_seconds else 0.0,
        coldest=coldest(result.measured, judgement),
        sizes=by_size(result.measured, judgement),
        bytes_read=result.bytes,
        failed=result.failed,
        vanished=result.vanished,
        errors=tuple(result.errors),
    )
