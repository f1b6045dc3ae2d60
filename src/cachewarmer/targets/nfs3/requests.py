"""The pending READ requests of a mount address with their state, and its other calls."""

from __future__ import annotations

from typing import Protocol, Self

from cachewarmer.errors import CacheWarmerError
from cachewarmer.model.parts import Range
from cachewarmer.rpc.xdr import Unpacker
from cachewarmer.targets.base import ReadRequest, Supply


class Reading:
    """A request with the state of its READs."""

    __slots__ = (
        "began",
        "empty",
        "end",
        "error",
        "in_flight",
        "jukebox_since",
        "jukebox_wait",
        "listed",
        "lost",
        "next",
        "redo",
        "request",
        "stale_since",
        "stale_wait",
        "waiting",
    )

    def __init__(self, request: ReadRequest) -> None:
        self.request = request
        self.next = request.start
        self.end = request.stop
        """The offset where the file ends, as far as known; lowered when a reply says eof."""
        self.in_flight = 0
        self.redo: list[tuple[int, int]] = []
        """(offset, length) to be requested again: the rest of a short reply, or lost with a connection."""
        self.listed = False
        """Whether it is in the deque of begun readings."""
        self.waiting = False
        """Whether it is set aside: the server asked to wait (JUKEBOX, SERVERFAULT), or its path is being resolved."""
        self.began = 0.0
        self.lost = 0
        self.stale_since = 0.0
        self.stale_wait = 0.0
        self.empty = 0
        self.jukebox_wait = 0.0
        self.jukebox_since = 0.0
        self.error: CacheWarmerError | None = None

    @classmethod
    def asked(cls, request: ReadRequest, began: float) -> Self:
        """The reading of a request for which a single READ, sent at ``began``, is in flight."""
        reading = cls(request)
        reading.next, reading.in_flight, reading.began = request.stop, 1, began
        return reading

    def take(self, most: int) -> tuple[int, int] | None:
        """The next piece to request, as (offset, length) in bytes; None: there is none."""
        stop = min(self.request.stop, self.end)
        while self.redo:
            offset, length = self.redo.pop(0)
            length = min(length, stop - offset)
            if length > 0:
                return offset, length
        offset = self.next
        length = min(most, stop - offset)
        if length <= 0:
            return None
        self.next = offset + length
        return offset, length

    @property
    def unasked(self) -> bool:
        return self.error is None and (bool(self.redo) or self.next < min(self.request.stop, self.end))

    def left(self) -> list[Range]:
        """The bytes that were not received, while nothing is in flight: half-open ranges, in order."""
        stop, unread = self.request.stop, [(offset, offset + length) for offset, length in self.redo]
        found: list[Range] = []
        for start, end in sorted([*unread, (min(self.next, self.end), stop)]):
            at = max(start, found[-1][1] if found else start)
            if at < min(end, stop):
                found.append((at, min(end, stop)))
        return found


class Single(Supply):
    """A supply of one request."""

    __slots__ = ("_request", "in_order", "left")

    def __init__(self, request: ReadRequest) -> None:
        self._request = request
        self.in_order = request.in_order
        self.left = 1

    def take(self) -> ReadRequest:
        self.left = 0
        return self._request


class Asker(Protocol):
    """Receives the answer to a call; a ``Future[Unpacker]`` is one."""

    def done(self) -> bool:
        """Whether it does not need an answer any more."""

    def set_result(self, result: Unpacker, /) -> None:
        """The call was answered; ``result`` is positioned at the results of the procedure."""

    def set_exception(self, exception: CacheWarmerError, /) -> None:
        """It was refused, or the address failed: ``RpcRefused`` or ``TransportError``."""


class PendingCall:
    """A call other than READ."""

    __slots__ = ("arguments", "asker", "credential", "lost", "procedure", "reply_bytes")

    def __init__(
        self,
        procedure: int,
        arguments: bytes,
        reply_bytes: int,
        asker: Asker,
        credential: bytes = b"",
    ) -> None:
        self.procedure = procedure
        self.arguments = arguments
        self.reply_bytes = reply_bytes
        self.asker = asker
        self.credential = credential
        """The credential of the call; empty: the session's own."""
        self.lost = 0
