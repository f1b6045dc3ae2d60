"""What every broker promises about ledgers: each piece once, in order, and gone with its job."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from cachewarmer.errors import BrokerError, LeaseLost
from cachewarmer.ledger.records import lines, records
from cachewarmer.ledger.since import base_pieces, store_base
from cachewarmer.model import FileEntry, JobState
from cachewarmer.model.outcomes import FileOutcome, item_key, pack, scan_part
from tests.conformance.labs import a_job, claim_all, finish_scan, items_of, receipt, scanning_job


def outcome(item, name, **values):
    return FileOutcome(f"/data{item.path}/{name}", 5, 1.5, 2.5, "read", 5, "", "c1", 0.25)._replace(**values)


def with_piece(lease):
    told = pack(outcome(lease.item, entry.path).line() for entry in lease.item.files)
    return (lease, replace(receipt(lease), key=item_key(lease.item), piece=told))


async def kept(broker, job_id):
    return [one async for one in records(broker.ledger(job_id))]


async def job_with_items(broker, lab, count):
    job_id, lease = await scanning_job(broker, lab, ledger=True)
    await broker.publish([replace(item, ledger=True) for item in items_of(job_id, count)])
    return job_id, lease


async def test_what_comes_of_an_item_is_kept_once(lab):
    """A worker whose lease ran out, and one that gives its answer twice, add nothing; the records are those of the files."""
    broker, other = await lab.broker(), await lab.broker()
    job_id, _ = await job_with_items(broker, lab, 3)
    late = await claim_all(broker, lab)
    await lab.expire()
    again = await claim_all(other, lab, "w2")
    assert len(again) == len(late) == 3
    results = [with_piece(lease) for lease in again]
    assert await other.complete("w2", results) == [True] * 3
    await other.complete("w2", results)
    assert await broker.complete("w1", [with_piece(lease) for lease in late]) == [False] * 3
    expected = sorted(outcome(lease.item, entry.path) for lease in again for entry in lease.item.files)
    assert sorted(await kept(broker, job_id)) == expected
    keys = [key async for key, _ in broker.ledger(job_id)]
    assert keys == sorted(item_key(lease.item) for lease in again)


async def test_more_pieces_than_one_call_holds(lab):
    """All of them come, in order, also where one is larger than any property of a table."""
    broker = await lab.broker()
    job_id, lease = await scanning_job(broker, lab, ledger=True)
    pieces = [(f"s{number:032x}", pack([f"{number}\n"])) for number in range(70)]
    pieces.append(("k" + "0" * 32, b"L" + bytes(range(256)) * 800))
    await broker.add_to_ledger(job_id, pieces[::-1])
    await broker.add_to_ledger(job_id, pieces[:1])
    assert [one async for one in broker.ledger(job_id)] == sorted(pieces)
    await broker.release_job(lease)


@pytest.mark.parametrize("files", [1, 60])
async def test_many_receipts_in_one_call(lab, files):
    """Whatever a transaction may hold, receipts and pieces come together."""
    broker = await lab.broker()
    job_id, _ = await job_with_items(broker, lab, files)
    leases = await claim_all(broker, lab, most=100)
    assert await broker.complete("w1", [with_piece(lease) for lease in leases]) == [True] * files
    assert len({one.path for one in await kept(broker, job_id)}) == len(await kept(broker, job_id)) == 2 * files


async def test_an_item_that_is_given_up_is_told(lab):
    """Each of its files is a failed record, with the reason."""
    broker = await lab.broker(max_deliveries=1)
    job_id, _ = await scanning_job(broker, lab, ledger=True)
    (item,) = items_of(job_id, 1)
    await broker.publish([replace(item, ledger=True, files=(FileEntry("a", 1), FileEntry("b\udcff", 2)))])
    (lease,) = await claim_all(broker, lab)
    await broker.abandon(lease, "no luck")
    await finish_scan(broker, job_id, 1)
    assert (await broker.status(job_id)).state is JobState.COMPLETED_WITH_ERRORS
    found = await kept(broker, job_id)
    assert sorted((one.path, one.size, one.status) for one in found) == [
        (f"/data{item.path}/a", 1, "failed"),
        (f"/data{item.path}/b\udcff", 2, "failed"),
    ]
    assert all("no luck" in one.error for one in found)


async def test_a_scan_that_begins_again_tells_anew(lab):
    """What it told is dropped, of its own part only; what items told stays."""
    broker = await lab.broker()
    job_id, _ = await job_with_items(broker, lab, 1)
    one, two = scan_part("c1"), scan_part("c2")
    await broker.add_to_ledger(
        job_id, [(f"{kind}{part}{0:08x}", pack(["x\n"])) for kind in "sk" for part in (one, two)]
    )
    leases = await claim_all(broker, lab)
    await broker.complete("w1", [with_piece(lease) for lease in leases])
    await broker.forget_scanned(job_id, one)
    keys = [key async for key, _ in broker.ledger(job_id)]
    assert keys == sorted([item_key(leases[0].item), f"k{two}{0:08x}", f"s{two}{0:08x}"])


async def test_a_manager_that_lost_its_job_tells_nothing(lab):
    """What it found must not come among what the next one finds."""
    slow, next_one = await lab.broker(), await lab.broker()
    job_id = await slow.submit(a_job(ledger=True))
    assert (await slow.claim_job(lab.lease_seconds)).job.job_id == job_id
    await slow.set_state(job_id, JobState.SCANNING)
    await lab.expire()
    assert (await next_one.claim_job(lab.lease_seconds)).job.job_id == job_id
    with pytest.raises(LeaseLost):
        await slow.add_to_ledger(job_id, [("s1", pack(["x\n"]))])
    with pytest.raises(LeaseLost):
        await slow.forget_scanned(job_id, "")
    assert [one async for one in next_one.ledger(job_id)] == []


async def test_a_job_comes_with_what_it_is_compared_with(lab):
    """Stored before it is posted; given to its scan, and not among its own records. Failed files are not held."""
    broker = await lab.broker()
    job = a_job(job_id="jbase1", since="jbase1", ledger=True)
    held = [FileOutcome(f"/data/f{number}", number, 1.0, 2.0, "read", number, "", "", 0.0) for number in range(2500)]
    await store_base(broker, job.job_id, [*held, held[0]._replace(path="/data/bad", status="failed")])
    await broker.submit(job)
    found = [one async for one in records(base_pieces(broker, job))]
    assert found == held
    assert [text async for text in lines(broker.ledger(job.job_id))] == []


async def test_the_ledger_goes_with_its_job(lab):
    """A job that is forgotten leaves no piece."""
    broker = await lab.broker()
    job_id, lease = await job_with_items(broker, lab, 1)
    await broker.complete("w1", [with_piece(one) for one in await claim_all(broker, lab)])
    await finish_scan(broker, job_id, 1)
    await broker.settle_job(lease)
    await broker.set_state(job_id, JobState.COMPLETED)
    assert len(await kept(broker, job_id)) == 2
    await broker.forget_ledger(job_id)
    assert await kept(broker, job_id) == []
    assert (await broker.status(job_id)).state is JobState.COMPLETED
    await lab.advance(1)
    await broker.tidy(0)
    with contextlib.suppress(BrokerError):  # where there is no such job any more
        assert [one async for one in broker.ledger(job_id)] == []
    assert await broker.jobs() == []
