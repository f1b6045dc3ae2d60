import tempfile

import pytest

from cachewarmer.errors import CacheWarmerError
from cachewarmer.planning.frontier import Above, Batch, Directory, Frontier


def batches(count, width=1, name=b"%d", handle=b"h"):
    for number in range(count):
        above = Above(b"p%d" % number, (1, number), 2)
        yield Batch([Directory(above, name % one, handle) for one in range(width)], number % 3)


def push_all(frontier, some):
    for batch in some:
        frontier.push(batch)


def test_the_frontier_gives_back_what_it_spilled_last_in_first_out():
    frontier = Frontier(memory_bytes=1000)
    for batch in batches(50):
        frontier.push(batch)
    assert frontier.disk_bytes
    assert len(frontier) == 50
    seen = []
    while len(frontier):
        batch = frontier.pop()
        number = batch.directories[0].above.handles[1]
        assert batch.directories[0].path == b"p%d/0" % number
        assert batch.session == number % 3
        seen.append(number)
    assert seen == list(reversed(range(50)))
    assert frontier.disk_bytes == 0
    with pytest.raises(IndexError):
        frontier.pop()
    frontier.close()


def test_directories_in_one_directory_share_its_path_in_the_file():
    """A path of 4 KiB, of 3,200 directories in it, stands there once for each part of the file, not for each directory."""
    frontier = Frontier(memory_bytes=100_000)
    above = Above(b"x" * 4096)
    for start in range(0, 3200, 32):
        frontier.push(Batch([Directory(above, b"%06d" % (start + one), b"h" * 16) for one in range(32)], 0))
    assert 0 < frontier.disk_bytes < 100_000
    frontier.close()


def test_the_file_has_a_budget():
    frontier = Frontier(memory_bytes=1000, disk_bytes=2000)
    with pytest.raises(CacheWarmerError, match=r"pending_disk_bytes"):
        push_all(frontier, batches(100_000, 4))
    frontier.close()


def test_a_temporary_directory_that_takes_nothing_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    frontier = Frontier(memory_bytes=0)
    with pytest.raises(CacheWarmerError, match="TMPDIR"):
        push_all(frontier, batches(3))


def test_a_full_disk_is_noticed_when_it_is_written(monkeypatch):
    """/dev/full answers every write with ENOSPC."""
    full = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115  # the frontier closes it
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    frontier = Frontier(memory_bytes=0)
    with pytest.raises(CacheWarmerError, match="No space left on device"):
        push_all(frontier, batches(3))
    frontier.close()
