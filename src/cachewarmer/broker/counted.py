"""Counts and times the calls of a process to its broker, of any kind, for metrics.

``counted`` wraps a broker in an object that passes every call on. Its methods are generated from the contract, so that
a method added there is counted without a change here.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from cachewarmer.broker.base import Broker
from cachewarmer.errors import InvalidTransition, LeaseLost, NothingThere, UnknownJob

CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of the histogram of call times in seconds; one more bucket has no bound."""
ANSWERS = (LeaseLost, UnknownJob, InvalidTransition, NothingThere)
"""Errors that a working broker gives as an answer, and that do not count as failures."""
UNTIMED = frozenset({"close", "wait_for_work"})
"""Calls that are not counted, because their duration says nothing about the broker."""


class Operation:
    """The counts of the calls of one method."""

    __slots__ = ("buckets", "calls", "errors", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        """Calls that failed with other errors than ``ANSWERS``."""
        self.seconds = 0.0
        self.buckets = [0] * (len(CALL_SECONDS) + 1)

    def add(self, seconds: float, *, failed: bool) -> None:
        """Counts a call that has ended."""
        self.calls += 1
        self.errors += failed
        self.seconds += seconds
        self.buckets[bisect_left(CALL_SECONDS, seconds)] += 1


class CallCounts:
    """The counts of a process by the name of the method; a method that was never called has none."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation] = {}

    def __repr__(self) -> str:
        return f"<CallCounts calls={sum(one.calls for one in self.operations.values())}>"

    def add(self, name: str, seconds: float, *, failed: bool) -> None:
        """Counts a call of the method ``name`` that has ended."""
        found = self.operations.get(name)
        if found is None:
            found = self.operations[name] = Operation()
        found.add(seconds, failed=failed)


class _Passing(Broker):
    """Passes everything on to ``inner``; the methods of the contract are added below."""

    def __init__(self, inner: Broker, calls: CallCounts, clock: Callable[[], float]) -> None:
        self.inner = inner
        self._calls = calls
        self._clock = clock
        self.url = inner.url
        self.workers_are_rented = inner.workers_are_rented
        self.is_private = inner.is_private
        self.chooses_jobs = inner.chooses_jobs

    def __repr__(self) -> str:
        return f"<CountedBroker {self.inner!r}>"

    def __getattr__(self, name: str) -> Any:
        """The attributes that a kind of broker has in addition to the contract."""
        return getattr(self.inner, name)

    @property
    def shown(self) -> str:
        return self.inner.shown

    @property
    def max_message_bytes(self) -> int:  # type: ignore[override]  # a broker may learn it when it is opened
        return self.inner.max_message_bytes


def _counting(name: str) -> Callable[..., Any]:
    async def call(self: _Passing, *given: Any, **named: Any) -> Any:
        began = self._clock()
        failed = False
        try:
            return await getattr(self.inner, name)(*given, **named)
        except Exception as error:
            failed = not isinstance(error, ANSWERS)
            raise
        finally:
            self._calls.add(name, self._clock() - began, failed=failed)

    return call


def _passing(name: str) -> Callable[..., Any]:
    def call(self: _Passing, *given: Any, **named: Any) -> Any:
        return getattr(self.inner, name)(*given, **named)

    return call


def _methods() -> dict[str, Any]:
    """All methods of the contract, including those that have a body there, because a broker may override it.

    A method that returns an iterator is not counted: its duration would be that of the caller that consumes it.
    """
    names = [name for name, made in vars(Broker).items() if callable(made) and not name.startswith("_")]
    return {
        name: (_counting if iscoroutinefunction(vars(Broker)[name]) and name not in UNTIMED else _passing)(name)
        for name in names
        if name not in vars(_Passing) and name != "max_message_bytes"
    }


_CountedBroker: Callable[[Broker, CallCounts, Callable[[], float]], Broker] = type(
    "CountedBroker", (_Passing,), _methods()
)


def counted(broker: Broker, calls: CallCounts, clock: Callable[[], float] = time.perf_counter) -> Broker:
    """Wraps ``broker`` so that its calls are counted in ``calls``. ``clock`` returns seconds."""
    return _CountedBroker(broker, calls, clock)
