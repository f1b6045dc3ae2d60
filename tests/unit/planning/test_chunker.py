import itertools
from dataclasses import replace

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import PlanSettings
from cachewarmer.model import Access, WarmJob, WorkItem
from cachewarmer.planning.chunker import MESSAGE_HEAD_BYTES, MOST_RANGES, Chunker

JOB = WarmJob(access=Access(addresses=("a",), export="/e"), job_id="j1", warm_path="/")
names = st.binary(min_size=1, max_size=12).filter(lambda raw: b"/" not in raw and b"\0" not in raw)
streams = st.lists(
    st.tuples(st.sampled_from([b"", b"a", b"a/b", b"a/bc", b"a/b/c", b"x"]), names, st.integers(0, 300)),
    unique_by=lambda one: one[:2],
    max_size=60,
)


def chunk(files, settings, address="a", handle=b"h"):
    chunker = Chunker(JOB, settings, export="/e", address=address)
    items = [item for directory, name, size in files for item in chunker.add(directory, name, size, handle)]
    return items + list(chunker.flush())


def read_ranges(items):
    """Every byte range that the items stand for, by path below the export."""
    found: dict[str, list[tuple[int, int]]] = {}
    for item in items:
        base = item.path.strip("/")
        for entry in item.files:
            path = "/".join(part for part in (base, entry.path) if part)
            start, stop = (0, entry.size) if item.start < 0 else (item.start, item.stop)
            found.setdefault(path, []).append((start, stop))
    return found


@given(streams, st.integers(1, 7), st.integers(1, 500), st.integers(1, 200))
def test_items_tile_every_file_exactly(files, item_files, item_bytes, range_bytes):
    items = chunk(files, PlanSettings(item_files=item_files, item_bytes=item_bytes, range_bytes=range_bytes))
    ranges = read_ranges(items)
    assert len(ranges) == len(files)
    for directory, name, size in files:
        path = (directory + b"/" + name if directory else name).decode("utf-8", "surrogateescape")
        position = 0
        for start, stop in sorted(ranges[path]):
            assert start == position
            position = stop
        assert position == size
    assert sum(item.file_count for item in items) == len(files)
    assert sum(item.byte_count for item in items) == sum(size for *_, size in files)
    assert len({item.item_id for item in items}) == len(items)


def test_files_that_are_added_together_give_the_same_items_as_one_by_one():
    """Wherever an item ends: by its number of files, by their bytes, by the length of its message, or at a large file."""
    names = {directory: [b"f%d" % number for number in range(8)] for directory in (b"a", b"b", b"c\xff")}
    files = [(directory, name, 10) for directory, some in names.items() for name in some]
    usual = PlanSettings(range_bytes=10)
    head = MESSAGE_HEAD_BYTES + len(Chunker(JOB, usual, export="/e", address="a")._template.to_json())
    for settings in (
        *(replace(usual, item_files=most) for most in range(1, 26)),
        *(replace(usual, item_bytes=most) for most in range(5, 260, 5)),
        *(replace(usual, message_bytes=head + room) for room in range(1, 400)),
        replace(usual, range_bytes=9),
    ):
        together = Chunker(JOB, settings, export="/e", address="a")
        items = [
            item
            for directory, some in names.items()
            for item in together.add_files(directory, [(name, 10, b"h") for name in some])
        ]
        assert [*items, *together.flush()] == chunk(files, settings)


@given(streams)
def test_ids_do_not_depend_on_address_or_handles(files):
    settings = PlanSettings(item_files=5, range_bytes=100)
    first = chunk(files, settings)
    second = chunk(files, settings, address="b", handle=b"other")
    assert [item.item_id for item in first] == [item.item_id for item in second]


@given(st.lists(names, min_size=20, max_size=200, unique=True))
def test_an_item_fits_a_message_even_where_nothing_can_be_compressed(found):
    settings = PlanSettings(message_bytes=MESSAGE_HEAD_BYTES + 1000)
    items = chunk([(b"d", name, 5) for name in found], settings, handle=b"")
    assert all(len(item.to_json()) <= settings.message_bytes for item in items)
    assert sum(item.file_count for item in items) == len(found)


def test_an_item_survives_its_json():
    for item in chunk([(b"a", b"x\xff", 10), (b"a/b", b"y", 500)], PlanSettings(range_bytes=100)):
        assert WorkItem.from_json(item.to_json()) == item


@given(st.integers(1, (1 << 63) - 1), st.integers(1 << 20, 1 << 30))
@hypothesis.settings(max_examples=20)
def test_no_file_becomes_more_ranges_than_a_plan_can_hold(size, range_bytes):
    """However large a file says it is, its ranges tile it and are bounded in number."""
    items = chunk([(b"", b"f", size)], PlanSettings(range_bytes=range_bytes))
    assert len(items) <= MOST_RANGES
    ((_, ranges),) = read_ranges(items).items()
    assert (ranges[0][0], ranges[-1][1]) == (0, size)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))


def test_an_item_fits_a_message_with_the_longest_paths_and_many_addresses():
    """A path may have 4,096 bytes, each of them six letters in JSON; the addresses take their room in every message."""
    most = 62 * 1024
    job = WarmJob(access=Access(addresses=tuple(f"{number:03}.{'a' * 60}" for number in range(256))), job_id="j1")
    chunker = Chunker(job, PlanSettings(message_bytes=most), export="/data", address="a")
    deep = b"/".join([b"\xff" * 250] * 15)
    items = [item for n in range(20) for item in chunker.add(deep, b"\xfe" * 200 + b"%d" % n, 5, b"")]
    items += chunker.add(deep, b"large", 1 << 30, b"h" * 64)
    items += chunker.flush()
    assert all(len(item.to_json()) <= most for item in items)
    assert sum(item.file_count for item in items) == 21


@given(streams, streams)
def test_another_of_the_same_job_begins_with_nothing(files, others):
    """Its items are those of one that was made from the beginning, and those of the first go on without its files."""
    settings = PlanSettings(item_files=5, range_bytes=100)
    first = Chunker(JOB, settings, export="/e", address="a")
    half = len(files) // 2
    items = [item for one in files[:half] for item in first.add(*one, b"h")]
    second = first.anew()
    theirs = [item for one in others for item in second.add(*one, b"h")]
    items += [item for one in files[half:] for item in first.add(*one, b"h")]
    assert theirs + list(second.flush()) == chunk(others, settings)
    assert items + list(first.flush()) == chunk(files, settings)
