"""What every broker promises so that no job waits for ever: each id counts once, and what got lost is noticed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cachewarmer.errors import BrokerError, DamagedRecord, InvalidTransition, LeaseLost, NothingThere, UnknownJob
from cachewarmer.model import JobState, WorkerReport
from cachewarmer.submitter import resume
from tests.conformance.labs import a_job, claim_all, claim_some, finish_scan, items_of, receipt, scanning_job


async def read_all(broker, lab, worker="w1"):
    """Completes whatever can be claimed; how many of it counted."""
    counted = 0
    for lease in await claim_all(broker, lab):
        counted += sum(await broker.complete(worker, [(lease, receipt(lease))]))
    return counted


async def is_stranded(broker, lab, job_id):
    """Whether it is found stranded within three lease times."""
    for _ in range(7):
        if await broker.stranded(job_id):
            return True
        await lab.advance(lab.lease_seconds / 2)
    return False


# -- each id once --------------------------------------------------------------------------------------------------


async def test_an_item_that_a_scan_names_twice_counts_once(lab):
    """In one call or in several: what the scan said of the number gives way to the ids, and the job ends."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)
    one, two, three = items_of(job_id, 3)
    await broker.publish([one, two, one])
    await broker.publish([two])
    await broker.publish([three])
    await finish_scan(broker, job_id, 5, files=6, bytes=6000)
    assert (await broker.status(job_id)).scan.items == 3
    assert await read_all(broker, lab) == 3
    status = await broker.status(job_id)
    assert (status.state, status.settled_items) == (JobState.COMPLETED, 3)


async def test_an_item_whose_publication_failed_is_published_the_next_time(lab, monkeypatch):
    """Only what was really posted counts as posted."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)

    async def refused(*_):
        raise BrokerError("full")

    with monkeypatch.context() as patch:
        if lab.name == "sqlite":
            patch.setattr(broker, "_call", refused)
        elif lab.name == "postgres":
            patch.setattr(broker._items, "_publish", refused)
        else:
            patch.setattr(broker._at.work, "send", refused)
        with pytest.raises(BrokerError):
            await broker.publish(items_of(job_id, 2))
    await broker.publish(items_of(job_id, 2))
    await finish_scan(broker, job_id, 2)
    assert await read_all(broker, lab) == 2
    assert (await broker.status(job_id)).state is JobState.COMPLETED


# -- items that got lost -------------------------------------------------------------------------------------------


async def test_a_job_whose_items_were_deleted_is_scanned_once_more(lab):
    """And ends with the totals of the second scan alone; lost again, it may not be scanned a third time."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 4)
    await finish_scan(broker, job_id, 4)
    for lease in await claim_some(broker, lab, 1):
        await broker.complete("w1", [(lease, receipt(lease))])
    await lab.lose_items()
    assert await is_stranded(broker, lab, job_id)
    assert await broker.begin_scan_again(job_id)
    status = await broker.status(job_id)
    assert (status.state, status.scan.finished, status.settled_items) == (JobState.SCANNING, False, 0)
    assert await broker.begin_scan_again(job_id), "the first answer may have been lost"
    await broker.publish(items_of(job_id, 4))
    await finish_scan(broker, job_id, 4)
    assert not await broker.stranded(job_id)
    await lab.lose_items()
    assert await is_stranded(broker, lab, job_id)
    assert not await broker.begin_scan_again(job_id)
    assert (await broker.status(job_id)).state is JobState.WARMING


async def test_a_job_that_was_scanned_once_more_ends_with_exact_totals(lab):
    """Nothing that was counted before counts, and what was leased before can't be counted."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 3)
    await finish_scan(broker, job_id, 3)
    early = await claim_some(broker, lab, 2)
    await broker.complete("w1", [(early[0], receipt(early[0]))])
    await lab.lose_items()
    assert await is_stranded(broker, lab, job_id)
    assert await broker.begin_scan_again(job_id)
    await broker.complete("w1", [(early[1], receipt(early[1]))])
    await broker.publish(items_of(job_id, 3))
    await finish_scan(broker, job_id, 3)
    assert await read_all(broker, lab) == 3
    status = await broker.status(job_id)
    assert (status.state, status.settled_items) == (JobState.COMPLETED, 3)
    assert sum(tally.files for tally in status.tallies) == 6


async def test_a_job_that_only_waits_is_not_stranded(lab):
    """Nobody reads for it, or somebody reads for long, or it is paused: that is no loss."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    assert not await is_stranded(broker, lab, job_id), "its scan goes on"
    await finish_scan(broker, job_id, 2)
    assert not await is_stranded(broker, lab, job_id), "no worker is there"
    await broker.claim(1, lab.lease_seconds * 20)
    assert not await is_stranded(broker, lab, job_id), "a worker reads"
    await broker.set_state(job_id, JobState.PAUSED)
    await lab.lose_items()
    assert not await is_stranded(broker, lab, job_id), "it is paused"
    await broker.set_state(job_id, JobState.CANCELLED)
    assert not await is_stranded(broker, lab, job_id), "it is over"
    assert not await broker.begin_scan_again(job_id)


async def test_a_stranded_job_beside_a_paused_one(lab):
    """The items that wait for the paused job hide nothing."""
    broker = await lab.broker()
    lost, _ = await scanning_job(broker, lab, 2)
    await finish_scan(broker, lost, 2)
    await lab.lose_items()
    paused, _ = await scanning_job(broker, lab, 3)
    await finish_scan(broker, paused, 3)
    assert lab.name != "azurite" or not await is_stranded(broker, lab, lost), "what waits may be its own"
    await broker.set_state(paused, JobState.PAUSED)
    assert await is_stranded(broker, lab, lost)
    assert not await broker.stranded(paused)


async def test_only_a_job_that_is_there_can_be_stranded(lab):
    """An unknown id is an error, as everywhere."""
    broker = await lab.broker()
    with pytest.raises(UnknownJob):
        await broker.stranded("nobody")
    with pytest.raises(UnknownJob):
        await broker.begin_scan_again("nobody")


# -- managers ------------------------------------------------------------------------------------------------------


async def test_who_waits_for_a_manager_learns_when_one_was_there(lab):
    """The latest of them counts; where none has ever been there is no number."""
    one, two = await lab.broker(), await lab.broker()
    assert await one.manager_seen() is None
    await one.note_manager("m1")
    await lab.advance(3)
    assert await two.manager_seen() > 1.9, "by a clock that may count whole seconds only"
    await two.note_manager("m2 \udcff")
    assert await one.manager_seen() < 1.9


async def test_one_manager_at_a_time_drives_a_fleet(lab):
    """Until it gives it back, or its time is over without a renewal; of several that ask at once one gets it."""
    one, two = await lab.broker(), await lab.broker()
    asked = await asyncio.gather(one.take_fleet("f", "m1", 60.0), two.take_fleet("f", "m2", 60.0))
    assert sorted(asked) == [False, True]
    first, second = ((one, "m1"), (two, "m2"))[:: 1 if asked[0] else -1]
    assert await first[0].take_fleet("f", first[1], 60.0)
    assert not await second[0].take_fleet("f", second[1], 60.0)
    assert await second[0].take_fleet("another", second[1], 60.0)
    assert await first[0].take_fleet("f", first[1], 0.0)
    assert await second[0].take_fleet("f", second[1], 1.0)
    assert not await first[0].take_fleet("f", first[1], 60.0)
    await lab.advance(2.1)
    assert await first[0].take_fleet("f", first[1], 60.0)
    assert not await second[0].take_fleet("f", second[1], 60.0)


async def test_a_job_that_ends_each_manager_fails(lab):
    """After as many of them as an item may end workers; others go on being managed."""
    broker = await lab.broker(max_deliveries=2)
    job_id = await broker.submit(a_job())
    for number in (1, 2):
        lease = await broker.claim_job(lab.lease_seconds)
        assert lease.deliveries == number
        await lab.expire()
    other = await broker.submit(a_job())
    assert (await broker.claim_job(lab.lease_seconds)).job.job_id == other
    status = await broker.status(job_id)
    assert status.state is JobState.FAILED
    assert "2 managers" in status.reason


async def test_a_job_that_is_asked_for_by_its_id_is_given_however_many_managers_ended(lab):
    """Somebody who resumes a job again and again knows that it was killed; and one that failed so begins to count anew."""
    broker = await lab.broker(max_deliveries=2)
    job_id = await broker.submit(a_job())
    for number in range(1, 5):
        try:
            lease = await broker.claim_job(lab.lease_seconds, job_id)
        except BrokerError:
            return  # a queue that gives the next job alone
        assert lease.deliveries == number
        await lab.expire()
    assert await broker.claim_job(lab.lease_seconds) is None
    assert (await broker.status(job_id)).state is JobState.FAILED
    assert await broker.revive(job_id)
    assert (await broker.claim_job(lab.lease_seconds)).deliveries == 1


async def test_a_job_that_failed_goes_on_or_says_that_it_can_not(lab):
    """Whoever resumes it is not told of a state that nobody can leave."""
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await broker.claim_job(lab.lease_seconds)
    await broker.set_state(job_id, JobState.FAILED, "the cache was away")
    refused = None
    try:
        status = await resume(broker, job_id)
    except InvalidTransition as error:
        refused = error
        status = await broker.status(job_id)
    if refused is not None:
        assert refused.failure.advice == "submit it again"
    assert (status.state, status.reason) == (
        (JobState.FAILED, "the cache was away") if refused is not None else (JobState.SCANNING, "")
    )


async def test_a_job_that_is_handed_back_or_scanned_has_no_limit(lab):
    """A manager that is restarted every day did the job no harm, nor did one that waited for its workers."""
    broker = await lab.broker(max_deliveries=2)
    job_id = await broker.submit(a_job())
    for _ in range(4):
        lease = await broker.claim_job(lab.lease_seconds)
        assert lease.job.job_id == job_id
        await broker.release_job(lease)
    await broker.claim_job(lab.lease_seconds)
    await broker.set_state(job_id, JobState.SCANNING)
    await broker.publish(items_of(job_id, 1))
    await finish_scan(broker, job_id, 1)
    for _ in range(3):
        await lab.expire()
        assert (await broker.claim_job(lab.lease_seconds)).job.job_id == job_id


# -- hostile stores ------------------------------------------------------------------------------------------------


async def test_a_damaged_record_hides_no_other_job(lab, caplog):
    """It is named once, and whoever asks for that very job is told; all else goes on."""
    broker = await lab.broker()
    good, _ = await scanning_job(broker, lab, 1)
    bad, _ = await scanning_job(broker, lab, 1)
    await lab.damage_job(bad)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [one.job.job_id for one in await broker.jobs()] == [good]
            await broker.backlog()
            await broker.tidy(1e9)
    assert len([record for record in caplog.records if bad in record.getMessage()]) == 1
    for ask in (broker.status, broker.state, broker.stranded):
        with pytest.raises(DamagedRecord, match=bad):
            await ask(bad)
    await finish_scan(broker, good, 1)
    for lease in await claim_all(broker, lab):
        await broker.complete("w", [(lease, receipt(lease))])
    assert (await broker.status(good)).state is JobState.COMPLETED


@pytest.mark.parametrize("value", [1e300, 9e9, float("inf")])
async def test_a_time_that_nobody_set_holds_nothing(lab, caplog, value):
    """Neither a job, an item, a fleet nor the traces of managers and workers; it is named once."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 2)
    (held,) = await claim_some(broker, lab, 1)
    assert await broker.take_fleet("f", "first", 60.0)
    assert not await broker.take_fleet("f", "second", 60.0)
    await broker.note_manager("m")
    await broker.note_worker(WorkerReport(worker="w", host="h"))
    for table in lab.timed:
        await lab.set_times(table, value)
    with caplog.at_level(logging.WARNING):
        assert await broker.take_fleet("f", "second", 60.0)
        assert not await broker.take_fleet("f", "first", 60.0)
        if "jobs" in lab.timed:
            assert (await broker.backlog()).leased_items == 0
            assert await broker.manager_seen() is None
            assert await broker.workers() == []
            assert (await broker.claim_job(60.0)).job.job_id == job_id
            again = await claim_some(broker, lab, 2)
            assert await broker.complete("w", [(held, receipt(held))]) == [False]
            await finish_scan(broker, job_id, 2)
            assert await broker.complete("w", [(one, receipt(one)) for one in again]) == [True, True]
            assert (await broker.status(job_id)).state is JobState.COMPLETED
    named = [one.getMessage() for one in caplog.records if "taking it as free" in one.getMessage()]
    assert len(named) == (4 if "jobs" in lab.timed else 1)
    assert sum("the fleet f is damaged (leased" in one for one in named) == 1


async def test_who_only_looks_creates_nothing(lab):
    """Neither a file nor a queue: a mistyped name is an error that says so."""
    for _ in range(2):
        with pytest.raises(NothingThere, match="no job was ever submitted"):
            await lab.looking().open()
        assert await lab.is_empty()
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    async with lab.looking() as looking:
        assert (await looking.status(job_id)).state is JobState.QUEUED


# -- managers that were slow ---------------------------------------------------------------------------------------


async def taken_over(lab):
    """A job in whose scan one manager was slow, so that another has taken it."""
    slow, other = await lab.broker(), await lab.broker()
    job_id = await slow.submit(a_job())
    assert await slow.claim_job(lab.lease_seconds)
    await slow.set_state(job_id, JobState.SCANNING)
    await slow.publish(items_of(job_id, 1))
    await lab.expire()
    lease = await other.claim_job(60)
    assert lease.job.job_id == job_id
    return slow, other, job_id, lease


async def test_totals_of_a_manager_that_lost_its_job_do_not_count(lab):
    """They are refused, and the job goes on to the totals of the manager that has it."""
    slow, other, job_id, _ = await taken_over(lab)
    with pytest.raises(LeaseLost):
        await finish_scan(slow, job_id, 1)
    status = await other.status(job_id)
    assert (status.state, status.scan.finished) == (JobState.SCANNING, False)
    await other.publish(items_of(job_id, 2))
    await finish_scan(other, job_id, 2)
    assert await read_all(other, lab) >= 2
    status = await other.status(job_id)
    assert (status.state, status.settled_items) == (JobState.COMPLETED, 2)


async def test_a_manager_that_lost_its_job_never_begins_a_scan_unknown_to_the_other(lab):
    """It is refused; or what it leaves behind is refused of the other, which then lets go of the job."""
    slow, other, job_id, lease = await taken_over(lab)
    await other.publish(items_of(job_id, 2))
    await finish_scan(other, job_id, 2)
    try:
        await slow.begin_scan_again(job_id)
    except LeaseLost:
        assert (await other.status(job_id)).scan.items == 2
        return
    with pytest.raises(LeaseLost):
        await finish_scan(other, job_id, 2)
    await other.release_job(lease)
    assert (await other.claim_job(60)).job.job_id == job_id
    await other.publish(items_of(job_id, 2))
    await finish_scan(other, job_id, 2)
    assert await read_all(other, lab) >= 2
    assert (await other.status(job_id)).state is JobState.COMPLETED
