"""The progress of jobs as JSON Lines, for other programs: ``warm --events`` and ``status --watch --json``.

Every line is an object with ``version``, ``event``, ``time`` (Unix seconds) and ``job``; docs/events.md describes the
other keys.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from cachewarmer.cli.streams import note
from cachewarmer.errors import UsageError
from cachewarmer.model import JobStatus, Report
from cachewarmer.rates import Rates

if TYPE_CHECKING:
    from cachewarmer.targets.breaker import Outage

VERSION = 1
"""Increases when a key changes its meaning or is removed. Keys and events may be added at any time."""


class Events:
    """Writes events of jobs. Call it with every status, and ``outages`` with the outages of addresses.

    ``write`` gets each line with its line end. ``clock`` returns Unix seconds.
    """

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        self._write = write
        self._clock = clock
        self._rates: dict[str, Rates] = {}
        self._states: dict[str, str] = {}
        self._last: dict[str, dict[str, Any]] = {}
        self._ended: set[str] = set()
        self._outages: dict[str, str] = {}
        self._job = self._warning = ""

    def __call__(self, status: JobStatus, workers: int | None = None) -> None:
        """Writes a ``state`` event if the state has changed, and a ``progress`` event if a number has.

        ``status`` includes what workers have in hand, as far as known. ``workers`` is the number of workers that are
        active; None if this process does the work.
        """
        job = self._job = status.job.job_id
        state, before = str(status.state), self._states.get(job)
        if state != before:
            self._states[job] = state
            self._send("state", job, state=state, before=before)
        if status.state.final:
            return
        now = self._clock()
        files, read = status.total("files"), status.total("bytes")
        rate = self._rates.setdefault(job, Rates()).add(now, files, read)
        left = rate.seconds_left(status)
        numbers = {
            "state": state,
            "files": files,
            "bytes": read,
            "failed_files": status.failed_files,
            "scanned_files": status.scan.files,
            "scanned_bytes": status.scan.bytes,
            "scan_finished": status.scan.finished,
            "files_per_second": round(rate.files, 1),
            "bytes_per_second": round(rate.bytes, 1),
            "eta_seconds": round(left, 1) if left else None,
            "bound_by": str(status.bound.bound),
        }
        if workers is not None:
            numbers["workers"] = workers
        if numbers != self._last.get(job):
            self._last[job] = numbers
            self._send("progress", job, **numbers)

    def outages(self, outages: Sequence[Outage]) -> None:
        """Writes an ``outage`` event if an address has stopped answering, and ``answered`` if it answers again."""
        current = {one.address: str(one.problem) for one in outages}
        for address, problem in current.items():
            if address not in self._outages:
                self._send("outage", self._job, address=address, problem=problem)
        for address in self._outages.keys() - current.keys():
            self._send("answered", self._job, address=address)
        self._outages = current

    def warn(self, text: str) -> None:
        """Writes a ``warning`` event for a new problem. An empty text means that the problem is over."""
        if text and text != self._warning:
            self._send("warning", self._job, text=text)
        self._warning = text

    def end(self, status: JobStatus) -> None:
        """Writes an ``end`` event with the report, once for each job. Call it when the job ends or is left."""
        job = status.job.job_id
        if job not in self._ended:
            self._ended.add(job)
            self._send("end", job, state=str(status.state), report=Report.of_job(status).document())

    def _send(self, event: str, job: str, **more: Any) -> None:
        line = {"version": VERSION, "event": event, "time": round(self._clock(), 3), "job": job, **more}
        self._write(json.dumps(line, separators=(",", ":")) + "\n")


@contextlib.contextmanager
def events_to(path: str) -> Iterator[Events]:
    """Events that are written to a file, which is overwritten; ``-``: to standard output; empty: nowhere.

    Raises:
        UsageError: the file can't be opened.
    """
    with contextlib.ExitStack() as stack:
        if path == "-":
            yield Events(EventFile(sys.stdout))
            return
        if not path:
            yield Events(len)
            return
        try:
            stream = stack.enter_context(open(path, "w", encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"--events {path}: {error.strerror}") from error
        yield Events(EventFile(stream))


class EventFile:
    """Writes events to a text stream. If that fails, a message says so once, and the job continues."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __call__(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._stream = None
            if not isinstance(error, BrokenPipeError):
                note(f"events can't be written any more: {getattr(error, 'strerror', None) or error}")
