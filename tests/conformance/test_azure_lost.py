"""What gets lost from Azure's queues, and messages that end whoever reads them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from cachewarmer.broker.azure.lost import Lost
from cachewarmer.broker.azure.published import PublishedIds
from cachewarmer.config import LeaseSettings
from cachewarmer.model import JobState, Priority, item_id
from tests.conformance.labs import AzuriteLab, a_job, claim_some, finish_scan, items_of, receipt, scanning_job

LEASE_SECONDS = 60.0


@pytest.fixture
async def azure(storage_account):
    made = AzuriteLab(storage_account)
    async with made.handles:
        yield made


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


async def lost_jobs(broker):
    """Looks for lost jobs, with its own clock."""
    clock = Clock()
    return Lost(broker._at, LeaseSettings(lease_seconds=LEASE_SECONDS), clock), clock


async def look_for(lost, clock, seconds):
    """Looks again and again, for so long."""
    for _ in range(int(seconds // (LEASE_SECONDS / 2))):
        await lost.repost_jobs()
        clock.now += LEASE_SECONDS / 2


@pytest.mark.parametrize(("priority", "queue"), [(Priority.NORMAL, "job"), (Priority.HIGH, "jobhi")])
async def test_a_job_whose_message_is_gone_is_posted_again_once(azure, caplog, priority, queue):
    """On the queue of its priority, after two lease times; gone once more, it fails and says so."""
    broker = await azure.broker()
    job_id = await broker.submit(a_job(priority=priority))
    lost, clock = await lost_jobs(broker)
    async with azure.queue(queue) as jobs:
        await jobs.clear_messages()
        await look_for(lost, clock, 2 * LEASE_SECONDS)
        assert await azure.texts(queue) == []
        await look_for(lost, clock, 2 * LEASE_SECONDS)
        assert [json.loads(text)["JobId"] for text in await azure.texts(queue)] == [job_id]
        assert len([one for one in caplog.records if job_id in one.getMessage()]) == 1
        await look_for(lost, clock, 10 * LEASE_SECONDS)
        assert len(await azure.texts(queue)) == 1
        await jobs.clear_messages()
    caplog.set_level(logging.ERROR)
    await look_for(lost, clock, 4 * LEASE_SECONDS)
    status = await broker.status(job_id)
    assert status.state is JobState.FAILED
    assert "another program takes messages" in status.reason


async def test_items_that_are_gone_are_missed_whatever_waits_on_other_queues(azure):
    """A queue holds what is of its own priority: those of others hide nothing."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, priority=Priority.HIGH)
    await broker.publish([replace(one, priority=Priority.HIGH) for one in items_of(job_id, 2)])
    await finish_scan(broker, job_id, 2)
    await scanning_job(broker, azure, 3)
    lost, clock = await lost_jobs(broker)
    assert not await lost.stranded(job_id)
    clock.now += 3 * LEASE_SECONDS
    assert not await lost.stranded(job_id)
    async with azure.queue("workhi") as queue:
        await queue.clear_messages()
    assert not await lost.stranded(job_id)
    clock.now += 3 * LEASE_SECONDS
    assert await lost.stranded(job_id)


async def test_a_job_that_was_posted_again_is_managed_like_any_other(azure):
    """Also where a manager had it before its message was deleted."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, 2)
    broker._at.scans.leave(job_id)
    lost, clock = await lost_jobs(broker)
    async with azure.queue("job") as jobs:
        await jobs.clear_messages()
    await look_for(lost, clock, 4 * LEASE_SECONDS)
    again = await broker.claim_job(60)
    assert again.job.job_id == job_id
    await broker.publish(items_of(job_id, 2))
    await finish_scan(broker, job_id, 2)
    done = 0
    while done < 2:
        for one in await broker.claim(8, 60):
            if one.item.scan:
                done += sum(await broker.complete("w", [(one, receipt(one))]))
    assert (await broker.status(job_id)).state is JobState.COMPLETED


async def test_a_job_that_waits_or_is_managed_is_not_posted_again(azure):
    """Beside one that is lost: who waits in line is seen there, and who is managed is in its manager's row."""
    one, two = await azure.broker(), await azure.broker()
    managed, _ = await scanning_job(one, azure)
    await one.note_manager("m1")
    gone = await two.submit(a_job())
    async with azure.queue("job") as jobs:
        found = await jobs.receive_message()
        assert json.loads(found.content)["JobId"] == gone
        await jobs.delete_message(found)
    waiting = await two.submit(a_job())
    lost, clock = await lost_jobs(two)
    await look_for(lost, clock, 4 * LEASE_SECONDS)
    texts = [json.loads(text)["JobId"] for text in await azure.texts("job")]
    assert sorted(texts) == sorted([gone, waiting])
    assert managed not in texts


async def test_a_message_that_ended_its_workers_is_not_unpacked(azure, monkeypatch):
    """It is in poison, with all of its files, although reading it is fatal."""
    broker = await azure.broker(max_deliveries=2)
    job_id, _ = await scanning_job(broker, azure, 1)
    await finish_scan(broker, job_id, 1)
    for _ in range(2):
        await claim_some(broker, azure, 1)
        await azure.expire()

    def fatal(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("cachewarmer.wire._entries", fatal)
        for _ in range(20):
            assert await broker.claim(1, azure.lease_seconds) == []
            if (await broker.status(job_id)).state.final:
                break
            await azure.advance(0.2)
    status = await broker.status(job_id)
    assert (status.state, status.poisoned_items, status.poisoned_files) == (JobState.COMPLETED_WITH_ERRORS, 1, 2)
    assert len(await azure.poison_reasons()) == 1


def test_published_ids_are_known_however_many_there_are():
    """Also those that had to go to disk."""
    ids = PublishedIds()
    many = [item_id("j", number) for number in range(5000)]
    assert all(ids.add(one) for one in many)
    assert not any(ids.add(one) for one in many)
    ids.remove(many[7])
    ids.remove("nobody")
    assert len(ids) == 4999
    assert ids.add(many[7])
    ids.close()
