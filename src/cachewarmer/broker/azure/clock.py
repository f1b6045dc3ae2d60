"""The clock of the table service. The ages of rows depend on it alone, so that our own clock may be wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any


class ServiceClock:
    """The time in the last answer of the service; until there is one, that of this machine."""

    def __init__(self, own: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = own()

    def look(self, response: Any) -> None:
        """Takes the time of an answer: the ``raw_response_hook`` of a call of the SDK."""
        with suppress(AttributeError, TypeError, ValueError):
            self.now = parsedate_to_datetime(response.http_response.headers["Date"])

    def seconds_since(self, row: Any) -> float:
        """The age of a row in seconds. Raises ``AttributeError``, ``KeyError``, ``TypeError`` if it has no time."""
        seen_at: datetime = row.metadata["timestamp"]
        return max(0.0, (self.now - seen_at).total_seconds())
