"""The clock of the table service. Ages of rows depend only on it, so that our own clock may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


class ServiceClock:
    """The time that the service's last answer bears; our own until there is one."""

    def __init__(self, own: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = own()

    def look(self, response: Any) -> None:
        """For the SDK to call with each answer."""
        with suppress(AttributeError, TypeError, ValueError):
            self.now = parsedate_to_datetime(response.http_response.headers["Date"])

    def seconds_since(self, row: Any) -> float:
        """How long ago the service wrote a row. Raises ``AttributeError``, ``KeyError``, ``TypeError`` for one without a time."""
        seen_at: datetime = row.metadata["timestamp"]
        return max(0.0, (self.now - seen_at).total_seconds())
