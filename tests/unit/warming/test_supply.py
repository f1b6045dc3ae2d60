"""An item's requests are made as a session takes them; what was not taken is missing, never lost or counted twice."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachewarmer.errors import ConnectionLost
from cachewarmer.model import Access, FileEntry, WorkItem
from cachewarmer.model.parts import Part
from cachewarmer.warming import supply as supplies
from cachewarmer.warming.pace import Pace
from cachewarmer.warming.rest import wanted
from cachewarmer.warming.run import ItemRun
from cachewarmer.warming.supply import LEAST_SWEPT, MADE_AT_ONCE, ItemSupply, whole_files
from tests.memory import MemorySession

FILES = 10
NAMES = [f"f{number}" for number in range(FILES)]
TREE = {b"d": {name.encode(): 10 for name in NAMES}}


def item(names=NAMES, **more):
    files = tuple(FileEntry(name, 10, b"h") for name in names)
    return WorkItem(
        access=Access(addresses=("a",), export="/"), path="/d", address="a", item_id="i", files=files, **more
    )


class Lazy(MemorySession):
    """Takes as many requests as it is told to."""

    def __init__(self):
        super().__init__(TREE, "a")
        self.supplies = []
        self.held = []

    def read_all(self, supply):
        self.supplies.append(supply)

    def take(self, count):
        for _ in range(count):
            if self.supplies and self.supplies[-1].left:
                self.read(self.supplies[-1].take())

    def answer(self, count=FILES):
        held, self.held = self.held[:count], self.held[count:]
        for request in held:
            self.finish(request)


async def begun(run, session, work):
    reading = asyncio.create_task(run.read(session, work))
    await asyncio.sleep(0)
    return reading


async def test_a_request_is_made_when_it_is_taken():
    run, session = ItemRun(), Lazy()
    reading = await begun(run, session, item())
    session.take(3)
    assert [one.path for one in session.held] == [b"d/f0", b"d/f1", b"d/f2"]
    assert run.outstanding == FILES
    session.answer(2)
    assert run.outstanding == FILES - 2
    session.take(FILES)
    session.answer()
    await reading
    assert (run.outcome.files, run.outcome.bytes, run.outcome.calls) == (FILES, 10 * FILES, FILES)


@settings(max_examples=60, deadline=None)
@given(
    taken=st.integers(0, FILES),
    answered=st.integers(0, FILES),
    cut=st.booleans(),
    way=st.sampled_from(["leave", "abort", "slow"]),
    together=st.sampled_from([1, 3, 4, MADE_AT_ONCE]),
)
async def test_wherever_a_pass_is_ended_each_file_is_read_once(taken, answered, cut, way, together):
    """Left since nothing is answered, handed back to another process, or asked for again at a slower pace: also where the
    requests are made some at a time, and some of them were made and not taken.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supplies, "MADE_AT_ONCE", together)
        await _end_a_pass(taken, answered, cut, way)


async def _end_a_pass(taken, answered, cut, way):
    work = item(parts=(Part(0, 0, 4), Part(0, 6, 8))) if cut else item()
    pieces = sorted((b"d/" + NAMES[one.number].encode(), one.start, one.stop) for one in wanted(work))
    run, session, again = ItemRun(Pace(0.0, 0.0)), Lazy(), MemorySession(TREE, "a")
    reading = await begun(run, session, work)
    session.take(taken)
    session.answer(answered)
    if way == "leave":
        run.leave(ConnectionLost("gone"))
        await reading
        await run.read(again, work)
    elif way == "slow":
        run.pace.change(1e9, 0.0)
        run.hold_back()
        session.read = again.read
        session.answer()
        await reading
    else:
        run.abort()
        session.answer()
        await reading
        work = WorkItem.from_json(replace(work, came=run.came(work)).to_json())
        run = ItemRun()
        await run.read(again, work)
    asked = [one for one in session.reads if one[1] < one[2]] + again.reads
    assert sorted(asked) == pieces
    assert (run.outcome.files, run.outcome.bytes) == (FILES, 10 * FILES - 4 * cut)


async def test_what_has_come_is_known_while_requests_are_still_to_be_made():
    """An item may be given up at any moment."""
    run, session, work = ItemRun(), Lazy(), item()
    reading = await begun(run, session, work)
    session.take(4)
    session.answer(2)
    for _ in range(2):  # to be told changes nothing
        assert list(run.came(work).files) == [(0, 2)]
    session.take(FILES)
    session.answer()
    await reading
    assert list(run.came(work).files) == [(0, FILES)]


async def test_after_an_end_nothing_is_taken_any_more():
    run, session = ItemRun(), Lazy()
    reading = await begun(run, session, item())
    session.take(1)
    run.abort()
    assert session.supplies[0].left == 0
    session.answer()
    await reading
    assert session.reads == [(b"d/f0", 0, 0)]


def test_requests_that_are_done_are_let_go():
    """However many files an item has, no more are kept than are read at the same time, or twice that."""
    many = item([f"f{number}" for number in range(20 * LEAST_SWEPT)])
    supply = ItemSupply(many, whole_files(many), len(many.files), lambda _: None)
    taken, most = [], 0
    while supply.left:
        taken.append(supply.take())
        if len(taken) > 16:
            taken.pop(0).context = None
        most = max(most, len(supply._kept))
    assert most <= LEAST_SWEPT + MADE_AT_ONCE
    assert [one.path for one in supply.pending()] == [one.path for one in taken]


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["take", "finish", "ask"]), st.integers(0, 9)), max_size=60))
def test_what_is_pending_and_what_is_untaken_is_all_that_is_not_done(steps):
    """After any steps, and at the end: each piece once, in its order."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supplies, "MADE_AT_ONCE", 4)
        patched.setattr(supplies, "LEAST_SWEPT", 5)
        work = item([f"f{number}" for number in range(60)])
        supply = ItemSupply(work, whole_files(work), 60, lambda _: None)
        pending, done = [], set()
        for step, count in steps:
            for _ in range(count):
                if step == "take" and supply.left:
                    pending.append(supply.take())
                elif step == "finish" and pending:
                    one = pending.pop(count % len(pending))
                    done.add(one.context.number)
                    one.context = None
            if step == "ask":
                assert len(supply.untaken()) == supply.left
            assert [one.path for one in supply.pending()] == [one.path for one in pending]
        open_ = [one.context.number for one in supply.pending()] + [one.number for one in supply.end()]
        assert open_ == [number for number in range(60) if number not in done]
        assert supply.left == 0
        assert [one.path for one in supply.pending()] == [one.path for one in pending]


@pytest.mark.parametrize("names", [NAMES, [""], []])
def test_whole_files_are_what_is_wanted_of_them(names):
    assert list(whole_files(item(names))) == list(wanted(item(names)))
