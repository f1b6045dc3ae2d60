"""How the window of an address is divided between the processes that read and scan. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.config import Settings
from cachewarmer.values import dataclass


@dataclass(frozen=True, slots=True)
class Shares:
    """How many calls each process may have in flight to an address; together, these add up to the window."""

    scan: int
    """The share of the process that scans; 0 while there is no scan."""
    readers: Sequence[int]


def reader_count(window_calls: int, processes: int) -> int:
    """How many of ``processes`` readers a window is large enough for, besides the process that scans; at least one."""
    return max(1, min(processes, window_calls - 1))


def shares(window_calls: int, readers: int, *, scanning: bool) -> Shares:
    """The shares of ``readers`` processes and, if ``scanning``, of the scan, which runs in a further process."""
    parts = readers + scanning
    share, more = divmod(window_calls, parts)
    each = [share + (number < more) for number in range(parts)]
    return Shares(each[-1] if scanning else 0, tuple(each[:readers]))


def with_share(settings: Settings, calls: int, processes: int) -> Settings:
    """The settings for one of several processes: ``calls`` of the window, and its part of the bytes and connections."""
    nfs = settings.nfs
    part = max(1, nfs.window_bytes * calls // max(1, nfs.most_calls))
    connections = max(1, nfs.connections // processes)
    nfs = replace(nfs, window_bytes=part, connections=connections)
    if nfs.window_auto:
        return replace(settings, nfs=replace(nfs, window_max_calls=max(1, calls)))
    return replace(settings, nfs=replace(nfs, window_calls=max(1, calls)))
