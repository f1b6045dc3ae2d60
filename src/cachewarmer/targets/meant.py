"""Suggests what a target that does not exist may have meant, with a few calls to the server."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence

from cachewarmer.errors import CacheWarmerError, FileVanished, NfsStatusError
from cachewarmer.likeness import nearest
from cachewarmer.paths import holds, join, parts, printable, to_text
from cachewarmer.rpc.nfs3 import NOENT
from cachewarmer.targets.base import Session

MOST_LOOKUPS = 32
"""Maximum number of components of a path that are looked up."""
SECONDS = 5.0
"""Time limit of all calls together."""


def is_missing(error: CacheWarmerError) -> bool:
    """Whether an error says that nothing is at a path."""
    if isinstance(error, NfsStatusError):
        return error.status == NOENT
    return isinstance(error, FileVanished) or getattr(error.__cause__, "errno", None) == errno.ENOENT


async def advise(session: Session, path: bytes, error: CacheWarmerError) -> None:
    """Adds advice to the error of a ``path`` below the export, if nothing is there: the path with the nearest name.

    It costs a LOOKUP for each component of the path, and one page of one listing.
    """
    if error.advice or not is_missing(error):
        return
    try:
        async with asyncio.timeout(SECONDS):
            found = await _meant(session, path.strip(b"/"))
    except (CacheWarmerError, TimeoutError):
        return
    if found:
        error.advice = f"did you mean {printable(join(session.export, to_text(found)))}?"


async def _meant(session: Session, path: bytes) -> bytes:
    """The path with the first component that is missing replaced by the nearest name; empty: there is none."""
    names = [name for name in path.split(b"/") if name]
    for depth in range(min(len(names), MOST_LOOKUPS)):
        above = b"/".join(names[:depth])
        if not await _is_there(session, b"/".join(names[: depth + 1])):
            break
    else:
        return b""
    page = await session.list_page(above, b"")
    known = {to_text(entry.name): entry.name for entry in page.entries}
    found = nearest(to_text(names[depth]), known)
    if not found:
        return b""
    made = b"/".join([*names[:depth], known[found]])
    whole = b"/".join([made, *names[depth + 1 :]])
    return whole if whole == made or await _is_there(session, whole) else made


async def _is_there(session: Session, path: bytes) -> bool:
    try:
        await session.lookup(path)
    except CacheWarmerError as error:
        if is_missing(error):
            return False
        raise
    return True


def meant_below(path: str, exports: Sequence[str]) -> str:
    """The path below one of the exports that a ``path`` below none of them most likely means; empty: none is similar.

    That is so if the name of the export is misspelt, or only its last components are given, like the name of a share.
    """
    names = parts(path)
    for export in exports:
        own = parts(export)
        for depth in range(min(len(own), len(names)), 0, -1):
            if own[-depth:] == names[:depth] and not holds(export, path):
                return join(export, *names[depth:])
    heads = {join(*names[: len(parts(export))]): export for export in exports}
    for head, export in heads.items():
        if nearest(head, [export]):
            return join(export, *names[len(parts(export)) :])
    return ""
