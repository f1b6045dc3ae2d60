"""Tells of an outage in a few lines of the log: when it begins, once a minute while it lasts, and when it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

REMINDER_SECONDS = 60.0
"""Between two lines about an outage that continues."""


class OutageLog:
    """The outages of one thing that is asked again and again: a mount address, a broker.

    Call ``failed`` at each failure and ``answered`` at each success; most of these calls write nothing. ``name`` is what
    the lines begin with, unless the problem's own text does. ``quiet_seconds``: an outage is over when nothing has
    failed for this long, where answers and failures may alternate. ``clock`` gives seconds. ``about``: the ``extra`` of the
    lines.
    """

    def __init__(
        self,
        log: logging.Logger,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        quiet_seconds: float = 0.0,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self._log = log
        self._name = name
        self._clock = clock
        self._about = about
        self._began: float | None = None
        self._quiet_seconds = quiet_seconds
        self._told = 0.0
        self._failed_at = 0.0

    @property
    def lasting(self) -> bool:
        """Whether the thing was away at the last call."""
        return self._began is not None

    def failed(self, problem: str) -> None:
        """The thing did not answer; ``problem`` says why in one line."""
        now = self._failed_at = self._clock()
        if self._began is None:
            self._began = self._told = now
            self._log.warning("%s%s; waiting for it", self._prefix(problem), problem, extra=self._about)
        elif now - self._told >= REMINDER_SECONDS:
            self._told = now
            seconds = now - self._began
            self._log.warning(
                "%s%s; waiting for %.0f s so far", self._prefix(problem), problem, seconds, extra=self._about
            )

    def answered(self) -> None:
        """The thing answered."""
        now = self._clock()
        if self._began is None or now - self._failed_at < self._quiet_seconds:
            return
        seconds, self._began = now - self._began, None
        self._log.warning("%s answers again after %.0f s", self._name, seconds, extra=self._about)

    def _prefix(self, problem: str) -> str:
        named = problem.startswith(self._name) or f" {self._name} " in problem
        return "" if named else f"{self._name}: "
