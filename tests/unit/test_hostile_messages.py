"""Messages from anyone who can post to a queue: whatever they hold, they are read or refused, in bounded time and memory."""

import base64
import json
import textwrap
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer import wire
from cachewarmer.errors import InvalidMessage
from cachewarmer.model import Access, FileEntry, Wanted, WarmJob, WorkItem
from cachewarmer.wire import MAX_INFLATED_BYTES, MOST_FILES, SHORT_LIST

BASE = {"WarmTargetMountAddresses": ["10.0.1.7"], "WarmTargetExportPath": "/data", "WarmTargetPath": "/tools"}


def deflated(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


BAD_ITEMS = {
    "a zip bomb": {"FilesDeflated": deflated(b" " * (MAX_INFLATED_BYTES + 1))},
    "a list cut short": {"FilesDeflated": deflated(b"[]" * 5000)[:20] + "=="},
    "no deflated data": {"FilesDeflated": base64.b64encode(b"hello").decode()},
    "no base64": {"FilesDeflated": "!"},
    "a deep list": {"FilesDeflated": deflated(b"[" * 1_000_000)},
    "too many files": {"FilesDeflated": deflated(b"[" + b'["",0,""],' * MOST_FILES + b'["",0,""]]')},
    "a size that is no number": {"Files": [["a", "7", ""]]},
    "a negative size": {"Files": [["a", -1, ""]]},
    "a size that is true": {"Files": [["a", True, ""]]},
    "an endless size": {"Files": [["a", 1 << 63, ""]]},
    "a handle that is no base64": {"Files": [["a", 1, "%"]]},
    "a name with NUL": {"Files": [["a\0b", 1, ""]]},
    "a name that climbs": {"Files": [["../../etc/shadow", 1, ""]]},
    "rows of two": {"Files": [["a", 1]]},
    "an object for rows": {"Files": {"a": 1}},
    "half a range": {"StartByte": 5},
    "a range backwards": {"StartByte": 5, "StopByte": 4},
    "a range of two files": {"StartByte": 0, "StopByte": 4, "Files": [["a", 1, ""], ["b", 1, ""]]},
    "another transport": {"Transport": "smb"},
}
BAD_BOTH = {
    "a path that climbs": {"WarmTargetPath": "/a/../../etc"},
    "an export that climbs": {"WarmTargetExportPath": "/data/.."},
    "a path with NUL": {"WarmTargetPath": "/a\0b"},
    "a path with half a character": {"WarmTargetPath": "/a\ud800"},
    "a path that is a number": {"WarmTargetPath": 7},
    "an address that is an option": {"WarmTargetMountAddresses": ["-oremount"]},
    "an address that is a path": {"WarmTargetMountAddresses": ["../../etc"]},
    "an address that is a list": {"WarmTargetMountAddresses": [["10.0.0.1"]]},
    "an address with a line break": {"WarmTargetMountAddresses": ["10.0.0.1\n10.0.0.2"]},
    "an empty address": {"WarmTargetMountAddresses": [""]},
    "a thousand addresses": {"WarmTargetMountAddresses": ["10.0.0.1"] * 1000},
    "a user that AUTH_SYS can't hold": {"Uid": 1 << 32},
    "a group that AUTH_SYS can't hold": {"Gid": 1 << 32},
    "a port that TCP can't hold": {"NfsPort": 65536},
    "a mount port that TCP can't hold": {"MountPort": 1 << 40},
    "a size limit that is true": {"MaxFileSizeBytes": True},
    "a size limit that is huge": {"MaxFileSizeBytes": 1 << 70},
    "a size limit with a fraction": {"MaxFileSizeBytes": 1.5},
    "a filter that is a string": {"InclusionList": "*.exr"},
}
BAD_JOBS = {
    "not a number": {"NewerThan": float("nan")},
    "infinity": {"NewerThan": float("inf")},
    "an id with a slash": {"JobId": "a/b"},
    "an id with a hash": {"JobId": "a#b"},
    "an id with a question mark": {"JobId": "a?b"},
    "an id with a backslash": {"JobId": "a\\b"},
    "an id with a control character": {"JobId": "a\x7fb"},
    "an id in other letters": {"JobId": "jöb"},
    "an endless id": {"JobId": "j" * 65},
}


def cases():
    for kind, groups in ((WarmJob, (BAD_BOTH, BAD_JOBS)), (WorkItem, (BAD_BOTH, BAD_ITEMS))):
        for group in groups:
            for name, values in group.items():
                yield pytest.param(kind, values, id=f"{kind.__name__}: {name}")


@pytest.mark.parametrize(("kind", "values"), list(cases()))
def test_a_value_that_can_not_be_is_refused_with_its_reason(kind, values):
    with pytest.raises(InvalidMessage) as caught:
        kind.from_json(json.dumps({**BASE, **values}))
    assert len(str(caught.value)) < 300, "the reason does not repeat what may be 64 KiB"


@pytest.mark.parametrize("kind", [WarmJob, WorkItem])
@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 65_536,
        b'{"a":' * 13_000,
        b'{"WarmTargetPath":"/a","MaxFileSizeBytes":' + b"9" * 60_000 + b"}",
        b'{"WarmTargetPath":"\xff\xfe"}',
        bytes(range(256)) * 256,
        base64.b64encode(b"\xff" * 40_000),
        base64.b64encode(base64.b64encode(b'{"WarmTargetPath":"/a"}')),
        b'{"WarmTargetPath":"/a"} {"WarmTargetPath":"/b"}',
        b'"{}"',
        b"null",
        b"",
    ],
)
def test_garbage_is_refused(kind, raw):
    with pytest.raises(InvalidMessage):
        kind.from_json(raw)


ACCESS = Access(addresses=("a",), uid=1, gid=1, gids=(1,))
A_JOB = WarmJob(access=ACCESS, job_id="j", name="n", wanted=Wanted(newer_than=1.0))
AN_ITEM = WorkItem(access=ACCESS, job_id="j", item_id="i", address="a", files=(), last_error="e")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda one: st.lists(one, max_size=3)
    )
)
def test_no_value_of_any_key_gets_past_the_reader(value):
    """Each key in turn holds something of any type: the message is understood, or refused as one."""
    for kind, sample in ((WarmJob, A_JOB), (WorkItem, AN_ITEM)):
        whole = {**json.loads(sample.to_json()), "FilesDeflated": None} | BASE
        for key in whole:
            try:
                kind.from_json(json.dumps({**whole, key: value}))
            except InvalidMessage:
                continue


def test_base64_with_line_breaks_is_read():
    """As base64(1) writes it."""
    broken = "\n".join(textwrap.wrap(base64.b64encode(json.dumps(BASE).encode()).decode(), 76)) + "\n"
    assert WarmJob.from_json(broken).warm_path == "/tools"


def test_names_with_dots_that_do_not_climb_are_names():
    item = WorkItem.from_json(json.dumps({**BASE, "Files": [["..a/b..", 1, ""], ["...", 1, ""]]}))
    assert [entry.path for entry in item.files or ()] == ["..a/b..", "..."]


BOMBS = [b"[]", b"{}", b"[0]", b'{"a":0}', b"0", b'""', b"[[[]]]", b'["",0,""]', b'["a",1,"",[]]']


@pytest.mark.parametrize("row", BOMBS)
@pytest.mark.parametrize("kind", ["packed", "plain"])
def test_a_small_message_costs_little_memory_whatever_it_holds(row, kind):
    """Refused messages wait together to be moved away, so that what each of them holds on to counts as well."""
    room = MAX_INFLATED_BYTES if kind == "packed" else 40_000
    rows = b"[" + row + (b"," + row) * (room // (len(row) + 1) - 2) + b"]"
    files = {"FilesDeflated": deflated(rows)} if kind == "packed" else {"Files": json.loads(rows)}
    text = json.dumps({**BASE, **files})
    kept = []
    tracemalloc.start()
    try:
        for _ in range(3):
            try:
                WorkItem.from_json(text)
            except InvalidMessage as error:
                kept.append(error)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


ANY_NAME = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(
    st.lists(
        st.tuples(
            ANY_NAME.filter(lambda name: ".." not in name.split("/")), st.integers(0, 1 << 62), st.binary(max_size=64)
        ),
        min_size=SHORT_LIST + 1,
        max_size=40,
    )
)
def test_a_long_list_is_read_row_by_row_with_the_same_result(rows):
    """Which of the two ways a list takes depends only on how much it holds."""
    item = WorkItem(job_id="j", files=tuple(FileEntry(*row) for row in rows))
    text = item.to_json()
    assert WorkItem.from_json(text) == item
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "PLAIN_TOKENS", 0)
        assert WorkItem.from_json(text) == item


def test_a_list_that_shrinks_too_well_is_sent_so_that_it_can_be_read():
    """What is written by one is never refused by another."""
    item = WorkItem(job_id="j", files=(FileEntry("a" * 4000, 1),) * 4000)
    assert WorkItem.from_json(item.to_json()) == item


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"warmtargetmountaddresses":["a"],"WARMTARGETPATH":"/x"}', ("/x", 0, ())),
        ('{"WarmTargetMountAddresses":["a"],"WarmTargetPath":"/x","warmTargetPath":"/y"}', ("/y", 0, ())),
        ('{"WarmTargetMountAddresses":["a"],"WarmTargetPath":"/x","WarmTargetPath":null}', ("/x", 0, ())),
        ('{"WarmTargetMountAddresses":["a"]}', ("/", 0, ())),
        ('{"WarmTargetMountAddresses":["a"],"WarmTargetPath":null,"MaxFileSizeBytes":null}', ("/", 0, ())),
        ('{"WarmTargetMountAddresses":["a"],"MaxFileSizeBytes":-0}', ("/", 0, ())),
        ('{"WarmTargetMountAddresses":["a"],"InclusionList":["b",null]}', ("/", 0, ("b", ""))),
        ('{"WarmTargetMountAddresses":["a"],"InclusionList":["b"],"InclusionList":null}', ("/", 0, ())),
        ('{"WarmTargetMountAddre\u017f\u017fes":["a"],"MaxFileSizeBytes":7}', ("/", 7, ())),
    ],
)
def test_a_job_is_read_as_go_reads_it(text, expected):
    """Keys without regard to case, the last of several; null changes nothing but a list; no path: the whole export."""
    job = WarmJob.from_json(text)
    assert job.access.addresses == ("a",)
    assert (job.warm_path, job.wanted.max_file_bytes, job.wanted.include) == expected


@pytest.mark.parametrize("number", ["1e3", "1.0", '"1"', "9223372036854775808", "NaN", "true"])
def test_a_number_that_go_refuses_is_refused(number):
    """An integer is an integer's literal."""
    with pytest.raises(InvalidMessage):
        WarmJob.from_json('{"WarmTargetMountAddresses":["a"],"MaxFileSizeBytes":' + number + "}")
