"""What a worker reports every few seconds: how far it has got with items that have no receipt yet, and how its
addresses perform. Reports are shown to users, and workers share a job's bandwidth according to them. They are not used
for accounting: a row that is lost or late changes no total.

Everything is a count since the worker's start, or an age in seconds, so a worker's clock may be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cachewarmer.errors import InvalidMessage, InvalidValue
from cachewarmer.model.bound import Bound, Verdict, bound_of, of_job
from cachewarmer.model.plain import load_plain, plain_values, shown
from cachewarmer.model.results import JobStatus, Tally, split_tally_name
from cachewarmer.values import dataclass
from cachewarmer.wire import FieldReader, dump_object, load_object

NOTE_SECONDS = 5.0
"""Time between two rows of a worker."""
LOST_SECONDS = 4 * NOTE_SECONDS
"""A worker whose row is older than this is considered gone: what it had in hand no longer counts as read."""
PACED_NOTE_SECONDS = NOTE_SECONDS / 2
"""Time between two rows of a worker whose bandwidth is limited, because others share the bandwidth with it."""
SHARING_SECONDS = 8.0
"""A worker whose row is older than this loses its share of a job's bandwidth; the others get it within ten seconds."""
KEEP_SECONDS = 300.0
"""Rows that are older than this are removed."""
MOST_ROW_BYTES = 32 * 1024
MOST_JOBS = 64
MOST_ADDRESSES = 16
"""Maximum numbers of jobs and addresses in one row; the rest is left out."""
MOST_BUCKETS = 128
"""Maximum number of buckets in a histogram; those of ``targets.latency`` have fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """How far a worker has got with one job."""

    job: str = ""
    items: int = 0
    """Number of items that it holds."""
    files: int = 0
    bytes: int = 0
    """What has been read of these items."""
    settled_files: int = 0
    settled_bytes: int = 0
    """The sums of this process's receipts that were counted."""
    settled_items: int = 0
    failed_files: int = 0
    """Also from these receipts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReport:
    """How a worker's reading from one mount address is going. Counts are since the worker's start."""

    address: str = ""
    window: int = 0
    """Number of calls that may be in flight."""
    in_flight: int = 0
    waiting: int = 0
    """Number of requests that are not done yet."""
    knee: int = 0
    """The window beyond which more calls don't raise the rate, or make other clients wait; 0 if unknown."""
    bound: str = Bound.UNKNOWN
    """Why the window is not larger: ``link`` or ``threads``."""
    canary_idle_ms: float = 0.0
    canary_ms: float = 0.0
    """How long another client waits for a server thread: without load, and now. 0 if unknown."""
    way_idle_ms: float = 0.0
    way_ms: float = 0.0
    """The round trip to the address: without load, and now. 0 if unknown."""
    calls: int = 0
    """Number of READ calls."""
    bytes: int = 0
    latency_seconds: float = 0.0
    """The sum of the latencies of all READ calls."""
    latencies: tuple[tuple[int, int], ...] = ()
    """Histogram of these latencies as (bucket, calls): see ``targets.latency``. Empty buckets are left out."""
    retries: int = 0
    jukebox_waits: int = 0
    reconnects: int = 0
    failures: int = 0
    """How many operations, other than probes, failed because the address failed."""
    last_failure: str = ""
    """What failed last, and why, in one line."""
    silent_seconds: float = 0.0
    """Time since the address stopped answering; 0 if it answers."""
    problem: str = ""
    """Why it does not answer, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """The state of one worker process when it wrote this row."""

    worker: str = ""
    """Its name, as in tallies."""
    host: str = ""
    pid: int = 0
    version: str = ""
    """Version of the program."""
    up_seconds: float = 0.0
    ended: bool = False
    """Whether it has stopped and holds nothing any more."""
    bound: str = Bound.UNKNOWN
    """What limits it."""
    cpu_share: float = 0.0
    """Processor time used per second recently: 1 is one core."""
    jobs: tuple[InHand, ...] = ()
    addresses: tuple[AddressReport, ...] = ()
    seen_seconds: float = 0.0
    """How long ago the broker received the row, by its own clock; not part of the JSON."""

    @property
    def key(self) -> str:
        """Identifies the process, even if others were given the same name."""
        return f"{self.worker}/{self.host}/{self.pid}"

    @property
    def at_work(self) -> bool:
        """Whether it has written a row recently and has not ended."""
        return not self.ended and self.seen_seconds < LOST_SECONDS

    def in_hand(self, job_id: str) -> InHand | None:
        """How far it has got with a job; None if it has had no items of the job recently."""
        return next((one for one in self.jobs if one.job == job_id), None)

    def is_reading(self, job_id: str) -> bool:
        """Whether it holds items of a job, and therefore has a share of the job's bandwidth."""
        held = self.in_hand(job_id)
        return self.at_work and self.seen_seconds < SHARING_SECONDS and held is not None and held.items > 0

    def to_json(self) -> str:
        """The text that a broker stores: ASCII, at most ``MOST_ROW_BYTES``. What doesn't fit is left out."""
        jobs = sorted(self.jobs, key=lambda one: -one.items)[:MOST_JOBS]
        addresses = sorted(self.addresses, key=lambda one: -one.calls)[:MOST_ADDRESSES]
        while True:
            text = dump_object(
                {
                    **plain_values(self),
                    "jobs": [plain_values(one) for one in jobs],
                    "addresses": [{**plain_values(one), "latencies": one.latencies} for one in addresses],
                }
            )
            if len(text) <= MOST_ROW_BYTES or not (jobs or addresses):
                return text
            jobs, addresses = jobs[: len(jobs) // 2], addresses[: len(addresses) // 2]

    @classmethod
    def from_json(cls, text: str | bytes, seen_seconds: float = 0.0) -> WorkerReport:
        """Reads a row, which anyone may have written; unknown keys are ignored.

        Raises:
            InvalidMessage: it is not valid; the error names the key.
        """
        if len(text) > MOST_ROW_BYTES:
            raise InvalidMessage(f"a worker's row has at most {MOST_ROW_BYTES} bytes, not {len(text)}")
        read = load_object(text)
        try:
            return replace(
                load_plain(cls, read),
                jobs=tuple(load_plain(InHand, one) for one in _rows(read, "jobs", MOST_JOBS)),
                addresses=tuple(_address(one) for one in _rows(read, "addresses", MOST_ADDRESSES)),
                seen_seconds=max(0.0, seen_seconds),
            )
        except InvalidValue as error:
            raise InvalidMessage.like(error) from error


def _rows(read: FieldReader, key: str, most: int) -> list[FieldReader]:
    found = read.take(key, list, [])
    if len(found) > most:
        raise InvalidValue(f"{key} holds {len(found)} rows: at most {most}")
    if not all(isinstance(one, dict) for one in found):
        raise InvalidValue(f"{key} must be a list of objects")
    return [FieldReader(one) for one in found]


def _address(read: FieldReader) -> AddressReport:
    pairs = read.take("latencies", list, [])
    good = len(pairs) <= MOST_BUCKETS and all(_is_pair(one) for one in pairs)
    if not good:
        raise InvalidValue(f"latencies must be a list of at most {MOST_BUCKETS} [bucket, calls]")
    return replace(load_plain(AddressReport, read), latencies=tuple((bucket, calls) for bucket, calls in pairs))


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(one) is int for one in pair):
        return False
    bucket, calls = pair
    return bool(0 <= bucket < MOST_BUCKETS and 0 <= calls < 1 << 63)


# -- what is shown ---------------------------------------------------------------------------------------------------


def with_in_hand(status: JobStatus, workers: Iterable[WorkerReport]) -> JobStatus:
    """Adds to a status, as further tallies, what workers have read of items that have no receipt yet: for display only.

    A row may be older than the receipts: what these have settled since is not counted twice. If the rows don't say what
    limits the job, the verdict that the broker has stored remains.
    """
    if status.state.final:
        return status
    workers = list(workers)
    extra = [one for one in _beyond_books(status, workers) if one.files or one.bytes]
    seen = verdict(status, workers)
    return replace(status, tallies=(*status.tallies, *extra), bound=seen if seen.bound else status.bound)


def verdict(status: JobStatus, workers: Iterable[WorkerReport]) -> Verdict:
    """What limits an unfinished job, according to its workers' reports."""
    rows = [one for one in workers if one.at_work and one.in_hand(status.job.job_id) is not None]
    bound = of_job([bound_of(one.bound) for one in rows], scan_finished=status.scan.finished)
    same = _about(rows, bound)
    return Verdict(
        bound=bound,
        address=same[0].address if same else "",
        window=sum(one.window for one in same),
        knee=sum(one.knee for one in same),
        canary_idle_ms=max((one.canary_idle_ms for one in same), default=0.0),
        canary_ms=max((one.canary_ms for one in same), default=0.0),
        way_idle_ms=min((one.way_idle_ms for one in same if one.way_idle_ms), default=0.0),
        way_ms=max((one.way_ms for one in same), default=0.0),
        workers=len(rows),
    )


def _about(rows: Sequence[WorkerReport], bound: Bound) -> list[AddressReport]:
    """All workers' reports on the address that a verdict concerns: one with this verdict itself, else the busiest."""
    places = [place for one in rows for place in one.addresses]
    bound_so = [place for one in rows if one.bound == bound for place in one.addresses] or places
    busiest = max(bound_so, key=lambda one: (one.bound == bound, one.in_flight), default=AddressReport())
    return [one for one in places if one.address == busiest.address]


def _beyond_books(status: JobStatus, workers: Iterable[WorkerReport]) -> list[Tally]:
    by_name: dict[str, list[InHand]] = {}
    for worker in workers:
        held = worker.in_hand(status.job.job_id) if worker.at_work else None
        if held is not None:
            by_name.setdefault(worker.worker, []).append(held)
    # A process may have several tallies: if a job is counted in parts, or if its name was used before.
    booked = dict.fromkeys(by_name, (0, 0))
    for tally in status.tallies:
        name = shown(split_tally_name(tally.worker)[0] if status.job.each_address else tally.worker)
        if name in booked:
            files, read = booked[name]
            booked[name] = (files + tally.files, read + tally.bytes)
    return [
        Tally(
            worker=name,
            files=_beyond([(one.files, one.settled_files) for one in rows], booked[name][0]),
            bytes=_beyond([(one.bytes, one.settled_bytes) for one in rows], booked[name][1]),
        )
        for name, rows in by_name.items()
    ]


def _beyond(rows: Sequence[tuple[int, int]], booked: int) -> int:
    held, settled = sum(row[0] for row in rows), sum(row[1] for row in rows)
    return min(held, max(0, held + settled - booked))
