"""Lines of lists: ranges, sequences of frames, mapped paths; and which bytes of a file are planned."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import PlanSettings
from cachewarmer.errors import CacheWarmerError, UsageError
from cachewarmer.model import Access, FileEntry, Wanted, WarmJob, WorkItem
from cachewarmer.model.parts import Part, ends_of
from cachewarmer.planning.chunker import Chunker
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.filelist import CHUNK_BYTES, list_chunks, path_chunks
from cachewarmer.planning.frames import MOST_FRAMES, frame_paths
from cachewarmer.planning.listline import Named, named
from cachewarmer.planning.pathmap import UNMAPPED, PathMap
from cachewarmer.planning.portions import Portions
from cachewarmer.planning.walker import Walker
from tests.memory import MemorySession

TREE = {b"a": 1000, b"b": 1000, b"c": 10, b"d": {b"x": 1000, b"y": 5}, b"tab\t5": 10}


async def stored(raw, *, nul=False, path_map=UNMAPPED):
    chunks = [chunk async for chunk in list_chunks(io.BytesIO(raw), nul_separated=nul, path_map=path_map)]
    assert all(len(chunk) < 64 * 1024 for chunk in chunks)
    return [line for chunk in chunks for line in chunk.split(b"\0")[:-1]]


async def scan(raw, *, nul=False, in_order=False, settings=None, tree=TREE, **wanted):
    job = WarmJob(access=Access(addresses=("a",)), wanted=Wanted(**wanted), job_id="j1", in_order=in_order)
    counter, items = ScanCounter(), []

    async def emit(batch):
        items.extend(batch)

    settings = settings or PlanSettings()
    walker = Walker(job, [MemorySession(tree)], export="/", root=b"", settings=settings, counter=counter, emit=emit)
    if raw is None:
        await walker.walk()
    else:
        await walker.walk_list(list_chunks(io.BytesIO(raw), nul_separated=nul))
    return items, counter


def planned(items):
    """Every range of every file, as items travel."""
    found = []
    for item in items:
        again = WorkItem.from_json(item.to_json())
        assert again == item
        for number, entry in enumerate(again.files):
            path = "/".join(one for one in (again.path.strip("/"), entry.path) if one)
            whole = (0, entry.size) if again.start < 0 else (again.start, again.stop)
            rows = [(start, stop) for one, start, stop in again.parts if one == number]
            found += [(path, *one) for one in rows or [whole]]
    return found


# -- lines ---------------------------------------------------------------------------------------------------------


async def test_a_range_is_stored_apart_from_every_path():
    """A stored path that looks like a range is none."""
    lines = await stored(b"a b\t10\t20\r\n//\t1\t2\t3\nx\n")
    assert [named(one) for one in lines] == [Named(b"a b", 10, 30), Named(b"/\t1", 2, 5), Named(b"x")]
    hostile = b"//\t1\t2\tname"
    (line,) = await stored(hostile + b"\0", nul=True)
    assert named(line) == Named(b"/\t1\t2\tname")
    assert [one async for one in path_chunks([hostile])] == [b"/\t1\t2\tname\0"]


async def test_a_name_with_a_tab_is_written_with_nul_or_in_a_range():
    assert [named(one) for one in await stored(b"tab\t5\0", nul=True)] == [Named(b"tab\t5")]
    assert [named(one) for one in await stored(b"tab\t5\t0\t10\n")] == [Named(b"tab\t5", 0, 10)]
    items, counter = await scan(b"tab\t5\t0\t10\n")
    assert (planned(items), counter.failed_files) == ([("tab\t5", 0, 10)], 0)


@pytest.mark.parametrize(
    "line",
    [b"a\t-1\t5", b"a\t1\t-5", b"a\t1\t0", b"a\t\t5", b"a\t1\t", b"a\tx\t5", b"a\t9223372036854775807\t1", b"\t1\t2",
     b"a\t99999999999999999999999\t1", b"a\t5", "a\t٣\t5".encode(), b"a\t1_0\t5"],
)  # fmt: skip
async def test_a_range_that_makes_no_sense_is_told(line):
    with pytest.raises(UsageError) as told:
        await stored(line + b"\n")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "line", [b"//\t", b"//\t1", b"//\t1\t2", b"//\t-1\t2\ta", b"//\t1\t0\ta", b"//\t" + b"9" * 30 + b"\t1\ta"]
)
def test_a_stored_range_that_nobody_stored_is_refused(line):
    with pytest.raises(CacheWarmerError):
        named(line)


# -- frames --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        (b"p.####.exr 8-11", [b"p.0008.exr", b"p.0009.exr", b"p.0010.exr", b"p.0011.exr"]),
        (b"p.%04d.exr\t10-14x2", [b"p.0010.exr", b"p.0012.exr", b"p.0014.exr"]),
        (b"p.%d.exr 9,11-12", [b"p.9.exr", b"p.11.exr", b"p.12.exr"]),
        (b"v#1/a b.#.exr 99-100", [b"v#1/a b.99.exr", b"v#1/a b.100.exr"]),
        (b"p.##.exr -2--1", [b"p.-2.exr", b"p.-1.exr"]),
    ],
)
async def test_a_sequence_stands_for_its_frames(line, paths):
    assert await stored(line + b"\n") == paths


@pytest.mark.parametrize("line", [b"plate.exr 1-5", b"a#b", b"p.####.exr x", b"100%done 7z", b"p.#.exr1-5"])
async def test_what_is_no_sequence_is_a_path(line):
    assert await stored(line + b"\n") == [line]
    assert frame_paths(line) is None


@pytest.mark.parametrize(
    "frames", ["1-1000000000000", "1-2000000", "1-700000,1-700000", "5-1", "1-5x0", "1-", "1,,2", "1-2-3", "9" * 5000]
)
async def test_frames_that_make_no_sense_are_told_before_any_is_made(frames):
    with pytest.raises(UsageError) as told:
        await stored(b"p.#.exr %b\n" % frames.encode())
    assert "\n" not in str(told.value)


async def test_a_long_sequence_is_stored_in_chunks_that_fit():
    lines = await stored(b"shot/p.#######.exr 1-%d\n" % (CHUNK_BYTES // 4))
    assert len(lines) == CHUNK_BYTES // 4
    assert MOST_FRAMES == 1_000_000


# -- maps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (rb"P:\shot\a.exr", b"/projects/shot/a.exr"),
        (rb"p:\shot/a.exr", b"/projects/shot/a.exr"),
        (rb"P:\tex\a.tx", b"/textures/a.tx"),
        (rb"P:\texture\a.tx", b"/projects/texture/a.tx"),
        (rb"\\nas\vol\x", b"/vol/x"),
        (b"/mnt/p/a", b"/projects/a"),
        (b"/mnt/pa", b"/mnt/pa"),
        (rb"/mnt/p/a\b", rb"/projects/a\b"),
        (b"P:", b"/projects"),
        (rb"Q:\a", rb"Q:\a"),
    ],
)
async def test_the_longest_prefix_is_mapped(line, path):
    path_map = PathMap.of(["P:\\=/projects", "P:\\tex=/textures/", "\\\\nas\\vol=/vol", "/mnt/p=/projects"])
    assert await stored(line + b"\n", path_map=path_map) == [path]
    assert await stored(line + b"\0", nul=True, path_map=path_map) == [path]
    (ranged,) = await stored(line + b"\t1\t2\n", path_map=path_map)
    assert named(ranged) == Named(path, 1, 3)


@pytest.mark.parametrize("texts", [["P:"], ["=x"], ["P:\\=/a", "p:/=/b"]])
def test_a_map_that_makes_no_sense_is_told(texts):
    with pytest.raises(UsageError, match="--map"):
        PathMap.of(texts)


# -- which bytes ---------------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(0, 200), st.integers(0, 200))
def test_the_ends_of_a_file_are_its_first_and_last_bytes_once(size, head, tail):
    wanted = {at for at in range(size) if at < head or at >= size - tail} if head or tail else set(range(size))
    ranges = ends_of(size, head, tail)
    got = [at for start, stop in ([(0, size)] if ranges is None else ranges) for at in range(start, stop)]
    assert len(got) == len(set(got))
    assert set(got) == wanted


RANGE = st.tuples(st.integers(0, 60), st.integers(1, 40)).map(lambda one: (one[0], one[0] + one[1]))


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.lists(RANGE, min_size=1, max_size=4)), max_size=12))
def test_ranges_of_a_list_give_every_byte_once(lines):
    portions, seen = Portions(0, 0, remember=True), {b"a": set(), b"b": set()}
    for path, ranges in lines:
        known = bool(seen[path])
        portion = portions.of_ranges(path, ranges)
        assert portion.further == known
        assert portion.ranges == sorted(portion.ranges)
        new = [at for start, stop in portion.ranges for at in range(start, stop)]
        asked = {at for start, stop in ranges for at in range(start, stop)}
        assert sorted(new) == sorted(asked - seen[path])
        seen[path] |= asked
    rest = portions.of(b"a", 100)
    if rest is not None:
        assert {at for start, stop in rest.ranges for at in range(start, stop)} == set(range(100)) - seen[b"a"]
    else:
        assert not seen[b"a"]
    portions.close()


async def test_what_a_list_names_twice_in_any_form_is_planned_once():
    items, counter = await scan(b"a\t0\t100\na\t50\t100\nc\na\nd/x\t990\t500\nd\nd/x\t0\t5\nc\t0\t5\n")
    assert sorted(planned(items)) == [
        ("a", 0, 150), ("a", 150, 1000), ("c", 0, 10), ("d/x", 0, 990), ("d/x", 990, 1000), ("d/y", 0, 5),
    ]  # fmt: skip
    assert (counter.files, counter.bytes, counter.duplicates) == (4, 2015, 2)
    assert sum(item.file_count for item in items) == 4
    assert sum(item.byte_count for item in items) == 2015
    assert counter.left_out_bytes == 0
    assert counter.cut_ranges == 1


async def test_the_filters_hold_for_ranges_and_only_files_have_them():
    items, counter = await scan(b"a\t0\t10\nd\t0\t10\nb\t2000\t10\nmissing\t0\t1\n", exclude=("a",))
    assert planned(items) == []
    assert (counter.excluded_files, counter.failed_files, counter.cut_ranges) == (1, 2, 1)


async def test_the_ends_of_a_tree_and_of_a_list():
    wanted = [("a", 0, 10), ("a", 980, 1000), ("b", 0, 10), ("b", 980, 1000), ("c", 0, 10)]
    tree, counted = await scan(None, head_bytes=10, tail_bytes=20, exclude=("d", "tab*"))
    assert sorted(planned(tree)) == wanted
    assert (counted.files, counted.bytes, counted.partial_files, counted.left_out_bytes) == (3, 70, 2, 1940)
    listed, counter = await scan(b"b\na\nc\na\t0\t15\n", head_bytes=10, tail_bytes=20)
    assert sorted(planned(listed)) == sorted([*wanted, ("a", 10, 15)])
    assert counter.bytes == 75


@pytest.mark.parametrize(("start", "stop"), [(0, 1000), (0, 999), (1, 1000), (333, 777)])
async def test_a_long_range_is_cut_as_a_long_file_is(start, stop):
    items, _ = await scan(b"a\t%d\t%d\n" % (start, stop - start), settings=PlanSettings(range_bytes=100))
    assert [one for _, *two in planned(items) for one in range(*two)] == list(range(start, stop))
    assert max(item.byte_count for item in items) == 100
    assert sum(item.file_count for item in items) == 1
    assert len({item.item_id for item in items}) == len(items)


def test_parts_fit_into_a_message():
    job = WarmJob(access=Access(addresses=("a",)), job_id="j1")
    chunker = Chunker(job, PlanSettings(message_bytes=20_000), export="/", address="a")
    ranges = [(place * 1000, place * 1000 + 10) for place in range(10**12, 10**12 + 20)]
    items = []
    for number in range(200):
        items += chunker.add_parts(b"d", (b"f%d" % number, 1 << 60, b""), ranges, further=False)
    items += chunker.flush()
    assert len(items) > 1
    assert max(len(item.to_json()) for item in items) < 20_000


async def test_a_list_in_order_is_planned_in_order():
    """Large files, trees and further parts included."""
    raw = b"b\nd\na\nc\nb\t0\t5\n"
    items, _ = await scan(raw, in_order=True, settings=PlanSettings(range_bytes=600))
    assert [path for path, *_ in planned(items)] == ["b", "b", "d/x", "d/x", "d/y", "a", "a", "c"]
    assert all(item.in_order for item in items)


def test_an_item_without_parts_has_none_of_the_new_keys():
    text = WorkItem(path="/d", files=(FileEntry("a", 5),)).to_json()
    assert not [key for key in ("Ranges", "FurtherPart", "InOrder", "HeadBytes", "TailBytes") if key in text]


@pytest.mark.parametrize(
    "rows",
    ["[[0,0,11]]", "[[1,0,5]]", "[[0,5,5]]", "[[0,-1,5]]", "[[0,0,5],[0,4,6]]", "[[0,0]]", "[0]", "{}", "[[0,0,true]]",
     "[[0,0,5.0]]", "[[0,5,6],[0,0,1]]"],
)  # fmt: skip
def test_rows_that_its_files_do_not_have_are_refused(rows):
    text = '{"WarmTargetMountAddresses":["a"],"WarmTargetPath":"/d","Files":[["a",10,""]],"Ranges":%s}'
    with pytest.raises(CacheWarmerError, match="Ranges"):
        WorkItem.from_json(text % rows)
    assert WorkItem.from_json(text % "[[0,0,5],[0,5,6]]").parts == (Part(0, 0, 5), Part(0, 5, 6))
