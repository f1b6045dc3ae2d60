"""Decides how many work items to claim. Pure."""

from __future__ import annotations

import math

from cachewarmer.values import dataclass

AHEAD_WINDOWS = 4
"""A worker claims more items while it holds fewer requests than fit into this many windows."""
AHEAD_SECONDS = 4.0
"""If a pace limits the reading, a worker claims no more than it reads in this time, and leaves the rest to others."""
MAX_ITEMS = 64
"""Maximum number of items held at once, however small they are."""


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
    """How many items to claim, so that the windows of all ``addresses`` stay full until the next claim.

    A worker holds at least two items, one to read and one to continue with, however large they are. If items go to
    several addresses, it holds up to two for each of them, until none is idle. Beyond that it claims, in steps, as many
    items like those it holds as fill what is read ahead. If a pace limits the reading, more addresses don't make it
    faster, so they don't count.

    Args:
        load: the items that the worker holds.
        window_calls: calls in the windows of all addresses together.
        window_bytes: bytes in the windows of all addresses together.
        addresses: number of addresses.
        idle_addresses: number of addresses that have fewer requests in hand than their windows hold.
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
