"""Decides whether a mount address can be used, and when to probe it again. Pure: the time is an argument.

                 failed: an attempt to reach the address failed
        ┌────────┐ ───────────────────────────────────────────► ┌──────┐ ──┐ probe_failed:
        │ CLOSED │                                              │ OPEN │   │ the next probe
        └────────┘ ◄─────────────────────────────────────────── └──────┘ ◄─┘ comes later
                                     answered

A failure to reach an address says nothing about the files behind it. While the breaker is open no work is tried on the
address; one probe at a time asks whether it answers, soon at first and then less often, and the first answer closes it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

FIRST_PROBE_SECONDS = 0.25
"""Time from a failure to the first probe, which doubles with each failed probe,"""
MAX_PROBE_SECONDS = 5.0
"""up to this."""
RELAPSE_SECONDS = 5.0
"""An address that fails again so soon after a probe was answered relapses: its probes continue where they were."""


class BreakerState(StrEnum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"


class Outage(NamedTuple):
    """An address that can't be reached at present."""

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
        """Whether the last outage began so soon after the one before that both are one to whoever reads of them."""
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
        """The outage that is under way, if any."""
        return Outage(self.address, self._since, self._problem) if self.is_open else None

    def failed(self, now: float, problem: str) -> bool:
        """The address could not be reached. Returns whether an outage begins with that.

        Further failures while the breaker is open are those of calls that began before it opened: they change nothing.
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
        """Whether the address has answered for some time, or always has."""
        return now - self._closed_at >= RELAPSE_SECONDS

    def probe_in(self, now: float) -> float:
        """Seconds until the next probe is due."""
        return max(0.0, self._probe_at - now)

    def probe_failed(self, now: float, problem: str) -> None:
        """A probe got no answer."""
        self._problem = problem
        self._wait = min(MAX_PROBE_SECONDS, 2 * self._wait)
        self._probe_at = now + self._wait

    def answered(self, now: float) -> float:
        """The address answered. Returns how long the outage lasted that ends with this; 0 if there was none."""
        if not self.is_open:
            return 0.0
        self.state = BreakerState.CLOSED
        self._closed_at = now
        return now - self._since
