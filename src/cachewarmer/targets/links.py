"""Resolves symbolic links within an export. The session makes the calls; the rest is pure."""

from __future__ import annotations

from cachewarmer.errors import CacheWarmerError, FileError, FileVanished, TransportError
from cachewarmer.paths import join_bytes
from cachewarmer.targets.base import DirectoryEntry, FileKind, Session

MAX_HOPS = 40
"""Maximum number of links followed one after the other, as in the Linux kernel: a path with more is part of a loop."""


def lead(link: bytes, leads_to: bytes, export: bytes) -> bytes | None:
    """The path below the export to which the link at the path ``link`` leads; None: it leads out of the export.

    ``leads_to`` is the text of the link. An absolute one counts as a path of the server: clients that have mounted the
    export elsewhere would not find it either.
    """
    if leads_to.startswith(b"/"):
        inner = export.rstrip(b"/") + b"/"
        if not (leads_to + b"/").startswith(inner):
            return None
        parts, rest = [], leads_to[len(inner) :]
    else:
        parts, rest = [part for part in link.split(b"/")[:-1] if part], leads_to
    for part in rest.split(b"/"):
        if part == b"..":
            if not parts:
                return None
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


async def follow(
    session: Session, export: bytes, path: bytes, handle: bytes = b"", within: bytes = b""
) -> tuple[bytes, DirectoryEntry]:
    """Follows the link at ``path``, and any links after it; returns the path below the export and the entry it ends at.

    Links in the middle of a path are followed too. None may lead out of the directory ``within``.

    Raises:
        FileError: it leads out of the export or of ``within``, nowhere, or in a loop.
        TransportError: the address failed.
    """
    for _ in range(MAX_HOPS):
        path, handle = _lead_within(path, await session.read_link(path, handle), export, within), b""
        try:
            entry = await session.lookup(path)
        except TransportError:
            raise
        except CacheWarmerError:
            path, entry = await _past_links(session, export, path, within)
        if entry.kind is not FileKind.LINK:
            return path, entry
        handle = entry.handle
    raise FileError("it is part of a loop", subject=b"/" + path)


def _lead_within(link: bytes, leads_to: bytes, export: bytes, within: bytes) -> bytes:
    found = lead(link, leads_to, export)
    if found is None or (within and not (found + b"/").startswith(within + b"/")):
        raise FileError(
            "it points out of the export" if found is None else "it points out of the target", subject=b"/" + link
        )
    return found


async def resolve(session: Session, export: bytes, path: bytes) -> tuple[bytes, DirectoryEntry]:
    """Follows all links in a path and at its end; returns the path without links, and the entry there.

    Raises:
        FileVanished, FileError: nothing is there, or a link leads out of the export or in a loop.
    """
    try:
        entry = await session.lookup(path)
    except FileError as error:  # for a link in the middle of a path, some targets raise this, others FileVanished
        try:
            path, entry = await _past_links(session, export, path, b"")
        except FileVanished:
            raise error from None
    if entry.kind is FileKind.LINK:
        return await follow(session, export, path, entry.handle)
    return path, entry


async def _past_links(session: Session, export: bytes, path: bytes, within: bytes) -> tuple[bytes, DirectoryEntry]:
    """The path with the links in its middle replaced by what they lead to, and the entry there."""
    todo = path.split(b"/")
    done = b""
    for _ in range(MAX_HOPS):
        while todo:
            at = join_bytes(done, todo.pop(0))
            entry = await session.lookup(at)
            if entry.kind is FileKind.LINK and todo:
                found = _lead_within(at, await session.read_link(at, entry.handle), export, within)
                todo = [*(found.split(b"/") if found else []), *todo]
                done = b""
                break
            done = at
        else:
            return done, entry
    raise FileError("it is part of a loop", subject=b"/" + path)
