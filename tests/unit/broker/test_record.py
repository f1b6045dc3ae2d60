"""What every broker does alike: how a job moves on, how messages are looked at, and how rows are read."""

from __future__ import annotations

import base64
import json
import logging
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.broker import record
from cachewarmer.broker.record import DamagedRows, Standing, envelope, reading_row
from cachewarmer.errors import DamagedRecord, InvalidMessage
from cachewarmer.model import Access, FileEntry, JobState, ScanTotals, WorkItem
from cachewarmer.model.came import Came
from cachewarmer.model.jobs import TIMES
from cachewarmer.model.parts import Part

QUEUED = Standing(state=JobState.QUEUED, submitted_at=1.0)
FINISHED = ScanTotals(files=7, finished=True)


def test_a_job_is_stamped_as_it_begins_and_as_it_ends():
    """The start once, however often it is paused; the end with the final state, and a reason stays until another comes."""
    scanning = QUEUED.moved_to(JobState.SCANNING, "", 10.0)
    again = scanning.moved_to(JobState.PAUSED, "", 20.0).moved_to(JobState.SCANNING, "", 30.0)
    assert (again.started_at, again.finished_at) == (10.0, 0.0)
    failed = again.moved_to(JobState.FAILED, "no such export", 40.0)
    assert (failed.started_at, failed.finished_at, failed.reason) == (10.0, 40.0, "no such export")
    assert failed.moved_to(JobState.FAILED, "other", 50.0) is failed


def test_finished_totals_are_final():
    """They end scanning; what is late changes nothing."""
    scanning = QUEUED.moved_to(JobState.SCANNING, "", 10.0)
    assert scanning.scanned(ScanTotals(files=3), 11.0).state is JobState.SCANNING
    warming = scanning.scanned(FINISHED, 12.0)
    assert (warming.state, warming.scan.files) == (JobState.WARMING, 7)
    assert warming.scanned(ScanTotals(files=3), 13.0) is warming
    paused = scanning.moved_to(JobState.PAUSED, "", 12.0).scanned(FINISHED, 13.0)
    assert (paused.state, paused.scan.finished) == (JobState.PAUSED, True)


def test_a_stranded_job_is_scanned_again_once():
    """From warming, as often as the call is repeated; never a second time, nor from another state."""
    warming = QUEUED.moved_to(JobState.SCANNING, "", 10.0).scanned(FINISHED, 12.0)
    again = warming.scanned_again()
    assert (again.state, again.scan, again.started_at) == (JobState.SCANNING, ScanTotals(), 10.0)
    assert again.scanned_again() is again
    assert again.scanned(FINISHED, 20.0).scanned_again() is None
    for state in JobState:
        if state is not JobState.WARMING:
            assert Standing(state=state).scanned_again() is None


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).filter(
    lambda name: ".." not in name
)


@given(st.lists(NAMES | st.sampled_from(['"],["', '\\"],[\\"', "],["]), max_size=60))
def test_an_envelope_counts_the_files_it_does_not_unpack(names):
    """Plain or deflated, whatever the names hold."""
    files = tuple(FileEntry(name, 1, b"\x01") for name in names)
    item = WorkItem(access=Access(addresses=("a",)), path="/d", item_id="i", last_error="e", files=files)
    seen = envelope(item.to_json())
    assert seen.file_count == len(files)
    unread = WorkItem.from_json(seen.text)
    assert (unread.files, unread.path, unread.item_id, unread.last_error) == (None, "/d", "i", "e")


def test_an_envelope_leaves_out_what_belongs_to_the_files():
    """Times, ranges, and what had come of them: without the files they would be an error."""
    files = tuple(FileEntry(f"f{number}", 9, b"\x01") for number in range(20))
    times, parts, came = TIMES.pack(1.0, 2.0) * len(files), (Part(3, 1, 2),), Came(((0, 2),), (Part(4, 0, 5),), 3)
    item = WorkItem(access=Access(addresses=("a",)), path="/d", files=files, times=times, parts=parts, came=came)
    seen = envelope(item.to_json())
    assert seen.file_count == 20
    unread = WorkItem.from_json(seen.text)
    assert (unread.times, unread.parts, bool(unread.came)) == (b"", (), False)


def test_an_envelope_is_opened_in_little_memory():
    """A list that inflates to sixteen megabytes costs less than one."""
    raw = zlib.compress(b"[" + b'["",0,""],' * 1_500_000 + b'["",0,""]]', 9)
    text = json.dumps({"WarmTargetPath": "/", "FilesDeflated": base64.b64encode(raw).decode()})
    tracemalloc.start()
    try:
        assert envelope(text).file_count == 100_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("files", ["!", base64.b64encode(b"hello").decode(), "", 7, None])
def test_a_list_that_makes_no_sense_is_one_file(files):
    """The item goes to poison all the same."""
    assert envelope(json.dumps({"filesdeflated": files})).file_count == 1


def test_what_is_no_message_has_no_envelope():
    """As everywhere."""
    with pytest.raises(InvalidMessage):
        envelope("[]")


def test_a_row_is_read_or_damaged():
    """Whatever goes wrong in reading it is one kind of error that names the row."""
    for nonsense in ("[", '{"files": 1, "histogram": 5}', '{"errors": [["a"]]}', "7"):
        with pytest.raises(DamagedRecord, match="job j7"), reading_row("job j7"):
            record.load_scan(nonsense)


def test_totals_of_a_newer_version_are_read():
    """What this version has no name for is left out."""
    assert record.load_scan('{"files": 3, "wormholes": 9, "finished": true}') == ScanTotals(files=3, finished=True)


def test_damaged_rows_are_named_once(caplog):
    """However often they are passed over, and no more than a hundred of them."""
    rows = DamagedRows()
    with caplog.at_level(logging.WARNING):
        for number in range(300):
            rows.name(DamagedRecord(f"row {number % 150}"))
    assert len(caplog.records) == 100
