"""What is known of a job's addresses, and of what bounds it: kept with the job, for workers that come later and for those
who ask when it is over.

It is never for the books, and what is invalid is as if nothing had been kept: whoever finds nothing finds it again.
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
"""What is older says nothing about a cache any more: others may use it by now, or it was changed."""
MOST_LEARNT_BYTES = 16 * 1024
MOST_WINDOW = 65_536
MOST_WORKERS = 100_000
LEARNT_SHARE = 0.5
"""Share of the window of others at an address that a later worker tries first."""
WORTH_TELLING = 32
"""A window without a known knee says something only if it has grown to this: a search begins with 16 by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntAddress:
    """One mount address."""

    address: str = ""
    window: int = 0
    """Calls in flight that a worker held there: the knee that it found, or what it reached without meeting one."""
    workers: int = 1
    """Number of workers that held this window at the same time."""
    canary_idle_ms: float = 0.0
    """What another client waits for a server thread there without load; 0 if unknown."""
    bound: str = Bound.UNKNOWN
    """Why the window is not larger: ``link`` or ``threads``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """See the module."""

    verdict: Verdict = field(default_factory=Verdict)
    """What mostly bounded the job so far."""
    addresses: tuple[LearntAddress, ...] = ()
    age_seconds: float = 0.0
    """Age by the broker's clock; not part of the JSON."""

    @classmethod
    def of(cls, workers: Iterable[WorkerReport]) -> Learnt:
        """From what workers say of themselves: for each address, those in the middle of them.

        Those at work count before those that have ended or are lost, of whatever job: an address is the same for all.
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
        """What each of ``workers`` that come later may begin with, by address: half of what was held there, and where they
        are more than those who held it, a share of that.
        """
        if self.age_seconds > FRESH_SECONDS:
            return {}
        return {
            one.address: max(1, int(LEARNT_SHARE * one.window * min(1.0, one.workers / max(1, workers))))
            for one in self.addresses
            if one.address and one.window
        }

    def to_json(self) -> str:
        """What a broker keeps: ASCII, at most ``MOST_LEARNT_BYTES``."""
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
        """Reads what anyone may have written; unknown keys are ignored.

        Raises:
            InvalidMessage: says what is wrong.
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
        """What a broker kept, ``age_seconds`` ago by its clock; None: nothing, or nothing that makes sense.

        One who writes the future, or anything but a number, as the time of it has written nonsense.
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
"""Clocks that differ by less make what was just kept seem to come from the future."""


def _held(place: AddressReport) -> int:
    """The window that a worker held at an address; 0: it says nothing. One that is fixed was not found out."""
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
    """Gathers what is learnt while a job is running, for whoever keeps it with the job."""

    def __init__(self) -> None:
        self.times = BoundTimes()
        self._addresses: dict[str, LearntAddress] = {}

    def look(self, status: JobStatus, workers: Iterable[WorkerReport], now: float) -> None:
        """Takes what a job's workers say now; ``now`` in seconds of a monotonic clock. A job that is over teaches no more."""
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
        """All of it so far; the same as ``Learnt()`` where nothing is known."""
        return Learnt(verdict=self.times.main, addresses=tuple(self._addresses.values()))
