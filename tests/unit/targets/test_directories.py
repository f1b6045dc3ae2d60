"""From paths to handles: looked up once, remembered, and had anew when they have died."""

from __future__ import annotations

import asyncio

import pytest

from cachewarmer.errors import FileVanished, MountError, NfsStatusError, StaleHandle
from cachewarmer.rpc import nfs3
from cachewarmer.targets.base import DirectoryEntry, FileKind
from cachewarmer.targets.nfs3 import directories
from cachewarmer.targets.nfs3.directories import Directories


class Server:
    """Handles hold the server's generation: those of an earlier one are stale."""

    def __init__(self):
        self.generation = 1
        self.looks, self.mounts = 0, 0
        self.refusals = 0

    def handle(self, path):
        return b"%d:%s" % (self.generation, path)

    def check(self, handle):
        if not handle.startswith(b"%d:" % self.generation):
            raise StaleHandle(nfs3.STALE, "LOOKUP", b"", "NFS3ERR_STALE")

    async def look(self, directory, name, path):
        await asyncio.sleep(0)
        self.looks += 1
        self.check(directory)
        if name == b"gone":
            raise NfsStatusError(nfs3.NOENT, "LOOKUP", path, "NFS3ERR_NOENT")
        return DirectoryEntry(name, FileKind.DIRECTORY, 0, 0.0, self.handle(path))

    async def check_root(self, root):
        self.check(root)

    async def remount(self):
        self.mounts += 1
        if self.refusals:
            self.refusals -= 1
            raise MountError("not exported yet")
        return self.handle(b"")

    async def enter(self, entry, path):
        pass

    def directories(self, seconds=30.0):
        return Directories(
            self.handle(b""),
            look=self.look,
            enter=self.enter,
            check_root=self.check_root,
            remount=self.remount,
            stale_seconds=seconds,
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(directories, "FIRST_STALE_SECONDS", 0.001)
    monkeypatch.setattr(directories, "MOST_STALE_SECONDS", 0.002)


async def test_files_of_one_directory_that_are_asked_for_at_once_look_it_up_once():
    """One LOOKUP a file, and one for each directory."""
    server = Server()
    known = server.directories()
    await asyncio.gather(*(known.entry(b"a/b/f%d" % number) for number in range(50)))
    assert server.looks == 50 + 2


async def test_a_fail_over_is_one_mount_for_all_who_wait():
    """Every handle has died, the root's too; each that is asked for is good again, and MNT was called once."""
    server = Server()
    known = server.directories()
    await known.entry(b"a/f")
    server.generation = 2
    found = await asyncio.gather(*(known.entry(b"a/f%d" % number) for number in range(20)))
    assert {entry.handle[:2] for entry in found} == {b"2:"}
    assert server.mounts == 1
    assert known.root == b"2:"


async def test_a_server_that_exports_nothing_yet_is_asked_again():
    """Right after a fail-over MNT may be refused."""
    server = Server()
    known = server.directories()
    server.generation, server.refusals = 2, 3
    assert (await known.entry(b"f")).handle == b"2:f"
    assert server.mounts == 4


async def test_handles_that_stay_stale_end_with_that_error():
    """And not before the time that the settings allow."""
    server = Server()
    known = server.directories(seconds=0.02)
    server.generation, server.refusals = 2, 10**6
    with pytest.raises(StaleHandle):
        await known.entry(b"f")
    assert server.mounts > 1


async def test_only_the_least_recently_used_directory_is_forgotten(monkeypatch):
    """A list that is sorted never asks for a directory twice."""
    monkeypatch.setattr(directories, "REMEMBERED", 3)
    server = Server()
    known = server.directories()
    for directory in (b"a", b"b", b"c"):
        await known.entry(directory + b"/f")
    await known.entry(b"a/g")
    await known.entry(b"d/f")
    server.looks = 0
    await known.entry(b"a/h")
    assert server.looks == 1
    await known.entry(b"b/h")
    assert server.looks == 3


async def test_what_is_not_there_has_vanished():
    with pytest.raises(FileVanished):
        await Server().directories().entry(b"gone")
