"""What is told of an item in the end."""

from dataclasses import replace

import pytest

from cachewarmer.errors import FileError, FileVanished, RemoteProtocolError
from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.targets.base import ReadRequest
from cachewarmer.warming.outcome import ERRORS_PER_ITEM, SLOWEST_PER_ITEM, ItemOutcome

ITEM = WorkItem(
    item_id="i",
    job_id="j",
    access=Access(addresses=("a",), export="/e"),
    path="d",
    files=tuple(FileEntry(f"f{number:03d}", 10, b"") for number in range(50)),
)


@pytest.fixture
def outcome():
    return ItemOutcome()


def test_a_receipt_counts_every_failed_file_and_names_the_first(outcome):
    outcome.problems = {number: FileError("broken") for number in range(40)}
    outcome.problems[40] = FileVanished("gone")
    receipt = outcome.receipt(ITEM, 0, 0, 1.0)
    assert (receipt.files, receipt.failed_files, receipt.vanished_files) == (9, 40, 1)
    assert len(receipt.errors) == ERRORS_PER_ITEM


def test_a_receipt_names_the_slowest_files_slowest_first(outcome):
    for number in range(20):
        request = ReadRequest(b"d/f%d" % number, b"", 0, 10, lambda _: None)
        request.seconds = float(number % 10)
        if request.seconds > outcome.fast_seconds:
            outcome.add_slow(request)
    seconds = [one.seconds for one in outcome.receipt(ITEM, 0, 0, 1.0).slowest]
    assert seconds == sorted(seconds, reverse=True)
    assert len(seconds) == SLOWEST_PER_ITEM
    assert min(seconds) >= 7


def test_one_reason_for_all_files_that_may_pass_is_the_items(outcome):
    outcome.problems = {number: RemoteProtocolError("garbled") for number in range(50)}
    failure = outcome.failure(ITEM)
    assert failure is not None
    assert failure.problem == "garbled"


def test_several_reasons_or_a_file_that_is_gone_are_told_by_file(outcome):
    outcome.problems = {number: RemoteProtocolError("garbled") for number in range(50)}
    outcome.problems[7] = RemoteProtocolError("another")
    assert outcome.failure(ITEM) is None
    outcome.problems[7] = FileVanished("gone")
    assert outcome.failure(ITEM) is None
    del outcome.problems[7]
    assert outcome.failure(ITEM) is None


@pytest.mark.parametrize("files", [1, 50])
def test_what_does_not_pass_is_told_by_file_however_many_there_are(outcome, files):
    """A second delivery would find the same."""
    item = replace(ITEM, files=ITEM.files[:files])
    outcome.problems = {number: FileError("broken") for number in range(files)}
    assert outcome.failure(item) is None
    receipt = outcome.receipt(item, 0, 0, 1.0)
    assert (receipt.files, receipt.failed_files) == (0, files)
    assert receipt.errors[0].path.startswith("/")


@pytest.mark.parametrize(("start", "stop", "further"), [(0, 4, False), (4, 8, False), (8, 10, False), (-1, -1, True)])
def test_of_a_file_in_several_ranges_the_first_one_counts_it_though_all_fail(outcome, start, stop, further):
    """Each of them names it; counted by each, it would be several failed files."""
    item = replace(ITEM, files=ITEM.files[:1], start=start, stop=stop, further=further)
    outcome.problems = {0: FileError("broken")}
    receipt = outcome.receipt(item, 0, 0, 1.0)
    assert (receipt.files, receipt.failed_files) == (0, int(start == 0))
    assert len(receipt.errors) == 1


def test_the_only_file_fails_with_its_own_error(outcome):
    error = outcome.problems[0] = RemoteProtocolError("garbled")
    assert outcome.failure(replace(ITEM, files=ITEM.files[:1])) is error
