"""Reads each sample twice in succession, a few samples at a time, and measures the times."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from enum import StrEnum
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError, FileVanished, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import PathError
from cachewarmer.paths import to_text
from cachewarmer.targets.base import Identity, Question, ReadRequest, Session
from cachewarmer.values import dataclass
from cachewarmer.verification.judging import Pair
from cachewarmer.verification.sampling import FoundFile, Sample

AT_ONCE = 2
"""Samples that are read at the same time: each has one call in flight. More would measure their own queue."""
PROBES = 24
"""How often the origin is asked at most, spread over all samples."""
PROBE_SECONDS = 5.0
"""An origin that takes longer is far away, or gone."""
UNIT_BYTES = 4 << 20
"""What a cache may fetch at once of a file when it is asked for a part of it: JuiceFS's blocks."""
PAUSE_SECONDS, PAUSES, MOST_PAUSE_SECONDS = 0.002, 3.0, 2.0
"""A cache behind a path of this machine keeps what was read in the background: it has this long before the second read,
and this many times as long as the first one took."""
MOST_ERRORS = 20


class Aspect(StrEnum):
    """What of a file a cache holds, or not."""

    DATA = "data"
    ATTRIBUTES = "attributes"
    ACCESS = "access"


class Measured(NamedTuple):
    """A sample with its two times."""

    sample: Sample
    pair: Pair


@dataclass(slots=True)
class Measurement:
    """The outcome of all samples of one aspect."""

    measured: list[Measured] = field(default_factory=list)
    origin_seconds: list[float] = field(default_factory=list)
    by_counts: bool = False
    """Not round trips, but what the cache has counted."""
    failed: int = 0
    vanished: int = 0
    bytes: int = 0
    """Read, second reads included."""
    errors: list[PathError] = field(default_factory=list)
    unavailable: bool = False
    """The target has no such call."""


SessionOf = Callable[[FoundFile], Awaitable[Session]]


class Measurer:
    """``session_of`` gives the session that a file's handle is good at. ``identity``: who asks for ACCESS."""

    def __init__(
        self, session_of: SessionOf, aspect: Aspect, stop: asyncio.Event, identity: Identity | None = None
    ) -> None:
        self._session_of = session_of
        self._aspect = aspect
        self._stop = stop
        self._identity = identity
        self._result = Measurement()
        self._turn = 0
        self._units: dict[tuple[str, bytes, int], int] = {}

    async def measure(self, samples: Sequence[Sample], on_done: Callable[[int], None]) -> Measurement:
        """Reads all samples. ``on_done`` is told how many are done.

        Raises:
            TransportError: an address does not answer.
        """
        waiting = list(reversed(samples))
        every = max(1, len(samples) // PROBES)

        async def work() -> None:
            while waiting and not self._stop.is_set():
                sample = waiting.pop()
                if len(waiting) % every == 0:
                    await self._ask_origin(sample)
                await self._measure(sample)
                on_done(len(samples) - len(waiting))

        working = [asyncio.create_task(work()) for _ in range(min(AT_ONCE, len(samples)))]
        try:
            await asyncio.gather(*working)
        finally:
            await end_tasks(*working)
        return self._result

    async def _ask_origin(self, sample: Sample) -> None:
        session = await self._session_of(sample.file)
        with contextlib.suppress(CacheWarmerError):
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    seconds = await session.ask(Question.ORIGIN, sample.file.path, sample.file.handle)
            except TimeoutError:
                seconds = PROBE_SECONDS
            self._result.by_counts = session.asks_by_counts
            if seconds is not None:
                self._result.origin_seconds.append(seconds)

    async def _measure(self, sample: Sample) -> None:
        result = self._result
        try:
            session = await self._session_of(sample.file)
            pair = await self._twice(session, sample)
        except TransportError:
            raise
        except FileVanished:
            result.vanished += 1
        except CacheWarmerError as error:
            result.failed += 1
            if len(result.errors) < MOST_ERRORS:
                path = f"{sample.file.export.rstrip('/')}/{to_text(sample.file.path)}"
                result.errors.append(PathError.of(path, error))
        else:
            if pair is not None:
                result.measured.append(Measured(sample, pair))

    async def _twice(self, session: Session, sample: Sample) -> Pair | None:
        if self._aspect is not Aspect.DATA:
            question = Question.ATTRIBUTES if self._aspect is Aspect.ATTRIBUTES else Question.ACCESS
            ask = session.ask
            first = await ask(question, sample.file.path, sample.file.handle, self._identity)
            second = await ask(question, sample.file.path, sample.file.handle, self._identity)
            if first is None or second is None:
                self._result.unavailable = True
                return None
            return Pair(0, first, second, sample.weight, sample.draws)
        # What a cache has to ask about the file before it gives any byte is asked first, and not counted.
        handle = sample.file.handle or (await session.lookup(sample.file.path)).handle
        await session.ask(Question.ATTRIBUTES, sample.file.path, handle)
        file, self._turn = sample.file, self._turn + 1
        turn, key = self._turn, (file.export, file.path, sample.start // UNIT_BYTES)
        one, first = await self._read(session, sample, handle)
        if one.bytes_read < sample.stop - sample.start:
            raise CacheWarmerError(
                f"the file ends after {sample.start + one.bytes_read:,} of {sample.file.size:,} bytes"
            )
        if session.asks_by_counts:
            await asyncio.sleep(min(MOST_PAUSE_SECONDS, PAUSE_SECONDS + PAUSES * first))
        _, second = await self._read(session, sample, handle)
        unit = self._units.setdefault(key, len(self._units))
        return Pair(one.bytes_read, first, second, sample.weight, sample.draws, unit, turn)

    async def _read(self, session: Session, sample: Sample, handle: bytes) -> tuple[ReadRequest, float]:
        """The request when it is done, and the seconds that it took."""
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        def finished(request: ReadRequest) -> None:
            if not done.done():
                done.set_result(request.seconds if session.exact_seconds else time.monotonic() - began)

        request = ReadRequest(sample.file.path, handle, sample.start, sample.stop, finished, once=True)
        began = time.monotonic()
        session.read(request)
        seconds = await done
        self._result.bytes += request.bytes_read
        if request.error is not None:
            raise request.error
        return request, seconds
