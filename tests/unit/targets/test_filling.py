"""Whole files that a mount is asked to have in its cache: what is asked for, and what becomes of each of them."""

import asyncio
import logging
import os

import pytest

from cachewarmer.config import LocalSettings
from cachewarmer.errors import ConnectionLost, FileError, FileVanished, ReplyTimeout
from cachewarmer.targets.local import filling
from cachewarmer.targets.local.control import Action, Progress
from cachewarmer.targets.local.session import open_local
from tests.reads import requests_for
from tests.volume import Volume, asks

FILES = 60


@pytest.fixture
def volume(tmp_path):
    for number in range(FILES):
        (tmp_path / f"f{number:02d}").write_bytes(bytes(1000 + number))
    return Volume(os.fsencode(tmp_path))


@pytest.fixture
async def session(volume):
    opened = await open_local(volume.root, LocalSettings(fill_threads=20))
    asks(opened, volume)
    yield opened
    await opened.close()


def requests_of(*files, **more):
    """Requests for (name, size), and what waits until all are done."""
    return requests_for(*((name.encode(), 0, size) for name, size in files), **more)


async def read(session, *files, **more):
    made, wait = requests_of(*files, **more)
    for request in made:
        session.read(request)
    return await wait()


def all_files():
    return [(f"f{number:02d}", 1000 + number) for number in range(FILES)]


def inode(volume, name):
    return os.lstat(os.path.join(volume.root, name.encode())).st_ino


async def test_whole_files_are_asked_for_together_and_checked_and_none_is_read(session, volume):
    """Every byte counts once, and not as a READ."""
    done = await read(session, *all_files())
    assert [one.error for one in done] == [None] * FILES
    assert [one.bytes_read for one in done] == [size for _, size in all_files()]
    assert [one.calls for one in done] == [0] * FILES
    assert [action for action, _ in volume.asked] == [Action.CHECK, Action.FILL, Action.CHECK], "the first one tries it"
    assert volume.filled == [FILES]
    assert volume.threads == {1, 5}
    seen = session.snapshot()
    assert (seen.bytes, seen.waiting, seen.calls) == (sum(size for _, size in all_files()), 0, {"fill": 2})


async def test_what_the_mount_did_not_keep_is_read_through_it(session, volume):
    """It tells only how much is missing of several files, so halves are asked about."""
    lost = {inode(volume, f"f{number:02d}") for number in (3, 4, 41)}
    volume.keeps = lambda one: one not in lost
    done = await read(session, *all_files())
    assert [one.bytes_read for one in done] == [size for _, size in all_files()]
    assert [place for place, one in enumerate(done) if one.calls] == [3, 4, 41]


async def test_a_mount_that_keeps_nothing_is_soon_not_asked_any_more(session, volume, monkeypatch, caplog):
    """It is said once; the files are read."""
    monkeypatch.setattr(filling, "BARREN_FILES", FILES)
    volume.keeps = lambda _: False
    for _ in range(2):
        done = await read(session, *all_files())
        assert [one.bytes_read for one in done] == [size for _, size in all_files()]
        assert all(one.calls for one in done)
    assert volume.filled == [FILES]
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


async def test_a_mount_that_can_not_be_asked_is_read_and_that_is_said_once(session, volume, caplog):
    """Once for each mount, however many sessions there are."""
    volume.refusal = "Permission denied"
    for _ in range(3):
        done = await read(session, *all_files())
        assert [one.bytes_read for one in done] == [size for _, size in all_files()]
    other = await open_local(volume.root, LocalSettings())
    asks(other, volume)
    await read(other, *all_files())
    await other.close()
    (said,) = caplog.messages
    assert "Permission denied" in said
    assert "reading files through the mount" in said


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), RuntimeError("unheard of")])
async def test_a_conversation_that_breaks_costs_no_file(session, volume, trouble):
    def ask(*_):
        raise trouble

    volume.ask = ask
    done = await read(session, *all_files())
    assert [one.bytes_read for one in done] == [size for _, size in all_files()]


async def test_what_is_no_longer_what_it_was_has_its_right_outcome_by_name(session, volume, tmp_path):
    """A link is not followed, and what has gone has vanished; what has grown is read as far as it was wanted."""
    (tmp_path / "f00").unlink()
    (tmp_path / "f01").unlink()
    (tmp_path / "f01").symlink_to("f02")
    (tmp_path / "f03").unlink()
    (tmp_path / "f03").mkdir()
    (tmp_path / "f04").write_bytes(bytes(5000))
    (tmp_path / "f05").write_bytes(bytes(10))
    asked = all_files()[:7]
    vanished, link, directory, grown, shorter = [(await read(session, asked[number]))[0] for number in (0, 1, 3, 4, 5)]
    assert isinstance(vanished.error, FileVanished)
    assert vanished.error.subject == b"/f00"
    assert "symbolic link" in str(link.error)
    assert isinstance(directory.error, FileError)
    assert (grown.bytes_read, grown.calls) == (1004, 1)
    assert (shorter.bytes_read, shorter.calls, shorter.error) == (10, 0, None)
    assert volume.filled == [1], "only what is an ordinary file that did not grow"


async def test_a_file_that_goes_while_it_is_asked_for_has_vanished(session, volume, tmp_path):
    """The mount does not find it, which it tells by a number only."""
    volume.gone = {inode(volume, "f07")}
    volume.going.clear()
    made, wait = requests_of(*all_files())
    for request in made:
        session.read(request)
    await asyncio.to_thread(volume.began.wait, 30)
    (tmp_path / "f07").unlink()
    volume.going.set()
    done = await wait()
    assert [place for place, one in enumerate(done) if one.error] == [7]
    assert isinstance(done[7].error, FileVanished)


async def test_what_this_user_may_not_read_is_left_to_the_mount_to_refuse(session, volume, tmp_path, monkeypatch):
    """The mount would fetch it all the same: it asks nobody's permission."""
    (tmp_path / "f00").chmod(0o600)
    may = []

    def may_read(path):
        may.append(path)
        return False

    monkeypatch.setattr(session.tree, "may_read", may_read)
    done = await read(session, *all_files()[:3])
    assert may == [b"f00"]
    assert [one.calls for one in done] == [1, 0, 0]


def test_who_may_read_is_asked_without_following_links(tmp_path):
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "file").touch(0o400)
    tree = filling.Tree(os.fsencode(tmp_path))
    assert tree.may_read(b"file")
    assert tree.may_read(b"link")
    assert not tree.may_read(b"gone")


@pytest.mark.parametrize("more", [{"once": True}, {"in_order": True}])
async def test_what_is_read_for_its_time_or_in_its_order_is_read(session, volume, more):
    done = await read(session, *all_files()[:3], **more)
    assert [one.calls for one in done] == [1, 1, 1]
    assert volume.asked == []


async def test_ranges_are_read(session, volume):
    """A mount fetches whole files only."""
    made, wait = requests_of(("f10", 1010), ("f11", 500))
    made[0].start = 10
    for request in made:
        session.read(request)
    done = await wait()
    assert [(one.bytes_read, one.calls) for one in done] == [(1000, 1), (500, 1)]
    assert volume.filled == []


async def test_batches_are_bounded_and_what_comes_meanwhile_goes_together(session, volume, monkeypatch):
    """So many messages are under way and no more; the next has all that came until one of them ended, up to its bounds."""
    monkeypatch.setattr(filling, "BATCH_FILES", 20)
    volume.going.clear()
    made, wait = requests_of(*all_files())
    for request in made:
        session.read(request)
        await asyncio.sleep(0)  # each for itself, as a limit of the bandwidth gives them
    volume.going.set()
    await wait()
    assert sum(volume.filled) == FILES
    assert volume.filled[0] == 1
    assert max(volume.filled) == 20


async def test_a_batch_of_large_files_has_one_for_each_of_its_threads(session, volume, monkeypatch):
    """A mount fetches one block of a file at a time: one file in a message would leave its other threads without work."""
    monkeypatch.setattr(filling, "BATCH_BYTES", 1100)
    await read(session, *all_files())
    assert volume.filled == [5] * (FILES // 5)


async def test_threads_that_a_small_batch_leaves_go_to_further_ones(session, volume):
    """Large files come a few at a time: not more of them are under way than there are threads, nor fewer."""
    volume.going.clear()
    made, wait = requests_of(*all_files())
    for number, request in enumerate(made):
        session.read(request)
        if number % 2:
            await asyncio.sleep(0)
    async with asyncio.timeout(30):
        while len(volume.asked) < 1:
            await asyncio.sleep(0.001)
    volume.going.set()
    await wait()
    assert volume.filled.count(2) >= 10  # in whatever order
    assert sum(volume.filled) == FILES
    assert max(volume.threads) <= 5


async def test_a_session_that_asks_for_files_wants_many_bytes_at_the_same_time(session, volume, tmp_path):
    """What is claimed for it goes by that; not where no mount is asked any more."""
    few = session.window.bytes
    await read(session, ("f00", 1000))
    assert session.window.bytes == 20 * filling.BATCH_BYTES
    volume.refusal = "not now"
    await read(session, ("f01", 1001))
    await read(session, ("f02", 1002))
    assert session.window.bytes == few


async def test_requests_that_nobody_wants_any_more_end_without_a_byte(session, volume):
    """As soon as all of a message are not wanted, the mount is not waited for; nothing of it counts."""
    volume.going.clear()
    made, wait = requests_of(*all_files())
    for request in made:
        session.read(request)
    await asyncio.to_thread(volume.began.wait, 30)
    for request in made:
        request.stop = request.start
    done = await wait()
    assert {(one.bytes_read, one.error) for one in done} == {(0, None)}
    assert session.snapshot().bytes == 0
    assert volume.cached == set()


async def test_closing_ends_what_is_under_way_and_what_waits(session, volume, monkeypatch):
    monkeypatch.setattr(filling, "BATCH_FILES", 10)
    volume.going.clear()
    made, wait = requests_of(*all_files())
    for request in made:
        session.read(request)
    await asyncio.to_thread(volume.began.wait, 30)
    await session.close()
    done = await wait()
    assert all(isinstance(one.error, ConnectionLost) for one in done)
    assert session.snapshot().waiting == 0


async def test_a_mount_that_hangs_fails_as_an_address_does(volume):
    """Not one of its files is at fault."""
    session = await open_local(volume.root, LocalSettings(reply_seconds=0.2))
    asks(session, volume)
    await read(session, all_files()[0])
    volume.going.clear()
    done = await read(session, *all_files()[1:])
    await session.close()
    assert all(isinstance(one.error, ReplyTimeout) for one in done)


async def test_no_mount_is_asked_where_the_settings_say_so(volume, monkeypatch):
    monkeypatch.setattr(filling, "controls", lambda: pytest.fail("looked for mounts"))
    session = await open_local(volume.root, LocalSettings(fill_threads=0))
    done = await read(session, all_files()[0])
    await session.close()
    assert done[0].calls == 1


@pytest.mark.parametrize(
    ("root", "mount", "prefix"),
    [
        (b"/", b"/mnt/jfs", b"mnt/jfs/"),
        (b"/mnt", b"/mnt/jfs", b"jfs/"),
        (b"/mnt/jfs", b"/mnt/jfs", b""),
        (b"/mnt/jfs/a", b"/mnt/jfs", b""),
        (b"/mnt/jfs2", b"/mnt/jfs", None),
        (b"/data", b"/mnt/jfs", None),
        (b"/data", b"/", b""),
    ],
)
def test_only_paths_that_may_lie_on_a_volume_are_looked_at(root, mount, prefix):
    assert filling._prefix(root, mount) == prefix


def test_a_slow_mount_that_fetches_is_alive():
    """It tells of a file when it is done with it; a large one takes longer than a hung mount is waited for."""
    now, fetched = 0.0, 0.0

    class Mount:
        def fetched(self):
            return fetched

    pulse = filling._Pulse(Mount(), lambda: now)
    assert pulse.feel(Progress(0, 0)) == 0.0
    for _ in range(20):
        now, fetched = now + 1.0, fetched + 1.0
        last = pulse.feel(Progress(0, 0))
    assert now - last < 3 * filling.LOOK_SECONDS
    for _ in range(40):
        now += 1.0
        last = pulse.feel(Progress(0, 0))
    assert now - last > 30, "nothing is fetched any more"
