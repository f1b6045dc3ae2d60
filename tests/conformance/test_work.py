"""What every broker promises about work: leases, receipts that count once, poison, pause and cancel."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cachewarmer.errors import BrokerError, LeaseLost
from cachewarmer.model import JobState, PathError, SlowPath
from cachewarmer.model.came import Came
from cachewarmer.model.parts import Part
from tests.conformance.labs import claim_all, claim_some, finish_scan, give_up, items_of, receipt, scanning_job


def sums(status) -> tuple[int, int, int]:
    """(items, files, bytes) over all workers."""
    return (
        sum(tally.items for tally in status.tallies),
        sum(tally.files for tally in status.tallies),
        sum(tally.bytes for tally in status.tallies),
    )


async def test_an_item_arrives_as_it_was_published(lab):
    """Paths of any bytes, sizes, handles and addresses survive the trip."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    (lease,) = await claim_some(broker, lab, 1)
    assert lease.item == items_of(job_id, 1)[0]
    assert lease.deliveries == 1
    assert await broker.claim(8, lab.lease_seconds) == []


async def test_items_come_about_oldest_first(lab):
    """The first published is the first claimed, and no more than asked for."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)
    for item in items_of(job_id, 6):
        await broker.publish([item])
    first = await broker.claim(2, lab.lease_seconds)
    assert len(first) <= 2
    assert first[0].item.path == "/tools/d0"


async def test_a_completed_job_adds_up_over_its_workers(lab):
    """Receipts go into the tally of the worker that gave them; when all are in, the job is completed."""
    one, two = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(one, lab, 5)
    leases = await claim_some(one, lab, 5)
    slow = (SlowPath("/data/slow", 3.5),)
    first = [(lease, receipt(lease, slowest=slow, skipped_files=1)) for lease in leases[:2]]
    assert await one.complete("w1", first) == [True, True]
    assert await one.complete("w1", [(leases[2], receipt(leases[2]))]) == [True]
    assert await two.complete("w2", [(lease, receipt(lease)) for lease in leases[3:]]) == [True, True]
    assert (await one.status(job_id)).state is JobState.SCANNING
    await finish_scan(one, job_id, 5)
    status = await two.status(job_id)
    assert status.state is JobState.COMPLETED
    assert sums(status) == (5, 10, 10000)
    by_worker = {tally.worker: tally.items for tally in status.tallies}
    assert by_worker == {"w1": 3, "w2": 2}
    assert sum(tally.skipped_files for tally in status.tallies) == 2
    assert sum(tally.calls for tally in status.tallies) == 10
    assert status.slowest[0] == slow[0]


async def test_failed_files_make_the_outcome_one_with_errors(lab):
    """The sample names the path and the error, whatever bytes the path has."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    (lease,) = await claim_some(broker, lab, 1)
    errors = (PathError("/data/tools/d0/b\udcff", "NFS3ERR_ACCES"),)
    await broker.complete("w1", [(lease, receipt(lease, files=1, failed_files=1, errors=errors))])
    await finish_scan(broker, job_id, 1)
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert status.failed_files == 1
    assert status.errors == errors


async def test_a_receipt_counts_once_however_often_it_is_given(lab):
    """After an exception the same call may be made again: the answer is False, and the sums stay."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 3)
    leases = await claim_some(broker, lab, 3)
    results = [(lease, receipt(lease)) for lease in leases]
    assert await broker.complete("w1", results[:1]) == [True]
    assert await broker.complete("w1", results) == [False, True, True]
    assert await broker.complete("w1", results) == [False, False, False]
    assert sums(await broker.status(job_id)) == (3, 6, 6000)


async def test_the_same_item_twice_in_one_call_counts_once(lab):
    """Two deliveries of one item that end up in the same batch are one receipt."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    (lease,) = await claim_some(broker, lab, 1)
    assert await broker.complete("w1", [(lease, receipt(lease)), (lease, receipt(lease))]) == [True, False]
    assert sums(await broker.status(job_id)) == (1, 2, 2000)


async def test_an_item_published_twice_counts_once(lab):
    """A manager that was killed scans again: the same ids, perhaps delivered again, counted once."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 3)
    early = await claim_some(broker, lab, 1)
    assert await broker.complete("w1", [(early[0], receipt(early[0]))]) == [True]
    await broker.publish(items_of(job_id, 4))
    await finish_scan(broker, job_id, 4)
    counted = 0
    for lease in await claim_all(broker, lab):
        counted += sum(await broker.complete("w2", [(lease, receipt(lease))]))
    assert counted == 3
    status = await broker.status(job_id)
    assert sums(status) == (4, 8, 8000)
    assert status.state is JobState.COMPLETED


async def test_a_redelivered_item_counts_once(lab):
    """A worker that is only slow loses its lease: another reads the item, and one result counts."""
    one, two = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(one, lab, 1)
    (slow,) = await claim_some(one, lab, 1, "w1")
    assert await two.claim(1, lab.lease_seconds) == []
    await lab.expire()
    (fast,) = await claim_some(two, lab, 1, "w2")
    assert fast.deliveries == 2
    with pytest.raises(LeaseLost):
        await one.renew(slow, lab.lease_seconds)
    assert await one.complete("w1", [(slow, receipt(slow))]) == [False]
    await one.abandon(slow, "")  # a lost lease is no error
    await give_up(lab, slow, "mine was lost")
    assert await two.complete("w2", [(fast, receipt(fast))]) == [True]
    status = await one.status(job_id)
    assert sums(status) == (1, 2, 2000)
    assert status.poisoned_items == 0


async def test_a_renewed_lease_keeps_the_item(lab):
    """While a worker renews, nobody else gets the item, however long it takes."""
    one, two = await lab.broker(), await lab.broker()
    await scanning_job(one, lab, 1)
    (lease,) = await claim_some(one, lab, 1)
    for _ in range(2):
        await lab.advance(lab.lease_seconds * 0.6)
        before = lease.expires_at
        await one.renew(lease, lab.lease_seconds)
        assert lease.expires_at > before
        assert await two.claim(1, lab.lease_seconds) == []
    assert await one.complete("w1", [(lease, receipt(lease))]) == [True]


async def test_an_item_that_always_fails_ends_in_poison(lab):
    """After 5 failures it is given up with its reason, its files count as failed, and the job ends with errors."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    await finish_scan(broker, job_id, 1)
    for attempt in range(1, 6):
        (lease,) = await claim_some(broker, lab, 1)
        assert lease.deliveries == attempt
        assert await broker.abandon(lease, f"10.0.1.7 refused {attempt}") is (attempt == 5)
    assert await broker.claim(1, lab.lease_seconds) == []
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (status.poisoned_items, status.failed_files) == (1, 2)
    assert "refused 5" in status.errors[0].error
    assert status.errors[0].path.startswith("/data/tools/d0")
    (reason,) = await lab.poison_reasons()
    assert "refused 5" in reason


async def test_workers_that_die_of_an_item_poison_it(lab):
    """A lease that runs out is a failed delivery: an item that kills its readers does not do so for ever."""
    broker = await lab.broker(max_deliveries=2)
    job_id, _ = await scanning_job(broker, lab, 1)
    await finish_scan(broker, job_id, 1)
    for _ in range(2):
        await claim_some(broker, lab, 1)
        await lab.expire()
    assert await broker.claim(1, lab.lease_seconds) == []
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert status.poisoned_items == 1
    assert len(await lab.poison_reasons()) == 1


@pytest.mark.parametrize("further", [False, True])
async def test_an_item_of_ranges_that_ends_its_workers_is_counted_as_any_other(lab, further):
    """Its list of files is not unpacked then; files that another item counts are not counted again."""
    broker = await lab.broker(max_deliveries=1)
    job_id, _ = await scanning_job(broker, lab)
    (item,) = items_of(job_id, 1)
    await broker.publish([replace(item, parts=(Part(0, 0, 5),), further=further, item_id="").with_content_id()])
    await finish_scan(broker, job_id, 1)
    await claim_some(broker, lab, 1)
    await lab.expire()
    assert await broker.claim(1, lab.lease_seconds) == []
    status = await broker.status(job_id)
    assert (status.poisoned_items, status.poisoned_files) == (1, 0 if further else 2)
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert len(await lab.poison_reasons()) == 1


async def test_a_hand_back_without_fault_costs_nothing(lab):
    """Pause, shutdown and eviction give an item back any number of times; it is there again at once."""
    broker = await lab.broker(max_deliveries=2)
    await scanning_job(broker, lab, 1)
    for _ in range(4):
        (lease,) = await claim_some(broker, lab, 1)
        assert lease.deliveries == 1
        assert await broker.abandon(lease, "") is False
    (lease,) = await claim_some(broker, lab, 1)
    assert await broker.abandon(lease, "first fault") is False
    (lease,) = await claim_some(broker, lab, 1)
    assert lease.deliveries == 2
    assert await broker.abandon(lease, "") is False
    (lease,) = await claim_some(broker, lab, 1)
    assert lease.deliveries == 2
    assert await broker.abandon(lease, "second fault") is True


async def test_what_had_come_of_an_item_is_there_at_its_next_delivery(lab):
    """Handed back without fault or with a reason; it counts when the item is settled, and not before."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    await finish_scan(broker, job_id, 1)
    for came, reason in (
        (Came(((0, 1),), (), 1), ""),
        (Came(((0, 1),), (Part(1, 0, 400),), 2), "it failed"),
        (Came(((0, 1),), (Part(1, 0, 600),), 3), ""),
    ):
        (lease,) = await claim_some(broker, lab, 1)
        lease.item = replace(lease.item, came=came)
        await broker.abandon(lease, reason)
        assert sums(await broker.status(job_id)) == (0, 0, 0)
        (lease,) = await claim_some(broker, lab, 1)
        assert lease.item.came == came
        assert await broker.abandon(lease, "") is False
    (lease,) = await claim_some(broker, lab, 1)
    assert (lease.deliveries, lease.item.last_error, lease.item.came.calls) == (2, "it failed", 3)
    assert await broker.complete("w1", [(lease, receipt(lease))]) == [True]
    assert sums(await broker.status(job_id)) == (1, 2, 2000)
    assert (await broker.status(job_id)).state is JobState.COMPLETED


async def test_a_delayed_hand_back_is_out_of_sight(lab):
    """``delay_seconds`` keeps the item back for that long."""
    broker = await lab.broker()
    await scanning_job(broker, lab, 1)
    (lease,) = await claim_some(broker, lab, 1)
    await broker.abandon(lease, "try later", 2.0)
    assert await broker.claim(1, lab.lease_seconds) == []
    await lab.advance(2.3)
    (lease,) = await claim_some(broker, lab, 1)
    assert lease.deliveries == 2


async def test_the_last_delivery_ends_in_poison(lab):
    """An item that can't ever work is settled with its reason, and does not come back."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    await finish_scan(broker, job_id, 2)
    bad, good = await claim_some(broker, lab, 2)
    await give_up(lab, bad, "no such address")
    assert await broker.complete("w1", [(good, receipt(good))]) == [True]
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (status.poisoned_items, sums(status)) == (1, (1, 2, 2000))
    assert await lab.poison_reasons() == ["given up after 1 deliveries: no such address"]


async def test_an_item_is_poisoned_or_counted_never_both(lab):
    """Two deliveries of one item that end differently settle it once."""
    one, two = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(one, lab, 1)
    await finish_scan(one, job_id, 1)
    (first,) = await claim_some(one, lab, 1)
    await lab.expire()
    (second,) = await claim_some(two, lab, 1, "w2")
    assert await two.complete("w2", [(second, receipt(second))]) == [True]
    await give_up(lab, first, "too late")
    status = await one.status(job_id)
    assert (status.state, status.poisoned_items) == (JobState.COMPLETED, 0)


async def test_a_cancelled_jobs_items_are_not_read(lab):
    """They are dropped when they are claimed, or when they are handed back; other jobs go on."""
    broker = await lab.broker()
    cancelled, _ = await scanning_job(broker, lab, 4)
    other, _ = await scanning_job(broker, lab, 2)
    (held, *rest) = await claim_some(broker, lab, 2)
    assert held.item.job_id == cancelled
    await broker.set_state(cancelled, JobState.CANCELLED)
    for lease in (held, *rest):
        assert await broker.abandon(lease, "") is False
    seen = set()
    for lease in await claim_all(broker, lab):
        seen.add(lease.item.job_id)
        if lease.item.job_id == cancelled:
            assert await broker.abandon(lease, "") is False  # the worker has looked at the job's state
        else:
            assert await broker.complete("w1", [(lease, receipt(lease))]) == [True]
    assert other in seen
    assert await broker.claim(8, lab.lease_seconds) == []
    assert (await broker.backlog()).waiting_items == 0
    assert (await broker.status(cancelled)).state is JobState.CANCELLED


async def test_a_paused_jobs_items_come_back_after_it_resumes(lab):
    """Nothing of a paused job is lost, and pausing is no fault."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    held = await claim_some(broker, lab, 2)
    await broker.set_state(job_id, JobState.PAUSED)
    for lease in held:
        assert await broker.abandon(lease, "") is False
    for lease in await broker.claim(8, lab.lease_seconds):
        assert await broker.abandon(lease, "") is False
    assert (await broker.backlog()).active_jobs == 1
    await broker.set_state(job_id, JobState.SCANNING)
    leases = await claim_some(broker, lab, 2)
    assert [lease.deliveries for lease in leases] == [1, 1]


async def test_two_jobs_are_counted_apart(lab):
    """One call may settle items of several jobs; each job has its own sums and its own end."""
    broker = await lab.broker()
    first, _ = await scanning_job(broker, lab, 2)
    second, _ = await scanning_job(broker, lab, 3)
    await finish_scan(broker, first, 2)
    await finish_scan(broker, second, 3)
    leases = await claim_some(broker, lab, 5)
    mixed = [(lease, receipt(lease)) for lease in leases]
    last = next(pair for pair in mixed if pair[0].item.job_id == second)
    mixed.remove(last)
    assert await broker.complete("w1", mixed) == [True] * 4
    assert (await broker.status(first)).state is JobState.COMPLETED
    assert (await broker.status(second)).state is JobState.WARMING
    assert await broker.complete("w1", [last]) == [True]
    assert sums(await broker.status(second)) == (3, 6, 6000)


async def test_items_are_claimed_by_job_or_that_is_refused(lab):
    """A broker that can choose gives items of that job only; one that can't says so."""
    broker = await lab.broker()
    first, _ = await scanning_job(broker, lab, 1)
    second, _ = await scanning_job(broker, lab, 1)
    if not lab.can_choose_job:
        with pytest.raises(BrokerError):
            await broker.claim(1, lab.lease_seconds, first)
        return
    (lease,) = await broker.claim(8, lab.lease_seconds, second)
    assert lease.item.job_id == second


async def test_concurrent_claims_never_share_an_item(lab):
    """Many claims at once over several handles: each item has one holder."""
    handles = [await lab.broker() for _ in range(3)]
    job_id, _ = await scanning_job(handles[0], lab)
    await handles[0].publish(items_of(job_id, 60))
    rounds = await asyncio.gather(*(claim_all(handles[n % 3], lab, f"w{n}", 4) for n in range(6)))
    taken = [lease.item.item_id for leases in rounds for lease in leases]
    assert len(taken) == len(set(taken)) == 60


async def test_more_results_than_one_transaction_holds(lab):
    """A batch of any size is settled, each result once."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)
    await broker.publish(items_of(job_id, 230))
    await finish_scan(broker, job_id, 230)
    results = [(lease, receipt(lease)) for lease in await claim_all(broker, lab)]
    assert await broker.complete("w1", results) == [True] * 230
    status = await broker.status(job_id)
    assert sums(status) == (230, 460, 460_000)
    assert status.state is JobState.COMPLETED


async def test_a_hundred_long_errors_still_fit(lab):
    """Error samples and slow paths are cut to what the store takes; the counts stay exact."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    await finish_scan(broker, job_id, 2)
    long_path = "/data/" + "\udcff" * 3000
    errors = tuple(PathError(f"{long_path}{number}", "permission denied " * 50) for number in range(100))
    slowest = tuple(SlowPath(f"{long_path}{number}", 1.0 + number) for number in range(10))
    for lease in await claim_some(broker, lab, 2):
        given = receipt(lease, files=0, failed_files=100, errors=errors, slowest=slowest)
        assert await broker.complete("w1", [(lease, given)]) == [True]
    status = await broker.status(job_id)
    assert status.failed_files == 200
    assert status.errors
    assert status.slowest
