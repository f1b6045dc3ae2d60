"""What all brokers share, independent of the store: state changes of jobs, and the format of totals and samples.

The format is JSON in ASCII, so that paths of any bytes are preserved.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, field, fields, replace
from typing import Any, NamedTuple, Self

from cachewarmer.broker.sound import sound
from cachewarmer.errors import DamagedRecord, InvalidMessage, InvalidTransition, LeaseLost
from cachewarmer.model import (
    ERROR_SAMPLE,
    Bandwidth,
    JobState,
    Learnt,
    PathError,
    Receipt,
    ScanTotals,
    SlowPath,
    Tally,
    Verdict,
    WarmJob,
    WorkerReport,
    WorkItem,
)
from cachewarmer.model.bandwidth import bytes_per_second
from cachewarmer.model.live import KEEP_SECONDS
from cachewarmer.model.results import ScannedAddress
from cachewarmer.values import dataclass
from cachewarmer.wire import MAX_INFLATED_BYTES, MOST_FILES, dump_object, load_object

log = logging.getLogger(__name__)

DAMAGED_NAMED = 100
"""Maximum number of damaged rows that a process logs."""
ROW_BORDER = rb'[A-Za-z0-9+/="]"\],\["'
"""What is between two rows of a packed list of files: the end of a handle, and the beginning of the next path. It can't
occur in a path, where a quote has a backslash before it."""
LONGEST_BORDER = 6
"""The length of ``ROW_BORDER`` in bytes."""
COUNTED_BYTES = 64 * 1024
"""Bytes that are inflated at a time while the rows of a list are counted."""
KEYS_OF_FILES = ("FileTimes", "Ranges", "CameFiles", "CameRanges")
"""The keys of a work message that are not valid without its list of files."""
POISON_FILES_NAMED = 5
"""Maximum number of files of a poisoned item that the error sample names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The part of a job that changes while it runs. Each method returns the new standing.

    It is the same object if nothing changes, so that a broker knows whether there is something to write.
    """

    state: JobState
    reason: str = ""
    submitted_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    scan: ScanTotals = field(default_factory=ScanTotals)
    begun_again: bool = False
    """Whether the job was found stranded once, and its scan begun again."""

    def moved_to(self, state: JobState, reason: str, now: float) -> Self:
        """The standing in another state. The first move to scanning sets the start time, and a final state the end
        time.
        """
        if state is self.state:
            return self
        return replace(
            self,
            state=state,
            reason=printable(reason) or self.reason,
            started_at=self.started_at or (now if state is JobState.SCANNING else 0.0),
            finished_at=now if state.final else 0.0,
        )

    def scanned(self, totals: ScanTotals, now: float) -> Self:
        """The standing with the totals of its scan. Unfinished totals never overwrite finished ones, which end the
        scan.
        """
        if self.scan.finished and not totals.finished:
            return self
        changed = replace(self, scan=totals)
        if totals.finished and self.state is JobState.SCANNING:
            return changed.moved_to(JobState.WARMING, "", now)
        return changed

    def revived(self) -> Self | None:
        """The standing in which a failed job continues; None: it has not failed."""
        if self.state is not JobState.FAILED:
            return None
        state = JobState.WARMING if self.scan.finished else JobState.SCANNING
        return replace(self, state=state, reason="", finished_at=0.0)

    def scanned_again(self) -> Self | None:
        """The standing at the beginning of another scan, because the job is stranded; None: that is not permitted.

        A job is scanned again only once. One that is being scanned again stays as it is, because the answer to the
        first call may have been lost.
        """
        if self.begun_again:
            return self if self.state is JobState.SCANNING and not self.scan.finished else None
        if self.state is not JobState.WARMING:
            return None
        return replace(self, state=JobState.SCANNING, scan=ScanTotals(), begun_again=True)


@contextmanager
def reading_row(what: str) -> Iterator[None]:
    """Turns errors of reading a stored row into ``DamagedRecord``, whose message names ``what`` was read."""
    try:
        yield
    except (InvalidMessage, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedRecord(f"the broker's record of {what} is damaged ({why[:200]})") from error


class DamagedRows:
    """Logs each damaged row once, for callers that skip it to serve the others."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def name(self, error: DamagedRecord) -> None:
        """Logs the error of a damaged row, the first time."""
        self._once(str(error), "passing over it")

    def name_lease(self, what: str, until: object, *, word: str = "until") -> None:
        """Logs a row whose lease ends at a time that this program never sets, the first time."""
        self._once(f"the broker's record of {what} is damaged (leased {word} {until!r:.50})", "taking it as free")

    def _once(self, text: str, done: str) -> None:
        if text not in self._named and len(self._named) < DAMAGED_NAMED:
            self._named.add(text)
            log.warning("%s; %s", text, done)


def worker_reports(
    rows: Iterable[tuple[str, str | bytes, float]], job_id: str, damaged: DamagedRows
) -> list[WorkerReport]:
    """The reports in rows of (key, text, seconds since it was written), sorted by name.

    If ``job_id`` is given, only those of workers that had items of that job. Old reports are left out, and damaged ones
    are logged and skipped.
    """
    found = []
    for key, text, seconds in rows:
        if seconds >= KEEP_SECONDS:
            continue
        try:
            with reading_row(f"worker {_named(key)}"):
                report = WorkerReport.from_json(text, seconds)
        except DamagedRecord as error:
            damaged.name(error)
            continue
        if not job_id or report.in_hand(job_id) is not None:
            found.append(report)
    return sorted(found, key=lambda one: one.key)


def _named(key: str) -> str:
    return printable(str(key))[:100]


class ManagedJobs:
    """The jobs that this process manages, each with its lease.

    What a manager writes after another one has taken over the job must not count, even if it does not know that yet.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def take(self, job_id: str, token: str) -> None:
        """Records that the job was leased with this token."""
        self._tokens[job_id] = token

    def leave(self, job_id: str) -> None:
        """Records that the job was handed back, or is over."""
        self._tokens.pop(job_id, None)

    def check(self, job_id: str, token: str | None) -> None:
        """Raises ``LeaseLost`` if ``token``, the one in the row of the job, is another manager's."""
        if self._tokens.get(job_id, token) != token:
            raise LeaseLost(f"another manager has job {job_id}")


def dump(value: object) -> str:
    """Compact ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def printable(text: str) -> str:
    """The text in a form that any store accepts: bytes that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def dump_scan(totals: ScanTotals) -> str:
    """The totals as JSON, for ``load_scan``."""
    return dump(asdict(totals))


def load_scan(text: str) -> ScanTotals:
    """Parses stored totals; the empty text stands for a scan that has not begun."""
    if not text:
        return ScanTotals()
    known = {one.name for one in fields(ScanTotals)}
    values: dict[str, Any] = {name: value for name, value in json.loads(text).items() if name in known}
    values["errors"] = load_errors(values.get("errors", ()))
    values["histogram"] = tuple(values.get("histogram", ()))
    values["warnings"] = tuple(values.get("warnings", ()))
    values["by_address"] = tuple(ScannedAddress(*row) for row in values.get("by_address", ()))
    return sound(ScanTotals(**values))


def load_errors(rows: Sequence[Sequence[str]]) -> tuple[PathError, ...]:
    """Parses path errors from rows of JSON; earlier versions stored only the path and one line."""
    return tuple(PathError(*row) for row in rows)


def load_slowest(rows: Sequence[Sequence[Any]]) -> tuple[SlowPath, ...]:
    """Parses slow paths from rows of JSON."""
    return tuple(SlowPath(path, seconds) for path, seconds in rows)


def sample_within(errors: Sequence[PathError], most_bytes: int) -> tuple[PathError, ...]:
    """The first of ``errors`` whose JSON together is at most ``most_bytes`` long; very long ones are truncated."""
    kept: list[PathError] = []
    used = 2
    for error in errors[:ERROR_SAMPLE]:
        length = len(dump(error)) + 1
        if length > most_bytes // 4:
            short = most_bytes // 64
            error = PathError(error.path[-short:], error.error[:short])  # noqa: PLW2901  # the cut one takes its place
            length = len(dump(error)) + 1
        if used + length > most_bytes:
            break
        kept.append(error)
        used += length
    return tuple(kept)


def load_bandwidth(text: str) -> Bandwidth | None:
    """Parses a stored bandwidth; None: the one in the items holds. Raises ``InvalidValue``."""
    return Bandwidth.parse(text, bytes_per_second) if text else None


def kept_verdict(text: object) -> Verdict:
    """What mostly limits a job, according to what ``keep_learnt`` stored."""
    found = Learnt.kept(text, 0.0)
    return found.verdict if found is not None else Verdict()


def limited(job: WarmJob, bandwidth: Bandwidth) -> WarmJob:
    """The job with another bandwidth, for its status and for items that are published from now on."""
    return replace(job, **bandwidth.fields)


def check_limit(job_id: str, state: JobState) -> None:
    """Raises ``InvalidTransition`` for a job in a final state, whose bandwidth no longer matters."""
    if state.final:
        raise InvalidTransition(f"job {job_id} is {state}: there is nothing left to limit")


def add_all(tally: Tally, receipts: Sequence[Receipt]) -> Tally:
    """The tally with all of ``receipts`` added."""
    for receipt in receipts:
        tally = tally.add(receipt)
    return tally


def with_id(item: WorkItem) -> WorkItem:
    """The item with an id: its own, or one derived from its contents, so that the same item always has the same id."""
    return item if item.item_id else item.with_content_id()


def poison_sample(item: WorkItem, reason: str) -> tuple[PathError, ...]:
    """The entries in the error sample of a job for an item that was given up."""
    base = f"{item.access.export.rstrip('/')}/{item.path.strip('/')}"
    if not item.files or len(item.files) == 1:
        name = item.files[0].path if item.files else ""
        return (PathError(f"{base.rstrip('/')}/{name}" if name else base, reason),)
    rows = [PathError(f"{base.rstrip('/')}/{entry.path}", reason) for entry in item.files[:POISON_FILES_NAMED]]
    return tuple(rows)


def given_up(deliveries: int, last_error: str) -> str:
    """The reason for which an item goes to poison after too many failed deliveries."""
    return f"given up after {deliveries} deliveries: {last_error or 'each worker that held it ended without a word'}"


class Envelope(NamedTuple):
    """A work message without its list of files."""

    text: str
    file_count: int
    """The number of files in the list; 1: there is none, or it can't be read."""


def envelope(text: str) -> Envelope:
    """Splits off the list of files of a work message, which is counted but not unpacked, to use little memory.

    The keys that belong to that list are left out too. A list that can't be read counts as one file.

    Raises:
        InvalidMessage: the message is not a JSON object.
    """
    read = load_object(text)
    lists = [read.remove(key) for key in ("Files", "FilesDeflated")]
    for key in KEYS_OF_FILES:
        read.remove(key)
    count = 1
    for value in lists:
        if isinstance(value, list):
            count = len(value)
        elif isinstance(value, str):
            count = _count_deflated(value)
    return Envelope(dump_object(read.values), min(count, MOST_FILES))


def _count_deflated(text: str) -> int:
    """The number of rows of a deflated list, found by what is between two rows."""
    inflater = zlib.decompressobj()
    count, end = 1, b""
    try:
        packed, seen = base64.b64decode(text, validate=True), 0
        while not inflater.eof and seen < MAX_INFLATED_BYTES:
            part = inflater.decompress(packed, COUNTED_BYTES)
            packed = inflater.unconsumed_tail
            if not part:
                break
            seen += len(part)
            count += len(re.findall(ROW_BORDER, end + part))
            end = (end + part)[1 - LONGEST_BORDER :]
    except (binascii.Error, zlib.error, ValueError):
        return 1
    return count


def managers_lost(deliveries: int) -> str:
    """The reason for which a job is not given to another manager."""
    return f"given up after {deliveries} managers: each of them ended, without a word, before the scan was finished"
