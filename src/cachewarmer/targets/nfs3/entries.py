"""Converts directory entries of NFS to those of the session contract."""

from __future__ import annotations

from cachewarmer.rpc import nfs3
from cachewarmer.targets.base import DirectoryEntry, FileKind

KINDS = (
    FileKind.SPECIAL,
    FileKind.REGULAR,
    FileKind.DIRECTORY,
    FileKind.SPECIAL,
    FileKind.SPECIAL,
    FileKind.LINK,
    FileKind.SPECIAL,
    FileKind.SPECIAL,
)
"""``FileKind`` of each ``ftype3`` (RFC 1813 section 2.5)."""
REGULAR = 1
"""NF3REG."""


def made_entry(name: bytes, attributes: nfs3.Attributes, handle: bytes) -> DirectoryEntry:
    """The entry of a name with its attributes."""
    kind, size, mtime, file_id, links, device, ctime = attributes
    if links > 1 and kind == REGULAR:
        file_id = hash((device, file_id))  # an export may have several file systems, each with its own ids
    return DirectoryEntry(name, KINDS[kind], size, mtime, handle, file_id, links, ctime)
