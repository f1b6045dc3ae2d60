"""A tree in memory behind the session contract: for tests of the stages that plan and read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from cachewarmer.config import Settings
from cachewarmer.errors import CacheWarmerError, FileError, FileVanished, TransportError
from cachewarmer.targets.base import (
    DirectoryEntry,
    EntryError,
    FileKind,
    Mount,
    Page,
    PageRequest,
    ReadRequest,
    Session,
    SessionSnapshot,
    Window,
)

Tree = Mapping[bytes, "int | Tree | CacheWarmerError | FileKind | HardLink | Symlink"]


class HardLink(NamedTuple):
    """One name of a file that has several."""

    file_id: int
    size: int
    links: int = 2


class Symlink(bytes):
    """A symbolic link: what it holds."""


class MemorySession(Session):
    """``tree`` maps names to sizes, subtrees, kinds, or the error that looking there raises."""

    def __init__(self, tree: Tree, address: str = "a", *, page: int = 3, delay: float = 0.0) -> None:
        self.tree = tree
        self.address = address
        self.export = "/"
        self.page = page
        self.delay = delay
        self.reads: list[tuple[bytes, int, int]] = []
        self.read_errors: dict[bytes, CacheWarmerError] = {}
        self.queued = 0
        self.window = Window(calls=16, bytes=1 << 26)
        self.held: list[ReadRequest] | None = None
        self.closed = False
        self.exported: list[str] = []
        self.devices: Mapping[bytes, int] = {}
        """The file system of each directory that is asked for."""
        self.down: CacheWarmerError | None = None
        """What a probe ends with, and every read and listing, while it is set."""
        self.silent = False
        """Whether reads are kept without an answer, and nothing is heard."""
        self.probes = 0
        self.asks_pages = False
        """Whether the first part of a directory is to be had without a task."""
        self.asked: list[PageRequest] = []

    async def probe(self) -> float:
        self.probes += 1
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down
        return 0.0

    def heard(self) -> object:
        return len(self.reads) if self.silent else object()

    def interrupt(self, error: CacheWarmerError) -> None:
        held, self.held = self.held or [], []
        for request in held:
            request.error = error
            self.queued -= 1
            request.on_done(request)

    def ask_page(self, request: PageRequest) -> bool:
        """Where ``asks_pages`` is set, answers what ``list_page`` does, and that it can't where that raises."""
        if self.asks_pages:
            self.asked.append(request)
            asyncio.ensure_future(self.list_page(request.path, request.handle)).add_done_callback(
                lambda listing: self._answer(request, listing)
            )
        return self.asks_pages

    def _answer(self, request: PageRequest, listing: asyncio.Future[Page]) -> None:
        error = listing.exception()
        if not request.unwanted:
            request.on_done(listing.result() if error is None else error if isinstance(error, TransportError) else None)

    def _find(self, path: bytes):
        node: object = self.tree
        for part in [part for part in path.split(b"/") if part]:
            if not isinstance(node, Mapping) or part not in node:
                raise FileVanished(f"/{path.decode()}: there is no such file")
            node = node[part]
        if isinstance(node, CacheWarmerError):
            raise node
        return node

    def _entry(self, name: bytes, node: object) -> DirectoryEntry:
        handle = b"h:" + self.address.encode() + name
        if isinstance(node, FileKind):
            return DirectoryEntry(name, node, 0, 0.0, handle)
        if isinstance(node, Symlink):
            return DirectoryEntry(name, FileKind.LINK, 0, 0.0, handle)
        if isinstance(node, HardLink):
            return DirectoryEntry(name, FileKind.REGULAR, node.size, 1000.0, handle, node.file_id, node.links)
        if isinstance(node, int):
            return DirectoryEntry(name, FileKind.REGULAR, node, 1000.0, handle)
        return DirectoryEntry(name, FileKind.DIRECTORY, 0, 0.0, handle)

    async def lookup(self, path: bytes) -> DirectoryEntry:
        await asyncio.sleep(self.delay)
        return self._entry(path.rpartition(b"/")[2], self._find(path))

    async def read_link(self, path: bytes, handle: bytes = b"") -> bytes:
        node = self._find(path)
        if not isinstance(node, Symlink):
            raise FileError("it is no symbolic link", subject=path)
        return bytes(node)

    async def exports(self) -> list[str]:
        return self.exported

    async def list_page(self, path: bytes, handle: bytes, cookie: object = None) -> Page:
        await asyncio.sleep(self.delay)
        if self.down is not None:
            raise self.down
        node = self._find(path)
        start = int(cookie or 0)
        names = list(node)[start : start + self.page]
        more = start + self.page < len(node)
        entries = [self._entry(name, node[name]) for name in names if name != b"bad"]
        errors = [EntryError(name, CacheWarmerError("no attributes")) for name in names if name == b"bad"]
        return Page(entries, errors, start + self.page if more else None, device=self.devices.get(path, 0))

    def read(self, request: ReadRequest) -> None:
        self.queued += 1
        if self.held is not None:
            self.held.append(request)
        else:
            asyncio.get_running_loop().call_soon(self.finish, request)

    def finish(self, request: ReadRequest) -> None:
        self.queued -= 1
        self.reads.append((request.path, request.start, request.stop))
        request.error = self.down or self.read_errors.get(request.path)
        if request.error is None:
            request.bytes_read = max(0, request.stop - request.start)
            request.calls = 1 if request.bytes_read else 0
        request.on_done(request)

    def snapshot(self) -> SessionSnapshot:
        return SessionSnapshot(
            calls={"READ": len(self.reads)},
            window_calls=self.window.calls,
            in_flight=self.queued,
            waiting=self.queued,
            bytes=sum(stop - start for _, start, stop in self.reads),
        )

    async def close(self) -> None:
        self.closed = True


def opener(*sessions: MemorySession):
    """An opener for a ``SessionPool``: by address."""
    by_address = {session.address: session for session in sessions}

    async def open_memory(mount: Mount, settings: Settings) -> Session:
        await asyncio.sleep(0)
        return by_address[mount.address]

    return open_memory
