"""What the status table of the Azure broker holds, and what it costs to look at it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cachewarmer.broker.azure import tidy as azure_tidy
from cachewarmer.model import ERROR_SAMPLE, JobState, PathError, Report, SlowPath
from tests.conformance.labs import (
    AzuriteLab,
    a_job,
    claim_all,
    claim_some,
    finish_scan,
    give_up,
    items_of,
    receipt,
    scanning_job,
)


@pytest.fixture
async def azure(storage_account):
    lab = AzuriteLab(storage_account)
    async with lab.handles:
        yield lab


async def rows(azure):
    """How many rows there are of each kind."""
    counts = {}
    async with azure.table() as table:
        async for entity in table.list_entities(select=["PartitionKey", "RowKey"]):
            kind = "job" if entity["PartitionKey"].endswith(".jobs") else entity["RowKey"][:2]
            counts[kind] = counts.get(kind, 0) + 1
    return counts


async def chunks():
    for number in range(30):
        yield b"%d" % number * 1000


async def ended_job(azure, broker, items, **values):
    job_id = await broker.submit(a_job(**values), chunks())
    lease = await broker.claim_job(60)
    await broker.set_state(job_id, JobState.SCANNING)
    for start in range(0, items, 64):
        await broker.publish(items_of(job_id, min(64, items - start), start=start))
    leases = await claim_all(broker, azure)
    await broker.complete("w", [(one, receipt(one)) for one in leases])
    await finish_scan(broker, job_id, items)
    await broker.set_state(job_id, JobState.COMPLETED)
    await broker.settle_job(lease)
    return job_id


async def test_receipts_and_lists_go_some_time_after_the_end(azure, monkeypatch):
    """More than one transaction of them; the record and the tallies stay, and so does what goes on."""
    broker = await azure.broker()
    job_id = await ended_job(azure, broker, 150)
    await scanning_job(broker, azure, 1)
    (open_lease,) = await claim_some(broker, azure, 1)
    await broker.complete("w", [(open_lease, receipt(open_lease))])
    await broker.tidy(86400.0)
    assert await rows(azure) == {"job": 2, "r-": 151, "t-": 2, "f-": 4}, "not at once: a worker may be late"
    monkeypatch.setattr(azure_tidy, "RECEIPT_SECONDS", 0.0)
    await broker.tidy(86400.0)
    assert await rows(azure) == {"job": 2, "r-": 1, "t-": 2}
    status = await broker.status(job_id)
    assert (status.state, Report.of_job(status, 0).document()["files"]) == (JobState.COMPLETED, 300)
    await broker.tidy(0.0)
    assert await rows(azure) == {"job": 1, "r-": 1, "t-": 1}


async def test_what_a_scan_left_behind_that_was_begun_anew_goes_too(azure, monkeypatch):
    """Its tallies and receipts are of no use to anybody."""
    broker = await azure.broker()
    job_id = await broker.submit(a_job())
    for number in range(2):
        lease = await broker.claim_job(1 if number == 0 else 60)
        if number == 0:
            await broker.set_state(job_id, JobState.SCANNING)
        await broker.publish(items_of(job_id, 1))
        (one,) = await claim_some(broker, azure, 1)
        await broker.complete("w", [(one, receipt(one))])
        await azure.expire()
    await finish_scan(broker, job_id, 1)
    await broker.set_state(job_id, JobState.COMPLETED)
    await broker.settle_job(lease)
    assert await rows(azure) == {"job": 1, "r-": 2, "t-": 2}
    monkeypatch.setattr(azure_tidy, "RECEIPT_SECONDS", 0.0)
    await broker.tidy(86400.0)
    assert await rows(azure) == {"job": 1, "t-": 1}
    assert Report.of_job(await broker.status(job_id), 0).document()["files"] == 2


async def test_receipts_of_items_without_a_job_go_when_they_are_old(azure, monkeypatch):
    """Their job is never over."""
    broker = await azure.broker()
    await azure.post("work", '{"WarmTargetMountAddresses":["a"],"WarmTargetPath":"/a"}')
    (lease,) = await claim_some(broker, azure, 1)
    await broker.complete("w", [(lease, receipt(lease, files=1))])
    await broker.tidy(0.0)
    assert (await rows(azure))["r-"] == 1
    monkeypatch.setattr(azure_tidy, "STRAY_RECEIPT_SECONDS", -60.0)
    await broker.tidy(0.0)
    assert await rows(azure) == {"job": 1, "t-": 1}
    assert Report.of_job(await broker.status("firstgen"), 0).document()["files"] == 1


async def test_the_longest_samples_fit_into_a_row(azure):
    """A hundred errors of paths as long as a path can be, in letters that JSON writes with six, from each of many items."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, 3)
    path = "/" + "\udcff" * 4000
    full = {
        "errors": tuple(PathError(path, "é" * 1000) for _ in range(ERROR_SAMPLE)),
        "slowest": tuple(SlowPath(path, 9.0) for _ in range(10)),
        "failed_files": 1 << 60,
        "bytes": 1 << 60,
    }
    leases = await claim_some(broker, azure, 3)
    assert await broker.complete("w", [(leases[0], receipt(leases[0], **full))]) == [True]
    assert await broker.complete("w", [(leases[1], receipt(leases[1], **full))]) == [True]
    await give_up(azure, replace_path(leases[2], path), "é" * 5000)
    totals = {"files": 1 << 60, "errors": full["errors"]}
    await finish_scan(broker, job_id, 3, **totals)
    status = await broker.status(job_id)
    assert status.settled_items == 3
    assert status.tallies[0].bytes == 1 << 61
    assert 1 <= len(status.errors) <= ERROR_SAMPLE
    async with azure.table() as table:
        async for entity in table.list_entities():
            for value in entity.values():
                if isinstance(value, bytes):
                    assert len(value) <= 64 * 1024
                if isinstance(value, str):
                    assert len(value) <= 32 * 1024, "UTF-16"


def replace_path(lease, path):
    lease.item = replace(lease.item, path=path)
    return lease


async def test_a_status_costs_as_many_calls_for_a_thousand_items_as_for_one(azure, monkeypatch):
    """Two: the record, and one query for the tallies; the state alone takes one."""
    broker = await azure.broker()
    job_id, _ = await scanning_job(broker, azure, 1)
    pipeline = broker._at.records._client._client._client._pipeline
    made = []
    real = type(pipeline).run

    async def counted(self, request, **more):
        made.append(request.url)
        return await real(self, request, **more)

    monkeypatch.setattr(type(pipeline), "run", counted)
    seen = []
    for count in (1, 200):
        for start in range(0, count, 50):
            await broker.publish(items_of(job_id, min(50, count - start), start=start + count))
        leases = await claim_all(broker, azure)
        await broker.complete("w", [(one, receipt(one)) for one in leases])
        made.clear()
        await broker.status(job_id)
        seen.append(len(made))
        made.clear()
        await broker.state(job_id)
        seen.append(len(made))
    assert seen == [2, 1, 2, 1]
