"""Records of files, their pieces, and how they travel."""

import json
import re
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.errors import InvalidMessage
from cachewarmer.ledger.records import records
from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.model.jobs import TIMES
from cachewarmer.model.outcomes import (
    FileOutcome,
    FileStatus,
    group_of,
    item_key,
    pack,
    pack_poison,
    read_line,
    times_of,
    unpack,
)
from cachewarmer.paths import to_text

PATHS = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw).map(to_text)
TIME = st.floats(-1e17, 1e17)
OUTCOMES = st.builds(
    FileOutcome,
    PATHS,
    st.integers(0, 1 << 60),
    TIME,
    TIME,
    st.sampled_from([str(one) for one in FileStatus]),
    st.integers(0, 1 << 60),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.integers(0, 10**9).map(lambda micro: round(micro / 1e6, 6)),
)


@given(outcome=OUTCOMES)
def test_a_record_survives_its_line(outcome):
    """A line is one JSON object in ASCII whose keys are the fields, and names of any bytes come back."""
    line = outcome.line()
    assert line.isascii()
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    assert json.loads(line) == outcome._asdict()
    assert read_line(line) == outcome


@pytest.mark.parametrize(
    "line",
    ["", "[]", "{}", '{"path":1,"status":"read"}', '{"path":"/a"}', '{"path":"/a","status":"melted"}', "{" * 9000],
)
def test_what_is_no_record_is_refused(line):
    """By one error, whatever it is."""
    with pytest.raises(InvalidMessage):
        read_line(line)


def test_a_record_of_strange_values_is_read():
    """Numbers of the wrong type or out of range count as 0, and unknown keys are passed by."""
    read = read_line('{"path":"/a","status":"read","size":1e300,"mtime":true,"bytes":"x","color":1,"error":[]}')
    assert read == FileOutcome("/a", 0, 0.0, 0.0, "read", 0, "", "", 0.0)


ITEM = WorkItem(
    access=Access(addresses=("c1",), export="/data"),
    job_id="j1",
    path="/d",
    ledger=True,
    files=(FileEntry("a", 5, b"h"), FileEntry("b\udcff", 7)),
    times=TIMES.pack(1.5, 2.5) + TIMES.pack(3.25, 4.25),
).with_content_id()


def test_the_times_of_files_travel_beside_them():
    """They are not part of the item's id, and the rows of files stay as older workers know them."""
    text = ITEM.to_json()
    assert WorkItem.from_json(text) == ITEM
    assert list(times_of(WorkItem.from_json(text))) == [(1.5, 2.5), (3.25, 4.25)]
    assert replace(ITEM, times=b"", ledger=False).with_content_id().item_id == ITEM.item_id
    assert all(len(row) == 3 for row in json.loads(text)["Files"])
    assert list(times_of(replace(ITEM, times=b""))) == [(0.0, 0.0)] * 2


@pytest.mark.parametrize("times", ["AAAA", "!", "eJxjYKAHAAAAAAAB", "eNpjYGAAAAADAAE="])
def test_times_that_do_not_fit_are_refused(times):
    """A message with times of another number of files, or none at all, is a wrong message."""
    with pytest.raises(InvalidMessage, match="FileTimes"):
        WorkItem.from_json(json.dumps({**json.loads(ITEM.to_json()), "FileTimes": times}))


def test_an_item_that_was_given_up_names_all_of_its_files():
    """Its message is kept unopened, and each of its files is a failed record."""
    lines = unpack(pack_poison(ITEM.to_json(), "no luck")).splitlines()
    found = [read_line(line) for line in lines]
    assert [(one.path, one.status, one.error, one.mtime) for one in found] == [
        ("/data/d/a", "failed", "no luck", 1.5),
        ("/data/d/b\udcff", "failed", "no luck", 3.25),
    ]


@pytest.mark.parametrize("piece", [b"", b"L", b"Lxx", b"Q" + zlib.compress(b""), b"P" + zlib.compress(b"{}")])
def test_a_damaged_piece_is_named(piece):
    """It ends with an error of our own."""
    with pytest.raises(InvalidMessage):
        unpack(piece)


def test_a_piece_may_not_inflate_without_end():
    """A bomb is refused."""
    with pytest.raises(InvalidMessage):
        unpack(b"L" + zlib.compress(b" " * (17 << 20)))


async def _from(pieces):
    for piece in sorted(pieces):
        yield piece


def _range(start, stop, status="read", error=""):
    item = replace(ITEM, path="/d/big", start=start, stop=stop, files=(FileEntry("", 30),), times=b"")
    return item_key(item), pack(
        [FileOutcome("/data/d/big", 30, 1.0, 2.0, status, stop - start, error, "c1", 0.5).line()]
    )


def test_the_keys_of_items_that_lie_near_each_other_do_too():
    """In the order of their paths, whatever their ids are; an item has one key, and no other item has it."""
    paths = [f"/show/shot{shot:03}/dir{number:02}" for shot in range(40) for number in range(20)]
    keys = [item_key(replace(ITEM, path=path).with_content_id()) for path in paths]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert item_key(ITEM) == item_key(replace(ITEM, failed_deliveries=3))
    twin = replace(ITEM, item_id="another")
    assert item_key(ITEM)[:-32] == item_key(twin)[:-32]
    assert item_key(ITEM) != item_key(twin)
    assert item_key(replace(ITEM, further=True)).startswith("f")


@given(PATHS, st.text(st.characters(codec="utf-8")))
def test_a_key_has_no_letter_that_a_broker_would_not_take(path, item_id):
    """Nor is it long, whatever the path is made of."""
    key = item_key(replace(ITEM, path=path, item_id=item_id))
    assert re.fullmatch(r"i[A-Za-z0-9._-]{0,200}[0-9a-f]{32}", key)


def test_the_keys_of_ranges_are_those_of_earlier_versions():
    """Workers of both may read ranges of one file, whose pieces must stand beside each other."""
    key, _ = _range(10, 20)
    assert key == "rcaaed8a5007e1bbd9c373d4afa965255000000000000000a"


async def test_the_ranges_of_a_file_are_one_record():
    """Whatever comes between them; its bytes and seconds are the sums."""
    whole = FileOutcome("/data/d/a", 5, 0.0, 0.0, "read", 5, "", "c1", 0.1)
    pieces = [_range(0, 10), _range(20, 30), (item_key(ITEM), pack([whole.line()])), _range(10, 20)]
    assert group_of(item_key(ITEM)) == ""
    found = [one async for one in records(_from(pieces))]
    assert found == [whole, FileOutcome("/data/d/big", 30, 1.0, 2.0, "read", 30, "", "c1", 1.5)]


@pytest.mark.parametrize(
    ("pieces", "status", "error"),
    [([_range(0, 10)], "part", ""), ([_range(0, 10, "failed", "gone bad"), _range(10, 30)], "failed", "gone bad")],
)
async def test_a_file_that_was_not_read_whole_is_not_called_so(pieces, status, error):
    """A range alone is a part; a range that failed is a file that failed."""
    (found,) = [one async for one in records(_from(pieces))]
    assert (found.status, found.error) == (status, error)
