"""The items that a worker holds, their progress, and the renewal of their leases."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from typing import Any

from cachewarmer.about import about
from cachewarmer.broker.base import Broker, WorkLease
from cachewarmer.broker.patience import outage_log
from cachewarmer.errors import BrokerError, LeaseLost
from cachewarmer.model import InHand, Priority, Receipt, Tally
from cachewarmer.model.live import MOST_JOBS
from cachewarmer.model.results import Counts
from cachewarmer.values import dataclass
from cachewarmer.warming.run import ItemRun
from cachewarmer.worker.appetite import Load

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
"""A lease is renewed this many times while it lasts, so that two renewals may fail before it is lost."""


NOTHING = Tally(worker="")


@dataclass(eq=False, slots=True)
class Held:
    """One item in hand."""

    lease: WorkLease
    run: ItemRun
    renewed_at: float
    lost: bool = False
    """Whether its lease was lost, so that its result does not count."""
    released: str = ""
    """Why it is handed back unfinished although nothing failed: ``paused``, ``ended`` or ``stopping``."""
    task: asyncio.Task[None] | None = None
    byte_count: int = field(init=False)

    def __post_init__(self) -> None:
        self.byte_count = self.lease.item.byte_count  # a sum over all files, so it is computed only once

    def requests(self, enough: int) -> int:
        """Requests not done yet; before the reading begins, one for each file, or ``enough`` if that is unknown."""
        if self.run.begun:
            return self.run.outstanding
        return max(1, self.lease.item.file_count) if self.lease.item.files is not None else enough

    @property
    def bytes_per_second(self) -> float:
        """The pace of its job here; 0: no limit."""
        return self.run.pace.bytes_per_second if self.run.pace is not None else 0.0

    @property
    def about(self) -> dict[str, dict[str, Any]]:
        """The ``extra`` argument for log messages about it."""
        item = self.lease.item
        return about(job=item.job_id, item=item.item_id, address=item.address)

    def release(self, why: str) -> None:
        """Stops the reading; the item is handed back without a failure."""
        self.released = why
        self.run.abort()


class HeldItems:
    """All items that a worker holds. ``room`` is set whenever one of them is done."""

    def __init__(self) -> None:
        self._items: set[Held] = set()
        self._settled: dict[str, Tally] = {}
        """By job: the sums of the receipts that were written."""
        self.done = NOTHING
        """The sums of all receipts since the start."""
        self.handed_back = 0
        """Number of items that were handed back since the start."""
        self.room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._items))

    def add(self, held: Held) -> None:
        """Call this when an item was claimed, before it is read."""
        self._items.add(held)

    def drop(self, held: Held) -> None:
        """Call this when an item was counted or handed back."""
        self._items.discard(held)
        self.room.set()

    def settled(self, job_id: str, receipt: Receipt) -> None:
        """Call this when a receipt was written and counted."""
        counts = Counts(files=receipt.files, bytes=receipt.bytes, failed_files=receipt.failed_files)
        self._settled[job_id] = self._settled.get(job_id, NOTHING).add(counts)
        self.done = self.done.add(counts)

    def jobs(self) -> tuple[InHand, ...]:
        """The progress of the jobs whose items are held, and of the latest ones whose items are done."""
        held: dict[str, list[Held]] = {}
        for one in self._items:
            held.setdefault(one.lease.item.job_id, []).append(one)
        for job_id in [one for one in self._settled if one not in held][:-MOST_JOBS]:
            del self._settled[job_id]
        return tuple(
            _in_hand(job_id, held.get(job_id, ()), self._settled.get(job_id, NOTHING))
            for job_id in {**held, **self._settled}
        )

    @property
    def paced(self) -> bool:
        """Whether the reading of every held item is limited by a pace."""
        return bool(self._items) and all(held.bytes_per_second for held in self._items)

    def held_back(self, now: float) -> bool:
        """Whether paces hold all reading back at the moment; ``now`` is in seconds of the paces' clock."""
        return self.paced and all(held.run.pace.holds_back(now) for held in self._items if held.run.pace is not None)

    def of_job(self, job_id: str) -> list[Held]:
        """The held items of one job."""
        return [held for held in self._items if held.lease.item.job_id == job_id]

    def load(self, enough: int, least: Priority = Priority.LOW) -> Load:
        """Sums up the held items whose rank is at most that of ``least``, that is, which are at least as urgent.

        ``enough`` is the number of requests to assume for an item whose files are not known yet.
        """
        counted = [held for held in self._items if held.lease.item.priority.rank <= least.rank]
        rates: dict[str, float] = {}
        for held in counted:
            rates[held.lease.item.job_id] = held.bytes_per_second
        return Load(
            items=len(counted),
            requests=sum(held.requests(enough) for held in counted),
            bytes=sum(held.byte_count - held.run.outcome.bytes for held in counted),
            bytes_per_second=sum(rates.values()) if all(rates.values()) else 0.0,
        )

    def by_address(self, enough: int) -> dict[str, int]:
        """The number of requests in hand for each mount address of the jobs whose items are held.

        ``enough`` is the same as for ``load``.
        """
        found: dict[str, int] = {}
        for held in self._items:
            item = held.lease.item
            for address in (item.only_address,) if item.only_address else item.access.addresses:
                found.setdefault(address, 0)
            if item.address in found:
                found[item.address] += held.requests(enough)
        return found

    def in_hand(self, worker: str) -> Tally:
        """What has been read of unfinished items, under the name ``worker``: for display, not for accounting."""
        read = _in_hand("", self._items)
        return Tally(worker=worker, files=read.files, bytes=read.bytes)


def _in_hand(job_id: str, items: Collection[Held], settled: Tally = NOTHING) -> InHand:
    return InHand(
        job=job_id,
        items=len(items),
        files=sum(held.run.outcome.files for held in items if held.lease.item.start <= 0),
        bytes=sum(held.run.outcome.bytes for held in items),
        settled_files=settled.files,
        settled_bytes=settled.bytes,
        settled_items=settled.items,
        failed_files=settled.failed_files,
    )


class Renewer:
    """Renews the leases of held items, and stops the reading of items whose lease was lost."""

    def __init__(
        self, broker: Broker, held: HeldItems, lease_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._broker = broker
        self._held = held
        self._lease_seconds = lease_seconds
        self._clock = clock

    async def run(self) -> None:
        """Renews leases until it is cancelled."""
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS_PER_LEASE / 2)
            await self.renew_due()

    async def renew_due(self) -> None:
        """Renews the leases that are due now."""
        before = self._clock() - self._lease_seconds / RENEWALS_PER_LEASE + 0.01
        await asyncio.gather(*(self._renew(held) for held in self._held if held.renewed_at <= before))

    async def _renew(self, held: Held) -> None:
        outage = outage_log(self._broker)
        try:
            await self._broker.renew(held.lease, self._lease_seconds)
        except LeaseLost:
            log.warning("lost the lease on %s: its result does not count", held.lease.item.path, extra=held.about)
            held.lost = True
            held.run.abort()
        except BrokerError as error:
            outage.failed(f"renewing a lease: {error}")
        else:
            held.renewed_at = self._clock()
            outage.answered()
