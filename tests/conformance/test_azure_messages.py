"""Messages that anyone may put on the Azure queues: by hand, by the first CacheWarmer, or by mistake."""

from __future__ import annotations

import base64
import json
import os

import pytest

from cachewarmer.errors import BrokerError
from cachewarmer.model import FileEntry, JobState, ScanTotals, WorkItem
from tests.conformance.labs import AzuriteLab, claim_some, receipt, scanning_job

JOB = (
    '{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data",'
    '"WarmTargetPath":"/tools",\n "InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}'
)
ITEM = (
    '{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data",\n'
    ' "WarmTargetPath":"/tools/bootstrap","StartByte":-1,"StopByte":-1,"ApplyFilter":false,"StartFileFilter":"",\n'
    ' "EndFileFilter":"","InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}'
)


@pytest.fixture
async def azure(storage_account):
    lab = AzuriteLab(storage_account)
    async with lab.handles:
        yield lab


@pytest.mark.parametrize(
    "encode", [str, lambda text: base64.b64encode(text.encode()).decode()], ids=["plain", "base64"]
)
async def test_a_job_put_on_the_queue_by_hand_gets_an_id(azure, encode):
    """The sample of the wire format works as it is, plain or base64; its id is the same at each delivery."""
    broker = await azure.broker()
    await azure.post("job", encode(JOB))
    first = await broker.claim_job("m", 60)
    assert first.job.mount_addresses == ("10.0.1.7", "10.0.1.8", "10.0.1.9")
    assert first.job.job_id
    assert (await broker.status(first.job.job_id)).state is JobState.QUEUED
    await broker.release_job(first)
    again = await broker.claim_job("m", 60)
    assert again.job.job_id == first.job.job_id
    assert len(await broker.jobs()) == 1


async def test_a_malformed_job_goes_to_poison_and_the_next_is_taken(azure):
    """At once, with its reason and its text; the manager goes on."""
    broker = await azure.broker()
    bad = ["not json at all", '{"WarmTargetPath": 7}', "[]", '{"WarmTargetPath":"/x","JobId":"../x"}']
    for text in bad:
        await azure.post("job", text)
    await azure.post("job", JOB)
    lease = await broker.claim_job("m", 60)
    assert lease.job.warm_path == "/tools"
    poison = [json.loads(text) for text in await azure.texts("poison")]
    assert [one["Message"] for one in poison] == bad
    assert all(one["Reason"] for one in poison)
    assert {one["Queue"] for one in poison} == {azure.prefix + "job"}


async def test_a_message_as_long_as_a_message_can_be_still_fits_into_poison(azure):
    """Its text is cut, and the cut is marked."""
    broker = await azure.broker()
    await azure.post("work", 'é<&"' * 10_000)
    assert await broker.claim("w", 8, 2) == []
    (poison,) = [json.loads(text) for text in await azure.texts("poison")]
    assert poison["Cut"] is True
    assert poison["Message"].startswith('é<&"')


@pytest.mark.parametrize(
    "encode", [str, lambda text: base64.b64encode(text.encode()).decode()], ids=["plain", "base64"]
)
async def test_an_item_of_a_first_generation_manager_is_counted_once(azure, encode):
    """It has neither job nor id: it is counted in a job made for such items, and is work until then."""
    broker = await azure.broker()
    await azure.post("work", encode(ITEM))
    assert (await broker.backlog()).stray_items == 1
    (lease,) = await claim_some(broker, azure, 1)
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.stray_items, backlog.scanning_jobs) == (1, 0, 0)
    assert (lease.item.path, lease.item.job_id) == ("/tools/bootstrap", "firstgen")
    assert await broker.state("firstgen") is JobState.WARMING
    await broker.abandon(lease, "")
    (lease,) = await claim_some(broker, azure, 1)
    assert await broker.complete("w", [(lease, receipt(lease, files=3, bytes=30))]) == [True]
    assert await broker.complete("w", [(lease, receipt(lease, files=3, bytes=30))]) == [False]
    assert (await broker.backlog()).unsettled_items == 0
    status = await broker.status("firstgen")
    assert [(tally.files, tally.bytes) for tally in status.tallies] == [(3, 30)]


async def test_a_repeated_job_message_is_one_job(azure):
    """A submitter whose answer was lost may have posted twice: the second message is known and dropped."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    (status,) = await broker.jobs()
    await azure.post("job", status.job.to_json())
    assert await broker.claim_job("m2", 60) is None
    assert await azure.texts("job") == []
    assert await broker.state(job_id) is JobState.SCANNING


async def test_handles_are_left_out_where_a_message_would_grow_too_long(azure):
    """The names decide where items end, so what handles add may not fit: files without are found by their path."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    files = tuple(FileEntry(f"file{number:05}", 10, os.urandom(60)) for number in range(1500))
    await broker.publish([WorkItem(job_id=job_id, path="/x", files=files)])
    (lease,) = await claim_some(broker, azure, 1)
    assert [entry.path for entry in lease.item.files] == [entry.path for entry in files]
    assert 0 < sum(1 for entry in lease.item.files if entry.handle) < 1500


async def test_an_item_too_long_for_a_message_is_refused(azure):
    """With its length and the limit in one line."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    item = WorkItem(job_id=job_id, path="/" + "x" * 70_000)
    with pytest.raises(BrokerError, match="at most"):
        await broker.publish([item])


async def test_messages_that_were_cleared_by_hand_are_no_work(azure):
    """The job will never end, but no machine waits for what nobody can read."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, 3)
    await broker.record_scan(job_id, ScanTotals(items=3, finished=True))
    assert (await broker.backlog()).unsettled_items == 3
    async with azure.queue("work") as queue:
        await queue.clear_messages()
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.active_jobs) == (0, 1)
