"""Decides whether a mount address can be used, and when to probe it again. Pure: the time is an argument.

                 failed: an attempt to reach the address failed
        ┌────────┐ ───────────────────────────────────────────► ┌──────┐ ──┐ probe_failed:
        │ CLOSED │                                              │ OPEN │   │ the next probe
        └────────┘ ◄─────────────────────────────────────────── └──────┘ ◄─┘ comes later
                                     answered

A failure to reach an address says nothing about its files. While the breaker is open, the address gets no work; one
probe at a time checks whether it answers, first soon and then less often, and the first answer closes the breaker.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

FIRST_PROBE_SECONDS = 0.25
"""Time from a failure to the first probe; it doubles with each failed probe."""
MAX_PROBE_SECONDS = 5.0
"""Maximum time between two probes."""
RELAPSE_SECONDS = 5.0
"""An address that fails again within this time of an answered probe relapses: the time between probes keeps growing."""


class BreakerState(StrEnum):
    """The state of a breaker; see the module."""

    CLOSED = "closed"
    OPEN = "open"


class Outage(NamedTuple):
    """The outage of an address that can't be reached now."""

    address: str
    since: float
    """When the failure was noticed, in seconds of ``time.monotonic``, which all processes of a machine share."""
    problem: str
    """Why, in one line."""


class Failures(NamedTuple):
    """What has failed with an address so far, in one process."""

    times: int
    last: str
    """The last problem in one line; empty: none."""


class Breaker:
    """The breaker of one address. All times are seconds of one clock."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.state = BreakerState.CLOSED
        self.relapsed = False
        """Whether the last outage began so soon after the one before that they are reported as one."""
        self._since = 0.0
        self._closed_at = float("-inf")
        self._problem = ""
        self._wait = 0.0
        self._probe_at = 0.0

    def __repr__(self) -> str:
        return f"<Breaker {self.address} {self.state}>"

    @property
    def is_open(self) -> bool:
        """Whether the address is not to be used now."""
        return self.state is BreakerState.OPEN

    @property
    def outage(self) -> Outage | None:
        """The current outage; None: the address answers."""
        return Outage(self.address, self._since, self._problem) if self.is_open else None

    def failed(self, now: float, problem: str) -> bool:
        """Records that the address could not be reached. Returns whether an outage begins with that.

        Further failures while the breaker is open are of calls that began before it opened, and change nothing.
        """
        if self.is_open:
            return False
        self.state = BreakerState.OPEN
        self._since, self._problem = now, problem
        self.relapsed = not self.is_steady(now)
        self._wait = min(MAX_PROBE_SECONDS, 2 * self._wait) if self.relapsed else FIRST_PROBE_SECONDS
        self._probe_at = now + self._wait
        return True

    def is_steady(self, now: float) -> bool:
        """Whether the last outage ended at least ``RELAPSE_SECONDS`` ago, or there was none."""
        return now - self._closed_at >= RELAPSE_SECONDS

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe is due."""
        return max(0.0, self._probe_at - now)

    def probe_failed(self, now: float, problem: str) -> None:
        """Records that a probe got no answer."""
        self._problem = problem
        self._wait = min(MAX_PROBE_SECONDS, 2 * self._wait)
        self._probe_at = now + self._wait

    def answered(self, now: float) -> float:
        """Records that the address answered. Returns the seconds of the outage that this ends; 0 if there was none."""
        if not self.is_open:
            return 0.0
        self.state = BreakerState.CLOSED
        self._closed_at = now
        return now - self._since
