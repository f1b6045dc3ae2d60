import asyncio
import gc
import json
import time
import weakref
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.config import LeaseSettings, Settings, TargetSettings
from cachewarmer.errors import (
    ConnectionLost,
    FileError,
    FileVanished,
    NfsStatusError,
    RemoteProtocolError,
    ReplyTimeout,
)
from cachewarmer.model import FIRST_GENERATION, Access, FileEntry, Wanted, WorkItem
from cachewarmer.model.came import Came
from cachewarmer.model.outcomes import unpack
from cachewarmer.model.parts import Part
from cachewarmer.targets.base import FileKind
from cachewarmer.targets.policy import check_of
from cachewarmer.targets.pool import SessionPool
from cachewarmer.warming.pace import Pace
from cachewarmer.warming.reader import MAX_BARREN_PASSES, ItemReader
from cachewarmer.warming.run import ItemRun
from tests.memory import MemorySession, Symlink, opener

TREE = {b"d": {b"one": 10, b"two": 20, b"sub": {b"x": 1}, b"l": FileKind.LINK, b"three.tmp": 5}, b"big": 100}


def item(*files, path="/d", addresses=("a", "b"), **more):
    entries = tuple(FileEntry(name, size, b"h") for name, size in files) or None
    return WorkItem(
        access=Access(addresses=addresses, export="/"), path=path, address="a", item_id="i", files=entries, **more
    )


async def read(work, *sessions, pace=None):
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        return await ItemReader(pool).read(work, ItemRun(pace, look_again=(0.001, 0.002)))


@pytest.fixture
def sessions():
    return MemorySession(TREE, "a"), MemorySession(TREE, "b")


async def test_an_item_is_read_wholly_at_the_address_of_its_handles(sessions):
    reading = await read(item(("one", 10), ("two", 20)), *sessions)
    assert (reading.receipt.files, reading.receipt.bytes, reading.receipt.calls) == (2, 30, 2)
    assert sessions[1].reads == []
    assert sorted(sessions[0].reads) == [(b"d/one", 0, 10), (b"d/two", 0, 20)]


@pytest.mark.parametrize(("exports", "handle"), [((), b"h"), (("/",), b"")])
async def test_handles_of_a_message_are_not_used_where_only_some_exports_are_allowed(sessions, exports, handle):
    """Whoever posts the message may know the handle of a file elsewhere on the server."""
    asked = []
    sessions[0].read, read_it = lambda request: (asked.append(request.handle), read_it(request)), sessions[0].read
    settings = Settings(targets=TargetSettings(allow_exports=exports))
    async with SessionPool(settings, opener(*sessions), check=check_of(settings, local_too=False)) as pool:
        reading = await ItemReader(pool).read(item(("one", 10)), ItemRun())
    assert reading.receipt.bytes == 10
    assert asked == [handle]


async def test_the_next_address_takes_over_when_one_fails(sessions):
    sessions[0].read_errors[b"d/two"] = ConnectionLost("gone")
    reading = await read(item(("one", 10), ("two", 20)), *sessions)
    assert reading.receipt.bytes == 30
    assert sessions[1].reads == [(b"d/two", 0, 20)], "what was read at the first address is not read again"


@pytest.mark.parametrize(
    ("left", "again"),
    [
        (None, [(0, 100)]),
        ([(30, 40), (70, 100)], [(30, 40), (70, 100)]),
        ([(90, 100)], [(90, 100)]),
    ],
)
async def test_of_a_file_that_an_outage_interrupts_only_what_had_not_come_is_read_again(sessions, left, again):
    """Whole gigabytes may have come of a large file; whatever the address is that reads on, each byte counts once."""

    def fails(request):
        request.error, request.left, request.calls = ConnectionLost("gone", address="a"), left, 4
        request.bytes_read = 100 - sum(stop - start for start, stop in again)
        request.on_done(request)

    sessions[0].read = fails
    receipt = (await read(item(("big", 100), path="/", ledger=True), *sessions)).receipt
    assert sessions[1].reads == [(b"big", *one) for one in again]
    assert (receipt.files, receipt.bytes, receipt.failed_files, receipt.changed_files) == (1, 100, 0, 0)
    (line,) = [json.loads(one) for one in unpack(receipt.piece).splitlines()]
    assert line["bytes"] == 100


async def handed_back(work, session, **more):
    """An item after it was handed back by a process that reads it through one session, with what has come of it."""
    run = ItemRun(**more)
    async with SessionPool(Settings(), opener(session)) as pool:
        reading = await ItemReader(pool, hold_seconds=0.01).read(work, run)
    assert reading.receipt is None
    return WorkItem.from_json(replace(work, came=run.came(work)).to_json()), reading


async def test_what_had_come_of_an_item_that_is_handed_back_is_not_read_again(sessions):
    """Not by another process either: its receipt tells of all, each file and each byte once."""
    work = item(("one", 10), ("two", 20), ("big", 100), addresses=("a",))
    first = sessions[0]
    first.tree = second_tree = {b"d": {b"one": 10, b"two": 20, b"big": 100}}

    def fails(request):
        if request.path == b"d/one":
            request.bytes_read, request.calls = 10, 1
            request.on_done(request)
            return
        first.down = request.error = ConnectionLost("gone", address="a")
        request.left, request.calls = [(30, 40), (70, 100)] if request.path == b"d/big" else None, 4
        request.on_done(request)

    first.read = fails
    work, reading = await handed_back(work, first)
    assert reading.unreachable
    again = MemorySession(second_tree, "a")
    receipt = (await read(work, again)).receipt
    assert sorted(again.reads) == [(b"d/big", 30, 40), (b"d/big", 70, 100), (b"d/two", 0, 20)]
    assert (receipt.files, receipt.bytes, receipt.failed_files, receipt.calls) == (3, 130, 0, 8)


async def test_a_file_that_failed_or_changed_before_the_hand_back_is_read_anew(sessions):
    """What was found out about it is found out by whoever writes the receipt."""

    class Session(MemorySession):
        """One file ends early, one is refused, one is gone."""

        def __init__(self, goes_away):
            super().__init__({b"d": {b"two": 20, b"short": 12, b"refused": 10, b"away": 5}}, "a")
            self.goes_away = goes_away
            self.read_errors = {b"d/refused": FileError("refused"), b"d/gone": FileVanished("no such file")}

        def finish(self, request):
            if request.path == b"d/away" and self.goes_away:
                self.down = ConnectionLost("gone", address="a")
            if request.path != b"d/short":
                super().finish(request)
                return
            self.reads.append((request.path, request.start, request.stop))
            request.bytes_read, request.calls = max(0, 12 - request.start), 1
            request.on_done(request)

    work = item(("gone", 10), ("refused", 10), ("short", 30), ("two", 20), ("away", 5), addresses=("a",))
    work, _ = await handed_back(work, Session(goes_away=True))
    again = Session(goes_away=False)
    receipt = (await read(work, again)).receipt
    assert [path for path, start, _ in again.reads if not start] == [b"d/gone", b"d/refused", b"d/short", b"d/away"]
    assert (receipt.files, receipt.failed_files, receipt.vanished_files, receipt.changed_files) == (3, 1, 1, 1)
    assert receipt.bytes == 37


async def test_an_item_that_is_stopped_tells_of_what_was_done(sessions):
    """What was being asked for is read again; nobody knows how much of it had come."""
    work = item(*((f"f{number}", 10) for number in range(40)))
    tree = {b"d": {entry.path.encode(): 10 for entry in work.files}}
    first = MemorySession(tree, "a")
    run, finish = ItemRun(), first.finish

    def stops(request):
        finish(request)
        if len(first.reads) == 15:
            run.abort()

    first.finish = stops
    async with SessionPool(Settings(), opener(first)) as pool:
        assert (await ItemReader(pool).read(work, run)).aborted
    work = WorkItem.from_json(replace(work, came=run.came(work)).to_json())
    again = MemorySession(tree, "a")
    receipt = (await read(work, again)).receipt
    assert len(again.reads) == 25
    assert (receipt.files, receipt.bytes, receipt.calls) == (40, 400, 40)


async def test_a_paced_item_that_is_stopped_tells_of_nothing_it_has_not_read(sessions):
    size = 200_000
    work, tree = item(("a", size), ("b", size), ("c", 0)), {b"d": {b"a": size, b"b": size, b"c": 0}}
    first, run = MemorySession(tree, "a"), ItemRun(Pace(size, time.monotonic()))
    async with SessionPool(Settings(), opener(first)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(work, run))
        while not first.reads:
            await asyncio.sleep(0.01)
        assert run.came(work) == work.came, "while it is still asking, nobody knows"
        run.abort()
        assert (await reading).aborted
    work = replace(work, came=run.came(work))
    again = MemorySession(tree, "a")
    receipt = (await read(work, again)).receipt
    assert (receipt.files, receipt.bytes) == (3, 2 * size)
    done, left = (sum(stop - start for _, start, stop in one.reads) for one in (first, again))
    assert 0 < done < 2 * size
    assert done + left == 2 * size


async def test_an_item_with_a_ledger_is_read_anew(sessions):
    """Its receipt says when and where each file was read, and that is not in the message."""
    work = item(("one", 10), ("two", 20), ledger=True, addresses=("a",))
    first, finish = sessions[0], sessions[0].finish

    def fails(request):
        first.down = ConnectionLost("gone", address="a") if request.path == b"d/two" else None
        finish(request)

    first.finish = fails
    work, _ = await handed_back(work, first)
    assert not work.came
    again = MemorySession(TREE, "a")
    receipt = (await read(replace(work, came=Came(((0, 1),))), again)).receipt
    assert sorted(again.reads) == [(b"d/one", 0, 10), (b"d/two", 0, 20)], "whatever its message says"
    assert [json.loads(one)["bytes"] for one in unpack(receipt.piece).splitlines()] == [10, 20]


async def test_an_item_waits_while_no_address_answers(sessions):
    """Nothing is held against it: it is read when an address is back, and counted as if nothing had been."""
    for session in sessions:
        session.down = ConnectionLost("gone", address=session.address)
    run = ItemRun()
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(item(("one", 10), ("two", 20)), run))
        while not all(session.probes for session in sessions):
            await asyncio.sleep(0.01)
        assert not reading.done()
        assert len(pool.outages()) == 2
        sessions[1].down = None
        receipt = (await reading).receipt
    assert (receipt.files, receipt.bytes, receipt.failed_files) == (2, 30, 0)


async def test_an_item_is_left_to_others_where_no_address_answers_from_here(sessions):
    """Where others may reach what this process can't, it gives up the item after a while, without a fault of the item."""
    for session in sessions:
        session.down = ConnectionLost("gone", address=session.address)
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        reading = await ItemReader(pool, hold_seconds=0.05).read(item(("one", 10)), ItemRun())
    assert reading.unreachable
    assert reading.error.address in "ab"


async def test_a_file_that_its_addresses_never_serve_fails_by_its_name(sessions):
    """They answer all but this file, again and again: waiting for it would never end, and the others are warm."""
    for session in sessions:
        session.read_errors[b"d/two"] = ConnectionLost("gone", address=session.address)
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        receipt = (await ItemReader(pool).read(item(("one", 10), ("two", 20)), ItemRun())).receipt
    assert (receipt.files, receipt.failed_files, [one.path for one in receipt.errors]) == (1, 1, ["/d/two"])
    assert sum(len(session.reads) for session in sessions) <= 1 + 2 * (MAX_BARREN_PASSES + 4)


async def test_files_that_fail_only_beside_one_that_ends_the_connection_are_read_alone(sessions):
    """Seven files of which four end each connection: what is asked for with them is not answered, and not at fault."""
    names = [b"f%d" % number for number in range(7)]
    deadly = set(names[:4])
    for session in sessions:
        session.tree = {b"d": dict.fromkeys(names, 10)}
        session.deadly = deadly
        session.__class__ = Deadly
    files = [(name.decode(), 10) for name in names]
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        receipt = (await ItemReader(pool).read(item(*files), ItemRun())).receipt
    assert (receipt.files, receipt.failed_files) == (3, 4)
    assert {one.path for one in receipt.errors} == {f"/d/f{number}" for number in range(4)}
    assert all(one.error.endswith(f": gone at {one.path.strip('/')}") for one in receipt.errors)


class Deadly(MemorySession):
    """Files that end the connection, with all that is in flight on it."""

    def finish(self, request):
        if self.queued > 1 or request.path.rpartition(b"/")[2] in self.deadly:
            self.read_errors[request.path] = ConnectionLost(f"gone at {request.path.decode()}", address=self.address)
        else:
            self.read_errors.pop(request.path, None)
        super().finish(request)


@pytest.mark.parametrize("error", [ConnectionLost, ReplyTimeout])
async def test_an_item_has_no_fault_where_no_read_is_answered(sessions, error):
    """The address answers NULL and LOOKUP and no READ at all, as a cache without its origin does."""
    sessions[0].tree = sessions[1].tree = {b"d": dict.fromkeys((b"one", b"two", b"three", b"four", b"more"), 10)}
    for session in sessions:
        session.read_errors = dict.fromkeys([b"d/" + name for name in session.tree[b"d"]], error("gone", address="a"))
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.2))
    async with SessionPool(settings, opener(*sessions)) as pool:
        reading = await ItemReader(pool).read(
            item(*[(name, 10) for name in ("one", "two", "three", "four")]), ItemRun()
        )
    assert reading.unreachable
    assert reading.receipt is None


@pytest.mark.parametrize("others", ["in the item", "beside it", "none"])
async def test_a_read_that_hangs_fails_its_file_where_others_are_answered(others):
    session = Hangs({b"d": {b"one": 10, b"two": 20} if others != "none" else {b"two": 20}}, "a")
    names = (("one", 10), ("two", 20)) if others == "in the item" else (("two", 20),)
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.1))
    work = replace(item(*names), access=Access(addresses=("a",), export="/"))
    async with SessionPool(settings, opener(session)) as pool:
        reading = await ItemReader(pool).read(work, ItemRun())
    if others == "none":
        assert reading.unreachable
        return
    receipt = reading.receipt
    assert (receipt.files, receipt.failed_files) == (len(names) - 1, 1)
    assert receipt.errors[0].path == "/d/two"
    assert "no answer to READ" in receipt.errors[0].error


async def test_a_file_that_the_server_puts_off_is_not_left(sessions):
    """It has answered that it is to be asked later: the wait for that has a limit of its own."""
    session = Hangs(TREE, "a", put_off=True)
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.05))
    run = ItemRun()
    async with SessionPool(settings, opener(session, sessions[1])) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(item(("two", 20)), run))
        await asyncio.sleep(0.3)
        assert not reading.done()
        run.abort()
        session.finish(session.hanging.pop())
        await reading


class Hangs(MemorySession):
    """``d/two`` gets no answer."""

    def __init__(self, tree, address, *, put_off=False):
        super().__init__(tree, address)
        self.hanging = []
        self.put_off = put_off

    def read(self, request):
        if request.path != b"d/two":
            super().read(request)
            return
        self.queued += 1
        request.calls, request.put_off = 1, self.put_off
        self.hanging.append(request)


class Ends(MemorySession):
    """Files end where ``ends`` says, whatever their size."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ends = {}

    def finish(self, request):
        self.reads.append((request.path, request.start, request.stop))
        end = self.ends.get(request.path, 1 << 62)
        request.bytes_read = max(0, min(request.stop, end) - request.start)
        request.calls = 1
        request.on_done(request)


@pytest.mark.parametrize("pace", [None, Pace(1e12, 0.0)])
async def test_a_file_that_ends_early_and_has_not_changed_is_a_failed_file(pace):
    """The server lists 20 bytes, gives 5 and says that this is the end: part of the file is not warm."""
    session = Ends(TREE, "a")
    session.ends = {b"d/two": 5}
    receipt = (await read(item(("one", 10), ("two", 20)), session, pace=pace)).receipt
    assert (receipt.files, receipt.failed_files, receipt.changed_files, receipt.bytes) == (1, 1, 0, 15)
    assert [one.path for one in receipt.errors] == ["/d/two"]


@pytest.mark.parametrize("pace", [None, Pace(1e12, 0.0)])
async def test_a_file_that_has_become_shorter_is_read_to_its_new_end(pace):
    session = Ends({b"d": {b"two": 5}}, "a")
    session.ends = {b"d/two": 5}
    receipt = (await read(item(("two", 20)), session, pace=pace)).receipt
    assert (receipt.files, receipt.failed_files, receipt.changed_files, receipt.bytes) == (1, 0, 1, 5)


@pytest.mark.parametrize("stale", [1, 2])
async def test_a_size_that_the_server_still_has_in_memory_is_asked_for_again(stale):
    """A file has become shorter, but LOOKUP tells its old size for a while: it has changed, and not failed."""
    session = Ends({b"d": {b"two": 20, b"one": 10}}, "a")
    session.ends = {b"d/two": 5}
    looks = []

    async def lookup(path):
        looks.append(path)
        if len(looks) > stale:
            session.tree = {b"d": {b"two": 5, b"one": 10}}
        return await MemorySession.lookup(session, path)

    session.lookup = lookup
    receipt = (await read(item(("one", 10), ("two", 20)), session)).receipt
    assert (receipt.files, receipt.failed_files, receipt.changed_files, receipt.bytes) == (2, 0, 1, 15)
    assert looks == [b"d/two"] * (stale + 1)


async def test_looking_again_ends_at_once_when_the_reading_is_aborted():
    """A job that is cancelled does not wait for what a server may tell later."""
    session = Ends({b"d": {b"two": 20}}, "a")
    session.ends = {b"d/two": 5}
    run = ItemRun(look_again=(3600.0,))
    async with SessionPool(Settings(), opener(session)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(item(("two", 20)), run))
        while not session.reads:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        run.abort()
        assert (await asyncio.wait_for(reading, 60)).aborted


async def test_a_file_that_was_replaced_by_a_longer_one_is_read_to_its_new_end():
    session = Ends({b"d": {b"two": 50}}, "a")
    session.ends = {b"d/two": 5}
    reading = asyncio.create_task(read(item(("two", 20)), session))
    while not session.reads:
        await asyncio.sleep(0)
    session.ends = {}
    receipt = (await reading).receipt
    assert (receipt.files, receipt.changed_files, receipt.bytes) == (1, 1, 50)
    assert session.reads == [(b"d/two", 0, 20), (b"d/two", 5, 50)]


async def test_a_file_that_never_gives_what_it_promises_is_a_failed_file():
    """Its size changed once more, but its bytes still end at the same place: no third look."""
    session = Ends({b"d": {b"two": 40}}, "a")
    session.ends = {b"d/two": 5}
    reading = await read(item(("two", 20), ("one", 5)), session)
    assert (reading.receipt.failed_files, reading.receipt.files) == (1, 1)
    assert len(session.reads) == 3


async def test_of_a_file_in_ranges_only_the_range_with_its_new_end_counts_the_change():
    session = Ends({b"big": 50}, "a")
    session.ends = {b"big": 50}
    receipts = [
        (await read(item(("", 100), path="/big", start=start, stop=start + 40), session)).receipt
        for start in (0, 40, 80)
    ]
    assert [one.changed_files for one in receipts] == [0, 1, 0]
    assert [one.bytes for one in receipts] == [40, 10, 0]
    assert [one.failed_files for one in receipts] == [0, 0, 0]


async def test_a_file_that_vanished_before_its_end_is_counted_as_vanished():
    session = Ends({b"d": {}}, "a")
    session.ends = {b"d/two": 5}
    assert (await read(item(("two", 20)), session)).receipt.vanished_files == 1


async def test_failed_and_vanished_files_are_told_apart(sessions):
    sessions[0].read_errors = {
        b"d/two": NfsStatusError(13, "READ", b"/d/two", "NFS3ERR_ACCES"),
        b"d/gone": FileVanished("x"),
    }
    reading = await read(item(("one", 10), ("two", 20), ("gone", 5)), *sessions)
    receipt = reading.receipt
    assert (receipt.files, receipt.failed_files, receipt.vanished_files, receipt.bytes) == (1, 1, 1, 10)
    assert [one.path for one in receipt.errors] == ["/d/two"]


async def test_the_only_file_of_an_item_fails_at_once_as_it_would_among_others(sessions):
    sessions[0].read_errors = {b"d/two": NfsStatusError(13, "READ", b"/d/two", "NFS3ERR_ACCES")}
    receipt = (await read(item(("two", 20)), *sessions)).receipt
    assert (receipt.files, receipt.failed_files) == (0, 1)
    assert [one.path for one in receipt.errors] == ["/d/two"]
    assert receipt.slowest == (), "it was not read"


async def test_an_item_of_which_nothing_can_be_read_for_now_is_an_error(sessions):
    sessions[0].read_errors = {b"d/two": RemoteProtocolError("garbled")}
    reading = await read(item(("two", 20)), *sessions)
    assert reading.receipt is None
    assert reading.error.transient


def refused(name, status=13, text="NFS3ERR_ACCES"):
    return NfsStatusError(status, "READ", b"d/" + name, text, address="a")


async def test_a_reason_for_all_files_of_an_item_names_none_of_them(sessions):
    """It is told for each of them: the path of the first would be wrong for all others."""
    sessions[0].read_errors = {
        b"d/" + name: RemoteProtocolError("garbled", doing="READ", subject=b"d/" + name, address="a")
        for name in (b"one", b"two")
    }
    reading = await read(item(("one", 10), ("two", 20)), *sessions)
    assert reading.receipt is None
    assert str(reading.error) == "a: READ: garbled"
    assert sessions[0].read_errors[b"d/one"].subject == b"d/one"


@pytest.mark.parametrize(
    ("second", "status"),
    [(refused(b"two", 5, "NFS3ERR_IO"), "failed"), (FileVanished("gone"), "vanished")],
    ids=["another", "vanished"],
)
async def test_where_reasons_differ_each_file_of_an_item_has_its_own(sessions, second, status):
    sessions[0].read_errors = {b"d/one": refused(b"one"), b"d/two": second}
    receipt = (await read(item(("one", 10), ("two", 20), ledger=True), *sessions)).receipt
    assert receipt.files == 0
    told = [json.loads(line) for line in unpack(receipt.piece).splitlines()]
    assert [(one["path"], one["status"]) for one in told] == [("/d/one", "failed"), ("/d/two", status)]
    assert told[0]["error"] == "a: READ: NFS3ERR_ACCES"
    assert ("NFS3ERR_IO" in told[1]["error"]) is (status == "failed")


async def test_a_range_is_read_to_its_end_and_counted_by_the_first(sessions):
    first = await read(item(("", 100), path="/big", start=0, stop=60), *sessions)
    second = await read(item(("", 100), path="/big", start=60, stop=100), *sessions)
    assert (first.receipt.files, second.receipt.files) == (1, 0)
    assert sessions[0].reads == [(b"big", 0, 60), (b"big", 60, 100)]


async def test_a_first_generation_directory_means_the_files_directly_in_it(sessions):
    work = WorkItem(
        access=Access(addresses=("a",), export="/"), wanted=Wanted(exclude=("*.tmp",)), path="/d", item_id="i"
    )
    receipt = (await read(work, *sessions)).receipt
    assert (receipt.files, receipt.bytes, receipt.excluded_files, receipt.skipped_files) == (2, 30, 1, 1)


async def test_a_first_generation_name_range_is_inclusive(sessions):
    work = WorkItem(
        access=Access(addresses=("a",), export="/"),
        path="/d",
        item_id="i",
        apply_filter=True,
        start_file_filter="one",
        end_file_filter="three.tmp",
    )
    assert (await read(work, *sessions)).receipt.files == 2


async def test_a_first_generation_range_never_goes_past_the_end(sessions):
    work = WorkItem(access=Access(addresses=("a",), export="/"), path="/big", item_id="i", start=90, stop=500)
    assert (await read(work, *sessions)).receipt.bytes == 10
    assert sessions[0].reads == [(b"big", 90, 100)]


async def test_a_first_generation_path_that_is_gone_counts_as_vanished(sessions):
    work = WorkItem(access=Access(addresses=("a",), export="/"), path="/nothing", item_id="i")
    sessions[0].read_errors[b"nothing"] = FileVanished("x")
    assert (await read(work, *sessions)).receipt.vanished_files == 1


async def test_aborting_ends_the_reading_without_a_receipt(sessions):
    sessions[0].held = []
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        run = ItemRun()
        reading = asyncio.create_task(ItemReader(pool).read(item(("one", 10), ("two", 20)), run))
        while len(sessions[0].held) < 2:
            await asyncio.sleep(0)
        run.abort()
        for request in sessions[0].held:
            assert request.stop == request.start
            sessions[0].finish(request)
        result = await reading
    assert result.aborted
    assert result.receipt is None


async def test_a_paced_file_is_asked_for_in_pieces(sessions):
    reading = await read(item(("", 300_000), path="/big"), *sessions, pace=Pace(1e12, 0.0))
    assert reading.receipt.bytes == 300_000
    assert reading.receipt.files == 1


def test_a_pace_lets_through_no_more_than_its_rate():
    pace = Pace(1000.0, 0.0)
    places = [pace.take(500, 0.0) for _ in range(4)]
    assert [pace.wait(place, 0.0) for place in places] == [0.0, 0.5, 1.0, 1.5]
    assert pace.wait(pace.take(500, 100.0), 100.0) == 0.0
    assert (pace.holds_back(100.0), pace.holds_back(100.5)) == (True, False)


def test_a_pace_that_changes_changes_for_those_who_wait():
    """A slow pace must not keep anybody for an hour when it has become fast, nor a fast one let all through that wait."""
    pace = Pace(1.0, 0.0)
    pace.take(3600, 0.0)
    place = pace.take(500, 0.0)
    assert pace.wait(place, 0.0) == 3600
    pace.change(3600.0, 0.0)
    assert pace.wait(place, 0.0) == 1.0
    pace.change(100.0, 0.5)
    assert pace.wait(place, 0.5) == pytest.approx(18.0)
    pace.change(0.0, 0.5)
    assert pace.wait(place, 0.5) == 0.0
    pace.change(1000.0, 10.0)
    assert pace.wait(pace.take(1, 10.0), 10.0) == 0.0


@given(st.lists(st.tuples(st.floats(1, 1000), st.floats(0.01, 10)), min_size=1, max_size=30))
def test_a_pace_never_lets_through_more_than_its_rates_together(rates):
    """However often it changes, and what is taken at once at each change: but for what a quarter of a second allows."""
    pace, now, allowed, through = Pace(rates[0][0], 0.0), 0.0, 0.0, 0
    places = []
    for rate, seconds in rates:
        pace.change(rate, now)
        places += [pace.take(10, now) for _ in range(20)]
        now += seconds
        allowed += rate * seconds
        through += sum(pace.wait(place, now) == 0.0 for place in places)
        places = [place for place in places if pace.wait(place, now)]
        assert through * 10 <= allowed + 0.25 * max(one for one, _ in rates) + 11


async def test_a_paced_file_that_has_ended_is_asked_for_no_further(sessions):
    """A message may claim any size, and a file may have been cut since: there is nothing behind its end."""

    class Short(MemorySession):
        def finish(self, request):
            self.reads.append((request.path, request.start, request.stop))
            request.bytes_read = max(0, min(request.stop, 100_000) - request.start)
            request.on_done(request)

    session = Short({b"big": 100_000}, "a")
    reading = await asyncio.wait_for(read(item(("", 1 << 62), path="/big"), session, pace=Pace(2e6, 0.0)), 10)
    assert reading.receipt.bytes == 100_000
    assert len(session.reads) < 10


async def test_a_paced_item_ends_at_once_when_it_is_aborted(sessions):
    """However long its pace would have it wait."""
    run = ItemRun(Pace(1.0, 0.0))
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(item(("", 1 << 40), path="/big"), run))
        while not sessions[0].reads:
            await asyncio.sleep(0.01)
        run.abort()
        assert (await asyncio.wait_for(reading, 5)).aborted


async def test_what_was_read_leaves_nothing_to_the_garbage_collector(sessions):
    """Thousands of requests an item would pile up until it runs, and memory with the size of the tree."""
    run = ItemRun()
    gone = weakref.ref(run)
    gc.disable()
    try:
        async with SessionPool(Settings(), opener(*sessions)) as pool:
            reading = await ItemReader(pool).read(item(("one", 10), ("two", 20)), run)
        del run
        assert gone() is None
    finally:
        gc.enable()
    assert reading.receipt.files == 2


async def test_a_first_generation_directory_leaves_large_files_to_their_ranges():
    """From 100 MiB on; its manager sends them in other items. An item of our own names what it means."""
    session = MemorySession({b"d": {b"small": 10, b"large": 100 << 20, b"almost": (100 << 20) - 1}}, "a")
    work = WorkItem(access=Access(addresses=("a",), export="/"), path="/d", item_id="i")
    receipt = (await read(work, session)).receipt
    assert (receipt.files, receipt.excluded_files) == (2, 1)
    assert {path for path, *_ in session.reads} == {b"d/small", b"d/almost"}
    receipt = (await read(replace(work, wanted=Wanted()), session)).receipt
    assert (receipt.files, receipt.excluded_files) == (3, 0)


LINKED = {
    b"d": {
        b"own": 1,
        b"up": Symlink(b"../o/other"),
        b"chain": Symlink(b"up"),
        b"here": Symlink(b"own"),
        b"out": Symlink(b"/etc/passwd"),
        b"dead": Symlink(b"nothing"),
        b"round": Symlink(b"round"),
        b"dir": Symlink(b"../o"),
        b"big": Symlink(b"../o/big"),
        b"x.tmp": Symlink(b"../o/third"),
    },
    b"o": {b"other": 20, b"third": 300, b"big": 100 << 20},
    b"way": Symlink(b"d"),
}


def linked_item(path, **wanted):
    return WorkItem(
        access=Access(addresses=("a",), export="/"), path=path, item_id="i", wanted=replace(FIRST_GENERATION, **wanted)
    )


@pytest.mark.parametrize("path", ["/d", "/way"])
async def test_a_first_generation_directory_reads_through_its_links(path):
    """To files of the export, each read once, whatever size they have; what leads elsewhere is counted as skipped."""
    session = MemorySession(LINKED, "a")
    receipt = (await read(linked_item(path, exclude=("*.tmp",)), session)).receipt
    assert (receipt.files, receipt.excluded_files, receipt.skipped_files) == (3, 1, 4)
    assert {at for at, *_ in session.reads} == {b"d/own", b"o/other", b"o/big"}
    assert receipt.bytes == 21 + (100 << 20)


async def test_the_size_of_what_a_link_leads_to_is_the_one_that_counts():
    """As that of any other file."""
    session = MemorySession(LINKED, "a")
    receipt = (await read(linked_item("/d", max_file_bytes=100), session)).receipt
    assert (receipt.files, receipt.excluded_files) == (2, 2)


async def test_a_first_generation_item_may_be_a_link_to_a_file():
    """Its range is the range of the file."""
    session = MemorySession(LINKED, "a")
    await read(replace(linked_item("/d/chain"), start=5, stop=50), session)
    assert session.reads == [(b"o/other", 5, 20)]


async def test_a_directory_that_its_address_never_lists_is_no_receipt(sessions):
    """What is in it, nobody knows: an item of a first-generation manager names no files."""
    failure = ConnectionLost("gone", address="a")

    async def list_page(*_, **__):
        raise failure

    for session in sessions:
        session.list_page = list_page
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        reading = await ItemReader(pool).read(item(), ItemRun())
    assert reading.error is failure
    assert reading.receipt is None


async def test_only_the_parts_of_a_file_that_are_wanted_are_read(sessions):
    """A file without a row is read whole, and each file is counted once."""
    work = item(("big", 100), ("d/one", 10), path="/", parts=(Part(0, 0, 10), Part(0, 90, 100)))
    reading = await read(work, *sessions)
    assert (reading.receipt.files, reading.receipt.bytes, reading.receipt.failed_files) == (2, 30, 0)
    further = await read(replace(work, further=True), *sessions)
    assert (further.receipt.files, further.receipt.bytes) == (0, 30)


async def test_a_file_that_grew_is_not_read_past_the_parts_that_are_wanted(sessions):
    """The size in the item is that of the scan; one that shrank is read as far as it goes."""
    grown = await read(item(("big", 50), path="/", parts=(Part(0, 10, 20),)), *sessions)
    assert (grown.receipt.bytes, grown.receipt.changed_files) == (10, 0)
    session = Ends(TREE, "a")
    session.ends = {b"big": 100}
    parts = (Part(0, 0, 10), Part(0, 90, 200), Part(0, 300, 400))
    shrunk = await read(item(("big", 500), path="/", parts=parts), session)
    assert (shrunk.receipt.bytes, shrunk.receipt.changed_files, shrunk.receipt.failed_files) == (20, 1, 0)


async def test_the_ends_of_the_files_of_a_directory_item(sessions):
    """As anybody may post it, with keys of ours."""
    work = item(path="/d", wanted=Wanted(head_bytes=3, tail_bytes=4))
    reading = await read(work, *sessions)
    assert (reading.receipt.files, reading.receipt.bytes) == (3, 7 + 7 + 5)


async def test_what_was_asked_for_at_a_faster_pace_is_held_back(sessions):
    """A limit that comes while all is asked for: what is not on its way is asked for again, in pieces, and counts once."""
    pace = Pace(0.0, 0.0)
    session = MemorySession({b"big": 1 << 30, b"small": 1000}, "a")
    session.held = []
    run = ItemRun(pace)
    work = item(("big", 1 << 30), ("small", 1000))
    async with SessionPool(Settings(), opener(session)) as pool, asyncio.timeout(10):
        reading = asyncio.create_task(ItemReader(pool).read(work, run))
        while len(session.held) < 2:
            await asyncio.sleep(0.01)
        big, small = session.held
        big.calls, big.bytes_read, session.window.bytes_in_flight = 9, 8 << 20, 1 << 20
        run.hold_back()
        assert (big.stop, small.stop) == (9 << 20, 0)
        pace.change(1e12, time.monotonic())
        # The last call that is on its way comes back; and all of it is read anew where a session had gone further.
        session.held, big.bytes_read = None, 9 << 20
        for request in (big, small):
            session.queued -= 1
            request.on_done(request)
        receipt = (await reading).receipt
    assert (receipt.files, receipt.bytes, receipt.failed_files) == (2, (1 << 30) + 1000, 0)
    again = [stop - start for path, start, stop in session.reads if path.endswith(b"big")]
    assert sum(again) == (1 << 30) - (9 << 20)
    assert max(again) == 1 << 20


def of(*addresses):
    return Access(addresses=addresses, export="/")


async def test_an_item_that_is_stopped_while_it_waits_for_its_addresses_ends_at_once(sessions):
    sessions[0].down = sessions[1].down = ConnectionLost("gone")
    run = ItemRun()
    async with SessionPool(Settings(), opener(*sessions)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(item(("one", 10)), run))
        while not sessions[1].probes:
            await asyncio.sleep(0.001)
        run.abort()
        reading = await asyncio.wait_for(reading, 60)
    assert (reading.aborted, reading.receipt, reading.error) == (True, None, None)


async def test_an_item_for_one_address_alone_fails_when_that_has_been_away_for_the_patience(sessions):
    """No other address may take it over: its files are told by name, and the job goes on."""
    sessions[0].down = ConnectionLost("gone", address="a")
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.05))
    async with SessionPool(settings, opener(*sessions)) as pool:
        reading = await ItemReader(pool).read(item(("one", 10), ("two", 20), only_address="a"), ItemRun())
    assert not reading.unreachable
    assert (reading.receipt.files, reading.receipt.failed_files, sessions[1].reads) == (0, 2, [])
    assert {one.path for one in reading.receipt.errors} == {"/d/one", "/d/two"}


async def test_where_reads_hang_at_one_address_they_are_asked_for_at_the_next(sessions):
    """Before anything is found out about who is at fault."""
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.1))
    async with SessionPool(settings, opener(Hangs(TREE, "a"), sessions[1])) as pool:
        receipt = (await ItemReader(pool).read(item(("one", 10), ("two", 20)), ItemRun())).receipt
    assert (receipt.files, receipt.failed_files, receipt.bytes) == (2, 0, 30)
    assert sessions[1].reads == [(b"d/two", 0, 20)]


async def test_a_file_that_is_read_when_it_is_asked_for_once_more_has_not_failed():
    """The answer to one READ was lost: nobody is blamed for it."""
    session = Hangs({b"d": {b"two": 20}}, "a")
    hang = session.read

    def hang_once(request):
        session.read = lambda again: MemorySession.read(session, again)
        hang(request)

    session.read = hang_once
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.1))
    async with SessionPool(settings, opener(session)) as pool:
        receipt = (await ItemReader(pool).read(replace(item(("two", 20)), access=of("a")), ItemRun())).receipt
    assert (receipt.files, receipt.failed_files, receipt.bytes) == (1, 0, 20)


async def test_an_item_that_is_stopped_while_it_is_judged_ends_without_a_receipt():
    session, run = Hangs({b"d": {b"two": 20}}, "a"), ItemRun()
    settings = replace(Settings(), lease=LeaseSettings(patience_seconds=0.1))
    async with SessionPool(settings, opener(session)) as pool:
        reading = asyncio.create_task(ItemReader(pool).read(replace(item(("two", 20)), access=of("a")), run))
        while len(session.hanging) < 2:  # it was asked for once more
            await asyncio.sleep(0.001)
        run.abort()
        session.finish(session.hanging.pop())
        assert (await asyncio.wait_for(reading, 60)).aborted


async def test_an_item_of_this_machine_has_no_address(sessions):
    session = MemorySession(TREE, "")
    work = replace(item(("one", 10)), access=Access(export="/"), address="")
    assert (await read(work, session)).receipt.bytes == 10


async def test_an_item_whose_session_can_not_be_opened_is_tried_again_with_that_reason():
    async def refuses(mount, settings):
        raise FileError("not for us")

    async with SessionPool(Settings(), refuses) as pool:
        reading = await ItemReader(pool).read(item(("one", 10)), ItemRun())
    assert (str(reading.error), reading.receipt, reading.unreachable) == ("not for us", None, False)
