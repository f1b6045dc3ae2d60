"""What every broker promises of a job's bandwidth: it can be changed while the job runs, and workers hear of it."""

from __future__ import annotations

import pytest

from cachewarmer.errors import InvalidTransition, UnknownJob
from cachewarmer.model import Bandwidth, Hours, JobState
from tests.conformance.labs import a_job, claim_some, finish_scan, receipt, scanning_job

BY_DAY = Bandwidth(2_000_000, (Hours(8 * 60, 20 * 60, 1_000_000), Hours(22 * 60, 60, 0)))


async def test_a_limit_is_told_to_workers_and_to_who_asks(lab):
    """Before anybody has changed it, the items say what it is; no limit is a limit too."""
    broker, other = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1, max_bandwidth=5000)
    assert (await broker.look(job_id)).bandwidth is None
    for bandwidth in (Bandwidth(7000), BY_DAY, Bandwidth()):
        status = await other.limit(job_id, bandwidth)
        assert status.job.bandwidth == bandwidth
        look = await broker.look(job_id)
        assert (look.state, look.bandwidth) == (JobState.SCANNING, bandwidth)
        assert (await broker.status(job_id)).job.bandwidth == bandwidth
        assert (await broker.jobs())[0].job.bandwidth == bandwidth


async def test_a_job_that_is_limited_goes_on_as_it_was(lab):
    """Its name, its filters, its counts and its lease are what they were."""
    broker = await lab.broker()
    job_id, lease = await scanning_job(broker, lab, 2, name="shot", metadata_only=False)
    before = await broker.status(job_id)
    (one,) = await claim_some(broker, lab, 1)
    await broker.limit(job_id, BY_DAY)
    await broker.renew_job(lease, lab.lease_seconds)
    assert await broker.complete("w1", [(one, receipt(one))]) == [True]
    (two,) = await claim_some(broker, lab, 1)
    assert await broker.complete("w1", [(two, receipt(two))]) == [True]
    await finish_scan(broker, job_id, 2)
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED
    assert (status.job.name, status.job.wanted, status.submitted_at) == ("shot", before.job.wanted, before.submitted_at)


async def test_a_job_that_waits_is_limited_for_the_manager_that_takes_it(lab):
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await broker.limit(job_id, BY_DAY)
    lease = await broker.claim_job(lab.lease_seconds)
    assert (lease.job.job_id, lease.job.bandwidth) == (job_id, BY_DAY)


async def test_a_job_that_is_over_or_unknown_is_not_limited(lab):
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)
    await broker.set_state(job_id, JobState.CANCELLED)
    with pytest.raises(InvalidTransition, match="cancelled"):
        await broker.limit(job_id, BY_DAY)
    with pytest.raises(UnknownJob):
        await broker.limit("jnone", BY_DAY)
    with pytest.raises(UnknownJob):
        await broker.look("jnone")
