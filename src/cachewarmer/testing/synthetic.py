"""Trees of any size that are held nowhere: names, handles and sizes are computed from numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from cachewarmer.testing import wire
from cachewarmer.testing.tree import MTIME, Node, ServedTree

FILES_PER_DIRECTORY = 100
_SIZES = tuple(1024 + 97 * number % 7168 for number in range(64))
"""Bytes of the files, in turn: 1 to 8 KiB, 4.5 KiB on average."""
_FIRST_FILE = 1 << 40
"""File ids: 1 is the root, 2 and up are directories, from here on files."""
_NAME = 12
_HANDLE = struct.Struct(">QQ")
_MAGIC = 0x636163686577726D
_ENTRY = struct.Struct(">IQI12sQI5I2Q2I2Q6III16s")
"""``entryplus3`` with a name of 12 bytes, attributes, and a handle of 16 (RFC 1813 section 3.3.17)."""


class Totals(NamedTuple):
    """What a reader must find."""

    files: int
    bytes: int
    directories: int


class SyntheticTree(ServedTree):
    """``entries`` files: all in the root (``flat``), or a hundred in each of as many directories as that takes."""

    def __init__(self, entries: int, *, flat: bool) -> None:
        self.entries = entries
        self.flat = flat
        self._directories = 0 if flat else -(-entries // FILES_PER_DIRECTORY)
        self._root = Node(1, wire.DIRECTORY)

    @property
    def totals(self) -> Totals:
        """Counted without listing."""
        whole, rest = divmod(self.entries, len(_SIZES))
        return Totals(self.entries, whole * sum(_SIZES) + sum(_SIZES[:rest]), 1 + self._directories)

    @property
    def root(self) -> Node:
        return self._root

    def handle(self, node: Node) -> bytes:
        return _HANDLE.pack(_MAGIC, node.fileid)

    def find(self, handle: bytes) -> Node | None:
        if len(handle) != _HANDLE.size:
            return None
        magic, fileid = _HANDLE.unpack(handle)
        if magic != _MAGIC:
            return None
        if fileid >= _FIRST_FILE:
            number = fileid - _FIRST_FILE
            return Node(fileid, wire.REGULAR, _SIZES[number % len(_SIZES)]) if number < self.entries else None
        if fileid == 1:
            return self._root
        return Node(fileid, wire.DIRECTORY, parent=self._root) if 2 <= fileid < 2 + self._directories else None

    def child(self, directory: Node, name: bytes) -> Node | None:
        if len(name) != _NAME or not name[1:].isdigit():
            return None
        number = int(name[1:])
        first, count, is_directory = self._below(directory)
        if name[:1] != (b"d" if is_directory else b"f") or not first <= number < first + count:
            return None
        return self._node(number, is_directory, directory)

    def _below(self, directory: Node) -> tuple[int, int, bool]:
        """Number of the first entry, how many there are, and whether they are directories."""
        if self.flat:
            return 0, self.entries, False
        if directory.fileid == 1:
            return 0, self._directories, True
        first = (directory.fileid - 2) * FILES_PER_DIRECTORY
        return first, min(FILES_PER_DIRECTORY, self.entries - first), False

    def _node(self, number: int, is_directory: bool, parent: Node) -> Node:
        if is_directory:
            return Node(2 + number, wire.DIRECTORY, parent=parent)
        return Node(_FIRST_FILE + number, wire.REGULAR, _SIZES[number % len(_SIZES)])

    def children(self, directory: Node, start: int) -> Iterator[tuple[bytes, Node]]:
        first, count, is_directory = self._below(directory)
        letter = b"d" if is_directory else b"f"
        for number in range(first + start, first + count):
            yield b"%b%011d" % (letter, number), self._node(number, is_directory, directory)

    def count(self, directory: Node) -> int:
        return self._below(directory)[1]

    def ready_made(self, directory: Node, start: int, most_bytes: int) -> tuple[bytes, int] | None:
        first, count, is_directory = self._below(directory)
        taken = min(count - start, most_bytes // _ENTRY.size)
        if taken <= 0:
            return None
        pack, handle, sizes = _ENTRY.pack, _HANDLE.pack, _SIZES
        kind, mode, name, base = (
            (wire.DIRECTORY, 0o755, b"d%011d", 2) if is_directory else (wire.REGULAR, 0o644, b"f%011d", _FIRST_FILE)
        )
        # 3: two dots come before, and a cookie says where the next entry begins.
        shift = 3 - first
        entries = [
            pack(
                *(1, base + number, _NAME, name % number, number + shift, 1, kind, mode, 1, 0, 0),
                *(4096 if is_directory else sizes[number % 64],) * 2,
                *(0, 0, 1, base + number, MTIME, 0, MTIME, 0, MTIME, 0, 1),
                *(16,),
                handle(_MAGIC, base + number),
            )
            for number in range(first + start, first + start + taken)
        ]
        return b"".join(entries), taken
