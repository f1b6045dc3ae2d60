"""Decides how many work items to claim. Pure."""

from __future__ import annotations

import math

from cachewarmer.values import dataclass

AHEAD_WINDOWS = 4
"""Claim more while fewer than this many windows of requests are waiting in this worker."""
AHEAD_SECONDS = 4.0
"""Where a pace limits the reading: claim no more than is read in this time, and leave the rest to others."""
MAX_ITEMS = 64
"""Items held at once, however small they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The items that a worker holds."""

    items: int = 0
    requests: int = 0
    """Requests of these items that are not done yet."""
    bytes: int = 0
    """Bytes of these items that are not read yet."""
    bytes_per_second: float = 0.0
    """The pace of all of them together; 0: at least one of them has no limit."""


def items_to_claim(
    load: Load, *, window_calls: int, window_bytes: int, addresses: int = 1, idle_addresses: int = 0
) -> int:
    """How many items keep the windows of all ``addresses`` full until the next claim.

    ``window_calls`` and ``window_bytes`` are those of all addresses together; ``idle_addresses`` have less in hand than
    their windows hold. Two items at least are held, one to read and one to continue with, however large they are; where an
    item goes to one of several addresses, up to two for each of them, until none is idle. Beyond that, no more than it
    takes to fill what is read ahead with items like those that are held, and that in steps. Where a pace limits the
    reading, more addresses make it no faster.
    """
    if load.items >= MAX_ITEMS:
        return 0
    most = MAX_ITEMS - load.items
    if not load.items:
        return 2
    max_bytes: float = AHEAD_WINDOWS * window_bytes
    if load.bytes_per_second:
        max_bytes = max(1.0, min(max_bytes, AHEAD_SECONDS * load.bytes_per_second))
    filled = max(load.requests / (AHEAD_WINDOWS * window_calls), load.bytes / max_bytes)
    if load.items == 1 and filled < 1:
        return 2
    if filled >= 1:
        for_idle = 0 if load.bytes_per_second else min(idle_addresses, 2 * addresses - load.items)
        return min(most, max(0, 2 - load.items, for_idle))
    most = min(2 * load.items, most)
    return most if most * filled <= load.items * (1 - filled) else math.ceil(load.items * (1 - filled) / filled)
