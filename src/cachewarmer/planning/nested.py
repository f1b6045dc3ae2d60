"""Exports nested in the target, whose directories look empty to a client that has mounted only the export above."""

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
"""Maximum wait for the export list, which some servers never send."""
MAX_NESTED = 1000
"""Maximum number of exports below one target; what a server shows beyond that is ignored."""


async def nested_exports(session: Session, target: str) -> list[str]:
    """The exports below the target that the server shows, sorted; empty if it shows none, or sends no list.

    ``target`` is the whole path of the target, from the root of the server.
    """
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
    """Whether the export above shows the contents of the nested one, so that the scan has listed them already.

    It does if both show the same directory, as a Linux server does with ``crossmnt``. Otherwise it shows the empty
    directory that the nested export is mounted on.

    Raises:
        CacheWarmerError: the root of the nested export can't be looked up. TransportError: an address failed.
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
    """Opens a nested export at the addresses of the sessions ``above``, leaving out those where that fails.

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
