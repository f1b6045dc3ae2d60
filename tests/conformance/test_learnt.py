"""What every broker promises of what a job has taught: it outlives the workers, and nothing depends on it."""

from __future__ import annotations

import pytest

from cachewarmer.errors import UnknownJob
from cachewarmer.model import Bandwidth, Bound, JobState, Learnt, LearntAddress, Verdict
from cachewarmer.model.learnt import FRESH_SECONDS
from tests.conformance.labs import a_job, claim_some, finish_scan, receipt, scanning_job

LEARNT = Learnt(
    verdict=Verdict(bound=Bound.THREADS, address="10.0.1.7", window=48, knee=48, canary_ms=2.5, workers=2),
    addresses=(
        LearntAddress(address="10.0.1.7", window=24, workers=2, canary_idle_ms=0.25, bound="threads"),
        LearntAddress(address="10.0.1.8", window=400, bound="link"),
    ),
)
HOSTILE = (
    "{",
    "[]",
    "[" * 5000,
    '{"addresses": [{"address": "10.0.1.7", "window": -5}]}',
    '{"addresses": [{"address": "10.0.1.7", "window": 1e999}]}',
    '{"addresses": [{"address": "10.0.1.7", "window": 99999999999999}]}',
    '{"addresses": [{"address": "10.0.1.7", "window": 8, "workers": 0}]}',
    '{"addresses": 7}',
    '{"verdict": {"canary_ms": -1}}',
    '{"verdict": [], "addresses": []}',
    '{"addresses": [' + ",".join(["{}"] * 5000) + "]}",
    "\N{SNOWMAN}" * 9000,
)


async def test_what_was_learnt_is_kept_with_the_job(lab):
    """For workers, with its age; for who asks for the status, what bounds the job. What is kept later takes its place."""
    broker, other = await lab.broker(), await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    assert (await broker.look(job_id)).learnt is None
    assert (await broker.status(job_id)).bound == Verdict()
    await other.keep_learnt(job_id, LEARNT)
    first = (await broker.look(job_id)).learnt
    assert (first.addresses, first.verdict) == (LEARNT.addresses, LEARNT.verdict)
    assert first.age_seconds < FRESH_SECONDS
    assert (await broker.status(job_id)).bound == LEARNT.verdict
    assert (await broker.jobs())[0].bound == LEARNT.verdict
    await lab.advance(3)
    assert (await broker.look(job_id)).learnt.age_seconds > first.age_seconds
    await other.keep_learnt(job_id, Learnt(addresses=LEARNT.addresses[:1]))
    later = (await broker.look(job_id)).learnt
    assert (later.addresses, later.verdict) == (LEARNT.addresses[:1], Verdict())
    with pytest.raises(UnknownJob):
        await broker.keep_learnt("jnone", LEARNT)


async def test_a_job_goes_on_as_it_was_and_is_over_with_what_it_taught(lab):
    """Its lease, its limit and its counts are what they were; what bounded it can still be asked for, and told, at its end."""
    broker = await lab.broker()
    job_id, lease = await scanning_job(broker, lab, 1)
    await broker.keep_learnt(job_id, LEARNT)
    await broker.limit(job_id, Bandwidth(7000))
    await broker.renew_job(lease, lab.lease_seconds)
    (one,) = await claim_some(broker, lab, 1)
    assert await broker.complete("w1", [(one, receipt(one))]) == [True]
    await finish_scan(broker, job_id, 1)
    await broker.set_state(job_id, JobState.COMPLETED)
    await broker.settle_job(lease)
    status = await broker.status(job_id)
    assert (status.state, status.bound.bound, status.settled_items) == (JobState.COMPLETED, Bound.THREADS, 1)
    assert (await broker.look(job_id)).bandwidth == Bandwidth(7000)
    await broker.keep_learnt(job_id, Learnt(verdict=Verdict(bound=Bound.CPU)))
    assert (await broker.status(job_id)).bound.bound is Bound.CPU


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:40])
async def test_nonsense_is_as_if_nothing_had_been_kept(lab, text):
    """Whoever may write to the store may write anything: the job goes on without it."""
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await broker.keep_learnt(job_id, LEARNT)
    await lab.write_learnt(job_id, text)
    look = await broker.look(job_id)
    assert (look.state, look.learnt) == (JobState.QUEUED, None)
    status = await broker.status(job_id)
    assert (status.state, status.bound) == (JobState.QUEUED, Verdict())
    assert await broker.claim_job(lab.lease_seconds) is not None


@pytest.mark.parametrize("seconds", [1e18, -1e18, float("inf"), float("-inf")])
async def test_a_time_that_nobody_can_have_written_it_at_lets_nothing_begin_from_it(lab, seconds):
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    await broker.keep_learnt(job_id, LEARNT)
    await lab.write_learnt(job_id, LEARNT.to_json(), seconds)
    learnt = (await broker.look(job_id)).learnt
    assert learnt is None or learnt.first_windows() == {}
    assert (await broker.status(job_id)).state is JobState.QUEUED


async def test_it_is_forgotten_with_its_job(lab):
    broker = await lab.broker()
    job_id, lease = await scanning_job(broker, lab, 0)
    await broker.keep_learnt(job_id, LEARNT)
    await broker.set_state(job_id, JobState.CANCELLED)
    await broker.settle_job(lease)
    await broker.tidy(0.0)
    with pytest.raises(UnknownJob):
        await broker.look(job_id)
