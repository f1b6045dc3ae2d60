"""A read-through cache under simulated time: server threads, an origin some milliseconds away, a link, one CPU.

Every call needs a thread. A cold READ keeps its thread until the origin has answered and the bytes have come over the
link; anything else keeps it for as long as the CPU needs. Calls that find no thread wait in order of arrival, as at
knfsd. Minutes of a cache take seconds, and the same seed gives the same minutes.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from enum import Enum

from cachewarmer.values import dataclass

Answer = Callable[[float], None]
"""Called with the seconds that the call took."""


class CallKind(Enum):
    """What a call asks of the cache."""

    NULL = "null"
    WARM = "warm"
    COLD = "cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheModel:
    """The cache to simulate."""

    threads: int
    origin_seconds: float
    """Round trip between the cache and its origin."""
    link_bytes_per_second: float = 1e12
    byte_seconds: float = 0.0
    """What each byte of a READ adds to its time, however many others are under way."""
    cpu_seconds: float = 0.00015
    """CPU a call; the cache has one."""
    wire_seconds: float = 0.0001
    """Round trip between a client and the cache."""
    jitter: float = 0.05
    """The origin takes up to this share longer."""
    threadless_null: bool = False
    """NULL is answered without a thread: the canary sees nothing."""
    silent_null: bool = False
    """NULL is never answered."""
    late_share: float = 0.0
    """This share of all answers is late though no thread was waited for: a busy machine, a busy network."""
    late_seconds: float = 0.01
    """How late they are, on average (exponentially distributed)."""


class SimulatedCache:
    """Runs events in the order of their time; ``now`` is in seconds."""

    def __init__(self, model: CacheModel, seed: int = 1) -> None:
        self.model = model
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._free = model.threads
        self._waiting: deque[tuple[CallKind, int, Answer, float]] = deque()
        self._link_free = self._cpu_free = 0.0
        self._random = random.Random(seed)

    def __repr__(self) -> str:
        return f"<SimulatedCache threads={self.model.threads} free={self._free} waiting={len(self._waiting)}>"

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Runs ``action`` at ``when``."""
        heapq.heappush(self._events, (when, next(self._order), action))

    def run(self, until: float) -> None:
        """Runs all events up to and including ``until``."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = until

    def call(self, kind: CallKind, byte_count: int, answer: Answer) -> None:
        """A client makes a call that is answered with ``byte_count`` bytes."""
        if kind is CallKind.NULL and self.model.silent_null:
            return
        if kind is CallKind.NULL and self.model.threadless_null:
            self.at(self.now + self.model.wire_seconds, lambda: answer(self.model.wire_seconds))
            return
        call = (kind, byte_count, answer, self.now)
        if self._free:
            self._free -= 1
            self._serve(call)
        else:
            self._waiting.append(call)

    def _lateness(self) -> float:
        model = self.model
        if not model.late_share or self._random.random() >= model.late_share:
            return 0.0
        return self._random.expovariate(1 / model.late_seconds)

    def _serve(self, call: tuple[CallKind, int, Answer, float]) -> None:
        kind, byte_count, answer, began = call
        self._cpu_free = max(self._cpu_free, self.now) + self.model.cpu_seconds
        done = self._cpu_free
        if kind is CallKind.COLD:
            done += byte_count * self.model.byte_seconds
            done += self.model.origin_seconds * (1 + self.model.jitter * self._random.random())
            self._link_free = max(done, self._link_free) + byte_count / self.model.link_bytes_per_second
            done = self._link_free

        wire = self.model.wire_seconds + self._lateness()

        def end() -> None:
            self.at(self.now + wire, lambda: answer(self.now - began))
            if self._waiting:
                self._serve(self._waiting.popleft())
            else:
                self._free += 1

        self.at(done, end)


class SimulatedReader:
    """Keeps ``window`` READs in flight, as a session does; ``warm_share`` of them find their bytes in the cache."""

    def __init__(self, cache: SimulatedCache, file_bytes: int, *, window: int = 0, seed: int = 2) -> None:
        self.cache = cache
        self.call_bytes = min(file_bytes, 1 << 20)
        self.window = window
        self.warm_share = 0.0
        self.in_flight = 0
        self.calls = 0
        self.bytes = 0
        self.seconds = 0.0
        self._random = random.Random(seed)

    def fill(self) -> None:
        """Makes calls until the window is full."""
        while self.in_flight < self.window:
            self.in_flight += 1
            warm = self._random.random() < self.warm_share
            self.cache.call(CallKind.WARM if warm else CallKind.COLD, self.call_bytes, self._answered)

    def _answered(self, seconds: float) -> None:
        self.in_flight -= 1
        self.calls += 1
        self.bytes += self.call_bytes
        self.seconds += seconds
        self.fill()


class SimulatedProbe:
    """Makes one call after another, ``every_seconds``: the canary, or another client that reads warm data."""

    def __init__(self, cache: SimulatedCache, kind: CallKind, every_seconds: float) -> None:
        self.cache = cache
        self.kind = kind
        self.every_seconds = every_seconds
        self.times: list[float] = []
        """Seconds that each answered call took."""
        self.waiting_since: float | None = None
        self._ask()

    def _ask(self) -> None:
        self.waiting_since = self.cache.now
        self.cache.call(self.kind, 8192, self._answered)

    def _answered(self, seconds: float) -> None:
        self.waiting_since = None
        self.times.append(seconds)
        self.cache.at(self.cache.now + max(0.005, self.every_seconds - seconds), self._ask)


class SimulatedWorker:
    """Keeps ``window`` cold READs in flight, as ``SimulatedReader`` does, and takes processor time of its own for each.

    ``call_bytes`` gives the bytes of one READ after the other. What a worker's one processor is not done with yet has to
    wait, and so do the calls after that.
    """

    def __init__(
        self,
        cache: SimulatedCache,
        call_bytes: Callable[[], int],
        *,
        window: int,
        call_seconds: float,
        byte_seconds: float,
    ) -> None:
        self.cache = cache
        self.window = window
        self.calls = 0
        self.bytes = 0
        self.busy_seconds = 0.0
        """Processor time."""
        self._call_bytes = call_bytes
        self._call_seconds = call_seconds
        self._byte_seconds = byte_seconds
        self._free_at = 0.0

    def begin(self) -> None:
        """Fills the window."""
        for _ in range(self.window):
            self._ask()

    def _ask(self) -> None:
        count = self._call_bytes()
        self.cache.call(CallKind.COLD, count, lambda _: self._answered(count))

    def _answered(self, count: int) -> None:
        took = self._call_seconds + count * self._byte_seconds
        self._free_at = max(self._free_at, self.cache.now) + took
        self.busy_seconds += took

        def go_on() -> None:
            self.calls += 1
            self.bytes += count
            self._ask()

        self.cache.at(self._free_at, go_on)
