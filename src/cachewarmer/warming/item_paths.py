"""The paths of the files of a work item, as a session needs them and as people see them."""

from __future__ import annotations

from collections.abc import Callable

from cachewarmer.model import WorkItem
from cachewarmer.paths import join, to_bytes


def path_of(item: WorkItem, name: str) -> bytes:
    """The path of a file of the item below the export, as a session needs it."""
    return paths_of(item)(name)


def paths_of(item: WorkItem) -> Callable[[str], bytes]:
    """A function that returns ``path_of`` for any file of the item."""
    above, prefix = above_of(item)
    return lambda name: prefix + to_bytes(name) if name else above


def above_of(item: WorkItem) -> tuple[bytes, bytes]:
    """The item's own path below the export, and the prefix of the names of its files."""
    above = to_bytes(item.path.strip("/"))
    return above, above + b"/" if above else b""


def full_path(item: WorkItem, path: str) -> str:
    """The whole path, from the root of the server, of a path below the item's export."""
    return join(item.access.export, path)
