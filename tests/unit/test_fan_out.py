"""Which of several caches is warmed first, and what the others wait for."""

import asyncio

from cachewarmer.manager.fan_out import FanOut, Part
from cachewarmer.model import Access, InHand, JobState, JobStatus, ScanTotals, Tally, WarmJob, WorkerReport, tally_name

ADDRESSES = ("a", "b", "c", "d")
JOB = WarmJob(job_id="j", access=Access(addresses=ADDRESSES, export="/e"), each_address=True, fan_out=True)


class Cluster:
    """A job of one item an address. ``failed``: files that fail there; ``unscanned``, ``gone`` and ``lost``: addresses."""

    def __init__(self, failed=None, unscanned="", gone="", lost="", in_hand=0):
        self.failed = failed or {}
        self.unscanned, self.gone, self.lost = unscanned, gone, lost
        self.in_hand = in_hand
        self.scanned = []
        """The addresses, in the order of their scans; a list of those that were scanned together."""
        self.together = []
        self.tallies = []
        self.looks = 0

    async def scan(self, address):
        self.scanned.append(address)
        self.together.append(address)
        await asyncio.sleep(0)
        if address in self.unscanned:
            return False
        if address not in self.gone + self.lost:
            name = tally_name("w", address)
            self.tallies.append(Tally(worker=name, items=1, files=9, failed_files=self.failed.get(address, 0)))
        return True

    async def record(self):
        self.phases = [*getattr(self, "phases", []), self.together]
        self.together = []

    async def status(self):
        self.looks += 1
        items = sum(one not in self.unscanned for one in self.scanned)
        tallies = tuple(self.tallies)
        return JobStatus(job=JOB, state=JobState.SCANNING, scan=ScanTotals(items=items), tallies=tallies)

    async def workers(self):
        return [WorkerReport(worker="w", jobs=(InHand(job="j", items=self.in_hand),))]

    async def is_gone(self, address):
        return address in self.gone

    async def phases_of(self, lost_seconds=60.0):
        """What was scanned one after the other."""
        fan = FanOut(
            record=self.record,
            status=self.status,
            workers=self.workers,
            is_gone=self.is_gone,
            poll_seconds=0.01,
            lost_seconds=lost_seconds,
        )
        async with asyncio.timeout(20):
            await fan.scan([Part(one, lambda one=one: self.scan(one)) for one in ADDRESSES])
        return ["".join(one) for one in [*getattr(self, "phases", []), self.together]]


async def test_the_others_follow_the_first_together():
    assert await Cluster().phases_of() == ["a", "bcd"]


async def test_where_files_failed_at_the_first_the_second_goes_before_the_others_too():
    assert await Cluster(failed={"a": 3}).phases_of() == ["a", "b", "cd"]


async def test_files_that_fail_everywhere_hold_the_others_up_no_longer():
    assert await Cluster(failed=dict.fromkeys(ADDRESSES, 3)).phases_of() == ["a", "b", "cd"]


async def test_one_that_can_not_be_scanned_is_passed_over():
    assert await Cluster(unscanned="a").phases_of() == ["ab", "cd"]


async def test_one_that_is_gone_is_not_waited_for_and_the_next_takes_its_place(monkeypatch):
    monkeypatch.setattr("cachewarmer.manager.fan_out.STILL_SECONDS", 0.05)
    cluster = Cluster(gone="a")
    assert (await cluster.phases_of(lost_seconds=0.2))[0] == "a"
    assert cluster.scanned == ["a", "b", "c", "d"]
    assert cluster.phases[1] == ["b"]


async def test_items_that_nobody_has_any_more_do_not_hold_the_job_up_for_ever():
    assert await Cluster(lost="a").phases_of(lost_seconds=0.1) == ["a", "bcd"]


async def test_what_a_worker_has_in_hand_is_waited_for():
    cluster = Cluster(lost="a", in_hand=1)
    waiting = asyncio.create_task(cluster.phases_of(lost_seconds=0.05))
    await asyncio.sleep(0.3)
    assert cluster.scanned == ["a"]
    cluster.tallies.append(Tally(worker=tally_name("w", "a"), items=1, files=9))
    assert await waiting == ["a", "bcd"]
