"""Estimates the operations that the items of a job need at a broker, to a factor of two, for plans. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

CLAIMED = 8
"""Items in one claim, on average: workers claim enough in advance to keep their window full."""
SETTLED = 8
"""Items settled together, on average."""
PUBLISHED = 100
"""Items published together, on average."""


class Items(NamedTuple):
    """The work items of a job, for a broker that does not limit the size of messages."""

    number: int
    message_bytes: int
    """Total size of the messages."""


def statements(items: Items) -> int:
    """The operations of a database, where items are published, claimed and settled in batches."""
    return sum(math.ceil(items.number / batch) for batch in (PUBLISHED, CLAIMED, SETTLED))
