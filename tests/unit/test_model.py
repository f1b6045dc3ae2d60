import base64
import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage, InvalidTransition, MountError
from cachewarmer.model import (
    FIRST_GENERATION,
    Access,
    FileEntry,
    JobState,
    JobStatus,
    PathError,
    Receipt,
    Report,
    ScanTotals,
    SlowPath,
    Tally,
    Transport,
    Wanted,
    WarmJob,
    WorkItem,
    check_transition,
    item_id,
)
from cachewarmer.wire import pack_files

JOB_SAMPLE = """{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data","WarmTargetPath":"/tools",
 "InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}"""
ITEM_SAMPLE = """{"WarmTargetMountAddresses":["10.0.1.7","10.0.1.8","10.0.1.9"],"WarmTargetExportPath":"/data",
 "WarmTargetPath":"/tools/bootstrap","StartByte":-1,"StopByte":-1,"ApplyFilter":false,"StartFileFilter":"",
 "EndFileFilter":"","InclusionList":[],"ExclusionList":[],"MaxFileSizeBytes":0}"""

paths = (
    st.binary(max_size=40)
    .map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
    .filter(lambda path: ".." not in path.split("/"))
)
files = st.lists(st.builds(FileEntry, paths, st.integers(0, 1 << 62), st.binary(max_size=64)), max_size=30).map(tuple)


def test_the_first_cachewarmers_messages_are_accepted_plain_and_base64():
    addresses = ("10.0.1.7", "10.0.1.8", "10.0.1.9")
    access = Access(addresses=addresses, export="/data")
    job = WarmJob(access=access, wanted=FIRST_GENERATION, warm_path="/tools")
    item = WorkItem(access=Access(addresses=addresses, export="/data"), path="/tools/bootstrap")
    for wrap in (str, lambda text: base64.b64encode(text.encode()).decode()):
        assert WarmJob.from_json(wrap(JOB_SAMPLE)) == job
        assert WorkItem.from_json(wrap(ITEM_SAMPLE)) == item
    assert json.loads(job.to_json()) == json.loads(JOB_SAMPLE)
    assert json.loads(item.to_json()) == json.loads(ITEM_SAMPLE)


def test_a_largest_size_below_zero_is_no_limit():
    """Its own submitter takes such a flag, and posts it as it is."""
    text = '{"WarmTargetMountAddresses":["a"],"WarmTargetPath":"/t","MaxFileSizeBytes":-1}'
    assert WarmJob.from_json(text).wanted == FIRST_GENERATION
    assert WorkItem.from_json(text).wanted == FIRST_GENERATION


@given(paths, files, paths)
def test_any_path_survives_the_trip_through_json(path, entries, error):
    item = WorkItem(path=path, files=entries, job_id="j1", last_error=error)
    text = item.to_json()
    assert text.isascii()
    assert WorkItem.from_json(text) == item
    job = WarmJob(
        warm_path=path, access=Access(transport=Transport.LOCAL, gids=(1, 2)), wanted=Wanted(newer_than=1.5), name=error
    )
    assert WarmJob.from_json(job.to_json()) == job


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "nonsense!",
        "{}",
        '{"WarmTargetPath":5}',
        '{"WarmTargetPath":"/"}',
        '{"WarmTargetPath":"/","WarmTargetMountAddresses":"a"}',
        '{"WarmTargetPath":"/","WarmTargetMountAddresses":["a"],"MaxFileSizeBytes":1.5}',
        '{"WarmTargetPath":"/","WarmTargetMountAddresses":["a"],"MaxFileSizeBytes":true}',
        '{"WarmTargetPath":"/\\u0000","WarmTargetMountAddresses":["a"]}',
        '{"WarmTargetPath":"/","WarmTargetMountAddresses":["a"],"Transport":"ftp"}',
        '{"WarmTargetPath":"/","WarmTargetMountAddresses":["a"],"JobId":"../x"}',
        '{"WarmTargetPath":"\\ud800","WarmTargetMountAddresses":["a"]}',
        "[" * 100_000,
    ],
)
def test_a_malformed_job_is_told_apart_with_a_reason(text):
    with pytest.raises(InvalidMessage):
        WarmJob.from_json(text)


@pytest.mark.parametrize(
    "extra",
    [
        {"StartByte": 5},
        {"StartByte": 5, "StopByte": 4},
        {"Files": 3},
        {"Files": [["a"]]},
        {"Files": [["a", -1, ""]]},
        {"Files": [["a", 1, "%%"]]},
        {"FilesDeflated": "AAAA"},
        {"Files": [], "StartByte": 0, "StopByte": 1},
    ],
)
def test_a_malformed_item_is_told_apart(extra):
    with pytest.raises(InvalidMessage):
        WorkItem.from_json(json.dumps({"WarmTargetPath": "/x", **extra}))


def test_a_compressed_list_can_not_fill_the_memory():
    import zlib

    bomb = base64.b64encode(zlib.compress(b"[" + b" " * (64 << 20) + b"]")).decode()
    with pytest.raises(InvalidMessage):
        WorkItem.from_json(json.dumps({"WarmTargetPath": "/x", "FilesDeflated": bomb}))


def test_item_ids_depend_on_every_part():
    assert item_id("j", "a", "b") == item_id("j", "a", "b")
    assert (
        len({item_id("j", "a", "b"), item_id("j", "ab", ""), item_id("k", "a", "b"), item_id("j", "a", "b", "")}) == 4
    )


def test_job_states_move_only_along_the_table():
    assert check_transition("j", JobState.QUEUED, JobState.SCANNING)
    assert not check_transition("j", JobState.WARMING, JobState.WARMING)
    for old, new in [
        (JobState.COMPLETED, JobState.WARMING),
        (JobState.QUEUED, JobState.PAUSED),
        (JobState.CANCELLED, JobState.PAUSED),
    ]:
        with pytest.raises(InvalidTransition):
            check_transition("j", old, new)
    assert JobState.FAILED.final
    assert not JobState.PAUSED.final


def test_a_file_in_ranges_is_among_the_slowest_once():
    """With the slowest of its ranges; two workers may have read them."""
    tally = Tally(worker="w")
    for number, (path, seconds) in enumerate((("/big", 1.0), ("/big", 3.0), ("/small", 2.0))):
        tally = tally.add(Receipt(item_id=str(number), files=1, bytes=1, slowest=(SlowPath(path, seconds),)))
    assert tally.slowest == (SlowPath("/big", 3.0), SlowPath("/small", 2.0))
    other = Tally(worker="o", slowest=(SlowPath("/small", 5.0),))
    assert JobStatus(job=WarmJob(), state=JobState.WARMING, tallies=(tally, other)).slowest == (
        SlowPath("/small", 5.0),
        SlowPath("/big", 3.0),
    )


def test_a_job_is_done_when_the_scan_is_and_every_item_is_settled():
    tally = Tally(worker="w").add(Receipt(item_id="1", files=2, bytes=10, slowest=(SlowPath("/a", 1.0),)))
    job = WarmJob(access=Access(transport=Transport.LOCAL), job_id="j")
    scan = ScanTotals(items=2, files=4, finished=True)
    status = JobStatus(job=job, state=JobState.WARMING, scan=scan, tallies=(tally,), started_at=10.0)
    assert status.settled().state is JobState.WARMING
    done = JobStatus(
        job=job,
        state=JobState.WARMING,
        scan=scan,
        tallies=(tally,),
        poisoned_items=1,
        poisoned_files=2,
        poison_errors=(PathError("/b", "no"),),
        started_at=10.0,
    ).settled()
    assert done.state is JobState.COMPLETED_WITH_ERRORS
    report = Report.of_job(done, 12.0).document()
    assert (report["files"], report["bytes"], report["failed_files"], report["seconds"]) == (2, 10, 2, 2.0)
    assert report["errors"] == [{"path": "/b", "error": "no"}]
    empty = JobStatus(job=job, state=JobState.WARMING, scan=ScanTotals(finished=True)).settled()
    assert empty.state is JobState.COMPLETED


@pytest.mark.parametrize("deflated", [False, True])
def test_a_handle_longer_than_the_protocol_allows_is_refused(deflated):
    """It would otherwise be found out only when the call is made."""
    files = tuple(FileEntry(f"f{number}", 1, bytes(65)) for number in range(20 if deflated else 1))
    text = WorkItem(path="/x", files=files).to_json()
    assert ("FilesDeflated" in text) is deflated
    with pytest.raises(InvalidMessage, match="64 bytes"):
        WorkItem.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/other"},
        {"files": (FileEntry("a", 1),)},
        {"files": (FileEntry("ab", 1), FileEntry("", 2))},
        {"start": 0, "stop": 1, "files": (FileEntry("a", 1),)},
        {"files": None},
        {"job_id": "j2"},
    ],
)
def test_an_items_id_belongs_to_what_it_holds(change):
    """To its job, its path, its files and its range; not to sizes, handles and addresses, which may differ between scans."""
    item = WorkItem(job_id="j1", path="/d", files=(FileEntry("a", 1), FileEntry("b", 2))).with_content_id()
    same = replace(item, files=(FileEntry("a", 7, b"h"), FileEntry("b", 8)), address="a", scan=3)
    assert same.content_id == item.item_id
    assert replace(item, **change).content_id != item.item_id


def test_a_failed_jobs_reason_keeps_its_parts():
    """And one that an earlier version stored is read as it is."""
    failure = MountError("no such export", subject=b"/\xff", address="cache1", advice="see showmount").failure
    status = JobStatus(job=WarmJob(job_id="j"), state=JobState.FAILED, reason=failure.dump())
    assert status.failure == failure
    assert Report.of_job(status, 0).document()["reason"] == "cache1: /\\xff: no such export; see showmount"
    assert JobStatus(job=WarmJob(), state=JobState.FAILED, reason="plain").failure.problem == "plain"


def test_directories_that_could_not_be_listed_are_not_files():
    """They have a count of their own, and no job is complete with them."""
    scan = ScanTotals(failed_directories=2, duplicates=3, hardlinks=4, links=5, warnings=("w",), finished=True)
    status = JobStatus(job=WarmJob(), state=JobState.WARMING, scan=scan, warnings=("w", "v")).settled()
    report = Report.of_job(status, 0).document()
    assert status.state is JobState.COMPLETED_WITH_ERRORS
    assert (report["failed_files"], report["failed_directories"], report["duplicates"]) == (0, 2, 7)
    assert (report["links"], report["hardlinks"], report["warnings"]) == (5, 4, ["w", "v"])


def test_a_paused_job_resumes_where_it_was():
    """Scanning, unless its scan is finished."""
    status = JobStatus(job=WarmJob(), state=JobState.PAUSED)
    assert status.resumed is JobState.SCANNING
    assert replace(status, scan=ScanTotals(finished=True)).resumed is JobState.WARMING


@given(
    st.lists(
        st.tuples(st.text(st.characters(), max_size=20), st.integers(0, 2**63 - 1), st.binary(max_size=64)),
        min_size=20,
        max_size=40,
    )
)
def test_a_packed_list_is_the_json_that_any_other_program_would_write(rows):
    """It is put together by hand, whatever characters the paths have."""
    packed = pack_files([FileEntry(*row) for row in rows])["FilesDeflated"]
    plain = [[path, size, base64.b64encode(handle).decode()] for path, size, handle in rows]
    assert zlib.decompress(base64.b64decode(packed)).decode("ascii") == json.dumps(plain, separators=(",", ":"))
