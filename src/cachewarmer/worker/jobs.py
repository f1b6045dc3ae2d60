"""The jobs of a worker's items: their states, their paces, and when to deliver items again that can't be read now."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachewarmer.broker.base import Broker, JobLook
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, UnknownJob
from cachewarmer.model import Bandwidth, JobState
from cachewarmer.warming.pace import Pace

MAX_JOBS_KNOWN = 1000
MUCH_SLOWER = 0.75
"""If a pace falls below this fraction of its old value, requests made at the old pace are held back."""
HIDING_SECONDS = 3.0
"""An item that can't be read now stays hidden in the queue for at least this long."""
HIDING_STEP_SECONDS = 0.1
"""Many such items reappear one by one at this interval, so that they don't block the items behind them."""
MAX_HIDING_SECONDS = 600.0


class JobStates:
    """The states of jobs at the broker. Each is cached for up to ``max_age_seconds``."""

    def __init__(self, broker: Broker, max_age_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._known: dict[str, tuple[float, JobLook]] = {}

    async def look(self, job_id: str) -> JobLook:
        """The state and bandwidth of a job, and what was learnt with it.

        If the broker does not answer, this is the job as it was last seen, or else one that is warming. A job that the
        broker does not know counts as cancelled, and no job (an empty id) as warming.
        """
        now = self._clock()
        known = self._known.get(job_id)
        if known and now - known[0] < self._max_age_seconds:
            return known[1]
        try:
            found = await self._broker.look(job_id)
        except UnknownJob:
            found = JobLook(JobState.CANCELLED if job_id else JobState.WARMING)
        except BrokerError as error:
            outage_log(self._broker).failed(f"asking for the state of job {job_id}: {error}")
            return known[1] if known else JobLook(JobState.WARMING)
        if len(self._known) >= MAX_JOBS_KNOWN:
            self._known.clear()
        self._known[job_id] = (now, found)
        return found


def minute_of_day() -> int:
    """Minutes since midnight in the local time of this machine."""
    now = time.localtime()
    return now.tm_hour * 60 + now.tm_min


class Paces:
    """The pace of each job in this worker: the worker's share of the job's bandwidth, within the worker's own limit.

    ``max_bytes_per_second`` is that limit, which all jobs share; 0: none. ``sharers`` is the number of workers that a job
    is assumed to have until it is known how many read it. ``minute`` returns the time of day in minutes after midnight.
    """

    def __init__(
        self,
        max_bytes_per_second: int,
        sharers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        minute: Callable[[], int] = minute_of_day,
    ) -> None:
        self._whole = Pace(max_bytes_per_second, clock()) if max_bytes_per_second else None
        self._sharers = max(1, sharers)
        self._clock = clock
        self._minute = minute
        self._paces: dict[str, Pace] = {}
        self._workers: dict[str, int] = {}

    def pace(self, job_id: str, bandwidth: Bandwidth) -> Pace:
        """The pace of a job, made from its bandwidth at this time of day if there is none yet; rate 0: no limit."""
        if job_id not in self._paces:
            if len(self._paces) >= MAX_JOBS_KNOWN:
                self._paces.clear()
                self._workers.clear()
            self._paces[job_id] = Pace(self._rate(job_id, bandwidth), self._clock(), self._whole)
        return self._paces[job_id]

    def share(self, job_id: str, workers: int) -> None:
        """Sets how many workers read the job now, including this one."""
        self._workers[job_id] = max(1, workers)

    def adapt(self, job_id: str, bandwidth: Bandwidth) -> bool:
        """Adapts a job's pace to its bandwidth at this time of day and to its workers.

        Returns whether it is much slower now; see ``MUCH_SLOWER``.
        """
        pace = self.pace(job_id, bandwidth)
        before = pace.bytes_per_second
        pace.change(self._rate(job_id, bandwidth), self._clock())
        after = pace.bytes_per_second
        return bool(after) and (not before or after < before * MUCH_SLOWER)

    def is_shared(self, bandwidth: Bandwidth) -> bool:
        """Whether the pace depends on the number of workers: whether the job has a limit at this time of day."""
        return bandwidth.at(self._minute()) > 0

    def _rate(self, job_id: str, bandwidth: Bandwidth) -> float:
        return bandwidth.at(self._minute()) / self._workers.get(job_id, self._sharers)


class Hiding:
    """How long items that can't be read now are hidden, so that they reappear one after the other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def seconds(self) -> float:
        """How long to hide the next item, in seconds."""
        now = self._clock()
        self._until = max(now + HIDING_SECONDS, self._until + HIDING_STEP_SECONDS)
        return min(MAX_HIDING_SECONDS, self._until - now)
