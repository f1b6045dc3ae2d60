"""Reading past the page cache, and never past the root."""

import errno
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap

import pytest

from cachewarmer.errors import ConnectionLost, FileError, FileVanished
from cachewarmer.targets.base import FileKind
from cachewarmer.targets.local import files
from cachewarmer.targets.local.files import (
    Bypass,
    Bypasses,
    FileSystems,
    Listing,
    Tree,
    file_id,
    open_regular,
    read_piece,
    split,
    translate,
)
from cachewarmer.targets.mount.table import parse_mountinfo

CONTENT = bytes(range(256)) * 64


@pytest.fixture
def root(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path


def pieces(fd, device, bypasses, start, stop, length=4096):
    """The bytes of a range as read piece by piece."""
    buffer, counts, offset = mmap(-1, length), [], start
    while offset < stop:
        count = read_piece(fd, device, bypasses, buffer, offset, stop)
        if not count:
            break
        counts.append(count)
        offset += count
    return sum(counts)


@pytest.mark.parametrize("bypass", list(Bypass))
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 16384), (100, 5000), (16000, 16384), (0, 20000), (4096, 8192), (20000, 30000)]
)
def test_each_way_of_bypassing_counts_exactly_the_bytes_of_the_range(root, bypass, start, stop):
    """Whole blocks are read around a range that is not aligned, and not counted."""
    tree, bypasses = Tree(bytes(root)), Bypasses()
    fd = tree.open(b"file", os.O_RDONLY)
    device = os.fstat(fd).st_dev
    bypasses.learn(device, bypass)
    assert pieces(fd, device, bypasses, start, stop) == max(0, min(stop, len(CONTENT)) - min(start, len(CONTENT)))
    os.close(fd)
    tree.close()


def test_what_a_device_does_not_support_is_learnt_once(root, monkeypatch):
    """EINVAL from an exact read leads to whole blocks, then to reads that are dropped from the page cache."""
    seen = []
    real = os.preadv

    def refusing(fd, buffers, offset):
        seen.append((offset, len(buffers[0])))
        if len(seen) < 3:
            raise OSError(errno.EINVAL, "no direct reads")
        return real(fd, buffers, offset)

    monkeypatch.setattr(files.os, "preadv", refusing)
    tree, bypasses = Tree(bytes(root)), Bypasses()
    fd = tree.open(b"file", os.O_RDONLY)
    device = os.fstat(fd).st_dev
    buffer = mmap(-1, 8192)
    assert read_piece(fd, device, bypasses, buffer, 10, 20) == 10
    assert seen == [(10, 10), (0, 4096), (10, 10)]
    assert bypasses.of(device) is Bypass.DROPPED
    assert read_piece(fd, device, bypasses, buffer, 10, 20) == 10
    assert len(seen) == 4
    os.close(fd)
    tree.close()


def test_only_regular_files_are_opened(root):
    """A FIFO would block, and a link may lead anywhere."""
    os.mkfifo(root / "fifo")
    os.symlink("file", root / "link")
    tree = Tree(bytes(root))
    with pytest.raises(FileError, match="no longer a regular file"):
        open_regular(tree, b"fifo", Bypasses())
    with pytest.raises(OSError) as caught:
        open_regular(tree, b"link", Bypasses())
    assert caught.value.errno == errno.ELOOP
    tree.close()


def test_a_link_in_the_middle_of_a_path_is_not_followed(root, tmp_path_factory):
    """Not even when it takes the place of a directory that was opened before."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "secret").write_bytes(b"x")
    (root / "d").mkdir()
    (root / "d" / "secret").write_bytes(b"mine")
    tree = Tree(bytes(root))
    os.close(tree.open(b"d/secret", os.O_RDONLY))
    os.rename(root / "d", root / "old")
    os.unlink(root / "old" / "secret")
    os.symlink(elsewhere, root / "d")
    with pytest.raises(OSError) as caught:
        tree.open(b"d/secret", os.O_RDONLY)
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    tree.close()


@pytest.mark.parametrize("path", [b"../etc/passwd", b"a/../../b", b"a\0b"])
def test_paths_that_lead_out_are_refused(path):
    """Whatever they stand in."""
    with pytest.raises(FileError):
        split(path)


def test_a_listing_goes_on_where_its_page_ended(root):
    """Every name comes once, whatever the pages are cut to."""
    for number in range(10):
        (root / f"n{number}").write_bytes(b"x")
    (root / "d").mkdir()
    os.symlink("file", root / "l")
    tree = Tree(bytes(root))
    listing, seen, pages = Listing(tree, b"", FileSystems()), {}, 0
    while listing is not None:
        page = listing.page(lambda: True)
        pages += 1
        seen.update({entry.name: entry for entry in page.entries})
        listing = page.cookie
    assert pages > 10
    assert set(seen) == {b"file", b"d", b"l", *(b"n%d" % number for number in range(10))}
    assert (seen[b"d"].kind, seen[b"l"].kind, seen[b"file"].size) == (FileKind.DIRECTORY, FileKind.LINK, len(CONTENT))
    tree.close()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, FileVanished),
        (errno.ESTALE, FileVanished),
        (errno.ENOTCONN, ConnectionLost),
        (errno.EIO, FileError),
    ],
)
def test_errors_of_the_system_say_whose_fault_it_is(number, kind):
    """A file that is gone, an address that failed, a file that can't be read."""
    problem = translate(OSError(number, os.strerror(number)), "read", b"a/\xff")
    assert isinstance(problem, kind)
    assert "/a/\\xff" in str(problem)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_what_the_kernel_makes_up_is_not_listed():
    """/proc holds nothing that could be warmed, and files in it may never end."""
    tree = Tree(b"/")
    with pytest.raises(FileError, match="proc file system"):
        Listing(tree, b"proc/sys", FileSystems())
    tree.close()


def test_a_listing_that_is_closed_while_a_thread_reads_it_goes_at_the_end_of_the_page(root):
    """The C library would follow a stream that is not there any more."""
    for number in range(5):
        (root / f"more{number}").touch()
    listing = Listing(Tree(os.fsencode(root)), b"", FileSystems())
    within, closed = threading.Event(), threading.Event()

    def note():
        within.set()
        return not closed.wait(60)

    with ThreadPoolExecutor(1) as threads:
        page = threads.submit(listing.page, note)
        assert within.wait(60)
        listing.close()
        os.fstat(listing._fd)  # it is still open
        closed.set()
        assert {one.name for one in page.result().entries} >= {b"more0", b"more4"}
    assert not hasattr(listing, "_entries"), "it is not any more"
    with pytest.raises(OSError, match="closed"):
        listing.page(lambda: False)


def test_a_page_names_the_file_system_of_its_directory(root):
    """So that a scan can stay on one of them."""
    tree = Tree(bytes(root))
    assert Listing(tree, b"", FileSystems()).page(lambda: False).device == os.stat(root).st_dev
    tree.close()


def test_files_of_two_file_systems_are_told_apart_by_their_ids(root):
    """Inode numbers are the same on both."""
    one = os.stat(root / "file")
    other = os.stat_result((*one[:2], one.st_dev + 1, *one[3:10]))
    assert file_id(one) != file_id(other)
    assert file_id(one) == file_id(os.stat(root / "file"))


def test_the_mount_table_is_read_once_for_a_device():
    """Not once for each directory."""
    looked = []

    def table():
        looked.append(1)
        return parse_mountinfo(b"1 0 0:40 / /a rw - proc proc rw\n2 0 0:41 / /b rw - ext4 /dev/x rw")

    kinds = FileSystems(table)
    devices = [os.makedev(0, 40), os.makedev(0, 41), os.makedev(0, 42)]
    assert [kinds.kind_of(device) for device in devices + devices] == ["proc", "ext4", ""] * 2
    assert len(looked) == 2


def test_a_path_of_two_thousand_components_is_walked_step_by_step(tmp_path):
    """No deeper in calls than in directories; the last ones stay open, and the file at the end is found."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    tree = Tree(os.fsencode(tmp_path))
    try:
        assert tree.status(b"d/" * 2000 + b"f").st_size == 0
        assert tree.status(b"d/" * 1500).st_nlink >= 2
    finally:
        tree.close()
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # Python's own removal is recursive
