"""Scans a job: opens its addresses, finds the export and the root, and walks the tree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from cachewarmer.about import about
from cachewarmer.config import PlanSettings
from cachewarmer.errors import BrokerError, CacheWarmerError, MountError, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.filters import FileFilter
from cachewarmer.model import WarmJob
from cachewarmer.paths import below, printable, to_bytes, to_text
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.nested import is_seen_from_above, nested_exports, open_nested
from cachewarmer.planning.sieve import Known
from cachewarmer.planning.walker import Emit, Walker
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.pool import SessionPool, SessionSource
from cachewarmer.targets.steady import steady
from cachewarmer.values import dataclass

log = logging.getLogger(__name__)


async def open_sessions(job: WarmJob, pool: SessionSource) -> list[Session]:
    """Opens a session at each mount address of a job; an address where that fails is left out, unless all fail.

    Raises:
        CacheWarmerError: no address can be opened. MountError: the addresses do not have the same export.
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
                said = replace(result.failure, address="")
                log.warning("%s is left out of the scan: %s", address, said, extra=about(address=address))
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
    pool: SessionPool | None = None,
    known: Known | None = None,
) -> None:
    """Scans the tree of a job, or the files of its list, and emits the work items.

    Args:
        job: what is scanned.
        sessions: the open sessions of its mount addresses; all have the same export.
        settings: the limits of the scan and of an item.
        counter: receives the counts, the errors and the warnings.
        emit: receives the work items in batches; see ``Walker``.
        message_bytes: the maximum size of an item in a message of the broker; 0: as ``settings`` say.
        file_list: the chunks of a stored list (see ``filelist``); None: the whole tree is scanned.
        pool: where the exports nested in the target are opened; None: they are not scanned.
        known: the files that an earlier ledger holds as read, which are left out; None: there are none.

    Raises:
        CacheWarmerError: the scan can't continue; see ``Walker.walk``.
        TransportError: no address answers.
    """
    scan = _Scan(
        job,
        sessions,
        replace(settings, message_bytes=message_bytes or settings.message_bytes),
        counter,
        emit,
        FileFilter.of(job.wanted, job.full_path),
        pool,
        known,
    )
    missing = len(job.access.addresses) - len(sessions)
    if missing > 0:
        counter.warn(f"read through {len(sessions)} of {len(job.access.addresses)} addresses")
    if file_list is not None:
        await scan.walker(scan.sessions, scan.root()).walk_list(file_list)
    else:
        async with _exports_meanwhile(job, sessions[0], pool) as exports:
            await scan.walker(scan.sessions, scan.root()).walk()
            nested = await exports
        for export in nested:
            if pool is not None:
                await scan.nested(export, pool)
    for warning in scan.filter.warnings():
        counter.warn(warning)
    counter.conclude(follow_links=job.wanted.follow_links, patterns=scan.filter.shown)


@asynccontextmanager
async def _exports_meanwhile(
    job: WarmJob, session: Session, pool: SessionPool | None
) -> AsyncIterator[Awaitable[list[str]]]:
    """Asks for the nested exports while the scan is running, because the answer is not needed before its end."""
    asking = asyncio.create_task(nested_exports(session, job.full_path if pool is not None else ""))
    try:
        yield asking
    finally:
        await end_tasks(asking)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What the walks of one scan share; there is one walk of the target, and one of each export nested in it."""

    job: WarmJob
    sessions: Sequence[Session]
    settings: PlanSettings
    counter: ScanCounter
    emit: Emit
    filter: FileFilter
    pool: SessionPool | None
    known: Known | None

    def root(self) -> bytes:
        """The path of the target below the export."""
        export = self.sessions[0].export
        path = self.job.warm_path if self.job.access.export else below(export, self.job.full_path)
        return to_bytes(path.strip("/"))

    def walker(self, sessions: Sequence[Session], root: bytes, prefix: str = "") -> Walker:
        """Makes the walker of one export; for arguments see ``Walker``."""
        return Walker(
            self.job,
            sessions,
            export=sessions[0].export,
            root=root,
            settings=self.settings,
            counter=self.counter,
            emit=self.emit,
            filter_=self.filter,
            prefix=prefix,
            check=lambda path: self._check(sessions[0], path),
            known=self.known,
        )

    def _check(self, session: Session, path: bytes) -> None:
        """Raises ``NotAllowed`` if a path to which a link leads may not be read: only the target was checked before."""
        if self.pool is not None:
            access = replace(self.job.access, export=session.export)
            self.pool.check(Mount.of(access, session.address, "/" + to_text(path)))

    async def nested(self, export: str, pool: SessionPool) -> None:
        """Scans an export nested in the target, unless a pattern leaves it out or the scan has seen it from above."""
        prefix = below(self.job.full_path, export).strip("/")
        if self.filter.uses_names and _is_left_out(self.filter, prefix):
            return
        path = to_bytes(below(self.sessions[0].export, export).strip("/"))
        try:
            sessions = steady(await open_nested(self.job, export, self.sessions, pool), pool)
            if not await is_seen_from_above(self.sessions[0], sessions[0]):
                log.info(
                    "job %s: the export %s is nested in the target: it is warmed too",
                    self.job.job_id,
                    export,
                    extra=about(job=self.job.job_id),
                )
                await self.walker(sessions, b"", prefix).walk()
        except (BrokerError, TransportError):
            raise
        except CacheWarmerError as error:
            self.counter.base = self.sessions[0].export.rstrip("/")
            self.counter.add_error(path, error, directory=True)
            self.counter.warn(f"the nested export {printable(export)} is not warmed: {error}")


def _is_left_out(filter_: FileFilter, path: str) -> bool:
    """Whether a pattern leaves out a directory, or a directory above it."""
    parts = path.split("/")
    return any(filter_.prunes("/".join(parts[: end + 1])) for end in range(len(parts)))
