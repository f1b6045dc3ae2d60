"""What every broker promises about jobs: their queue, their manager's lease, their states and their scan."""

from __future__ import annotations

import pytest

from cachewarmer.broker.base import Backlog
from cachewarmer.errors import BrokerError, InvalidTransition, LeaseLost, UnknownJob
from cachewarmer.model import JobState, PathError, Report, ScanTotals, Wanted
from tests.conformance.labs import a_job, claim_all, claim_some, finish_scan, give_up, items_of, receipt, scanning_job


async def test_a_submitted_job_is_queued_and_known(lab):
    """Submitting gives an id, and the status has the job as it was posted, queued, with nothing counted."""
    broker = await lab.broker()
    job_id = await broker.submit(a_job(name="shot 42", wanted=Wanted(exclude=("*.tmp",))))
    status = await broker.status(job_id)
    assert (status.state, status.job.job_id, status.job.name) == (JobState.QUEUED, job_id, "shot 42")
    assert (status.job.name, status.job.wanted.exclude) == ("shot 42", ("*.tmp",))
    assert status.submitted_at > 0
    assert status.started_at == status.finished_at == 0
    assert not status.tallies
    assert await broker.state(job_id) is JobState.QUEUED


async def test_submitting_an_id_again_is_a_no_op(lab):
    """A caller may repeat a call whose answer it did not get: there is one job, and one manager gets it."""
    broker = await lab.broker()
    assert await broker.submit(a_job(job_id="j1", name="first")) == "j1"
    assert await broker.submit(a_job(job_id="j1", name="second")) == "j1"
    assert (await broker.status("j1")).job.name == "first"
    assert len(await broker.jobs()) == 1
    first = await broker.claim_job(lab.lease_seconds * 20)
    assert first is not None
    await broker.set_state("j1", JobState.FAILED, "no such export")
    await broker.settle_job(first)
    assert await broker.claim_job(lab.lease_seconds) is None


async def test_jobs_of_unknown_ids_are_refused(lab):
    """Every call that names a job says so when there is none."""
    broker = await lab.broker()
    for call in (
        broker.state("nobody"),
        broker.status("nobody"),
        broker.set_state("nobody", JobState.CANCELLED),
        broker.record_scan("nobody", ScanTotals()),
    ):
        with pytest.raises(UnknownJob):
            await call


async def test_two_managers_never_have_the_same_job(lab):
    """A job is handed to one manager; the other gets the next one, or none."""
    one, two = await lab.broker(), await lab.broker()
    ids = {await one.submit(a_job()), await one.submit(a_job())}
    first = await one.claim_job(lab.lease_seconds)
    second = await two.claim_job(lab.lease_seconds)
    assert first is not None
    assert second is not None
    assert {first.job.job_id, second.job.job_id} == ids
    assert await two.claim_job(lab.lease_seconds) is None


async def test_a_killed_managers_job_goes_to_another(lab):
    """When a lease runs out the job is claimed again, in the state it was in, and the first manager is told."""
    one, two = await lab.broker(), await lab.broker()
    job_id = await one.submit(a_job())
    first = await one.claim_job(lab.lease_seconds)
    await one.set_state(job_id, JobState.SCANNING)
    assert await two.claim_job(lab.lease_seconds) is None
    await lab.expire()
    second = await two.claim_job(lab.lease_seconds)
    assert second is not None
    assert second.job.job_id == job_id
    assert second.deliveries == 2
    assert await two.state(job_id) is JobState.SCANNING
    with pytest.raises(LeaseLost):
        await one.renew_job(first, lab.lease_seconds)
    await one.release_job(first)  # a lost lease is no error …
    await one.settle_job(first)
    await two.renew_job(second, lab.lease_seconds)  # … and changes nothing for the one who has it


async def test_a_renewed_job_lease_holds(lab):
    """Renewing pushes the end of the lease out, from now on."""
    one, two = await lab.broker(), await lab.broker()
    await one.submit(a_job())
    lease = await one.claim_job(lab.lease_seconds)
    before = lease.expires_at
    await lab.advance(lab.lease_seconds * 0.6)
    await one.renew_job(lease, lab.lease_seconds)
    assert lease.expires_at > before
    await lab.advance(lab.lease_seconds * 0.6)
    assert await two.claim_job(lab.lease_seconds) is None
    await one.renew_job(lease, lab.lease_seconds)


async def test_a_released_job_is_there_at_once(lab):
    """A manager that shuts down hands its job back without fault."""
    broker = await lab.broker()
    await broker.submit(a_job())
    lease = await broker.claim_job(lab.lease_seconds * 20)
    await broker.release_job(lease)
    again = await broker.claim_job(lab.lease_seconds)
    assert again is not None
    assert again.job.job_id == lease.job.job_id


async def test_a_job_in_a_final_state_is_passed_over(lab):
    """A job that was cancelled before anyone took it never reaches a manager."""
    broker = await lab.broker()
    cancelled = await broker.submit(a_job())
    await broker.set_state(cancelled, JobState.CANCELLED)
    other = await broker.submit(a_job())
    lease = await broker.claim_job(lab.lease_seconds)
    assert lease is not None
    assert lease.job.job_id == other
    assert await broker.claim_job(lab.lease_seconds) is None
    assert (await broker.status(cancelled)).state is JobState.CANCELLED


async def test_a_job_is_claimed_by_id_or_that_is_refused(lab):
    """A broker that can choose takes the job asked for or none; one that can't says so."""
    broker = await lab.broker()
    await broker.submit(a_job())
    wanted = await broker.submit(a_job())
    assert broker.chooses_jobs is lab.can_choose_job
    if not lab.can_choose_job:
        with pytest.raises(BrokerError):
            await broker.claim_job(lab.lease_seconds, wanted)
        return
    lease = await broker.claim_job(lab.lease_seconds, wanted)
    assert lease is not None
    assert lease.job.job_id == wanted
    assert await broker.claim_job(lab.lease_seconds, wanted) is None
    assert await broker.claim_job(lab.lease_seconds, "other") is None


async def test_states_follow_the_table(lab):
    """Only the transitions of the model happen; the same state is a no-op; times are stamped."""
    broker = await lab.broker()
    job_id = await broker.submit(a_job())
    with pytest.raises(InvalidTransition):
        await broker.set_state(job_id, JobState.PAUSED)
    started = await broker.set_state(job_id, JobState.SCANNING)
    assert started.started_at > 0
    assert (await broker.set_state(job_id, JobState.SCANNING)).started_at == started.started_at
    await broker.set_state(job_id, JobState.PAUSED)
    with pytest.raises(InvalidTransition):
        await broker.set_state(job_id, JobState.COMPLETED)
    resumed = await broker.set_state(job_id, JobState.SCANNING)
    assert resumed.started_at == started.started_at
    failed = await broker.set_state(job_id, JobState.FAILED, "the export is gone")
    assert (failed.state, failed.reason) == (JobState.FAILED, "the export is gone")
    assert failed.finished_at > 0
    with pytest.raises(InvalidTransition):
        await broker.set_state(job_id, JobState.CANCELLED)
    assert (await broker.set_state(job_id, JobState.FAILED, "later")).reason == "the export is gone"


async def test_scan_totals_end_with_the_finished_ones(lab):
    """The last totals win, but finished ones stay; they move the job from scanning to warming."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 3)
    await broker.record_scan(job_id, ScanTotals(files=1, items=1))
    errors = (PathError("/data/bad\udcff", "permission denied"),)
    await broker.record_scan(
        job_id, ScanTotals(files=6, bytes=6000, items=3, directories=2, errors=errors, histogram=(1, 0, 5))
    )
    status = await broker.status(job_id)
    assert (status.state, status.scan.files, status.scan.finished) == (JobState.SCANNING, 6, False)
    assert status.scan.errors == errors
    assert status.scan.histogram == (1, 0, 5)
    await finish_scan(broker, job_id, 3)
    await broker.record_scan(job_id, ScanTotals(files=2, items=1))  # an older manager that has not noticed
    status = await broker.status(job_id)
    assert (status.state, status.scan.files, status.scan.items) == (JobState.WARMING, 6, 3)
    assert status.scan.finished
    assert await broker.state(job_id) is JobState.WARMING


async def test_a_paused_scan_that_finishes_stays_paused(lab):
    """Only scanning becomes warming; a paused job waits to be resumed."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab, 1)
    await broker.set_state(job_id, JobState.PAUSED)
    await finish_scan(broker, job_id, 1)
    assert (await broker.status(job_id)).state is JobState.PAUSED
    await broker.set_state(job_id, JobState.WARMING)
    (lease,) = await claim_some(broker, lab, 1)
    assert await broker.complete("w1", [(lease, receipt(lease))]) == [True]
    assert (await broker.status(job_id)).state is JobState.COMPLETED


async def test_an_empty_scan_completes_the_job(lab):
    """A tree without files is warm when its scan is finished."""
    broker = await lab.broker()
    job_id, lease = await scanning_job(broker, lab)
    await finish_scan(broker, job_id, 0)
    status = await broker.status(job_id)
    assert status.state is JobState.COMPLETED
    done = await broker.set_state(job_id, status.state)
    assert done.finished_at > 0
    await broker.settle_job(lease)


async def test_failed_listings_of_a_scan_are_errors_of_the_job(lab):
    """A directory that could not be listed makes the outcome one with errors."""
    broker = await lab.broker()
    job_id, _ = await scanning_job(broker, lab)
    await finish_scan(broker, job_id, 0, failed_files=1)
    assert (await broker.status(job_id)).state is JobState.COMPLETED_WITH_ERRORS


async def test_jobs_are_listed_newest_first(lab):
    """Every job the broker remembers is in the list, with its status."""
    broker = await lab.broker()
    ids = []
    for number in range(3):
        ids.append(await broker.submit(a_job(submitted_at=1000.0 + number)))
    await broker.set_state(ids[1], JobState.CANCELLED)
    listed = await broker.jobs()
    assert [status.job.job_id for status in listed] == ids[::-1]
    assert [status.state for status in listed] == [JobState.QUEUED, JobState.CANCELLED, JobState.QUEUED]


async def test_a_stored_file_list_comes_back_in_order(lab):
    """The chunks of a list are as they were given, any bytes in them, however many there are."""
    broker = await lab.broker()
    chunks = [bytes([number % 256]) * (48 * 1024 - number) for number in range(25)] + [b"last\xff\n\0"]

    async def source():
        for chunk in chunks:
            yield chunk

    job_id = await broker.submit(a_job(), source())
    assert (await broker.status(job_id)).job.has_file_list
    other = await lab.broker()
    assert [chunk async for chunk in other.file_list(job_id)] == chunks
    assert [chunk async for chunk in other.file_list("nobody")] == []


async def test_a_list_that_breaks_off_leaves_no_job(lab):
    """A job can't be claimed before its list is stored: when reading the list fails, there is no job at all."""
    broker = await lab.broker()

    async def source():
        yield b"one\0"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await broker.submit(a_job(job_id="j1"), source())
    assert await broker.claim_job(lab.lease_seconds) is None

    async def whole():
        yield b"two\0"

    await broker.submit(a_job(job_id="j1"), whole())
    assert [chunk async for chunk in broker.file_list("j1")] == [b"two\0"]


async def test_the_backlog_counts_what_is_not_settled(lab):
    """Items, files and bytes without a receipt, leased ones too, and the jobs that are not over."""
    broker = await lab.broker()
    assert await broker.backlog() == Backlog()
    job_id, _ = await scanning_job(broker, lab, 4)
    await finish_scan(broker, job_id, 4)
    backlog = await broker.backlog()
    assert (backlog.active_jobs, backlog.scanning_jobs, backlog.stray_items) == (1, 0, 0)
    assert backlog.waiting_items + backlog.leased_items == 4
    assert (backlog.unsettled_items, backlog.unsettled_files, backlog.unsettled_bytes) == (4, 8, 8000)
    leases = await claim_all(broker, lab)
    assert (await broker.backlog()).unsettled_items == 4
    await broker.complete("w1", [(leases[0], receipt(leases[0]))])
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.unsettled_files, backlog.unsettled_bytes) == (3, 6, 6000)
    await give_up(lab, leases[1], "it has never been seen")
    await broker.abandon(leases[2], "")
    assert (await broker.backlog()).unsettled_items == 2
    for lease in await claim_all(broker, lab):
        await broker.complete("w2", [(lease, receipt(lease))])
    assert (await broker.backlog()).unsettled_items == 1
    await broker.complete("w1", [(leases[3], receipt(leases[3]))])
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.unsettled_bytes, backlog.active_jobs) == (0, 0, 0)


async def test_an_item_is_in_the_backlog_before_its_scan_is_recorded(lab):
    """A worker may hold what no total counts yet: it is work, until it is settled."""
    broker = await lab.broker()
    await broker.submit(a_job())
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.scanning_jobs, backlog.active_jobs) == (0, 1, 1)
    lease = await broker.claim_job(lab.lease_seconds * 20)
    await broker.set_state(lease.job.job_id, JobState.SCANNING)
    await broker.publish(items_of(lease.job.job_id, 3))
    assert (await broker.backlog()).unsettled_items == 3
    leases = await claim_all(broker, lab)
    assert len(leases) == 3
    assert (await broker.backlog()).unsettled_items == 3
    await broker.complete("w1", [(one, receipt(one)) for one in leases[:2]])
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.scanning_jobs) == (1, 1)


async def test_jobs_that_are_paused_or_over_are_no_work(lab):
    """Their items don't count, whatever lies on the queue; those of another job still do."""
    broker = await lab.broker()
    paused, _ = await scanning_job(broker, lab, 3)
    await finish_scan(broker, paused, 3)
    await broker.set_state(paused, JobState.PAUSED)
    backlog = await broker.backlog()
    assert (backlog.unsettled_items, backlog.scanning_jobs, backlog.active_jobs) == (0, 0, 1)
    other, _ = await scanning_job(broker, lab, 2)
    assert (await broker.backlog()).unsettled_items == 2
    await broker.set_state(other, JobState.CANCELLED)
    assert (await broker.backlog()).unsettled_items == 0
    await broker.set_state(paused, JobState.WARMING)
    assert (await broker.backlog()).unsettled_items == 3


async def test_a_closed_broker_says_so(lab):
    """Closing twice is fine; a call after it is our fault, in one line."""
    broker = await lab.broker()
    await broker.close()
    await broker.close()
    with pytest.raises(BrokerError):
        await broker.publish(items_of("j1", 1))


async def test_a_tree_that_changed_between_two_scans_is_done_when_the_second_is(lab):
    """What a killed manager published counts for nothing that the next one found: no item of its is left out."""
    first, second = await lab.broker(), await lab.broker()
    job_id = await first.submit(a_job())
    assert await first.claim_job(lab.lease_seconds)
    await first.set_state(job_id, JobState.SCANNING)
    await first.publish(items_of(job_id, 4))
    read = await claim_some(first, lab, 3)
    await first.complete("w", [(lease, receipt(lease)) for lease in read])
    await lab.expire()
    assert await second.claim_job(lab.lease_seconds * 20)
    found = items_of(job_id, 4, start=3)
    await second.publish(found)
    await finish_scan(second, job_id, 4)
    left = {item.item_id for item in found}
    for _ in range(40):
        assert not (await second.status(job_id)).state.final, left
        for lease in await second.claim(1, lab.lease_seconds):
            await second.complete("w", [(lease, receipt(lease))])
            left.discard(lease.item.item_id)
        if not left and (await second.status(job_id)).state.final:
            break
    assert not left
    assert (await second.status(job_id)).state is JobState.COMPLETED


async def test_jobs_that_are_old_are_forgotten(lab):
    """Those that ended; one that goes on is kept, however old, and a new one of the same id may be posted."""
    broker = await lab.broker()
    over, lease = await scanning_job(broker, lab, 2)
    leases = await claim_some(broker, lab, 2)
    await broker.complete("w", [(leases[0], receipt(leases[0]))])
    await give_up(lab, leases[1], "no good")
    await finish_scan(broker, over, 2)
    await broker.set_state(over, JobState.COMPLETED_WITH_ERRORS)
    await broker.settle_job(lease)
    going_on, _ = await scanning_job(broker, lab, 1)
    await broker.tidy(3600.0)
    assert {status.job.job_id for status in await broker.jobs()} == {over, going_on}
    report = Report.of_job(await broker.status(over), 0).document()
    assert (report["files"], report["failed_files"], report["state"]) == (2, 2, "completed_with_errors")
    await lab.advance(0.1)
    await broker.tidy(0.0)
    assert [status.job.job_id for status in await broker.jobs()] == [going_on]
    with pytest.raises(UnknownJob):
        await broker.status(over)
    assert len(await claim_some(broker, lab, 1)) == 1
    assert await broker.submit(a_job(job_id=over)) == over
    assert not (await broker.status(over)).tallies
