"""How many operations a job makes at each kind of broker. Pure; the counts an item are those of the brokers' code.

- Azure Storage: an item is one message put and one deleted. Items are claimed up to 32 with one call, and settled up to
  99 with one entity-group transaction, which is billed as one operation a row: a receipt for each item, and the tally.
- SQLite and PostgreSQL: statements, in batches of as many items as are published, claimed or settled together.
- All: each worker writes its row every 5 s and asks for its jobs' states; the manager renews and looks about once a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cachewarmer.model.live import NOTE_SECONDS

CLAIMED = 8
"""Items in one claim, on average: workers claim ahead what keeps their window full."""
SETTLED = 8
"""Items settled together, on average."""
LEAST_CALLS = 12
"""Of a job however small: posting, claiming, its states, the scan's totals, its end."""
MANAGER_SECONDS = 1.0
STATE_SECONDS = 1.0
AZURE_MESSAGE_BYTES = 48 * 1024
"""Of the items of a job, in a message of an Azure queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The work items of a job: as a database takes them, and as an Azure queue does, whose messages are short."""

    database: int
    azure: int


def operations(items: Items, *, seconds: float, workers: int) -> dict[str, int]:
    """By broker, for a job that takes so long."""
    steady = LEAST_CALLS + seconds / MANAGER_SECONDS + workers * seconds * (1 / NOTE_SECONDS + 1 / STATE_SECONDS)
    batches = (
        math.ceil(items.database / CLAIMED) + math.ceil(items.database / SETTLED) + math.ceil(items.database / 100)
    )
    rows = items.azure + math.ceil(items.azure / SETTLED)
    azure = 2 * items.azure + math.ceil(items.azure / CLAIMED) + rows
    return {
        "sqlite": math.ceil(batches + steady),
        "postgresql": math.ceil(batches + steady),
        "azure": math.ceil(azure + steady),
    }
