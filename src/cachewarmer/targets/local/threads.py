"""Threads for calls that may block forever: a read(2) on a hard NFS mount can't be interrupted.

A stuck thread is abandoned: its operation ends with ``ReplyTimeout`` and another thread takes its place, up to a bound.
All are daemon threads, so that the process can always exit. Results return to the event loop in batches, with one wake-up
for many.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from cachewarmer.blocking import start_thread
from cachewarmer.errors import CacheWarmerError, ConnectionLost, OwnResourceError, ReplyTimeout
from cachewarmer.paths import to_bytes

_LOST_FACTOR = 2
"""A pool refuses work while this many times its size of threads are stuck."""


class Operation(ABC):
    """An operation for a thread; ``finish`` is called once, on the event loop."""

    __slots__ = ("abandoned", "progress")

    def __init__(self) -> None:
        self.progress = 0.0
        """When the operation last made progress, by the pool's clock. ``run`` keeps it up to date."""
        self.abandoned = False
        """Set when nobody waits for the operation any more; ``run`` then returns as soon as possible."""

    @abstractmethod
    def run(self, clock: Callable[[], float]) -> None:
        """Does the work, in a thread. Keeps its result and any exception until ``finish``."""

    @abstractmethod
    def finish(self, error: CacheWarmerError | None) -> None:
        """Hands over the result, on the event loop; ``error`` if the pool abandoned the operation."""


class ThreadPool:
    """Runs at most ``size`` operations at a time, urgent ones first."""

    def __init__(
        self,
        size: int,
        reply_seconds: float,
        *,
        subject: str = "local read",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = max(1, size)
        self.most = self._size
        """Maximum number of concurrent operations; may be set to less than ``size`` at any time."""
        self._reply_seconds = reply_seconds
        self._subject = subject
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Condition()
        # All below is guarded by the condition's lock.
        self._urgent: deque[Operation] = deque()
        self._queue: deque[Operation] = deque()
        self._running: set[Operation] = set()
        self._finished: deque[Operation] = deque()
        self._idle = 0
        self._threads = 0
        self._lost = 0
        self._last_finish = clock()
        self._woken = False
        self._closed = False
        self._watchdog: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        queued = len(self._urgent) + len(self._queue)
        return f"<ThreadPool {self._subject} running={len(self._running)} queued={queued} stuck={self._lost}>"

    @property
    def running(self) -> int:
        """The number of operations that threads are working on."""
        return len(self._running)

    @property
    def stuck(self) -> int:
        """The number of threads that were abandoned and have not returned."""
        return self._lost

    def submit(self, operation: Operation, *, urgent: bool = False) -> None:
        """Queues an operation; on the event loop only. After ``close`` it ends with ``ConnectionLost``."""
        with self._wanted:
            refused: CacheWarmerError | None = None
            if self._closed:
                refused = ConnectionLost("the session is closed", subject=to_bytes(self._subject))
            elif self._lost >= self._size * _LOST_FACTOR:
                refused = self._timeout()
            else:
                queue = self._urgent if urgent else self._queue
                queue.append(operation)
                refused = self._staff()
                if refused is not None:
                    queue.remove(operation)
        if refused is not None:
            self._loop.call_soon(operation.finish, refused)
        elif self._watchdog is None:
            self._watch()

    def close(self) -> None:
        """Ends everything queued or running with ``ConnectionLost``, without waiting for a thread. Idempotent."""
        with self._wanted:
            self._closed = True
            ended = [*self._running, *self._urgent, *self._queue]
            for operation in ended:
                operation.abandoned = True
            self._running.clear()
            self._urgent.clear()
            self._queue.clear()
            self._wanted.notify_all()
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self._collect()
        for operation in ended:
            operation.finish(ConnectionLost("the session was closed", subject=to_bytes(self._subject)))

    def _staff(self) -> CacheWarmerError | None:
        """Makes sure that a thread takes what was queued. Call it with the lock held.

        If no further thread can be started, the existing ones do the work. Returns the error if there are none.
        """
        waiting = len(self._urgent) + len(self._queue)
        if self._idle:
            self._wanted.notify()
        if waiting > self._idle and self._threads < self._size:
            try:
                start_thread(self._work, f"cachewarmer {self._subject}")
            except OwnResourceError as error:
                if not self._threads:
                    return error
            else:
                self._threads += 1
        return None

    def _work(self) -> None:
        while True:
            with self._wanted:
                while not self._closed and (not (self._urgent or self._queue) or len(self._running) >= self.most):
                    self._idle += 1
                    self._wanted.wait()
                    self._idle -= 1
                if self._closed:
                    self._threads -= 1
                    return
                operation = (self._urgent or self._queue).popleft()
                operation.progress = self._clock()
                self._running.add(operation)
            operation.run(self._clock)
            with self._wanted:
                if operation not in self._running:  # it was given up in the meantime, and this thread was replaced
                    self._lost -= not self._closed
                    return
                self._running.remove(operation)
                self._finished.append(operation)
                if self._idle and (self._urgent or self._queue):
                    self._wanted.notify()  # a thread that waits because ``most`` are running
                self._last_finish = self._clock()
                wake = not self._woken
                self._woken = True
            if wake:
                try:
                    self._loop.call_soon_threadsafe(self._collect)
                except RuntimeError:  # the loop was closed without closing the session
                    return

    def _collect(self) -> None:
        with self._wanted:
            self._woken = False
            ended = list(self._finished)
            self._finished.clear()
        for operation in ended:
            operation.finish(None)

    def _timeout(self) -> ReplyTimeout:
        return ReplyTimeout(
            f"no answer from the file system for {self._reply_seconds:g} s", subject=to_bytes(self._subject)
        )

    def _watch(self) -> None:
        """Checks for stuck threads while there is work."""
        self._watchdog = None
        now = self._clock()
        with self._wanted:
            given_up = [one for one in self._running if now - one.progress > self._reply_seconds]
            for operation in given_up:
                operation.abandoned = True
                self._running.remove(operation)
                self._threads -= 1
                self._lost += 1
            if given_up and now - self._last_finish > self._reply_seconds:
                # No operation gets through: those that wait would only wait for as long again.
                given_up += [*self._urgent, *self._queue]
                self._urgent.clear()
                self._queue.clear()
            for _ in range(len(self._urgent) + len(self._queue)):
                if self._threads >= self._size:
                    break
                self._staff()
            busy = bool(self._running or self._urgent or self._queue)
        if busy:
            delay = min(5.0, max(0.01, self._reply_seconds / 4))
            self._watchdog = self._loop.call_later(delay, self._watch)
        for operation in given_up:
            operation.finish(self._timeout())
