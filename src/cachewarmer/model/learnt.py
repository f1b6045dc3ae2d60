"""What is known about a job's addresses and about what limits it. This is stored with the job, for workers that come
later and for users who ask when the job is over.

It is not used for accounting. Invalid content counts as absent: workers then find everything out again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from typing import Any

from cachewarmer.errors import InvalidMessage, InvalidValue
from cachewarmer.model.bound import Bound, BoundTimes, Verdict, bound_of
from cachewarmer.model.live import MOST_ADDRESSES, AddressReport, WorkerReport, verdict
from cachewarmer.model.plain import load_plain, plain_values
from cachewarmer.model.results import JobStatus
from cachewarmer.values import dataclass
from cachewarmer.wire import FieldReader, dump_object, load_object

FRESH_SECONDS = 1800.0
"""What is older says nothing about a cache any more: other clients may use it by now, or it may have been changed."""
MOST_LEARNT_BYTES = 16 * 1024
MOST_WINDOW = 65_536
MOST_WORKERS = 100_000
LEARNT_SHARE = 0.5
"""A later worker first tries this share of the window that others had at an address."""
WORTH_TELLING = 32
"""A window whose knee is unknown is informative only if it has grown to this size: a search begins with 16 anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntAddress:
    """What is known about one mount address."""

    address: str = ""
    window: int = 0
    """The window that a worker had there, in calls: the knee that it found, or what it reached without finding one."""
    workers: int = 1
    """Number of workers that had such a window at the same time."""
    canary_idle_ms: float = 0.0
    """How long another client waits for a server thread there without load; 0 if unknown."""
    bound: str = Bound.UNKNOWN
    """Why the window is not larger: ``link`` or ``threads``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What is known about a job's addresses, and about what limits it; see the module's docstring."""

    verdict: Verdict = field(default_factory=Verdict)
    """What has limited the job for most of the time so far."""
    addresses: tuple[LearntAddress, ...] = ()
    age_seconds: float = 0.0
    """Age by the broker's clock; not part of the JSON."""

    @classmethod
    def of(cls, workers: Iterable[WorkerReport]) -> Learnt:
        """Takes from the workers' reports the one with the median window, for each address.

        Reports of workers that have ended or are lost count only if there are no others. The workers may be those of
        any job, because an address is the same for all jobs.
        """
        places: dict[str, list[tuple[bool, AddressReport]]] = {}
        for one in workers:
            for place in one.addresses:
                if place.address and _held(place):
                    places.setdefault(place.address, []).append((one.at_work, place))
        found = []
        for address, known in places.items():
            rows = [place for at_work, place in known if at_work] or [place for _, place in known]
            middle = sorted(rows, key=_held)[(len(rows) - 1) // 2]
            found.append(
                LearntAddress(
                    address=address,
                    window=_held(middle),
                    workers=len(rows),
                    canary_idle_ms=middle.canary_idle_ms,
                    bound=middle.bound,
                )
            )
        return cls(addresses=tuple(found[:MOST_ADDRESSES]))

    def first_windows(self, workers: int = 1) -> dict[str, int]:
        """The window, in calls, that each of ``workers`` which come later may begin with, by address.

        This is half of the known window. If there are more workers than had that window, they share it. The result
        is empty if what is known is too old.
        """
        if self.age_seconds > FRESH_SECONDS:
            return {}
        return {
            one.address: max(1, int(LEARNT_SHARE * one.window * min(1.0, one.workers / max(1, workers))))
            for one in self.addresses
            if one.address and one.window
        }

    def to_json(self) -> str:
        """The text that a broker stores: ASCII, at most ``MOST_LEARNT_BYTES``. What doesn't fit is left out."""
        addresses = self.addresses[:MOST_ADDRESSES]
        while True:
            text = dump_object(
                {
                    "bound_by": str(self.verdict.bound),
                    "verdict": plain_values(self.verdict),
                    "addresses": [plain_values(one) for one in addresses],
                }
            )
            if len(text) <= MOST_LEARNT_BYTES or not addresses:
                return text
            addresses = addresses[: len(addresses) // 2]

    @classmethod
    def from_json(cls, text: str | bytes, age_seconds: float = 0.0) -> Learnt:
        """Reads a stored text, which anyone may have written; unknown keys are ignored.

        Raises:
            InvalidMessage: it is not valid.
        """
        if len(text) > MOST_LEARNT_BYTES:
            raise InvalidMessage(f"what was learnt has at most {MOST_LEARNT_BYTES} bytes, not {len(text)}")
        read = load_object(text)
        try:
            shown = load_plain(Verdict, FieldReader(read.take("verdict", dict, {})))
            rows = read.take("addresses", list, [])
            if len(rows) > MOST_ADDRESSES or not all(isinstance(one, dict) for one in rows):
                raise InvalidValue(f"addresses must be a list of at most {MOST_ADDRESSES} objects")
            return cls(
                verdict=replace(shown, bound=bound_of(read.text("bound_by"))),
                addresses=tuple(_address(FieldReader(one)) for one in rows),
                age_seconds=max(0.0, age_seconds),
            )
        except InvalidValue as error:
            raise InvalidMessage.like(error) from error

    @classmethod
    def kept(cls, text: Any, age_seconds: Any) -> Learnt | None:
        """Reads what a broker stored ``age_seconds`` ago by its clock; None if that is nothing, or not valid.

        It is also not valid if the age is not a number, or lies too far in the future.
        """
        if not isinstance(text, (str, bytes)) or not text or not isinstance(age_seconds, (int, float)):
            return None
        if not -MOST_AHEAD_SECONDS <= age_seconds:  # noqa: SIM300  # false for NaN as well
            return None
        try:
            return cls.from_json(text, age_seconds)
        except InvalidMessage:
            return None


MOST_AHEAD_SECONDS = 60.0
"""If clocks differ by up to this much, what was just stored may seem to come from the future."""


def _held(place: AddressReport) -> int:
    """The window that a worker found for an address; 0 if it has found none, as with a fixed window."""
    if place.knee > 0:
        return min(place.knee, MOST_WINDOW)
    found = place.canary_idle_ms > 0 and WORTH_TELLING <= place.window <= MOST_WINDOW
    return place.window if found else 0


def _address(read: FieldReader) -> LearntAddress:
    found = load_plain(LearntAddress, read)
    if not (found.window <= MOST_WINDOW and 0 < found.workers <= MOST_WORKERS):
        raise InvalidValue("the window of an address, or the number of its workers, can't be so large")
    return replace(found, bound=str(bound_of(found.bound)))


class Lessons:
    """Gathers what is learnt while a job is running, to be stored with the job."""

    def __init__(self) -> None:
        self.times = BoundTimes()
        self._addresses: dict[str, LearntAddress] = {}

    def look(self, status: JobStatus, workers: Iterable[WorkerReport], now: float) -> None:
        """Takes the current reports of a job's workers; ``now`` is in seconds of a monotonic clock.

        Does nothing if the job is over.
        """
        if status.state.final:
            return
        rows = [one for one in workers if one.at_work and one.in_hand(status.job.job_id) is not None]
        self.times.add(verdict(status, rows), now)
        of_job = status.job.access.addresses
        for one in Learnt.of(rows).addresses:
            if one.address in of_job:
                self._addresses[one.address] = one

    @property
    def learnt(self) -> Learnt:
        """What has been learnt so far; equal to ``Learnt()`` if that is nothing."""
        return Learnt(verdict=self.times.main, addresses=tuple(self._addresses.values()))
