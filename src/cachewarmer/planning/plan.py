"""From a job to its scan: opens its addresses, finds the export and the root, and walks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Sequence
from dataclasses import replace

from cachewarmer.config import PlanSettings
from cachewarmer.errors import CacheWarmerError, MountError
from cachewarmer.model import WarmJob
from cachewarmer.paths import to_bytes
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.walker import Emit, Walker
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.pool import SessionSource

log = logging.getLogger(__name__)


async def open_sessions(job: WarmJob, pool: SessionSource) -> list[Session]:
    """The sessions of a job's mount addresses; an address that can't be opened is left out while another can.

    Raises:
        CacheWarmerError: none can be opened, or they don't agree on the export.
    """
    addresses = job.access.addresses or ("",)
    results = await asyncio.gather(
        *(pool.session(Mount.of(job.access, address, job.warm_path)) for address in addresses), return_exceptions=True
    )
    sessions: list[Session] = []
    first_error: BaseException | None = None
    for address, result in zip(addresses, results, strict=True):
        if isinstance(result, Session):
            sessions.append(result)
        elif not isinstance(result, CacheWarmerError):
            raise result
        else:
            first_error = first_error or result
            if len(addresses) > 1:
                log.warning("%s is left out of the scan: %s", address, result)
    if not sessions and first_error is not None:
        raise first_error
    for session in sessions[1:]:
        if session.export != sessions[0].export:
            raise MountError(
                f"{sessions[0].address} exports {sessions[0].export} and {session.address} exports {session.export}",
                advice="name the export with ?export=",
            )
    return sessions


async def scan_tree(
    job: WarmJob,
    sessions: Sequence[Session],
    settings: PlanSettings,
    counter: ScanCounter,
    emit: Emit,
    *,
    message_bytes: int = 0,
    file_list: AsyncIterable[bytes] | None = None,
) -> None:
    """Scans a job's tree, or the files of its list, and emits the work items.

    Raises:
        CacheWarmerError: see ``Walker.walk``.
    """
    export = sessions[0].export
    path = job.warm_path if job.access.export else below_export(job.full_path, export)
    walker = Walker(
        job,
        sessions,
        export=export,
        root=to_bytes(path.strip("/")),
        settings=replace(settings, message_bytes=message_bytes or settings.message_bytes),
        counter=counter,
        emit=emit,
    )
    if file_list is None:
        await walker.walk()
    else:
        await walker.walk_list(file_list)


def below_export(path: str, export: str) -> str:
    """A whole path as seen from the export it lies in."""
    export = export.rstrip("/")
    return path[len(export) :] if path == export or path.startswith(export + "/") else path
