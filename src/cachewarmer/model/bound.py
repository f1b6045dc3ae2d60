"""What limits the rate: turns observations of a worker into a verdict. Pure.

How the causes are told apart:

- The machine itself knows how busy its processors and its network interfaces are, and a pace knows whether it holds
  the reading back.
- If the window is full most of the time, the durations of a new connection's handshake and of a NULL call tell the
  rest. The server's kernel answers the handshake, so it takes longer only if the network is saturated. NULL also needs
  a thread of the server: if only NULL takes longer, the threads are busy. If neither does, the calls simply take their
  round trips, to the cache or on to its origin, and more calls in flight would raise the rate.
- If the window is not full, the reader has nothing to fill it with: the scan is behind, or there is nothing left.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from cachewarmer.values import dataclass

MOSTLY = 0.5
"""A condition that held for more than this share of the observed time is the limit."""
BUSY_SHARE = 0.9
"""Share of a core or a network interface from which it counts as fully used."""
MACHINE_BUSY_SHARE = 0.95
OWN_SHARE = 0.25
"""Share of a core: a process that uses less is not limited by a busy machine but by whatever it waits for."""
WAY_TIMES, WAY_MORE_SECONDS = 2.0, 0.002
"""A handshake that takes longer than this factor of its idle time plus this many seconds waits in a queue of the
network.
"""
THREAD_MORE_SECONDS = 0.003
"""If NULL takes this much longer than the handshake (or 1.5 times as long, if that is more), it waits for a thread."""


class Bound(StrEnum):
    """What limits a worker, a job, or the reading from an address."""

    UNKNOWN = ""
    WORK = "work"
    """There is nothing more to read, or not enough to keep the readers busy."""
    SCAN = "scan"
    """The readers wait for the scan to find more files."""
    OUTAGE = "outage"
    """No address answers."""
    PACE = "pace"
    """A bandwidth limit."""
    CPU = "cpu"
    """The processors of the machine that reads."""
    WINDOW = "window"
    """The window is full and calls take their round trips: more calls in flight would raise the rate."""
    LINK = "link"
    """The network is saturated: an interface is fully used, or more calls in flight did not raise the rate."""
    THREADS = "threads"
    """All threads of the cache are busy: calls wait for one."""
    DISK = "disk"
    """Local files, or those of a mounted file system, can't be read faster."""


def bound_of(text: str) -> Bound:
    """The value in a row; unknown if a later version wrote it."""
    return Bound(text) if text in {str(one) for one in Bound} else Bound.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressSeen:
    """What was observed at one address recently. Times are in seconds; 0 if unknown."""

    address: str = ""
    files_here: bool = False
    """A directory or a mount rather than a server that is read from directly."""
    full_share: float = 0.0
    """Share of the time in which requests waited because the window was full."""
    window: int = 0
    found: Bound = Bound.UNKNOWN
    """Why the automatic window is not larger, once that is known: ``link`` or ``threads``."""
    way_idle_seconds: float = 0.0
    way_seconds: float = 0.0
    """A connection's handshake: without load, and now."""
    null_seconds: float = 0.0
    """A NULL call on that connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was observed of one worker recently."""

    items: int = 0
    """Items that it holds."""
    outage: bool = False
    """No address answers."""
    paced_share: float = 0.0
    """Share of the time in which a limit delayed the reading."""
    cpu_share: float = 0.0
    """Processor time of this process, as a share of one core."""
    machine_share: float = 0.0
    """Utilization of all processors of this machine; 0 if unknown."""
    interface_share: float = 0.0
    """Received data as a share of the speed of the busiest network interface; 0 if unknown."""
    addresses: tuple[AddressSeen, ...] = ()


def judge(seen: Seen) -> Bound:
    """What limits this worker."""
    if seen.outage:
        return Bound.OUTAGE
    if not seen.items:
        return Bound.WORK
    if seen.paced_share > MOSTLY:
        return Bound.PACE
    if seen.cpu_share >= BUSY_SHARE:
        return Bound.CPU
    if seen.interface_share >= BUSY_SHARE:
        return Bound.LINK
    full = [one for one in seen.addresses if one.full_share > MOSTLY]
    if not full:
        return Bound.WORK
    if seen.machine_share >= MACHINE_BUSY_SHARE and seen.cpu_share >= OWN_SHARE:
        return Bound.CPU
    return first_of([judge_address(one) for one in full])


def judge_address(seen: AddressSeen) -> Bound:
    """What limits the reading from an address, given that its window is full."""
    if seen.files_here:
        return Bound.DISK
    if seen.way_seconds > WAY_TIMES * seen.way_idle_seconds + WAY_MORE_SECONDS and seen.way_idle_seconds:
        return Bound.LINK
    if seen.found:
        return seen.found
    longer = seen.null_seconds - seen.way_seconds
    if seen.way_seconds and longer > max(THREAD_MORE_SECONDS, seen.way_seconds / 2):
        return Bound.THREADS
    return Bound.WINDOW


WORST_FIRST = (
    Bound.THREADS,
    Bound.LINK,
    Bound.CPU,
    Bound.PACE,
    Bound.DISK,
    Bound.WINDOW,
    Bound.SCAN,
    Bound.WORK,
    Bound.OUTAGE,
)
"""The order of precedence among verdicts that are equally frequent: those that need most attention come first."""


def first_of(bounds: Sequence[Bound]) -> Bound:
    """The most frequent verdict; if there are several, the first of ``WORST_FIRST``."""
    known = [one for one in WORST_FIRST if one in bounds]
    return max(known, key=bounds.count, default=Bound.UNKNOWN)


def of_job(bounds: Sequence[Bound], *, scan_finished: bool) -> Bound:
    """What limits a job, given what limits each of its workers.

    Workers that wait for work count only if most of them do; the limit is then the scan, if that is still running.
    Workers that can't reach any address count only if all of them are in that state.
    """
    waiting = bounds.count(Bound.WORK)
    if waiting and 2 * waiting > len(bounds):
        return Bound.WORK if scan_finished else Bound.SCAN
    reading = [one for one in bounds if one not in (Bound.WORK, Bound.OUTAGE, Bound.UNKNOWN)]
    if reading:
        return first_of(reading)
    if waiting and not scan_finished:
        return Bound.SCAN
    return first_of(bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What limits a job, and the measurements of the address concerned. 0 if unknown."""

    bound: Bound = Bound.UNKNOWN
    address: str = ""
    window: int = 0
    knee: int = 0
    """The window beyond which more calls don't raise the rate, or make other clients wait."""
    canary_idle_ms: float = 0.0
    canary_ms: float = 0.0
    """How long another client waits for a server thread: without load, and now."""
    way_idle_ms: float = 0.0
    way_ms: float = 0.0
    """The round trip to the cache: without load, and now."""
    workers: int = 0
    """Number of workers that read the job."""

    @property
    def raised_by(self) -> str:
        """What would raise the rate, in words; empty if unknown."""
        return {
            Bound.LINK: "a faster link; or another mount address, if it is reached by a way of its own",
            Bound.THREADS: "more server threads at the cache (nfsd), or another mount address",
            Bound.WINDOW: self._window_raised_by,
            Bound.PACE: "a higher limit",
            Bound.CPU: "another worker on another machine",
            Bound.SCAN: "a larger window for the scan, or the names in a list (--files-from)",
            Bound.DISK: "a faster disk, or reading the cache directly (nfs://)",
            Bound.OUTAGE: "an address that answers",
        }.get(self.bound, "")

    @property
    def _window_raised_by(self) -> str:
        """The same if the window is the limit. Only a window that is searched for has a canary."""
        others = "another mount address, or more read-ahead at the cache"
        if self.canary_idle_ms:
            return f"{others}; the window grows by itself, up to --max-window"
        larger = f" than {self.window}" if self.window else ""
        return f"a larger window{larger} (--window auto finds one), {others}"

    def document(self) -> dict[str, object]:
        """The JSON object that reports show next to ``bound_by``."""
        return {
            "address": self.address,
            "window": self.window,
            "knee": self.knee,
            "canary_idle_ms": round(self.canary_idle_ms, 3),
            "canary_ms": round(self.canary_ms, 3),
            "round_trip_idle_ms": round(self.way_idle_ms, 3),
            "round_trip_ms": round(self.way_ms, 3),
            "raised_by": self.raised_by,
        }


class BoundTimes:
    """Adds up how long each verdict held for a job."""

    MOST_SECONDS = 10.0
    """A verdict counts for no longer than this, however late the next one comes."""

    def __init__(self) -> None:
        self._seconds: dict[Bound, float] = {}
        self._last: dict[Bound, Verdict] = {}
        self._before: tuple[float, Bound] | None = None

    def add(self, verdict: Verdict, now: float) -> None:
        """Adds a verdict that holds from now on; ``now`` is in seconds of a monotonic clock."""
        if self._before is not None:
            since, bound = self._before
            self._seconds[bound] = self._seconds.get(bound, 0.0) + min(self.MOST_SECONDS, max(0.0, now - since))
        self._before = (now, verdict.bound)
        if verdict.bound:
            self._last[verdict.bound] = verdict

    @property
    def main(self) -> Verdict:
        """The latest state of the verdict that held for the longest time.

        Verdicts that are typical of a job's start and end (too little work, no address answers) count only if there are
        no others.
        """
        known = [one for one in WORST_FIRST if one in self._last]
        middle = [one for one in known if one not in (Bound.WORK, Bound.OUTAGE)] or known
        main = max(middle, key=lambda one: self._seconds.get(one, 0.0), default=None)
        return self._last[main] if main is not None else Verdict()
