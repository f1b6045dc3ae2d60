import asyncio

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.errors import CacheWarmerError, FileVanished, NfsStatusError
from cachewarmer.model import Access, Wanted, WarmJob
from cachewarmer.planning.chunker import MOST_RANGES
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.filelist import list_chunks
from cachewarmer.planning.frontier import Batch, Directory, Frontier
from cachewarmer.planning.walker import MOST_PATH_BYTES, Walker
from cachewarmer.targets.base import FileKind
from tests.memory import MemorySession

SMALL = PlanSettings(item_files=4, item_bytes=1000, range_bytes=500, directories_in_flight=8)
TREE = {
    b"one": 10,
    b"big": 1200,
    b"link": FileKind.LINK,
    b"fifo": FileKind.SPECIAL,
    b"bad": 0,
    b"sub": {b"two": 20, b"three\xff": 30, b"deep": {b"four": 40}},
    b"locked": NfsStatusError(13, "READDIRPLUS", b"/locked", "NFS3ERR_ACCES"),
    b"empty": {},
}


async def scan(tree, *, sessions=None, root=b"", settings=SMALL, lines=None, **filters):
    job = WarmJob(access=Access(addresses=("a",)), wanted=Wanted(**filters), job_id="j1")
    counter = ScanCounter()
    items = []

    async def emit(batch):
        await asyncio.sleep(0)
        items.extend(batch)

    found = sessions or [MemorySession(tree)]
    walker = Walker(job, found, export="/", root=root, settings=settings, counter=counter, emit=emit)
    if lines is None:
        await walker.walk()
    else:
        await walker.walk_list(lines)
    return items, counter


def paths(items):
    return sorted(
        "/".join(p for p in (item.path.strip("/"), entry.path) if p)
        for item in items
        for entry in item.files
        if item.start <= 0
    )


async def test_every_file_is_planned_once_and_what_can_not_be_read_is_counted():
    items, counter = await scan(TREE)
    assert paths(items) == ["big", "one", "sub/deep/four", "sub/three\udcff", "sub/two"]
    assert (counter.files, counter.bytes, counter.directories) == (5, 1300, 4)
    assert counter.skipped_files == 2
    assert counter.failed_files == 2
    assert {path for path, *_ in counter.errors} == {"/bad", "/locked"}
    assert counter.items == len(items)
    assert counter.largest()[0] == (1200, "/big")


def wide(directories, files):
    return {b"d%03d" % d: {b"f%02d" % f: f for f in range(files)} for d in range(directories)}


async def test_a_scan_done_twice_publishes_the_same_items_whatever_the_order_of_replies():
    tree = {b"x": wide(70, 5), b"y": {b"z": wide(40, 3)}, b"top": 3}
    first, _ = await scan(tree)
    addresses = [MemorySession(tree, "a", delay=0.001), MemorySession(tree, "b"), MemorySession(tree, "c", delay=0.002)]
    second, _ = await scan(tree, sessions=addresses)
    assert sorted(item.item_id for item in first) == sorted(item.item_id for item in second)
    assert len({item.address for item in second}) == 3


async def test_small_directories_are_packed_together():
    items, counter = await scan(wide(100, 2), settings=PlanSettings())
    assert counter.files == 200
    assert len(items) <= 5


async def test_handles_belong_to_the_address_of_the_item():
    tree = wide(80, 2)
    sessions = [MemorySession(tree, "a"), MemorySession(tree, "b")]
    items, _ = await scan(tree, sessions=sessions)
    for item in items:
        assert all(entry.handle.startswith(b"h:" + item.address.encode()) for entry in item.files)


async def test_filters_apply_in_directories_of_any_size():
    tree = {b"d": {b"f%d.%s" % (n, b"exr" if n % 2 else b"tmp"): n for n in range(20)}}
    items, counter = await scan(tree, include=("*.exr",), exclude=("f1*",))
    assert all(path.endswith(".exr") for path in paths(items))
    assert counter.files == 4
    assert counter.excluded_files == 16


async def test_an_excluded_tree_is_not_listed():
    tree = {b".snapshot": CacheWarmerError("listed"), b"a": {b"x": 1}}
    items, counter = await scan(tree | {b".snapshot": {b"y": CacheWarmerError("listed")}}, exclude=(".snapshot/**",))
    assert paths(items) == ["a/x"]
    assert counter.failed_files == 0


async def test_a_target_may_be_a_file():
    items, counter = await scan(TREE, root=b"sub/two")
    assert paths(items) == ["sub/two"]
    assert counter.files == 1


async def test_a_target_that_is_not_there_or_is_a_link_is_an_error():
    with pytest.raises(FileVanished):
        await scan(TREE, root=b"nowhere")
    with pytest.raises(CacheWarmerError, match="symbolic link"):
        await scan(TREE, root=b"link")
    with pytest.raises(NfsStatusError):
        await scan(TREE, root=b"locked")


async def chunks(*parts):
    for part in parts:
        yield part


async def test_a_list_names_files_and_trees():
    import io

    listed = b"two\n/sub/deep\n\nmissing\r\n../x\n/elsewhere\n"
    lines = list_chunks(io.BytesIO(listed), nul_separated=False)
    items, counter = await scan(TREE, root=b"sub", lines=lines)
    assert paths(items) == ["sub/deep/four", "sub/two"]
    assert counter.failed_files == 3


async def test_a_list_may_hold_newlines_when_nul_separated():
    import io

    lines = list_chunks(io.BytesIO(b"a\nb\0c\0"), nul_separated=True)
    items, _ = await scan({b"a\nb": 1, b"c": 2}, lines=lines)
    assert paths(items) == ["a\nb", "c"]


def test_the_frontier_gives_back_what_it_spilled():
    frontier = Frontier(most_batches=4)
    for number in range(50):
        frontier.push(Batch([Directory(b"%d" % number, b"h", (1, number))], number % 3))
    seen = []
    while len(frontier):
        batch = frontier.pop()
        assert batch.directories[0].above == (1, int(batch.directories[0].path))
        seen.append(int(batch.directories[0].path))
    frontier.close()
    assert sorted(seen) == list(range(50))
    assert seen[0] == 49


def looping(*names):
    tree = {b"file": 7}
    tree |= dict.fromkeys(names, tree)
    return tree


@pytest.mark.parametrize("addresses", [1, 2])
@pytest.mark.parametrize("names", [(b"me",), (b"me", b"too")])
async def test_a_tree_that_holds_itself_is_listed_to_an_end(names, addresses):
    """A directory whose handle is that of one above it is counted as failed, and not gone into."""
    tree = looping(*names)
    sessions = [MemorySession(tree, address) for address in "ab"[:addresses]]
    async with asyncio.timeout(20):
        _, counter = await scan(tree, sessions=sessions)
    assert counter.failed_files >= len(names)
    assert all("loop" in one.error for one in counter.errors)
    assert counter.files == counter.directories
    if addresses == 1:
        assert counter.failed_files == len(names) * counter.directories - (counter.directories - 1)


async def test_a_path_has_an_end():
    """Deeper, and longer, than any client could open: counted as failed, the rest goes on."""
    long = MOST_PATH_BYTES // 3
    deep = {b"file": 1}
    for number in range(4):
        deep = {b"%d" % number * long: deep, b"file": 1}
    items, counter = await scan(deep | {b"f" * (MOST_PATH_BYTES + 1): 5})
    assert (counter.files, counter.failed_files, counter.directories) == (3, 3, 4)
    assert all(str(MOST_PATH_BYTES) in one.error for one in counter.errors)
    assert len(paths(items)) == 3


async def test_sizes_that_no_file_has_do_not_blow_up_the_plan():
    """2**64-1 bytes are refused; what a sparse file may really claim is cut into a bounded number of ranges."""
    items, counter = await scan({b"huge": (1 << 64) - 1, b"sparse": 1 << 62, b"small": 1})
    assert (counter.files, counter.failed_files) == (2, 1)
    assert counter.errors[0].path == "/huge"
    assert len(items) <= MOST_RANGES + 1
    assert sum(item.byte_count for item in items) == (1 << 62) + 1


@pytest.mark.parametrize(("snapshots", "files"), [(False, 1), (True, 2)])
async def test_snapshots_are_left_out_and_said_unless_they_are_asked_for(snapshots, files):
    """A file server shows older states of a tree beside it: each would be warmed as another tree."""
    session = MemorySession({b".snapshot": {b"daily": {b"f": 1}}, b"f": 1})
    job = WarmJob(access=Access(addresses=("a",)), wanted=Wanted(snapshots=snapshots, go_rules=False), job_id="j")
    counter = ScanCounter()

    async def emit(_items):
        pass

    await Walker(job, [session], export="/", root=b"", settings=PlanSettings(), counter=counter, emit=emit).walk()
    assert counter.files == files
    assert bool(counter.warnings) is not snapshots
