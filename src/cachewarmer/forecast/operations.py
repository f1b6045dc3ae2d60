"""How many operations a job makes at each kind of broker. Pure; what its items make, each broker says itself."""

from __future__ import annotations

import math

from cachewarmer.broker import item_operations
from cachewarmer.broker.effort import Items
from cachewarmer.model.live import NOTE_SECONDS

LEAST_CALLS = 12
"""Of a job however small: posting, claiming, its states, the scan's totals, its end."""
MANAGER_SECONDS = 1.0
"""Between two looks of the manager."""
STATE_SECONDS = 1.0
"""Between two questions of a worker for the state of a job."""


def operations(items: Items, *, seconds: float, workers: int) -> dict[str, int]:
    """By the scheme of a broker's URL, for a job that takes so long."""
    steady = LEAST_CALLS + seconds / MANAGER_SECONDS + workers * seconds * (1 / NOTE_SECONDS + 1 / STATE_SECONDS)
    return {name: math.ceil(count + steady) for name, count in item_operations(items).items()}
