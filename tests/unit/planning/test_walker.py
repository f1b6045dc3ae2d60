import asyncio
import io
from dataclasses import replace

import pytest

from cachewarmer.config import PlanSettings
from cachewarmer.errors import BrokerError, CacheWarmerError, ConnectionLost, FileVanished, NfsStatusError, StaleHandle
from cachewarmer.model import Access, Wanted, WarmJob
from cachewarmer.planning.chunker import MOST_RANGES
from cachewarmer.planning.counter import ScanCounter
from cachewarmer.planning.filelist import list_chunks
from cachewarmer.planning.walker import MAX_PATH_BYTES, Walker
from cachewarmer.targets.base import FileKind
from tests.memory import HardLink, MemorySession, Symlink

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
    assert (counter.failed_files, counter.failed_directories) == (1, 1)
    assert {path for path, *_ in counter.errors} == {"/bad", "/locked"}
    assert counter.items == len(items)
    assert counter.largest()[0] == (1200, "/big")


async def test_directories_that_need_no_task_give_the_same_items_and_the_same_errors():
    tree = {**TREE, b"x": wide(70, 5), b"y": {b"z": wide(40, 3)}}
    plain, asking = MemorySession(tree), MemorySession(tree, delay=0.0001)
    asking.asks_pages = True
    first, counted = await scan(tree, sessions=[plain])
    second, counter = await scan(tree, sessions=[asking])
    assert sorted(item.item_id for item in first) == sorted(item.item_id for item in second)
    assert counter.totals() == counted.totals()
    assert len(asking.asked) == counter.directories + counter.failed_directories


async def test_what_a_scan_that_fails_has_asked_for_is_unwanted():
    session = MemorySession({b"a": wide(5, 1), b"z": 1}, delay=0.001)
    session.asks_pages = True

    async def fail(_):
        raise BrokerError("full")

    job = WarmJob(access=Access(addresses=("a",)), wanted=Wanted(), job_id="j1")
    settings = replace(SMALL, item_files=1)
    walker = Walker(job, [session], export="/", root=b"", settings=settings, counter=ScanCounter(), emit=fail)
    with pytest.raises(BrokerError):
        await walker.walk()
    asked = [one for one in session.asked if one.path]
    await asyncio.sleep(0.01)
    assert all(one.unwanted for one in asked)


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
    handles = [(entry.handle, b"h:" + item.address.encode()) for item in items for entry in item.files]
    assert all(not handle or handle.startswith(own) for handle, own in handles)
    assert sum(bool(handle) for handle, _ in handles) >= len(handles) / 2


@pytest.mark.parametrize(
    "tree", [{b"f%03d" % one: 5 for one in range(60)}, {b"big": 6000}, {b"d%d" % one: wide(1, 9) for one in range(9)}]
)
async def test_each_address_has_its_share_whatever_the_shape_of_the_tree(tree):
    """One flat directory, one large file, a few directories: each is listed at one address."""
    items, _ = await scan(tree, sessions=[MemorySession(tree, address) for address in "abc"])
    alone, _ = await scan(tree)
    assert sorted(one.item_id for one in items) == sorted(one.item_id for one in alone)
    for address in "abc":
        share = sum(item.byte_count for item in items if item.address == address)
        assert share >= sum(item.byte_count for item in items) / 6


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
    listed = b"two\n/sub/deep\n\nmissing\r\n../x\n/elsewhere\n"
    lines = list_chunks(io.BytesIO(listed), nul_separated=False)
    items, counter = await scan(TREE, root=b"sub", lines=lines)
    assert paths(items) == ["sub/deep/four", "sub/two"]
    assert counter.failed_files == 3


async def test_a_list_may_hold_newlines_when_nul_separated():
    lines = list_chunks(io.BytesIO(b"a\nb\0c\0"), nul_separated=True)
    items, _ = await scan({b"a\nb": 1, b"c": 2}, lines=lines)
    assert paths(items) == ["a\nb", "c"]


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
    assert counter.failed_directories >= len(names)
    assert all("loop" in one.error for one in counter.errors)
    assert counter.files == counter.directories
    if addresses == 1:
        assert counter.failed_directories == len(names) * counter.directories - (counter.directories - 1)


async def test_a_path_has_an_end():
    """Deeper, and longer, than any client could open: counted as failed, the rest goes on."""
    long = MAX_PATH_BYTES // 3
    deep = {b"file": 1}
    for number in range(4):
        deep = {b"%d" % number * long: deep, b"file": 1}
    items, counter = await scan(deep | {b"f" * (MAX_PATH_BYTES + 1): 5})
    assert (counter.files, counter.failed_files, counter.failed_directories, counter.directories) == (3, 2, 1, 4)
    assert all(str(MAX_PATH_BYTES) in one.error for one in counter.errors)
    assert len(paths(items)) == 3


async def test_sizes_that_no_file_has_do_not_blow_up_the_plan():
    """2**64-1 bytes are refused; what a sparse file may really claim is cut into a bounded number of ranges."""
    items, counter = await scan({b"huge": (1 << 64) - 1, b"sparse": 1 << 62, b"small": 1})
    assert (counter.files, counter.failed_files) == (2, 1)
    assert counter.errors[0].path == "/huge"
    assert len(items) <= MOST_RANGES + 1
    assert sum(item.byte_count for item in items) == (1 << 62) + 1


async def listed(tree, text, **more):
    return await scan(tree, lines=list_chunks(io.BytesIO(text), nul_separated=False), **more)


LISTED = {b"a": {b"b": 1, b"big": 1200, b"sub": {b"c": 2}}, b"z": 3}


@pytest.mark.parametrize(
    ("text", "files", "duplicates"),
    [
        (b"a\na/b\n", 3, 1),
        (b"a/b\na\n", 3, 1),
        (b"a\na\n", 3, 1),
        (b"a/big\n./a//big\n/a/big\n", 1, 2),
        (b"a/sub\na\n", 3, 1),
        (b"a\na/sub/c\na/sub\nz\n", 4, 2),
        (b".\nz\na/b\n", 4, 2),
    ],
)
async def test_what_a_list_names_twice_is_planned_once_and_counted(text, files, duplicates):
    items, counter = await listed(LISTED, text)
    assert (counter.files, counter.duplicates) == (files, duplicates)
    assert len({item.item_id for item in items}) == len(items) == counter.items
    assert len(paths(items)) == len(set(paths(items))) == files
    again, _ = await listed(LISTED, text, sessions=[MemorySession(LISTED, delay=0.001)])
    assert sorted(one.item_id for one in again) == sorted(one.item_id for one in items)


LINKED = {
    b"a": {b"y": HardLink(5, 30), b"own": 1},
    b"b": {b"x": HardLink(5, 30), b"w": HardLink(6, 9, links=3)},
    b"c": {b"d": {b"v": HardLink(6, 9, links=3)}},
}


async def test_a_file_with_several_names_is_planned_once_whatever_the_order_of_answers():
    items, counter = await scan(LINKED)
    assert paths(items) == ["a/own", "a/y", "b/w"]
    assert (counter.files, counter.bytes, counter.hardlinks) == (3, 40, 2)
    slow = [MemorySession(LINKED, "a", delay=0.002), MemorySession(LINKED, "b")]
    again, _ = await scan(LINKED, sessions=slow)
    assert sorted(one.item_id for one in again) == sorted(one.item_id for one in items)


async def test_hard_links_are_files_of_their_own_if_that_is_asked_for():
    items, counter = await scan(LINKED, hardlink_dedup=False)
    assert (counter.files, counter.hardlinks, len(paths(items))) == (5, 0, 5)


WITH_LINKS = {
    b"t": {
        b"in": Symlink(b"f"),
        b"f": 1,
        b"out": Symlink(b"../o/g"),
        b"again": Symlink(b"../o/g"),
        b"broken": Symlink(b"no"),
    },
    b"o": {b"g": 20},
}


async def test_links_are_counted_and_skipped_unless_they_are_to_be_followed():
    items, counter = await scan(WITH_LINKS, root=b"t")
    assert (paths(items), counter.links, counter.skipped_files) == (["t/f"], 4, 4)


async def test_a_link_to_a_file_of_the_export_is_read_through_once():
    """What it leads to has its own path; what the tree holds anyway is read under that, and not again."""
    items, counter = await scan(WITH_LINKS, root=b"t", follow_links=True)
    assert paths(items) == ["o/g", "t/f"]
    assert (counter.files, counter.links, counter.skipped_files, counter.hardlinks) == (2, 4, 1, 1)


async def test_a_link_that_could_not_be_followed_is_said():
    """One that leads to nothing, to a directory, or out of the export: who asked for links expects what is behind them."""
    tree = {b"f": 1, b"d": {b"g": 2}, b"x": Symlink(b"no"), b"y": Symlink(b"d"), b"z": Symlink(b"../../etc/passwd")}
    items, counter = await scan(tree, follow_links=True)
    assert paths(items) == ["d/g", "f"]
    counter.conclude(follow_links=True)
    (said,) = counter.warnings
    assert said.startswith("3 symbolic links lead to no file that is read here, such as ")


async def test_a_link_is_followed_if_its_own_name_is_wanted():
    tree = {b"x.exr": Symlink(b"store/17"), b"y.tmp": Symlink(b"store/17"), b"store": {b"17": 5, b"18": 6}}
    items, counter = await scan(tree, include=("*.exr",), follow_links=True)
    assert (paths(items), counter.excluded_files) == (["store/17"], 3)


async def test_a_target_that_is_a_link_is_followed_and_said():
    items, counter = await scan({b"l": Symlink(b"d/e"), b"d": {b"e": {b"f": 1}}}, root=b"l")
    assert paths(items) == ["d/e/f"]
    assert any("/d/e" in one for one in counter.warnings)


async def test_snapshots_are_left_out_unless_they_are_asked_for():
    tree = {b"a": {b".snapshot": {b"h": {b"f": 1}}, b"f": 1}, b".zfs": {b"x": 1}}
    items, counter = await scan(tree)
    assert (paths(items), counter.snapshots) == (["a/f"], 2)
    for asked in ({"snapshots": True}, {"go_rules": True}):
        items, counter = await scan(tree, **asked)
        assert (len(paths(items)), counter.snapshots) == (3, 0)
    items, _ = await scan(tree, include=(".zfs/",))
    assert paths(items) == [".zfs/x"]
    items, _ = await scan(tree, root=b"a/.snapshot/h")
    assert paths(items) == ["a/.snapshot/h/f"]


async def test_a_directory_deeper_than_the_maximum_is_not_listed():
    _, counter = await scan({b"d": {b"e": {b"g": {b"f": 1}}}, b"f": 1}, settings=replace(SMALL, depth=2))
    assert (counter.failed_directories, counter.files) == (1, 1)
    assert counter.errors[0].path == "/d/e/g"


async def test_a_scan_that_takes_too_long_fails():
    with pytest.raises(CacheWarmerError, match="scan_seconds"):
        await scan(wide(3, 1), settings=replace(SMALL, scan_seconds=1e-9))


async def test_only_the_file_system_of_the_target_is_scanned_if_that_is_asked_for():
    session = MemorySession({b"here": {b"f": 1}, b"there": {b"g": 1}})
    session.devices = {b"": 1, b"here": 1, b"there": 2}
    items, counter = await scan(session.tree, sessions=[session], one_file_system=True)
    assert paths(items) == ["here/f"]
    assert any("/there" in one for one in counter.warnings)
    items, _ = await scan(session.tree, sessions=[session])
    assert len(paths(items)) == 2


async def test_a_listing_that_breaks_off_goes_on_without_what_was_listed():
    class Breaking(MemorySession):
        broken = False

        async def list_page(self, path, handle, cookie=None):
            if cookie and not self.broken:
                self.broken = True
                raise StaleHandle(70, "READDIRPLUS", path)
            return await super().list_page(path, handle, cookie)

    tree = {b"%02d" % one: 1 for one in range(9)}
    items, counter = await scan(tree, sessions=[Breaking(tree)])
    assert (counter.files, len(set(paths(items))), counter.failed_directories) == (9, 9, 0)


class Dying(MemorySession):
    """Answers so many calls that list or look up, and then none."""

    def __init__(self, tree, calls):
        super().__init__(tree, "a")
        self.left = calls

    def _find(self, path):
        self.left -= 1
        if self.left < 0:
            raise ConnectionLost("gone", address="a")
        return super()._find(path)


@pytest.mark.parametrize("each_address", [True, False])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("calls", range(2, 20, 3))
async def test_what_is_counted_where_the_only_address_fails_is_handed_on_or_lost(calls, listed, each_address):
    """Each file once, by its name: nobody else can read it there. A job of several addresses begins anew at another."""
    tree = {
        **{b"d%d" % directory: {b"f%d" % file: 10 for file in range(7)} for directory in range(6)},
        b"linked": {b"h%d" % name: HardLink(name // 2, 10) for name in range(4)},
    }
    job = WarmJob(access=Access(addresses=("a",)), job_id="j1", each_address=each_address)
    counter, items = ScanCounter(), []
    counter.told = []

    async def emit(batch):
        items.extend(batch)

    walker = Walker(job, [Dying(tree, calls)], export="/", root=b"", settings=SMALL, counter=counter, emit=emit)
    with pytest.raises(ConnectionLost):
        await (walker.walk_list(list_of(tree)) if listed else walker.walk())
    handed_on, lost = paths(items), sorted(one.path.strip("/") for one in counter.told)
    assert len(lost) == counter.lost_files
    assert len({*handed_on, *lost}) == len(handed_on) + len(lost)
    if each_address:
        assert len(handed_on) + len(lost) == counter.files
        assert all("gone" in one.error for one in counter.told)
    else:
        assert not lost


async def list_of(tree):
    """The chunks of a list that names the directories of a tree, and the files of the first of them."""
    names = [b"d0/" + name for name in tree[b"d0"]] + [name for name in tree if name != b"d0"]
    async for chunk in list_chunks(io.BytesIO(b"\n".join(names)), nul_separated=False):
        yield chunk
