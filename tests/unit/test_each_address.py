"""Jobs whose addresses are caches of their own: their items, and the addresses themselves."""

import json
from dataclasses import replace

import pytest

from cachewarmer.addresses import all_addresses, each_address
from cachewarmer.broker.record import dump_scan, load_scan
from cachewarmer.errors import InvalidMessage, UnknownHost, UsageError
from cachewarmer.model import Access, FileEntry, JobState, JobStatus, ScanTotals, Tally, WarmJob, WorkItem, tally_name
from cachewarmer.model.results import ScannedAddress
from cachewarmer.planning.counter import joined

JOB = WarmJob(access=Access(addresses=("cache", "10.0.0.9"), export="/e"), job_id="j1")
ITEM = WorkItem(
    access=replace(JOB.access, addresses=("a",)),
    job_id="j1",
    path="/d",
    files=(FileEntry("f", 1, b""),),
    only_address="a",
)


def resolve(name):
    return ["10.0.0.1", "10.0.0.2"] if name == "cache" else [name]


def test_an_item_says_which_address_it_is_for_and_its_id_too():
    other = replace(ITEM, access=replace(ITEM.access, addresses=("b",)), only_address="b")
    shared = replace(ITEM, only_address="")
    assert len({one.content_id for one in (ITEM, other, shared)}) == 3
    assert WorkItem.from_json(ITEM.to_json()) == ITEM
    assert "OnlyAddress" not in json.loads(shared.to_json())


def test_an_item_for_an_address_that_its_job_does_not_have_is_refused():
    message = json.loads(ITEM.to_json()) | {"OnlyAddress": "elsewhere"}
    with pytest.raises(InvalidMessage, match="OnlyAddress"):
        WorkItem.from_json(json.dumps(message))


def test_a_name_stands_for_all_its_addresses():
    made = each_address(JOB, (), resolve)
    assert made.each_address
    assert made.access.addresses == ("10.0.0.1", "10.0.0.2", "10.0.0.9")
    assert WarmJob.from_json(made.to_json()) == made


def test_a_name_with_one_address_stays_a_name():
    job = replace(JOB, access=replace(JOB.access, addresses=("one",)))
    assert each_address(job, (), resolve).access.addresses == ("one",)


def test_every_address_of_a_name_is_used_and_said(caplog):
    """They are shared out among, not caches of their own: the job is one job."""
    made = all_addresses(JOB, resolve)
    assert made.access.addresses == ("10.0.0.1", "10.0.0.2", "10.0.0.9")
    assert not made.each_address
    assert "cache has 2 addresses" in caplog.text


@pytest.mark.parametrize(
    ("resolved", "kept"),
    [
        (["10.0.0.2", "10.0.0.1", "fd00::1"], ("10.0.0.1", "10.0.0.2")),
        (["fd00::2", "fd00::1", "10.0.0.1"], ("fd00::1", "fd00::2")),
        (["127.0.0.1", "::1"], ("name",)),
        (["10.0.0.1"], ("name",)),
        ([], ("name",)),
    ],
)
def test_a_name_with_one_address_of_a_kind_stays_a_name(resolved, kept):
    job = replace(JOB, access=replace(JOB.access, addresses=("name",)))
    assert all_addresses(job, lambda name: resolved).access.addresses == kept


def test_a_name_that_nobody_knows_stays_as_it_is():
    def unknown(name):
        raise UnknownHost("no such host", address=name)

    assert all_addresses(JOB, unknown) == JOB


@pytest.mark.parametrize(
    ("subset", "left"),
    [(("10.0.0.2",), ("10.0.0.2",)), (("cache",), ("10.0.0.1", "10.0.0.2")), (("10.0.0.9",), ("10.0.0.9",))],
)
def test_a_subset_names_addresses_or_what_they_came_of(subset, left):
    assert each_address(JOB, subset, resolve).access.addresses == left


def test_what_is_no_address_of_the_target_is_refused():
    with pytest.raises(UsageError):
        each_address(JOB, ("10.0.0.7",), resolve)
    with pytest.raises(UsageError):
        each_address(WarmJob(access=Access(transport="local")), (), resolve)


def test_a_status_sums_by_address_and_counts_each_worker_once():
    tallies = (
        Tally(worker=tally_name("w@1", "10.0.0.1"), files=5, bytes=50),
        Tally(worker=tally_name("w2", "10.0.0.1"), files=1, bytes=10),
        Tally(worker=tally_name("w@1", "10.0.0.2"), files=4, bytes=40, failed_files=2),
    )
    status = JobStatus(job=each_address(JOB, (), resolve), state=JobState.WARMING, tallies=tallies)
    assert status.worker_count == 2
    totals = [(one.address, one.files, one.bytes, one.failed_files, one.complete) for one in status.addresses]
    assert totals == [("10.0.0.1", 6, 60, 0, False), ("10.0.0.2", 4, 40, 2, False), ("10.0.0.9", 0, 0, 0, False)]
    over = replace(status, scan=ScanTotals(finished=True))  # as earlier versions kept it
    totals = [(one.address, one.files, one.failed_files, one.complete) for one in over.addresses]
    assert totals == [("10.0.0.1", 6, 0, True), ("10.0.0.2", 4, 2, False), ("10.0.0.9", 0, 6, False)]


def test_what_was_listed_at_an_address_and_not_read_has_failed_there():
    """Whether it never became work, or was given up; what an earlier ledger holds is not missing."""
    scan = ScanTotals(
        files=14,
        lost_files=3,
        failed_files=1,
        failed_directories=1,
        by_address=(
            ScannedAddress("10.0.0.1", 2, 6, 0, 0),
            ScannedAddress("10.0.0.2", 8, 0, 0, 1),
            ScannedAddress("10.0.0.9", 4, 0, 1, 0),
        ),
        finished=True,
    )
    tallies = (
        Tally(worker=tally_name("w", "10.0.0.1"), files=2),
        Tally(worker=tally_name("w", "10.0.0.2"), files=4, failed_files=1),
        Tally(worker=tally_name("w", "10.0.0.9"), files=3, vanished_files=1),
    )
    status = JobStatus(job=each_address(JOB, (), resolve), state=JobState.WARMING, scan=scan, tallies=tallies)
    assert load_scan(dump_scan(scan)) == scan
    assert (status.failed_files, status.missing_files, status.outcome) == (5, 0, JobState.COMPLETED_WITH_ERRORS)
    assert [
        (one.files, one.failed_files, one.failed_directories, one.vanished_files, one.unchanged_files, one.complete)
        for one in status.addresses
    ] == [(2, 0, 0, 0, 6, True), (4, 4, 1, 0, 0, False), (3, 1, 0, 1, 0, False)]
    assert JobStatus(job=JOB, state=JobState.WARMING, tallies=tallies).addresses == ()


def test_the_totals_of_several_scans_add_up():
    one = ScanTotals(files=3, bytes=9, items=2, histogram=(0, 3), warnings=("w",))
    two = ScanTotals(files=1, bytes=8, items=1, histogram=(0, 0, 0, 1), warnings=("w",))
    both = joined([one, two], finished=True)
    assert (both.files, both.bytes, both.items, both.histogram) == (4, 17, 3, (0, 3, 0, 1))
    assert (both.warnings, both.finished) == (("w",), True)
