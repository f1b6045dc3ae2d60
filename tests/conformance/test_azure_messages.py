"""Messages that anyone may put on the Azure queues: by hand, by the first CacheWarmer, or by mistake."""

from __future__ import annotations

import base64
import json
import os
import zlib

import pytest

from cachewarmer.errors import BrokerError, LeaseLost
from cachewarmer.model import Access, FileEntry, JobState, Report, WorkItem
from tests.conformance.labs import AzuriteLab, a_job, claim_some, finish_scan, items_of, receipt, scanning_job

JOB = (
    '{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data",'
    '"WarmTargetPath":"/tools",\n "InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}'
)
ITEM = (
    '{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data",\n'
    ' "WarmTargetPath":"/tools/bootstrap","StartByte":-1,"StopByte":-1,"ApplyFilter":false,"StartFileFilter":"",\n'
    ' "EndFileFilter":"","InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}'
)


def of_job(job_id, **more):
    """``ITEM`` as an item of a job of ours, with the id that belongs to it."""
    values = {**json.loads(ITEM), "JobId": job_id, **more}
    return {**values, "ItemId": WorkItem.from_json(json.dumps(values)).content_id}


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
    first = await broker.claim_job(60)
    assert first.job.access.addresses == ("10.0.1.7", "10.0.1.8", "10.0.1.9")
    assert first.job.job_id
    assert (await broker.status(first.job.job_id)).state is JobState.QUEUED
    await broker.release_job(first)
    again = await broker.claim_job(60)
    assert again.job.job_id == first.job.job_id
    assert len(await broker.jobs()) == 1


async def test_a_malformed_job_goes_to_poison_and_the_next_is_taken(azure):
    """At once, with its reason and its text; the manager goes on."""
    broker = await azure.broker()
    bad = ["not json at all", '{"WarmTargetPath": 7}', "[]", '{"WarmTargetPath":"/x","JobId":"../x"}']
    for text in bad:
        await azure.post("job", text)
    await azure.post("job", JOB)
    lease = await broker.claim_job(60)
    assert lease.job.warm_path == "/tools"
    poison = [json.loads(text) for text in await azure.texts("poison")]
    assert [one["Message"] for one in poison] == bad
    assert all(one["Reason"] for one in poison)
    assert {one["Queue"] for one in poison} == {azure.prefix + "job"}


async def test_a_message_as_long_as_a_message_can_be_still_fits_into_poison(azure):
    """Its text is cut, and the cut is marked."""
    broker = await azure.broker()
    await azure.post("work", 'é<&"' * 10_000)
    assert await broker.claim(8, 2) == []
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
    assert await broker.claim_job(60) is None
    assert await azure.texts("job") == []
    assert await broker.state(job_id) is JobState.SCANNING


async def test_handles_are_left_out_where_a_message_would_grow_too_long(azure):
    """The names decide where items end, so what handles add may not fit: files without are found by their path."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    files = tuple(FileEntry(f"file{number:05}", 10, os.urandom(60)) for number in range(1500))
    await broker.publish([WorkItem(access=Access(addresses=("a",)), job_id=job_id, path="/x", files=files)])
    (lease,) = await claim_some(broker, azure, 1)
    assert [entry.path for entry in lease.item.files] == [entry.path for entry in files]
    assert 0 < sum(1 for entry in lease.item.files if entry.handle) < 1500


async def test_an_item_too_long_for_a_message_is_refused(azure):
    """With its length and the limit in one line."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    item = WorkItem(job_id=job_id, path="/" + "x" * 70_000)
    with pytest.raises(BrokerError, match="the maximum is"):
        await broker.publish([item])


async def test_messages_that_were_cleared_by_hand_are_no_work(azure):
    """The job will never end, but no machine waits for what nobody can read."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, 3)
    await finish_scan(broker, job_id, 3)
    assert (await broker.backlog()).unsettled_items == 3
    async with azure.queue("work") as queue:
        await queue.clear_messages()
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.active_jobs) == (0, 1)


HOSTILE_JOBS = {
    "one that grows past a table's row": json.dumps(
        {**json.loads(JOB), "InclusionList": ["é" * 300] * 60}, ensure_ascii=False
    ),
    "one that calls itself the job of items without a job": json.dumps({**json.loads(JOB), "JobId": "firstgen"}),
    "one with a user that AUTH_SYS can't hold": json.dumps({**json.loads(JOB), "Uid": 1 << 40}),
    "one that climbs out of its export": json.dumps({**json.loads(JOB), "WarmTargetPath": "/../../etc"}),
    "64 KiB of brackets": "[" * 65_536,
    "a control character": '{"a":"\t"}',
    "base64 of nothing": "====",
}


async def test_hostile_jobs_go_to_poison_and_the_manager_goes_on(azure):
    """None of them stops a manager, and none is delivered twice."""
    broker = await azure.broker()
    for text in HOSTILE_JOBS.values():
        await azure.post("job", text)
    await azure.post("job", JOB)
    assert (await broker.claim_job(60)).job.warm_path == "/tools"
    assert len(await azure.poison_reasons()) == len(HOSTILE_JOBS)


async def test_hostile_items_go_to_poison_and_the_worker_goes_on(azure):
    """At once, with the reason; what comes behind them is delivered."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    good = of_job(job_id)
    bad = [
        {**good, "ItemId": "0" * 32},
        {**good, "WarmTargetMountAddresses": []},
        {**good, "JobId": "../x"},
        {**good, "JobId": "a#b?c"},
        {**good, "NfsPort": 1 << 20},
        {**good, "FilesDeflated": base64.b64encode(zlib.compress(b" " * (1 << 25))).decode()},
    ]
    for one in [*bad, good]:
        await azure.post("work", json.dumps(one))
    (lease,) = await claim_some(broker, azure, 1)
    assert lease.item.item_id == good["ItemId"]
    assert len(await azure.poison_reasons()) == len(bad)


@pytest.mark.parametrize("odd", ["a/b", "a\\b", "a#b", "a?b", "a\tb", "ü", "x" * 3000, " ", "plain"])
async def test_an_item_id_that_is_not_the_contents_own_goes_to_poison(azure, odd):
    """Whoever posts one could make another item count as read; nor may a row's key hold any letters."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    await azure.post("work", json.dumps({**json.loads(ITEM), "JobId": job_id, "ItemId": odd}))
    assert await broker.claim(1, azure.lease_seconds) == []
    (reason,) = await azure.poison_reasons()
    assert "ItemId" in reason


async def test_an_item_without_an_id_gets_the_contents_own_and_is_counted_once(azure):
    """The same one each time it is posted."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    for _ in range(2):
        await azure.post("work", json.dumps({**json.loads(ITEM), "JobId": job_id}))
    first, second = await claim_some(broker, azure, 2)
    assert first.item.item_id == second.item.item_id == of_job(job_id)["ItemId"]
    assert await broker.complete("w", [(first, receipt(first, files=1))]) == [True]
    assert await broker.complete("w", [(second, receipt(second, files=1))]) == [False]


async def test_an_item_of_a_job_that_nobody_knows_is_kept_for_people(azure):
    """It is not dropped without a word: whoever posted it finds it in poison."""
    broker = await azure.broker()
    await azure.post("work", json.dumps({**json.loads(ITEM), "JobId": "nobody"}))
    (lease,) = await claim_some(broker, azure, 1)
    assert await broker.abandon(lease, "") is True
    (reason,) = await azure.poison_reasons()
    assert "nobody" in reason
    assert await azure.texts("work") == []


async def test_an_item_that_claims_to_be_forgiven_is_given_up_all_the_same(azure):
    """As a copy from the poison queue may: it is not tried for ever."""
    broker = await azure.broker(max_deliveries=2)
    job_id, _ = await scanning_job(broker, azure)
    item = {**of_job(job_id), "ForgivenDeliveries": 1 << 40}
    await azure.post("work", json.dumps(item))
    (lease,) = await claim_some(broker, azure, 1)
    assert lease.deliveries == 1
    assert await broker.abandon(lease, "it fails") is False
    (lease,) = await claim_some(broker, azure, 1)
    assert await broker.abandon(lease, "it fails") is True
    assert (await broker.status(job_id)).poisoned_items == 1


async def test_nothing_has_come_of_an_item_that_was_just_posted(azure):
    """Whoever may post, and no more, can have no receipt written for files that nobody read."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    item = json.loads(items_of(job_id, 1)[0].to_json())
    for forgiven in (0, 1, 1 << 40):
        await azure.post("work", json.dumps({**item, "CameFiles": [[0, 2]], "ForgivenDeliveries": forgiven}))
    for lease in await claim_some(broker, azure, 3):
        assert not lease.item.came


async def test_an_item_without_room_for_its_history_is_handed_back_as_it_is(azure):
    """Somebody else's message may be as long as a message can be."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure)
    item = of_job(job_id, InclusionList=["é" * 20_000])
    await azure.post("work", json.dumps(item, ensure_ascii=False, separators=(",", ":")))
    for reason in ("it fails", ""):
        (lease,) = await claim_some(broker, azure, 1)
        assert await broker.abandon(lease, reason) is False
    assert await claim_some(broker, azure, 1)


async def test_messages_never_run_out_of_time(azure):
    """The service's default is 7 days, after which a paused job would have lost its work."""
    broker = await azure.broker()
    await broker.submit(a_job(job_id="waits"))
    await broker.publish(items_of("waits", 1))
    await azure.post("job", "garbage")
    for kind, count in (("job", 2), ("work", 1), ("poison", 1)):
        if kind == "poison":
            assert (await broker.claim_job(60)).job.job_id == "waits"
            assert await broker.claim_job(60) is None
        async with azure.queue(kind) as queue:
            messages = [one for one in await queue.peek_messages(8) if one.content != "garbage"]
        assert [one.expires_on.year for one in messages] == [9999] * (count - (kind == "job"))


async def scanned_anew(azure):
    """A job whose first manager published two items, and whose second one published the same two again."""
    old, new = await azure.broker(), await azure.broker()
    job_id = await old.submit(a_job())
    await old.claim_job(azure.lease_seconds)
    await old.set_state(job_id, JobState.SCANNING)
    await old.publish(items_of(job_id, 2))
    early = await claim_some(old, azure, 1)
    await azure.expire()
    assert (await new.claim_job(60)).job.job_id == job_id
    await new.publish(items_of(job_id, 2))
    return old, new, job_id, early


async def test_items_of_a_scan_that_was_begun_anew_are_dropped(azure):
    """Once a worker has seen the job's state, it reads nothing that a killed manager published."""
    _, new, job_id, _ = await scanned_anew(azure)
    await new.state(job_id)
    leases = await claim_some(new, azure, 2)
    assert [lease.item.scan for lease in leases] == [1, 1]
    assert await new.claim(8, 1) == []
    assert await azure.texts("work") == []


async def test_what_is_read_for_a_scan_that_was_begun_anew_does_not_count(azure):
    """Neither a worker that read an item of it, nor the manager that believes to be at it, changes the totals."""
    old, new, job_id, early = await scanned_anew(azure)
    await old.complete("w", [(lease, receipt(lease)) for lease in early])
    with pytest.raises(LeaseLost):
        await finish_scan(old, job_id, 1)
    status = await new.status(job_id)
    assert (status.settled_items, status.scan.finished, status.state) == (0, False, JobState.SCANNING)
    await finish_scan(new, job_id, 2)
    await new.state(job_id)
    leases = await claim_some(new, azure, 2)
    await new.complete("w", [(lease, receipt(lease)) for lease in leases])
    status = await new.status(job_id)
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, 4)
