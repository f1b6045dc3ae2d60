"""Exports below the target, whose directories look empty to a client that mounts the export above."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.errors import CacheWarmerError, TransportError
from cachewarmer.model import WarmJob
from cachewarmer.paths import below, holds, to_bytes
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.pool import SessionSource

log = logging.getLogger(__name__)

EXPORTS_SECONDS = 10.0
"""How long a scan waits for the export list, which some servers never send."""
MAX_NESTED = 1000
"""Exports below one target; a server that shows more of them is not taken at its word."""


async def nested_exports(session: Session, target: str) -> list[str]:
    """The exports below the target, in order, as far as the server shows them; ``target`` is the whole path."""
    try:
        async with asyncio.timeout(EXPORTS_SECONDS):
            shown = await session.exports()
    except (TimeoutError, CacheWarmerError) as error:
        log.debug("%s: no export list: %s", session.address, error)
        return []
    found = {
        one.rstrip("/") for one in shown if one.rstrip("/") not in (session.export.rstrip("/"), target.rstrip("/"))
    }
    return sorted(one for one in found if one and holds(target, one) and ".." not in one.split("/"))[:MAX_NESTED]


async def is_seen_from_above(above: Session, nested: Session) -> bool:
    """Whether the export above shows what is in the nested one: then the scan has been there.

    It does if the directory there is the same one, as with ``crossmnt`` of a Linux server; else it shows the empty
    directory that the nested one is mounted on.
    """
    try:
        place = await above.lookup(to_bytes(below(above.export, nested.export).strip("/")))
    except TransportError:
        raise
    except CacheWarmerError:
        return False
    root = await nested.lookup(b"")
    return bool(root.file_id) and (place.file_id, place.mtime) == (root.file_id, root.mtime)


async def open_nested(job: WarmJob, export: str, above: Sequence[Session], source: SessionSource) -> list[Session]:
    """Sessions of a nested export, at the addresses that the scan goes through.

    Raises:
        CacheWarmerError: it can't be opened at any of them.
    """
    access = replace(job.access, export=export)
    names: Sequence[str] = [session.address for session in above]
    results = await asyncio.gather(
        *(source.session(Mount.of(access, name, "/")) for name in names), return_exceptions=True
    )
    sessions = [one for one in results if isinstance(one, Session)]
    for one in results:
        if isinstance(one, BaseException) and not (isinstance(one, CacheWarmerError) and sessions):
            raise one
    return sessions
