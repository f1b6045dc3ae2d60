"""Reads a work item at whichever of its mount addresses answers, and returns its outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from cachewarmer.errors import CacheWarmerError, OwnResourceError, ReplyTimeout, TransportError
from cachewarmer.eventloop import end_tasks
from cachewarmer.model import Receipt, WorkItem
from cachewarmer.paths import to_text
from cachewarmer.targets.base import Mount, Session
from cachewarmer.targets.pool import SessionPool
from cachewarmer.values import dataclass
from cachewarmer.warming.item_paths import full_path
from cachewarmer.warming.run import ItemRun
from cachewarmer.warming.unanswered import Judge, Limit

MAX_BARREN_PASSES = 3
"""Passes in which an address answers everything but an item's reads, until ``Judge`` decides whose fault that is."""

PINNED_HOLD_SECONDS = 1.0
"""How long an item for a single address waits for it; short, so that it does not delay items for other addresses."""


@dataclass(slots=True)
class Reading:
    """The result of reading an item: a receipt, or the error for which it must be tried again."""

    receipt: Receipt | None = None
    error: CacheWarmerError | None = None
    aborted: bool = False
    """Whether the reading was aborted, so that there is neither."""
    unreachable: bool = False
    """Whether its addresses could not serve it here, which is not the item's fault: another process may read it."""


class ItemReader:
    """Reads items through the sessions of a pool, which knows which addresses answer.

    ``hold_seconds`` is how long an item waits for its addresses while none of them answers; 0: until it is aborted.
    ``clock`` returns seconds.
    """

    def __init__(
        self, pool: SessionPool, *, hold_seconds: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._hold_seconds = hold_seconds
        self._clock = clock

    async def read(self, item: WorkItem, run: ItemRun) -> Reading:
        """Reads an item in passes, each at an address that answers.

        Another coroutine may observe the progress in ``run``, and abort it. No ``CacheWarmerError`` is raised: it
        becomes part of the result.
        """
        task = _Task(self._pool, item, run, self._clock)
        while not run.aborted:
            try:
                mount = await self._choose(task.mounts, run, PINNED_HOLD_SECONDS if task.pinned else self._hold_seconds)
            except TransportError as error:
                return self._unreached(task, error)
            if mount is None:
                break
            reading = await task.read_at(mount)
            if reading is not None:
                return reading
        return Reading(aborted=True)

    def _unreached(self, task: _Task, error: TransportError) -> Reading:
        """The result for an item whose addresses do not answer.

        It is left to other processes; an item for a single address fails once its patience is over.
        """
        patience = self._pool.settings.lease.patience_seconds
        if task.pinned and patience and self._pool.down_seconds(task.mounts[0]) >= patience:
            return task.given_up(error)
        return Reading(error=error, unreachable=True)

    async def _choose(self, mounts: list[Mount], run: ItemRun, hold_seconds: float) -> Mount | None:
        """Returns the first address that is up, after waiting for one if necessary; None: the run was aborted."""
        for mount in mounts:
            if self._pool.usable(mount):
                return mount
        waiting = asyncio.ensure_future(self._pool.wait_until_up(mounts, hold_seconds))
        aborting = asyncio.ensure_future(run.aborting.wait())
        try:
            await asyncio.wait([waiting, aborting], return_when=asyncio.FIRST_COMPLETED)
            return waiting.result() if waiting.done() else None
        finally:
            await end_tasks(waiting, aborting)


class _Task:
    """The reading of an item at one address after the other."""

    def __init__(self, pool: SessionPool, item: WorkItem, run: ItemRun, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._item = item
        self._run = run
        self._clock = clock
        self._excluded = self._skipped = 0
        self._began = self._moved_at = clock()
        self._passes = 0
        self._patience = pool.settings.lease.patience_seconds
        self._by_path = pool.reads_by_path
        """Whether the handles of the item must not be used, because a handle may stand for any file."""
        self._barren = 0
        self._tried: set[Mount] = set()
        """Addresses that were tried since something was last read, and did not answer READ."""
        self.mounts = [Mount.of(item.access, address, item.path) for address in _in_order(item)]

    @property
    def pinned(self) -> bool:
        """Whether the item may be read at a single address only."""
        return bool(self._item.only_address)

    def given_up(self, error: TransportError) -> Reading:
        """The result when all files that are still to be read have failed with ``error``."""
        self._run.fail_missing(self._item, error)
        return self._result(fails=True)

    async def read_at(self, mount: Mount) -> Reading | None:
        """Makes one pass; None: the address failed, and the rest of the item is to be read elsewhere or later."""
        run, before = self._run, self._run.progress
        answered, limit = False, None
        self._passes += 1
        try:
            async with self._pool.lend(mount) as session:
                if self._passes > 1:
                    await session.lookup(b"")
                    answered = True
                # The patience is divided among the addresses of the item.
                with Limit(run, mount.address, self._patience / len(self.mounts), self._clock) as limit:
                    await self._pass(session)
            if run.aborted:
                return Reading(aborted=True)
            if run.unreached is None:
                return self._result()
            error = run.unreached
        except TransportError as failure:
            error = failure
        except CacheWarmerError as failure:
            return Reading(error=failure)
        moved = run.progress != before
        left = limit is not None and limit.reached
        if left and self._tries_elsewhere(mount, moved=moved):
            self._failed(mount, error)
            return None
        if left or self._is_stuck(error, answered=answered, moved=moved):
            return await self._judge(mount, error)
        self._failed(mount, error)
        return None

    def _tries_elsewhere(self, mount: Mount, *, moved: bool) -> bool:
        """Whether an address that has not been tried for the missing files is usable; then it is tried next."""
        self._tried = {mount} if moved else {*self._tried, mount}
        untried = [one for one in self.mounts if one not in self._tried]
        if not any(self._pool.usable(one) for one in untried):
            return False
        self.mounts = [*untried, *(one for one in self.mounts if one in self._tried)]
        return True

    def _failed(self, mount: Mount, error: TransportError) -> None:
        path = "" if self._run.unreached_path is None else to_text(self._run.unreached_path)
        self._pool.failed(mount, error, f"reading {full_path(self._item, path)}" if path else "")

    async def _pass(self, session: Session) -> None:
        if self._item.files is None:
            from cachewarmer.warming.first_generation import list_item

            self._item, self._excluded, self._skipped = await list_item(session, self._item)
        elif self._by_path or session.address != self._item.address:
            self._by_path = False
            files = tuple(entry._replace(handle=b"") for entry in self._item.files)
            self._item = replace(self._item, files=files, address=session.address)
        await self._run.read(session, self._item)

    def _is_stuck(self, error: TransportError, *, answered: bool, moved: bool) -> bool:
        """Whether the address has repeatedly answered everything but the item's reads.

        The failure of an address is not the fault of an item, which waits. But the server may drop each connection that
        asks for a certain file, and a job that waited for it would never end.
        """
        now = self._clock()
        if moved:
            self._barren, self._moved_at = 0, now
            return False
        if answered and not isinstance(error, ReplyTimeout | OwnResourceError):
            self._barren += 1
        stuck = answered and self._patience and now - self._moved_at >= self._patience
        return bool(stuck) or self._barren >= MAX_BARREN_PASSES

    async def _judge(self, mount: Mount, error: TransportError) -> Reading | None:
        """The result for an item whose missing files an address that answers does not serve; None: it is read on."""
        if self._item.files is None:  # its directory could not be listed, so its files are unknown
            return Reading(error=error)
        try:
            fault = await Judge(self._pool, self._run, self._clock).blames_files(mount, self._item, error)
        except TransportError as failure:
            self._pool.failed(mount, failure)
            return None
        except CacheWarmerError as failure:
            return Reading(error=failure)
        if self._run.aborted:
            return Reading(aborted=True)
        if fault is None:
            self._barren, self._moved_at = 0, self._clock()
            return self._result() if self._run.unreached is None else None
        if fault or self.pinned:
            return self.given_up(error)
        self._failed(mount, error)
        return Reading(error=error, unreachable=True)

    def _result(self, *, fails: bool = False) -> Reading:
        failure = None if fails else self._run.outcome.failure(self._item)
        if failure is not None:
            return Reading(error=failure)
        seconds = self._clock() - self._began
        return Reading(self._run.outcome.receipt(self._item, self._excluded, self._skipped, seconds))


def _in_order(item: WorkItem) -> list[str]:
    """The item's addresses, best first: the one of its handles, then the others in an order that varies by item."""
    if item.only_address:
        return [item.only_address]
    if not item.access.addresses:
        return [""]
    spread = hash(item.item_id) % len(item.access.addresses)
    turned = [*item.access.addresses[spread:], *item.access.addresses[:spread]]
    return sorted(turned, key=lambda one: bool(item.address) and one != item.address)
