"""Tracks which mount addresses answer: each has a breaker (see ``breaker``), and is probed while it is open.

A caller that gets a ``TransportError`` reports it (``failed``), and uses another address (``usable``) or waits
(``wait_until_up``). A failure to reach an address never counts as a failure of its files.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from cachewarmer.about import about
from cachewarmer.errors import CacheWarmerError, ReplyTimeout, TransportError, UnknownHost, one_line
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import AddressReport
from cachewarmer.outage import OutageLog
from cachewarmer.paths import to_text
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.breaker import Breaker, Failures, Outage
from cachewarmer.targets.traffic import Knee, Traffic, address_report
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)

Place = TypeVar("Place", Mount, Session)
"""How a caller refers to an address: by a mount, or by an open session."""

FORGET_SECONDS = 300.0
"""An address that is down and has not been wanted for this long is forgotten, and no longer probed."""


class Endpoint(NamedTuple):
    """What has one breaker: all mounts of one address that are reached in the same way."""

    address: str
    transport: str
    nfs_port: int
    mount_port: int


@dataclass(eq=False)
class Line:
    """An address, and what is known about it."""

    breaker: Breaker
    log: OutageLog
    mount: Mount
    """What a probe opens if there is no session."""
    up: asyncio.Event = field(default_factory=asyncio.Event)
    sessions: list[Session] = field(default_factory=list)
    """Its open sessions."""
    window_calls: int = 0
    """Calls that this process may have in flight there; 0: as many as the settings say."""
    knee: Knee = field(default_factory=Knee)
    """What steering has found out about it."""
    past: Traffic = field(default_factory=Traffic)
    """The counts of its sessions that are closed."""
    probing: asyncio.Task[None] | None = None
    waiting: int = 0
    """The number of callers that wait for the address."""
    wanted_at: float = 0.0
    """When a caller last wanted to use it, in seconds of the clock of ``Addresses``."""
    failures: int = 0
    """How often it could not be reached or did not answer, probes aside."""
    last_failure: str = ""
    """What was being done the last time, and why it failed, in one line."""

    @property
    def answered(self) -> int:
        """The number of READ calls that were answered."""
        return self.past.latencies.calls + sum(session.snapshot().latencies.calls for session in self.sessions)

    def problem(self, seconds: float = 0.0) -> TransportError:
        """The outage as an error. ``seconds``, if not 0, is how long there has been no answer, for the message."""
        outage = self.breaker.outage
        problem = outage.problem if outage is not None else "no answer"
        if seconds:
            problem = f"{problem} (no answer for {seconds:.0f} s)"
        return ReplyTimeout(problem, address=self.breaker.address)


class Addresses:
    """The addresses of one process.

    Args:
        patience_seconds: how long callers wait for addresses that do not answer; 0: forever.
        probe: checks whether an address answers, and raises ``TransportError`` if it does not.
        forget: called with an address that is no longer wanted.
        announce: whether outages are logged.
        clock: returns seconds.
    """

    def __init__(
        self,
        patience_seconds: float,
        *,
        probe: Callable[[Line], Awaitable[None]],
        forget: Callable[[Line], Awaitable[None]],
        announce: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience_seconds = patience_seconds
        self._probe = probe
        self._forget = forget
        self._announce = announce
        self._clock = clock
        self._failures = 0
        self._last_failure = ""
        self._lines: dict[Endpoint, Line] = {}
        self._line_of: WeakKeyDictionary[Session, Line] = WeakKeyDictionary()

    @property
    def lines(self) -> list[Line]:
        """All addresses that this process knows."""
        return list(self._lines.values())

    def line(self, mount: Mount) -> Line:
        """The address of a mount, which is new if it was not known."""
        endpoint = Endpoint(mount.address, mount.transport, mount.nfs_port, mount.mount_port)
        line = self._lines.get(endpoint)
        if line is None:
            name = mount.address or "the files of this machine"
            told = OutageLog(log, name, self._clock, about=about(address=mount.address))
            line = self._lines[endpoint] = Line(Breaker(name), told, mount)
            line.up.set()
        line.wanted_at = self._clock()
        return line

    def find(self, place: Mount | Session) -> Line:
        """The address of a mount or a session."""
        return self.line(place) if isinstance(place, Mount) else self._line_of[place]

    def add(self, line: Line, session: Session) -> None:
        """Records that a session of an address was opened."""
        line.sessions.append(session)
        self._line_of[session] = line

    def drop(self, session: Session) -> None:
        """Records that a session is about to be closed."""
        line = self._line_of.get(session)
        if line is not None and session in line.sessions:
            line.sessions.remove(session)
            line.past = line.past.plus(session.snapshot())

    def reports(self, window: Callable[[Line], int]) -> tuple[AddressReport, ...]:
        """A report on each address; ``window`` returns the calls that may be in flight there."""
        now = self._clock()
        return tuple(
            address_report(
                line.breaker.address,
                line.past,
                [session.snapshot() for session in line.sessions],
                window=window(line),
                knee=line.knee,
                failures=Failures(line.failures, line.last_failure),
                outage=line.breaker.outage,
                now=now,
            )
            for line in self._lines.values()
        )

    # -- what is up ------------------------------------------------------------------------------------------------

    def down_seconds(self, line: Line) -> float:
        """Seconds since an address stopped answering; 0: it answers."""
        outage = line.breaker.outage
        return self._clock() - outage.since if outage is not None else 0.0

    def outages(self) -> tuple[Outage, ...]:
        """The addresses that are down now."""
        found = (line.breaker.outage for line in self._lines.values())
        return tuple(one for one in found if one is not None)

    @property
    def reaches_nothing(self) -> bool:
        """Whether every address that this process knows is down."""
        return bool(self._lines) and all(line.breaker.is_open for line in self._lines.values())

    def failed(self, line: Line, error: TransportError, doing: str = "") -> None:
        """Records that an address could not be reached or did not answer: it is down until a probe is answered."""
        problem = without_address(error)
        self._failures += 1
        line.failures += 1
        line.last_failure = self._last_failure = f"{doing}: {error}" if doing else str(error)
        if line.breaker.failed(self._clock(), problem):
            line.up.clear()
            self._tell(line, error, problem)
            line.probing = asyncio.create_task(self._probe_until_up(line))

    def _tell(self, line: Line, error: TransportError, problem: str) -> None:
        """Logs an outage, except for a name that never resolved: the end of the job reports that mistake."""
        if self._announce and (line.sessions or not isinstance(error, UnknownHost)):
            line.log.failed(problem)

    async def _probe_until_up(self, line: Line) -> None:
        breaker = line.breaker
        while breaker.is_open:
            await asyncio.sleep(breaker.probe_in(self._clock()))
            if not line.waiting and self._clock() - line.wanted_at > FORGET_SECONDS:
                self._lines = {endpoint: one for endpoint, one in self._lines.items() if one is not line}
                await self._forget(line)
                return
            try:
                await self._probe(line)
            except TransportError as error:
                problem = without_address(error)
                breaker.probe_failed(self._clock(), problem)
                self._tell(line, error, problem)
            else:
                breaker.answered(self._clock())
        line.up.set()
        if not breaker.relapsed:
            line.log.answered()

    @property
    def failures(self) -> Failures:
        """How often an address could not be reached or did not answer, probes aside."""
        return Failures(self._failures, self._last_failure)

    def settle(self) -> None:
        """Logs that addresses which had relapsed answer again, once they have done so for some time."""
        now = self._clock()
        for line in self._lines.values():
            if line.log.lasting and not line.breaker.is_open and line.breaker.is_steady(now):
                line.log.answered()

    async def wait_until_up(self, places: Sequence[Place], seconds: float | None = None) -> Place:
        """Returns the first of several addresses that is up; waits while all are down.

        ``seconds`` is how long all of them may be down at the same time; None: ``patience_seconds``; 0: forever.

        Raises:
            TransportError: none has answered for so long; the error names an address and its problem.
        """
        patience = self._patience_seconds if seconds is None else seconds
        lines = [self.find(place) for place in places]
        while True:
            for place, line in zip(places, lines, strict=True):
                if not line.breaker.is_open:
                    return place
            left = self._down_since(lines) + patience - self._clock() if patience else None
            if left is not None and left <= 0:
                raise lines[0].problem(patience)
            await self._wait(lines, left)

    async def _wait(self, lines: Sequence[Line], seconds: float | None) -> None:
        waits = [asyncio.ensure_future(line.up.wait()) for line in lines]
        for line in lines:
            line.waiting += 1
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for line in lines:
                line.waiting -= 1
                line.wanted_at = self._clock()
            await end_tasks(*waits)

    @staticmethod
    def _down_since(lines: Sequence[Line]) -> float:
        return max(outage.since for line in lines if (outage := line.breaker.outage) is not None)

    async def ask(self, lines: Sequence[Line]) -> float:
        """Probes addresses; returns for how many seconds none of them has answered, 0 if one does."""
        await asyncio.gather(*(self._ask(line) for line in lines if not line.breaker.is_open))
        if not lines or not all(line.breaker.is_open for line in lines):
            return 0.0
        return self._clock() - self._down_since(lines)

    async def _ask(self, line: Line) -> None:
        try:
            await self._probe(line)
        except TransportError as error:
            self.failed(line, error)

    async def close(self) -> None:
        """Stops the probes."""
        await end_tasks(*(line.probing for line in self._lines.values() if line.probing is not None))


def without_address(error: CacheWarmerError) -> str:
    """An error in one line, without the address."""
    return one_line(error.problem, error.doing, to_text(error.subject), "", error.advice)
