"""Queries the broker once for all open pages, so that a second page costs the broker nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, UnknownJob
from cachewarmer.model import JobStatus, WorkerReport
from cachewarmer.model.live import LOST_SECONDS
from cachewarmer.web.documents import aged, job_document, listed
from cachewarmer.web.history import History
from cachewarmer.web.metrics import Seen

log = logging.getLogger(__name__)

WATCHED_SECONDS = 1.0
"""Between two looks while somebody watches."""
UNWATCHED_SECONDS = 10.0
"""Else: enough for the charts."""
LEAST_REST = 25.0
"""From one look to the next, in times of what it took: a broker with thousands of jobs is looked at less often."""
MOST_HISTORIES = 64
MOST_LISTED = 500
"""The newest jobs; ``status`` shows all."""
ANSWER_SECONDS = 15.0
"""A broker that takes longer counts as away."""


class Feed:
    """Looks at ``broker``, which it opens and closes, and tells who watches.

    ``fleet`` gives the fleet's document, or None where this process drives none; ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        fleet: Callable[[], dict[str, Any] | None] = lambda: None,
        verified: Callable[[str], dict[str, Any] | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.broker = broker
        self._fleet = fleet
        self._verified = verified
        self._clock = clock
        self._outage = outage_log(broker)
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._version = 0
        self._ended = False
        self._watchers = 0
        self._open = False
        self._statuses: dict[str, JobStatus] = {}
        self._workers: list[WorkerReport] = []
        self._manager_seen: float | None = None
        self._seen_at = 0.0
        self._away_since = 0.0
        self._problem = "not yet asked"
        self._histories: dict[str, History] = {}
        self._counts: dict[str, tuple[float, int, int]] = {}
        self._rates: dict[str, tuple[float, float]] = {}
        self._texts: dict[str, str] = {}
        self.started_at = clock()

    def __repr__(self) -> str:
        return f"<Feed watchers={self._watchers} jobs={len(self._statuses)} away={self.away}>"

    @property
    def away(self) -> bool:
        """Whether the broker did not answer at the last look."""
        return bool(self._problem)

    # -- looking ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Looks again and again until it is cancelled."""
        try:
            while True:
                began = time.monotonic()
                self._wake.clear()
                await self._look()
                took = time.monotonic() - began
                pause = WATCHED_SECONDS if self._watchers else UNWATCHED_SECONDS
                try:
                    await asyncio.wait_for(self._wake.wait(), max(pause, LEAST_REST * took if not self.away else 0.0))
                except TimeoutError:
                    continue
        finally:
            await self.broker.close()

    def look_soon(self) -> None:
        """Something was changed: shows it without delay."""
        self._wake.set()

    async def opened(self) -> Broker:
        """The broker, once it is open. Raises ``BrokerUnavailable`` and whatever opening it raises."""
        if not self._open:
            await self.broker.open()
            self._open = True
        return self.broker

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                broker = await self.opened()
                statuses = await broker.jobs()
                workers = await broker.workers()
                self._manager_seen = await broker.manager_seen()
        except (BrokerError, OSError) as error:
            self._fail(str(error) or "it does not answer")
        else:
            self._take(statuses[:MOST_LISTED], workers)
            self._outage.answered()
        await self._tell()

    async def _tell(self) -> None:
        self._version += 1
        self._texts.clear()
        async with self._changed:
            self._changed.notify_all()

    async def end(self) -> None:
        """Ends all streams."""
        self._ended = True
        await self._tell()

    def _fail(self, problem: str) -> None:
        self._away_since = self._away_since or self._clock()
        self._problem = problem
        self._outage.failed(f"the page's look at the broker: {problem}")

    def _take(self, statuses: list[JobStatus], workers: list[WorkerReport]) -> None:
        now = self._clock()
        self._problem, self._away_since, self._seen_at = "", 0.0, now
        self._statuses = {one.job.job_id: one for one in statuses}
        self._workers = workers
        self._measure(workers)
        for status in statuses:
            if not status.state.final or status.job.job_id in self._histories:
                self._note(status, now)
        for job_id in [job_id for job_id in self._histories if job_id not in self._statuses]:
            del self._histories[job_id]

    def _measure(self, workers: list[WorkerReport]) -> None:
        """Rates from one row of a worker to its next, by its own clock."""
        counts = {}
        for one in workers:
            files = sum(held.files + held.settled_files for held in one.jobs)
            read = sum(held.bytes + held.settled_bytes for held in one.jobs)
            counts[one.key] = (one.up_seconds, files, read)
            before = self._counts.get(one.key)
            if before is not None and one.up_seconds > before[0]:
                seconds = one.up_seconds - before[0]
                self._rates[one.key] = (max(0, files - before[1]) / seconds, max(0, read - before[2]) / seconds)
        self._counts = counts
        self._rates = {key: rate for key, rate in self._rates.items() if key in counts}

    def _note(self, status: JobStatus, now: float) -> None:
        job_id = status.job.job_id
        history = self._histories.get(job_id)
        if history is None:
            if len(self._histories) >= MOST_HISTORIES:
                return
            history = self._histories[job_id] = History()
        document = listed(status, self._workers, now)
        rows = [
            row for one in self._workers if one.at_work and one.in_hand(job_id) is not None for row in one.addresses
        ]
        if status.state.final and history.points and history.points[-1][1:3] == (document["files"], document["bytes"]):
            return
        window = sum(row.window for row in rows)
        canary = max((row.canary_ms for row in rows), default=0.0)
        history.add((round(now, 2), document["files"], document["bytes"], window, round(canary, 3)))

    # -- what is shown ---------------------------------------------------------------------------------------------

    def workers(self) -> list[WorkerReport]:
        """As the broker had them at the last look, aged since."""
        return aged(self._workers, self._clock() - self._seen_at) if self._seen_at else []

    def state(self) -> dict[str, Any]:
        """Everything but the detail of a job."""
        now = self._clock()
        workers = self.workers()
        at = self._seen_at or now
        return {
            "at": round(now, 3),
            "broker": {
                "away": self.away,
                "problem": self._problem,
                "away_seconds": round(now - self._away_since, 1) if self._away_since else 0.0,
                "age_seconds": round(now - self._seen_at, 1) if self._seen_at else None,
            },
            "manager_seen_seconds": None if self._manager_seen is None else round(self._manager_seen, 1),
            "jobs": [listed(one, workers, now if not self.away else at) for one in self._statuses.values()],
            "workers": {
                "at_work": sum(one.at_work for one in workers),
                "lost": sum(not one.at_work and not one.ended for one in workers),
                "lost_after_seconds": LOST_SECONDS,
            },
            "fleet": self._fleet(),
        }

    def seen(self) -> Seen:
        """What the metrics are made of."""
        return Seen(away=self.away, statuses=[*self._statuses.values()], workers=self.workers(), fleet=self._fleet())

    def job(self, job_id: str) -> dict[str, Any]:
        """A job in detail. Raises ``UnknownJob``."""
        status = self._statuses.get(job_id)
        if status is None:
            raise UnknownJob(f"there is no job {job_id}")
        return self.document(status)

    def document(self, status: JobStatus) -> dict[str, Any]:
        """The detail of a job whose status is this."""
        now = self._clock() if not self.away else self._seen_at
        found = job_document(status, self.workers(), now, self._rates)
        return found | {"verified": self._verified(status.job.job_id)}

    def rates(self) -> dict[str, tuple[float, float]]:
        """Files and bytes per second of each worker, by its key."""
        return self._rates

    def history(self, job_id: str) -> list[Any]:
        """The points of a job's charts; see ``history.Point``."""
        found = self._histories.get(job_id)
        return list(found.points) if found else []

    # -- who watches -----------------------------------------------------------------------------------------------

    def _text(self, kind: str, job_id: str = "") -> str:
        """An event; made once for all who watch."""
        key = f"{kind} {job_id}"
        if key not in self._texts:
            self._texts[key] = event(kind, self.state() if kind == "state" else self.job(job_id))
        return self._texts[key]

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """While somebody watches."""
        self._watchers += 1
        if self._watchers == 1:
            self._wake.set()
        try:
            yield
        finally:
            self._watchers -= 1

    async def events(self, job_id: str = "") -> AsyncGenerator[str, None]:
        """Events as they come: ``state``; with a job also ``history`` (once), ``job`` and ``points``."""
        told_at = 0.0
        if job_id and (points := self.history(job_id)):
            told_at = points[-1][0]
            yield event("history", points)
        while not self._ended:
            version = self._version
            yield self._text("state")
            if job_id in self._statuses:
                yield self._text("job", job_id)
                if points := [one for one in self.history(job_id) if one[0] > told_at]:
                    told_at = points[-1][0]
                    yield event("points", points)
            async with self._changed:
                await self._changed.wait_for(lambda seen=version: self._version != seen)  # type: ignore[misc]


def event(kind: str, content: Any) -> str:
    """One server-sent event (WHATWG HTML, section 9.2): JSON in ASCII, so that no name can end a line of it."""
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"
