"""The paths of the files of a work item, for a session and for people."""

from __future__ import annotations

from collections.abc import Callable

from cachewarmer.model import WorkItem
from cachewarmer.paths import join, to_bytes


def path_of(item: WorkItem, name: str) -> bytes:
    """The path of one of the item's files below the export, as a session wants it."""
    return paths_of(item)(name)


def paths_of(item: WorkItem) -> Callable[[str], bytes]:
    """``path_of`` for many files of one item."""
    above, prefix = above_of(item)
    return lambda name: prefix + to_bytes(name) if name else above


def above_of(item: WorkItem) -> tuple[bytes, bytes]:
    """The item's own path below the export, and what stands before the names of its files."""
    above = to_bytes(item.path.strip("/"))
    return above, above + b"/" if above else b""


def full_path(item: WorkItem, path: str) -> str:
    """A path below the item's export as the server's other clients know it."""
    return join(item.access.export, path)
