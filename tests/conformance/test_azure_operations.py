"""What the Azure broker asks of the storage account: as many operations an item, whatever is stored there."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conformance.labs import AzuriteLab, finish_scan, items_of, receipt, scanning_job
from tests.storage_standin.account import Account


class Measured:
    """A broker over an account in memory, and what each step of it takes."""

    def __init__(self, account, lab, broker):
        self.account, self.lab, self.broker = account, lab, broker

    async def of(self, step):
        """The result, and the operations that were not refused: queues of other priorities are looked for now and then."""
        self.account.operations.clear()
        result = await step
        counts = Counter(self.account.operations)
        counts.pop("Refused", None)
        return result, counts


@pytest.fixture
async def measured():
    async with Account() as account:
        lab = AzuriteLab(account.connection_string)
        lab.lease_seconds = 600.0
        async with lab.handles:
            yield Measured(account, lab, await lab.broker())


@pytest.mark.parametrize("stored", [0, 640, 2560])
async def test_an_item_takes_as_many_operations_whatever_is_stored(measured, stored):
    """One to publish, a 32nd to claim, one and a 32nd to complete; a status is two."""
    broker, lab = measured.broker, measured.lab
    before, _ = await scanning_job(broker, lab)
    await broker.publish(items_of(before, stored))
    for _ in range(stored // 64):  # half of it is settled, and the other half waits
        leases = await broker.claim(32, 600.0)
        await broker.complete("w", [(lease, receipt(lease)) for lease in leases])
    await finish_scan(broker, before, stored)
    _, published = await measured.of(broker.publish(items_of(before, 64, start=stored)))
    assert published == {"Put Message": 64}
    leases, claimed = await measured.of(broker.claim(32, 600.0))
    assert len(leases) == 32
    assert set(claimed) == {"Get Messages"}
    assert claimed.total() <= 3
    _, completed = await measured.of(broker.complete("w2", [(lease, receipt(lease)) for lease in leases]))
    assert completed == {"Entity Group Transaction": 1, "Delete Message": 32}
    status, asked = await measured.of(broker.status(before))
    assert status.settled_items == stored // 64 * 32 + 32
    assert asked == {"Get Entity": 1, "Query Entities": 1}


@pytest.mark.parametrize("workers", [1, 5])
async def test_a_status_reads_a_row_a_worker(measured, workers):
    """Not one an item: it is a query of the tallies' rows alone."""
    broker, lab = measured.broker, measured.lab
    job_id, _ = await scanning_job(broker, lab, 32 * workers)
    for number in range(workers):
        leases = await broker.claim(32, 600.0)
        await broker.complete(f"w{number}", [(lease, receipt(lease)) for lease in leases])
    await finish_scan(broker, job_id, 32 * workers)
    before = measured.account.rows_given
    status = await broker.status(job_id)
    assert len(status.tallies) == workers
    assert measured.account.rows_given - before == workers
