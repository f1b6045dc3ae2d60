"""What a scripted server serves: nodes, and a tree of them held in memory."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TypeAlias

from cachewarmer.testing import wire
from cachewarmer.values import dataclass

MTIME = 1_700_000_000
"""Unix seconds; what every file was changed at unless it says otherwise."""


@dataclass(slots=True, eq=False)
class Node:
    """A file, directory, link or special file."""

    fileid: int
    kind: int
    """``ftype3``."""
    size: int = 0
    path: bytes = b""
    target: bytes = b""
    """Where a symbolic link points."""
    mtime: int = MTIME
    parent: Node | None = None
    children: list[tuple[bytes, Node]] = field(default_factory=list)
    names: dict[bytes, Node] = field(default_factory=dict)
    generation: int = 0
    """Part of the handle: raised when the handle goes stale."""

    def attributes(self) -> bytes:
        """``fattr3`` (RFC 1813 section 2.5)."""
        mode, size = (0o755, 4096) if self.kind == wire.DIRECTORY else (0o644, self.size)
        now = self.mtime
        return wire.FATTR.pack(
            self.kind, mode, 1, 0, 0, size, size, 0, 0, 1, self.fileid, now, 0, now, 500_000_000, now, 0
        )


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: bytes


@dataclass(frozen=True, slots=True)
class Special:
    """A device, socket or FIFO: ``kind`` is its ``ftype3``."""

    kind: int = wire.FIFO


Tree: TypeAlias = "Mapping[bytes, int | Link | Special | Tree]"
"""Names to sizes of files in bytes, links, special files, and directories."""


class ServedTree(ABC):
    """What the server asks of a tree. Handles are the tree's own."""

    @property
    @abstractmethod
    def root(self) -> Node:
        """The directory that is exported."""

    @abstractmethod
    def handle(self, node: Node) -> bytes:
        """The handle that is good now."""

    @abstractmethod
    def find(self, handle: bytes) -> Node | None:
        """What a handle stands for; None: nothing any more."""

    @abstractmethod
    def child(self, directory: Node, name: bytes) -> Node | None:
        """What a name in a directory stands for."""

    @abstractmethod
    def children(self, directory: Node, start: int) -> Iterator[tuple[bytes, Node]]:
        """The names in a directory from the one numbered ``start`` on."""

    @abstractmethod
    def count(self, directory: Node) -> int:
        """How many names there are."""

    def ready_made(self, directory: Node, start: int, most_bytes: int) -> tuple[bytes, int] | None:
        """``entryplus3`` of all names from ``start`` on that fit, and how many; None: the server makes them itself."""
        del directory, start, most_bytes
        return None


class MemoryTree(ServedTree):
    """A tree that is held in memory, made of nested mappings."""

    _HANDLE = struct.Struct(">QI12x")
    _ROOT_HANDLE = struct.Struct(">II")

    def __init__(self, tree: Tree) -> None:
        self._nodes: dict[int, Node] = {}
        self._root = self._make(tree, b"", None)

    def _make(self, what: int | Link | Special | Tree, path: bytes, parent: Node | None) -> Node:
        fileid = len(self._nodes) + 1
        if isinstance(what, int):
            node = Node(fileid, wire.REGULAR, what, path, parent=parent)
        elif isinstance(what, Link):
            node = Node(fileid, wire.LINK, len(what.target), path, what.target, parent=parent)
        elif isinstance(what, Special):
            node = Node(fileid, what.kind, 0, path, parent=parent)
        else:
            node = Node(fileid, wire.DIRECTORY, 4096, path, parent=parent)
        self._nodes[fileid] = node
        if isinstance(what, Mapping):
            for name, below in what.items():
                made = self._make(below, path + b"/" + name if path else name, node)
                node.children.append((name, made))
                node.names[name] = made
        return node

    @property
    def root(self) -> Node:
        return self._root

    def handle(self, node: Node) -> bytes:
        # Handles of two lengths, as real servers have them.
        layout = self._ROOT_HANDLE if node is self._root else self._HANDLE
        return layout.pack(node.fileid, node.generation)

    def find(self, handle: bytes) -> Node | None:
        try:
            layout = self._ROOT_HANDLE if len(handle) == self._ROOT_HANDLE.size else self._HANDLE
            fileid, generation = layout.unpack(handle)
        except struct.error:
            return None
        node = self._nodes.get(fileid)
        return node if node is not None and node.generation == generation else None

    def child(self, directory: Node, name: bytes) -> Node | None:
        return directory.names.get(name)

    def children(self, directory: Node, start: int) -> Iterator[tuple[bytes, Node]]:
        return iter(directory.children[start:])

    def count(self, directory: Node) -> int:
        return len(directory.children)
