"""The methods of the Azure broker for work items: to publish, lease, settle, hand back or poison them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from cachewarmer.about import about
from cachewarmer.azure.calls import all_of
from cachewarmer.broker import record
from cachewarmer.broker.azure.messages import (
    failed_deliveries,
    first_generation_job,
    handed_back_text,
    item_of,
    poison_text,
    published_text,
    unread_item_of,
)
from cachewarmer.broker.azure.names import FIRST_GENERATION_JOB, JobScan
from cachewarmer.broker.azure.opened import Opened
from cachewarmer.broker.azure.queues import Taken, Token
from cachewarmer.broker.azure.ranked import RankedQueues
from cachewarmer.broker.azure.receipts import Settlement
from cachewarmer.broker.azure.tables import JobRecord
from cachewarmer.broker.base import WorkLease
from cachewarmer.broker.record import given_up, poison_sample
from cachewarmer.config import LeaseSettings
from cachewarmer.errors import BrokerUnavailable, InvalidMessage, LeaseLost, UnknownJob
from cachewarmer.model import JobState, Priority, Receipt, WorkItem
from cachewarmer.model.outcomes import item_key, pack_poison

log = logging.getLogger(__name__)

BROKER_NAME = "broker"
"""The name of the worker under which poisoned items are settled."""


class WorkSide:
    """Implements the methods of ``Broker`` of the same names, for work items."""

    def __init__(self, at: Opened, settings: LeaseSettings) -> None:
        self._at = at
        self._settings = settings
        self._first_generation_ready = False

    # -- publishing ------------------------------------------------------------------------------------------------

    async def publish(self, items: Sequence[WorkItem]) -> None:
        numbered = [record.with_id(replace(item, scan=self._at.scans.managed(item.job_id))) for item in items]
        posts = [(item, published_text(item)) for item in numbered]  # raises before any of them is posted
        await all_of(self._post(item, text) for item, text in posts)

    async def _post(self, item: WorkItem, text: str) -> None:
        """Posts an item, unless this process has posted one with its id in this scan."""
        published = self._at.scans.published(JobScan(item.job_id, item.scan))
        if not published.add(item.item_id):
            return
        try:
            await self._at.work.send(text, item.priority)
        except BaseException:
            published.remove(item.item_id)
            raise

    # -- leasing ---------------------------------------------------------------------------------------------------

    async def claim(self, most: int, lease_seconds: float, least: Priority) -> list[WorkLease]:
        while taken := await self._at.work.receive(most, lease_seconds, least):
            found = await all_of(self._leased(one) for one in taken)
            leases = [lease for lease in found if lease is not None]
            if leases:
                return leases
        return []

    async def _leased(self, taken: Taken) -> WorkLease | None:
        """The lease of a work message; None: it went to poison, or its scan no longer counts."""
        if taken.deliveries > self._settings.max_deliveries and await self._poisoned_unread(taken):
            return None
        try:
            item = item_of(taken.text, taken.token.message_id)
        except InvalidMessage as error:
            await self.poison_message(self._at.work, taken, str(error))
            return None
        if self._at.scans.is_left_behind(JobScan(item.job_id, item.scan)):
            await self._at.work.delete(taken.token)  # its job is scanned again, and only that scan counts
            return None
        await self._make_first_generation_job(item)
        item, deliveries = failed_deliveries(item, taken.deliveries)
        return WorkLease(str(taken.token), taken.expires_at, deliveries, item)

    async def _poisoned_unread(self, taken: Taken) -> bool:
        """Moves a message to poison if too many of its deliveries have failed; returns whether it did.

        The message may have killed each process that held it, so its list of files is not even unpacked.
        """
        try:
            unread = unread_item_of(taken.text, taken.token.message_id)
        except InvalidMessage as error:
            await self.poison_message(self._at.work, taken, str(error))
            return True
        item, deliveries = failed_deliveries(unread.item, taken.deliveries)
        if deliveries <= self._settings.max_deliveries:
            return False
        await self._make_first_generation_job(item)
        lease = WorkLease(str(taken.token), taken.expires_at, deliveries, item)
        await self._poison_item(lease, given_up(deliveries - 1, item.last_error), unread.file_count, taken.text)
        return True

    async def _make_first_generation_job(self, item: WorkItem) -> None:
        if item.job_id == FIRST_GENERATION_JOB and not self._first_generation_ready:
            now = time.time()
            made = JobRecord(job=first_generation_job(item), state=JobState.WARMING, submitted_at=now, started_at=now)
            await self._at.records.add(made)
            self._first_generation_ready = True

    async def renew(self, lease: WorkLease, lease_seconds: float) -> None:
        token, lease.expires_at = await self._at.work.change(Token.parse(lease.token), lease_seconds)
        lease.token = str(token)

    # -- settling --------------------------------------------------------------------------------------------------

    async def complete(self, worker: str, results: Sequence[tuple[WorkLease, Receipt]]) -> list[bool]:
        held = await all_of(self._still_held(lease) for lease, _ in results)
        by_scan: dict[JobScan, list[int]] = {}
        for place, (lease, _) in enumerate(results):
            if held[place]:
                by_scan.setdefault(JobScan(lease.item.job_id, lease.item.scan), []).append(place)
        counted = [False] * len(results)

        async def settle(scan: JobScan, places: list[int]) -> None:
            chosen = [results[place] for place in places]
            rows = [
                Settlement(lease.item.item_id, receipt, key=receipt.key, piece=receipt.piece)
                for lease, receipt in chosen
            ]
            outcomes = await self._at.receipts.settle(scan, worker, rows)
            for place, before in zip(places, outcomes, strict=True):
                counted[place] = not before

        await all_of(settle(scan, places) for scan, places in by_scan.items())
        await all_of(self._let_go(lease) for (lease, _), ours in zip(results, held, strict=True) if ours)
        return counted

    async def _still_held(self, lease: WorkLease) -> bool:
        """Whether the lease still holds: by the clock, or because the service renews it."""
        if lease.expires_at > time.time():
            return True
        try:
            await self.renew(lease, self._settings.lease_seconds)
        except LeaseLost:
            return False
        return True

    async def _let_go(self, lease: WorkLease) -> None:
        """Deletes the message of a settled item. If that fails, it is delivered again but not counted again."""
        token = lease.token
        try:
            if not await self._at.work.delete(Token.parse(token)) and lease.token != token:
                await self._at.work.delete(Token.parse(lease.token))  # it was renewed in between
        except BrokerUnavailable as error:
            log.warning("%s; it will be delivered once more", error)

    async def abandon(self, lease: WorkLease, reason: str, delay_seconds: float) -> bool:
        item = lease.item
        if reason and lease.deliveries >= self._settings.max_deliveries:
            return await self._poison_item(lease, given_up(lease.deliveries, reason), item.file_count, item.to_json())
        if not reason:
            try:
                found, number = await self._at.records.look(item.job_id)
            except UnknownJob as error:
                return await self._poison_stray(lease, str(error))
            self._at.scans.see(item.job_id, number)
            if found.state.final:
                await self._at.work.delete(Token.parse(lease.token))
                return False
        with contextlib.suppress(LeaseLost):
            await self._at.work.change(Token.parse(lease.token), delay_seconds, handed_back_text(item, reason))
        return False

    # -- poison ----------------------------------------------------------------------------------------------------

    async def _poison_item(self, lease: WorkLease, reason: str, files: int, text: str) -> bool:
        """Settles an item as poison, unless another worker has it or it has a receipt; returns whether it did."""
        item = lease.item
        if not await self._still_held(lease):
            return False
        settlement = Settlement(
            item.item_id,
            poisoned_files=files,
            poison_errors=poison_sample(item, reason),
            key=item_key(item) if item.ledger else "",
            piece=pack_poison(text, reason) if item.ledger else b"",
        )
        (before,) = await self._at.receipts.settle(JobScan(item.job_id, item.scan), BROKER_NAME, [settlement])
        if before != "receipt":
            # Repeated if a process ended between the two steps: two messages for people are better than none.
            await self._at.poison.send(poison_text(Token.parse(lease.token).queue, text, reason))
        await self._let_go(lease)
        return before != "receipt"

    async def _poison_stray(self, lease: WorkLease, reason: str) -> bool:
        """Moves an item to the poison queue whose job does not exist, so that it is not counted."""
        item = lease.item
        log.warning("an item goes to poison: %s", reason, extra=about(job=item.job_id, item=item.item_id))
        await self._at.poison.send(poison_text(Token.parse(lease.token).queue, lease.item.to_json(), reason))
        await self._let_go(lease)
        return True

    async def poison_message(self, queue: RankedQueues, taken: Taken, reason: str) -> None:
        """Moves a message that can't be parsed to the poison queue."""
        log.warning("a message of the queue %s goes to poison: %s", taken.token.queue, reason)
        await self._at.poison.send(poison_text(taken.token.queue, taken.text, reason))
        await queue.delete(taken.token)
