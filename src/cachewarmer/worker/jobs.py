"""What a worker knows of the jobs its items belong to: their states, their paces, and when to look at items again."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, UnknownJob
from cachewarmer.model import JobState
from cachewarmer.warming.pace import Pace

MAX_JOBS_KNOWN = 1000
HIDING_SECONDS = 3.0
"""An item that can't be read now is out of sight for this long, where the queue itself can't hold it back."""
HIDING_STEP_SECONDS = 0.1
"""Where there are many such items, they come back into sight one by one, so far apart: others are waiting behind them."""
MAX_HIDING_SECONDS = 600.0


class JobStates:
    """The states of jobs, each at most ``max_age_seconds`` old."""

    def __init__(self, broker: Broker, max_age_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._known: dict[str, tuple[float, JobState]] = {}

    async def state(self, job_id: str) -> JobState:
        """The state of a job; as it was last seen, or else warming, where the broker does not answer."""
        now = self._clock()
        known = self._known.get(job_id)
        if known and now - known[0] < self._max_age_seconds:
            return known[1]
        try:
            state = await self._broker.state(job_id)
        except UnknownJob:
            state = JobState.CANCELLED if job_id else JobState.WARMING
        except BrokerError as error:
            outage_log(self._broker).failed(f"asking for the state of job {job_id}: {error}")
            return known[1] if known else JobState.WARMING
        if len(self._known) >= MAX_JOBS_KNOWN:
            self._known.clear()
        self._known[job_id] = (now, state)
        return state


class Paces:
    """The pace of each job in this worker: the worker's share of the job's bandwidth, and no more than its own limit.

    ``sharers`` is how many workers a job is taken to have until it is known how many read it.
    """

    def __init__(
        self, max_bytes_per_second: int, sharers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max = max_bytes_per_second
        self._sharers = max(1, sharers)
        self._clock = clock
        self._paces: dict[str, Pace] = {}

    def pace(self, job_id: str, whole: int) -> Pace | None:
        """The pace of a job whose bandwidth is ``whole`` bytes per second (0: no limit); None: there is no limit."""
        if job_id not in self._paces:
            rate = self._rate(whole, self._sharers)
            if not rate:
                return None
            self._paces[job_id] = Pace(rate, self._clock())
        return self._paces[job_id]

    def share(self, job_id: str, whole: int, workers: int) -> None:
        """``workers`` read the job now, this one among them: adapts its pace."""
        if whole and job_id in self._paces:
            self._paces[job_id].bytes_per_second = self._rate(whole, max(1, workers))

    def is_shared(self, job_id: str, whole: int) -> bool:
        """Whether the number of workers matters to the job's pace."""
        return bool(whole) and job_id in self._paces

    def _rate(self, whole: int, workers: int) -> float:
        return min((rate for rate in (self._max, whole / workers) if rate), default=0.0)


class Hiding:
    """For how long items that can't be read now go out of sight: one after the other, not all together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def seconds(self) -> float:
        """For the next item."""
        now = self._clock()
        self._until = max(now + HIDING_SECONDS, self._until + HIDING_STEP_SECONDS)
        return min(MAX_HIDING_SECONDS, self._until - now)
