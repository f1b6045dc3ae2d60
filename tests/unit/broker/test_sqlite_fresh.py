"""What a process has published it claims without reading it from its message; all else it reads."""

from contextlib import asynccontextmanager
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cachewarmer.broker.sqlite.broker import SqliteBroker
from cachewarmer.broker.sqlite.fresh import FreshItems
from cachewarmer.model import Access, FileEntry, JobState, WarmJob, WorkItem
from cachewarmer.model.came import Came

ACCESS = Access(addresses=("127.0.0.1",), export="/e")


def item(number, files=3, job_id="j1"):
    entries = tuple(FileEntry(f"f{one}", one, bytes([one])) for one in range(files))
    return WorkItem(access=ACCESS, job_id=job_id, path=f"/d{number}", files=entries).with_content_id()


def test_an_item_is_given_once_and_only_for_the_message_that_it_was_published_with():
    fresh = FreshItems()
    fresh.add("j1", b"a", "message a", item(1))
    fresh.add("j1", b"b", "message b", item(2))
    assert fresh.take("j1", b"a", "message a") == item(1)
    assert fresh.take("j1", b"a", "message a") is None
    assert fresh.take("j1", b"b", "message b, handed back") is None
    assert fresh.take("j2", b"b", "message b") is None


def test_what_somebody_else_claims_does_not_stay():
    """Items are claimed in the order of their publication: what stands before one that is claimed is never asked for."""
    fresh = FreshItems()
    for number in range(5):
        fresh.add("j1", b"%d" % number, str(number), item(number))
    assert fresh.take("j1", b"3", "3") == item(3)
    assert fresh.take("j1", b"1", "1") is None
    assert fresh.take("j1", b"4", "4") == item(4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 9)), max_size=80))
def test_no_more_files_are_kept_than_there_is_room_for(steps):
    """Whatever comes and goes, and whatever is published twice."""
    fresh = FreshItems(most_files=20)
    for adds, number, files in steps:
        key = b"%d" % number
        if adds:
            fresh.add("j1", key, f"{number}", item(number, files))
        else:
            fresh.take("j1", key, f"{number}")
        held = sum(len(one.files) for _, one in fresh._kept.values())
        assert held == fresh._files <= 20


@asynccontextmanager
async def scanning(path):
    async with SqliteBroker(path, clock=lambda: 1000.0) as broker:
        job_id = await broker.submit(WarmJob(access=ACCESS))
        assert await broker.claim_job(60.0) is not None
        await broker.set_state(job_id, JobState.SCANNING)
        yield broker, job_id


async def test_an_item_is_the_same_to_its_publisher_as_to_others(tmp_path, monkeypatch):
    """Also when it was handed back, with or without something that has come of it; and nobody gets one twice."""
    read = []
    from_json = WorkItem.from_json
    monkeypatch.setattr(WorkItem, "from_json", lambda text: read.append(text) or from_json(text))
    path = str(tmp_path / "b.db")
    async with scanning(path) as (one, job_id), SqliteBroker(path, clock=lambda: 1000.0) as other:
        items = [item(number, 20, job_id=job_id) for number in range(6)]
        assert await one.claim(1, 60.0) == []
        await one.publish(items[:3])
        await one.publish(items)
        read.clear()
        (first,), (second,), mine = await one.claim(1, 60.0), await other.claim(1, 60.0), await one.claim(1, 60.0)
        assert [lease.item for lease in (first, second, *mine)] == items[:3]
        assert len(read) == 1
        came = Came(calls=3, files=((0, 2),))
        await one.abandon(first, "it fell over")
        await one.abandon(replace(mine[0], item=replace(mine[0].item, came=came)), "")
        rest = await one.claim(8, 60.0)
    assert [lease.item for lease in rest] == [
        replace(items[0], failed_deliveries=1, last_error="it fell over"),
        replace(items[2], came=came),
        *items[3:],
    ]
    assert [lease.deliveries for lease in rest] == [2, 1, 1, 1, 1]
    assert len(read) == 1 + 2


async def test_a_process_that_only_publishes_keeps_nothing(tmp_path):
    async with scanning(str(tmp_path / "b.db")) as (broker, job_id):
        await broker.publish([item(number, job_id=job_id) for number in range(3)])
        assert broker._store._fresh is None
