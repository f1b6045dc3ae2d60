"""Logs the progress of a worker in a few lines: that it waits for work, reads or is done, and why it stops."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cachewarmer.about import about
from cachewarmer.amounts import counted, duration, size
from cachewarmer.model import Tally

log = logging.getLogger(__name__)

QUIET_SECONDS = 2.0
"""A worker that has had no work for this long is waiting for work: between two items it may have none for a moment."""
ASKED_TO = "it was asked to"
EVICTED = "its machine is taken away"


class Course:
    """Logs the progress of one worker.

    Call ``works`` when an item is begun, and ``rests`` repeatedly while there is none. ``clock`` returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._began: float | None = None
        self._resting_since: float | None = self._started - QUIET_SECONDS
        self._waits = False
        self._before = Tally(worker="")
        self.why = ASKED_TO
        """Why the worker stops."""

    def works(self, job_id: str) -> None:
        """Call this when an item of a job is begun."""
        self._resting_since = None
        self._waits = False
        if self._began is None:
            self._began = self._clock()
            log.info("reading job %s", job_id, extra=about(job=job_id))

    def rests(self, done: Tally) -> None:
        """Call this when the worker holds no item and can get none; ``done`` is what it has done since its start."""
        now = self._clock()
        if self._resting_since is None:
            self._resting_since = now
        if self._waits or now - self._resting_since < QUIET_SECONDS:
            return
        self._waits = True
        if self._began is None:
            log.info("waiting for work")
            return
        seconds, self._began = self._resting_since - self._began, None
        log.info("read %s in %s; waiting for work", said_of(done, self._before), duration(seconds))
        self._before = done

    def ends(self, done: Tally, handed_back: int) -> None:
        """Call this when the worker has stopped.

        ``done`` is what it has done since its start, and ``handed_back`` the number of items that it has handed back.
        """
        more = f"; {counted(handed_back, 'item')} handed back" if handed_back else ""
        said = said_of(done, Tally(worker=""))
        log.info("stopped: %s; read %s in %s%s", self.why, said, duration(self._clock() - self._started), more)


def said_of(done: Tally, before: Tally) -> str:
    """What was done since ``before``, in a few words."""
    failed = done.failed_files - before.failed_files
    parts = [
        counted(done.items - before.items, "item"),
        counted(done.files - before.files, "file"),
        size(done.bytes - before.bytes),
        *([f"{counted(failed, 'file')} failed"] if failed else []),
    ]
    return ", ".join(parts)
