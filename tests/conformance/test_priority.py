"""What every broker promises about jobs of several priorities: the urgent go first, and nobody is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cachewarmer.model import JobState, Priority
from cachewarmer.model.priority import TURNS
from tests.conformance.labs import a_job, claim_all, claim_some, finish_scan, give_up, items_of, receipt, scanning_job

HIGH, NORMAL, LOW = Priority


async def published(broker, lab, priority, count, start=0):
    """A job of a priority that has published so many items."""
    job_id, lease = await scanning_job(broker, lab, priority=priority)
    for item in items_of(job_id, count, start=start):
        await broker.publish([replace(item, priority=priority)])
    return job_id, lease


async def claimed_one_by_one(broker, lab, count):
    """The priorities of so many items, each claimed by itself."""
    return [(await claim_some(broker, lab, 1))[0].item.priority for _ in range(count)]


async def test_an_urgent_job_overtakes_and_leaves_a_share(lab):
    """Of each ten items, seven are urgent, two normal and one low, while all three wait."""
    broker = await lab.broker()
    for priority in (LOW, NORMAL, HIGH):  # the urgent one comes last
        await published(broker, lab, priority, 20)
    got = await claimed_one_by_one(broker, lab, 20)
    assert Counter(got) == {priority: 2 * TURNS.count(priority) for priority in Priority}
    assert got[0] is HIGH


async def test_turns_that_nobody_takes_go_to_the_most_urgent(lab):
    broker = await lab.broker()
    await published(broker, lab, LOW, 12)
    await published(broker, lab, NORMAL, 30)
    got = await claimed_one_by_one(broker, lab, 20)
    assert Counter(got) == {NORMAL: 18, LOW: 2}


async def test_several_claimed_at_once_are_shared_out_too(lab):
    """And each is delivered once, whatever its priority."""
    broker = await lab.broker()
    jobs = [await published(broker, lab, priority, 20) for priority in (LOW, NORMAL, HIGH)]
    first = await claim_some(broker, lab, 10)
    found = Counter(lease.item.priority for lease in first)
    assert found == {priority: TURNS.count(priority) for priority in Priority}
    rest = await claim_all(broker, lab)
    assert Counter(lease.item.job_id for lease in first + rest) == {job_id: 20 for job_id, _ in jobs}
    assert len({(lease.item.job_id, lease.item.item_id) for lease in first + rest}) == 60


async def test_only_what_is_urgent_enough_is_taken(lab):
    broker = await lab.broker()
    await published(broker, lab, LOW, 2)
    await published(broker, lab, NORMAL, 2)
    assert await broker.claim(8, lab.lease_seconds, least=HIGH) == []
    await published(broker, lab, HIGH, 1)
    assert [one.item.priority for one in await broker.claim(8, lab.lease_seconds, least=HIGH)] == [HIGH]
    found = await broker.claim(8, lab.lease_seconds, least=NORMAL)
    assert {one.item.priority for one in found} == {NORMAL}


@pytest.mark.parametrize("priority", Priority)
async def test_items_of_each_priority_are_renewed_settled_handed_back_and_poisoned(lab, priority):
    broker = await lab.broker()
    job_id, _ = await published(broker, lab, priority, 4)
    one, two, three, four = await claim_some(broker, lab, 4)
    await broker.renew(one, lab.lease_seconds)
    assert await broker.complete("w1", [(one, receipt(one)), (two, receipt(two))]) == [True, True]
    await broker.abandon(three, "")
    await give_up(lab, four, "it is no good")
    (again,) = await claim_some(broker, lab, 1)
    assert (again.item.item_id, again.item.priority) == (three.item.item_id, priority)
    await broker.complete("w2", [(again, receipt(again))])
    await finish_scan(broker, job_id, 4)
    status = await broker.status(job_id)
    assert (status.state, status.settled_items, status.poisoned_items) == (JobState.COMPLETED_WITH_ERRORS, 4, 1)
    assert status.job.priority is priority
    assert (await broker.backlog()).waiting_items == 0


async def test_urgent_jobs_are_managed_first_and_others_in_their_turn(lab):
    broker = await lab.broker()
    old = await broker.submit(a_job())
    low = await broker.submit(a_job(priority=LOW))
    urgent = [await broker.submit(a_job(priority=HIGH)) for _ in range(12)]
    leases = [await broker.claim_job(lab.lease_seconds) for _ in range(14)]
    order = [lease.job.job_id for lease in leases]
    assert order[0] == urgent[0]
    assert sorted(order) == sorted([old, low, *urgent])
    assert order.index(old) == TURNS.index(NORMAL)
    assert order.index(low) == TURNS.index(LOW)


async def test_a_manager_may_ask_for_urgent_jobs_only(lab):
    broker = await lab.broker()
    await broker.submit(a_job(priority=LOW))
    normal = await broker.submit(a_job())
    assert await broker.claim_job(lab.lease_seconds, least=HIGH) is None
    urgent = await broker.submit(a_job(priority=HIGH))
    lease = await broker.claim_job(lab.lease_seconds, least=HIGH)
    assert lease.job.job_id == urgent
    await broker.renew_job(lease, lab.lease_seconds)
    await broker.release_job(lease)
    lease = await broker.claim_job(lab.lease_seconds, least=HIGH)
    assert lease.job.job_id == urgent
    await broker.set_state(urgent, JobState.CANCELLED)
    await broker.settle_job(lease)
    assert (await broker.claim_job(lab.lease_seconds, least=NORMAL)).job.job_id == normal
