"""Settles items: writes the receipts of those that were read, many at a time, and hands the others back."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from cachewarmer.broker.base import Broker
from cachewarmer.broker.patience import outage_log, persist
from cachewarmer.errors import BrokerError, CacheWarmerError
from cachewarmer.model import Receipt, WorkItem, tally_name
from cachewarmer.paths import printable
from cachewarmer.warming.item_paths import full_path
from cachewarmer.warming.reader import Reading
from cachewarmer.worker.held import Held, HeldItems
from cachewarmer.worker.jobs import Hiding

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_RETRY_SECONDS = 30.0
"""Maximum delay before an item that failed for a transient reason is delivered again; it starts at 2 s and doubles."""


class Settler:
    """Settles the items of one worker. Calls that the broker does not answer are repeated while a lease lasts."""

    def __init__(self, broker: Broker, worker: str, held: HeldItems, lease_seconds: float, hiding: Hiding) -> None:
        self._broker = broker
        self._worker = worker
        self._held = held
        self._lease_seconds = lease_seconds
        self._hiding = hiding
        self._finished: list[tuple[Held, Receipt]] = []
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Writes the receipts of finished items until it is cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.write_receipts()

    async def write_receipts(self) -> None:
        """Writes the pending receipts, with one call for each tally."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        by_name: dict[str, list[tuple[Held, Receipt]]] = {}
        for one in finished:
            by_name.setdefault(tally_name(self._worker, one[0].lease.item.only_address), []).append(one)
        for name, some in by_name.items():
            await self._write(name, some)

    async def _write(self, name: str, finished: list[tuple[Held, Receipt]]) -> None:
        """Writes receipts to the tally that has this name."""
        results = [(held.lease, receipt) for held, receipt in finished]
        counted = await self.persist(lambda: self._broker.complete(name, results))
        for place, (held, receipt) in enumerate(finished):
            if counted is not None and not counted[place]:
                log.info("item %s was already counted, or its lease was lost", receipt.item_id, extra=held.about)
            elif counted is not None:
                self._held.settled(held.lease.item.job_id, receipt)
            self._held.drop(held)  # if it was not counted, it is delivered again when its lease has run out

    async def settle(self, held: Held, reading: Reading) -> None:
        """Settles an item according to the outcome of its reading."""
        if held.lost:
            self._held.drop(held)
        elif reading.receipt is not None:
            self._finished.append((held, reading.receipt))
            self._wake.set()
            self._held.room.set()
        else:
            await self._hand_back(held, reading)

    async def _hand_back(self, held: Held, reading: Reading) -> None:
        lease = held.lease
        lease.item = replace(lease.item, came=held.run.came(lease.item))
        if held.released:
            reason, delay = "", self._hiding.seconds() if held.released == "paused" else 0.0
        elif reading.unreachable:
            # The address does not answer, or this machine has a problem. That is not the item's fault, and another
            # worker may be able to read it.
            reason, delay = "", self._hiding.seconds()
            # The pool logs the outage, once.
            log.debug("%s: handed back: %s", lease.item.path, reading.error, extra=held.about)
        else:
            failure = reading.error or CacheWarmerError("the reading ended early")
            reason = _reason(lease.item, failure)
            delay = min(MAX_RETRY_SECONDS, 2.0**lease.deliveries) if failure.transient else 0.0
            # A file that can't be read is named in the report, but an address that fails to serve its files is news.
            level = logging.WARNING if failure.transient else logging.INFO
            place = printable(full_path(lease.item, lease.item.path))
            log.log(level, "%s: %s (delivery %d)", place, reason, lease.deliveries, extra=held.about)
        await self.persist(lambda: self._broker.abandon(lease, reason, delay))
        self._held.handed_back += 1
        self._held.drop(held)

    async def give_up(self, held: Held) -> None:
        """Hands an item back when the worker ends: there is only one attempt."""
        held.lease.item = replace(held.lease.item, came=held.run.came(held.lease.item))
        try:
            await self._broker.abandon(held.lease, "")
            self._held.handed_back += 1
        except BrokerError as error:
            log.info("handing back %s: %s", held.lease.item.path, error, extra=held.about)

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Makes a broker call, and repeats it while it fails for a transient reason, for as long as a lease lasts.

        Returns None if it failed in the end, which is logged. While others have locked the broker, the call is repeated
        without limit: nobody can take over the lease meanwhile.
        """
        try:
            return await persist(call, self._lease_seconds, outage_log(self._broker), busy_seconds=math.inf)
        except BrokerError as error:
            log.error("%s", error)  # noqa: TRY400  # one line; the broker's own log has the cause
            return None


def _reason(item: WorkItem, error: CacheWarmerError) -> str:
    """Why an item failed, in one line; without the name of a file that is alone in it, because reports name that."""
    alone = item.files is None or len(item.files) <= 1
    return str(replace(error.failure, subject="") if alone else error)
