"""Notices a job that makes no progress any more because its addresses fail, although they answer probes.

A cache whose origin can't be reached still answers NULL calls itself, but delivers no data. No item is to blame for
that, so none is ever poisoned for it, and the job would never end. Instead it fails when the patience is over, and can
be resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from cachewarmer.model import JobState, JobStatus, WarmJob, WorkerReport
from cachewarmer.targets.breaker import Failures

NOTICED_SECONDS = 15.0
"""How long it may take until a silent address is noticed. Only then do those who wait for it start to count."""


class Stall:
    """Notices a job that has made no progress for as long as the patience lasts, while its addresses failed."""

    def __init__(self, patience_seconds: float, now: float) -> None:
        self.patience_seconds = patience_seconds
        self.over = asyncio.Event()
        """Set when the job has stalled; ``reason`` then says why."""
        self.reason = ""
        self._moved_at = now
        self._seen: object = None
        self._most_read = (0, 0)
        self._failures = 0

    def look(self, status: JobStatus, failures: Sequence[Failures], now: float) -> None:
        """Looks at the job as it is now, including what has been read of items that have no receipt yet.

        Reading something again, because its item was handed back, is not progress.

        Args:
            status: the job, with tallies of what its workers hold.
            failures: the failures of its addresses so far, for each process or for the whole fleet.
            now: seconds of the clock that the constructor's ``now`` is from.
        """
        seen = (status.state, status.settled_items, status.scan, status.state is JobState.PAUSED and now)
        read = (sum(one.bytes for one in status.tallies), sum(one.files for one in status.tallies))
        count = sum(one.times for one in failures)
        if seen != self._seen or read > self._most_read:
            self._seen, self._moved_at, self._failures = seen, now, count
        self._most_read = max(self._most_read, read)
        still = now - self._moved_at
        # If each address has its own items, these fail by themselves soon after the patience, and the job continues.
        noticed = NOTICED_SECONDS if status.job.each_address else min(self.patience_seconds, NOTICED_SECONDS)
        late = self.patience_seconds + noticed
        if self.patience_seconds and still >= late and count > self._failures:
            last = next(one.last for one in reversed(failures) if one.last)
            self.reason = f"nothing could be read or listed for {still:.0f} s: {last}"
            self.over.set()


class FleetFailures:
    """The failures of one job's addresses in the workers of a fleet, as these report them."""

    def __init__(self, job: WarmJob) -> None:
        self._job = job
        self._counted: dict[tuple[str, str], int] = {}
        self._times = 0
        self._last = ""

    def look(self, workers: Iterable[WorkerReport]) -> Failures:
        """Adds the current reports; counts only failures at workers that hold or have held items of the job."""
        for worker in workers:
            if not worker.at_work or worker.in_hand(self._job.job_id) is None:
                continue
            for address in worker.addresses:
                if address.address not in self._job.access.addresses:
                    continue
                key = (worker.key, address.address)
                more = address.failures - self._counted.get(key, 0)
                self._counted[key] = address.failures
                if more > 0:
                    self._times += more
                    self._last = address.last_failure or address.problem or f"{address.address} does not answer"
        return Failures(self._times, self._last)
