"""What a scripted server answers: MOUNT3 and NFS3 over a tree, with the faults of its script."""

from __future__ import annotations

import itertools
import mmap
import random
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from cachewarmer.paths import to_bytes, to_text
from cachewarmer.testing import wire
from cachewarmer.testing.faults import Faults
from cachewarmer.testing.tree import Node, ServedTree
from cachewarmer.testing.wire import ABSENT, PRESENT, Arguments, Call, number, opaque

Parts: TypeAlias = "list[bytes | memoryview]"
Procedure: TypeAlias = Callable[[Arguments], Parts]

_ZEROS: Final = memoryview(mmap.mmap(-1, (1 << 20) + 4))
"""What every file holds; shared by all replies, and as nobody writes to it, one page of the kernel's."""
_READ_ARGUMENTS = struct.Struct(">QI")
_READ_TAIL = struct.Struct(">III")
_VERIFIER = b"verifier"
_DOTS = 2
""". and .. come first: the cookie of the entry numbered n is n + 1 with these two counted."""


class Unanswered(Exception):  # noqa: N818  # not an error: the script wants it so
    """A call that gets no reply."""


class Procedures:
    """Answers calls. ``exports[0]`` is where the tree's root is; further exports lie below it."""

    def __init__(self, tree: ServedTree, faults: Faults, exports: Sequence[str]) -> None:
        self.tree = tree
        self.faults = faults
        self.exports = tuple(exports)
        self.calls: Counter[str] = Counter()
        """Calls received, by procedure."""
        self.read_bytes = 0
        """Payload of all READ replies."""
        self._reads_answered = 0
        self.bytes_asked = 0
        self.complaints: list[str] = []
        """What the client did against the rules."""
        self._random = random.Random(faults.seed)
        self._given: Counter[tuple[str, str, int]] = Counter()
        self._kept: OrderedDict[int, None] = OrderedDict()
        """Files and directories whose handles are kept, where not all are; the next to be forgotten first."""
        self._nfs: dict[int, Procedure] = {
            0: self._null,
            1: self._getattr,
            3: self._lookup,
            4: self._access,
            5: self._readlink,
            6: self._read,
            16: lambda arguments: self._list(arguments, plus=False),
            17: lambda arguments: self._list(arguments, plus=True),
            18: self._fsstat,
            19: self._fsinfo,
            20: self._pathconf,
        }

    def answer(self, record: bytes, *, privileged: bool) -> tuple[int, int, Parts]:
        """The program and procedure that a record calls, and the reply, as parts of one record; none: it gets no reply.

        Raises:
            wire.BadCallError: the record isn't a call; it is complained about as well.
        """
        try:
            call = wire.read_call(record)
        except wire.BadCallError as error:
            self.complaints.append(str(error))
            raise
        if call.program not in (wire.NFS, wire.MOUNT):
            status: int | None = wire.PROG_UNAVAIL
        else:
            status = None if call.version == 3 else wire.PROG_MISMATCH
        if status is not None:
            results: Parts = [struct.pack(">II", 3, 3)] if status == wire.PROG_MISMATCH else []
            return call.program, call.procedure, wire.accepted(call.xid, results, status)
        try:
            if call.program == wire.MOUNT:
                return call.program, call.procedure, self._mount(call, privileged=privileged)
            return call.program, call.procedure, self._call_nfs(call, privileged=privileged)
        except Unanswered:
            return call.program, call.procedure, []
        except wire.BadCallError as error:
            self.complaints.append(f"{wire.NFS_NAMES.get(call.procedure)}: {error}")
            return call.program, call.procedure, wire.accepted(call.xid, [], wire.GARBAGE_ARGS)

    # -- MOUNT -----------------------------------------------------------------------------------------------------

    def _mount(self, call: Call, *, privileged: bool) -> Parts:
        name = wire.MOUNT_NAMES.get(call.procedure, "")
        self.calls[name] += 1
        arguments, results = call.arguments, list[bytes | memoryview]()
        if name in ("MNT", "UMNT"):
            path = arguments.opaque(1024)
            if name == "MNT":
                results.append(self._mnt(path, privileged=privileged))
        elif name == "EXPORT":
            shown = self.exports if self.faults.export_list is None else self.faults.export_list
            for export in shown:
                results.append(PRESENT + opaque(to_bytes(export)) + ABSENT)
            results.append(ABSENT)
        elif name != "MOUNT_NULL":
            return wire.accepted(call.xid, [], wire.PROC_UNAVAIL)
        arguments.end()
        return wire.accepted(call.xid, results)

    def _mnt(self, path: bytes, *, privileged: bool) -> bytes:
        """``mountres3`` (RFC 1813 section 5.2.1)."""
        faults = self.faults
        if faults.mount_status:
            return number(faults.mount_status)
        if faults.mount_privileged and not privileged:
            return number(wire.ACCES)
        base = to_bytes(self.exports[0]).rstrip(b"/")
        if path.rstrip(b"/") != base and not path.startswith(base + b"/"):
            return number(wire.NOENT)
        if not faults.mount_below and to_text(path) not in self.exports:
            return number(wire.ACCES)
        node: Node | None = self.tree.root
        for part in path[len(base) :].split(b"/"):
            if part and node is not None:
                node = self.tree.child(node, part)
        if node is None:
            return number(wire.NOENT)
        if node.kind != wire.DIRECTORY:
            return number(wire.NOTDIR)
        flavours = faults.mount_flavours
        return number(wire.OK) + opaque(self._give(node)) + struct.pack(f">I{len(flavours)}I", len(flavours), *flavours)

    # -- NFS -------------------------------------------------------------------------------------------------------

    def _call_nfs(self, call: Call, *, privileged: bool) -> Parts:
        self.calls[wire.NFS_NAMES.get(call.procedure, "?")] += 1
        faults = self.faults
        if faults.nfs_privileged and not privileged:
            return wire.rejected(call.xid, wire.AUTH_TOOWEAK)
        procedure = self._nfs.get(call.procedure)
        if procedure is None:
            return wire.accepted(call.xid, [], wire.PROC_UNAVAIL)
        if call.procedure and faults.nfs_uid not in (-1, call.uid):
            return wire.accepted(call.xid, self._failed(wire.ACCES, call.procedure))
        results = procedure(call.arguments)
        return wire.accepted(call.xid, results)

    def _failed(self, status: int, procedure: int) -> Parts:
        # Every failure but GETATTR's carries the attributes of the object, where the server has them.
        return [number(status)] if procedure == 1 else [number(status), ABSENT]

    def _optional(self, node: Node, wanted: bool) -> bytes:
        """``post_op_attr``."""
        return PRESENT + node.attributes() if wanted else ABSENT

    def _object(self, arguments: Arguments, procedure: str) -> tuple[Node | None, int]:
        """What the handle in a call stands for; and the status the script or the tree wants answered, or 0."""
        handle = arguments.opaque(wire.MOST_HANDLE_BYTES)
        node = self.tree.find(handle)
        if node is None:
            return None, wire.STALE
        faults = self.faults
        if node.path in faults.vanished:
            return node, wire.STALE
        if faults.most_handles and not self._keeps(node):
            return node, wire.STALE
        times = faults.stale.get(procedure, 0)
        if times and (node is not self.tree.root or faults.stale_root) and self._once("stale", procedure, node, times):
            node.generation += 1
            return node, wire.STALE
        times = faults.jukebox.get(procedure, 0)
        if times and self._once("jukebox", procedure, node, times):
            return node, faults.jukebox_status
        if faults.jukebox_every and procedure == "READ":
            self._given["reads", "", node.fileid] += 1
            if not self._given["reads", "", node.fileid] % faults.jukebox_every:
                return node, wire.JUKEBOX
        return node, 0

    def _keeps(self, node: Node) -> bool:
        """Whether a node's handle is still kept; then it is the last to be forgotten."""
        if node is self.tree.root:
            return True
        if node.fileid not in self._kept:
            return False
        self._kept.move_to_end(node.fileid)
        return True

    def _give(self, node: Node) -> bytes:
        """The handle of a node, which is kept from now on."""
        if self.faults.most_handles:
            self._kept[node.fileid] = None
            self._kept.move_to_end(node.fileid)
            if len(self._kept) > self.faults.most_handles:
                self._kept.popitem(last=False)
        return self.tree.handle(node)

    def _once(self, fault: str, procedure: str, node: Node, times: int) -> bool:
        key = (fault, procedure, node.fileid)
        self._given[key] += 1
        return self._given[key] <= times

    def _null(self, arguments: Arguments) -> Parts:
        arguments.end()
        return []

    def _getattr(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "GETATTR")
        arguments.end()
        if node is None or status:
            return [number(status)]
        return [number(wire.OK), node.attributes()]

    def _lookup(self, arguments: Arguments) -> Parts:
        directory, status = self._object(arguments, "LOOKUP")
        name = arguments.opaque(1 << 16)
        arguments.end()
        if directory is None or status:
            return self._failed(status, 3)
        if directory.kind != wire.DIRECTORY:
            return self._failed(wire.NOTDIR, 3)
        node = self.tree.child(directory, name)
        if node is None or node.path in self.faults.vanished:
            return self._failed(wire.NOENT, 3)
        faults = self.faults
        return [
            number(wire.OK),
            opaque(self._give(node)),
            self._optional(node, faults.lookup_attributes),
            self._optional(directory, faults.other_attributes),
        ]

    def _access(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "ACCESS")
        (wanted,) = arguments.numbers("I")
        arguments.end()
        if node is None or status:
            return self._failed(status, 4)
        allowed = 0 if node.path in self.faults.denied else wanted
        return [number(wire.OK), self._optional(node, self.faults.other_attributes), number(allowed)]

    def _readlink(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "READLINK")
        arguments.end()
        if node is not None and not status and node.kind != wire.LINK:
            status = wire.INVAL
        if node is None or status:
            return self._failed(status, 5)
        return [number(wire.OK), self._optional(node, self.faults.other_attributes), opaque(node.target)]

    def _read(self, arguments: Arguments) -> Parts:
        """READ (RFC 1813 section 3.3.6)."""
        node, status = self._object(arguments, "READ")
        offset, asked = _READ_ARGUMENTS.unpack(arguments.raw(12))
        arguments.end()
        self.bytes_asked += asked
        faults = self.faults
        if node is not None and not status:
            status = self._refusal(node)
            if node.kind == wire.DIRECTORY:
                status = status or wire.ISDIR
            elif node.kind != wire.REGULAR:
                status = status or wire.INVAL
        if node is None or status:
            return self._failed(status, 6)
        self._hang(node)
        size = faults.real_sizes.get(node.path, node.size) if faults.real_sizes else node.size
        count = max(0, min(asked, faults.rtmax, size - offset))
        if faults.short_reads and count > 1:
            count = self._random.randint(1, count)
        if faults.empty_reads:
            count = 0
        eof = offset + count >= size and not faults.empty_reads
        self.read_bytes += count
        head = PRESENT + node.attributes() if faults.other_attributes else ABSENT
        return [ABSENT + head + _READ_TAIL.pack(count, eof, count), _ZEROS[: count + (-count % 4)]]

    def _hang(self, node: Node) -> None:
        """Raises ``Unanswered`` where the script wants no answer to this READ."""
        if node.path in self.faults.hung or self._reads_answered == self.faults.reads_answered:
            raise Unanswered
        self._reads_answered += 1

    def _refusal(self, node: Node) -> int:
        faults = self.faults
        if node.path in faults.denied:
            return wire.ACCES
        return faults.failing.get(node.path, 0) if faults.failing else 0

    def _fsstat(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "FSSTAT")
        arguments.end()
        if node is None or status:
            return self._failed(status, 18)
        numbers = struct.pack(">6QI", 1 << 40, 1 << 39, 1 << 39, 1 << 20, 1 << 19, 1 << 19, 0)
        return [number(wire.OK), self._optional(node, self.faults.other_attributes), numbers]

    def _fsinfo(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "FSINFO")
        arguments.end()
        if node is None or status:
            return self._failed(status, 19)
        most, listing = self.faults.rtmax, self.faults.dtpref
        numbers = struct.pack(">7IQ2II", most, most, 1, most, most, 1, listing, (1 << 63) - 1, 0, 1, 0x1B)
        return [number(wire.OK), self._optional(node, self.faults.other_attributes), numbers]

    def _pathconf(self, arguments: Arguments) -> Parts:
        node, status = self._object(arguments, "PATHCONF")
        arguments.end()
        if node is None or status:
            return self._failed(status, 20)
        numbers = struct.pack(">6I", 32000, 255, 1, 1, 0, 1)
        return [number(wire.OK), self._optional(node, self.faults.other_attributes), numbers]

    # -- listing ---------------------------------------------------------------------------------------------------

    def _list(self, arguments: Arguments, *, plus: bool) -> Parts:
        """READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17)."""
        procedure = "READDIRPLUS" if plus else "READDIR"
        directory, status = self._object(arguments, procedure)
        (cookie,) = arguments.numbers("Q")
        verifier = arguments.raw(8)
        names_bytes = arguments.numbers("I")[0] if plus else 1 << 31
        (most_bytes,) = arguments.numbers("I")
        arguments.end()
        faults = self.faults
        if plus and not faults.readdirplus:
            status = status or wire.NOTSUPP
        if directory is not None and not status:
            if directory.kind != wire.DIRECTORY:
                status = wire.NOTDIR
            elif cookie and self._is_bad(cookie_verifier=verifier, directory=directory):
                status = wire.BAD_COOKIE
            elif most_bytes < faults.too_small:
                status = wire.TOOSMALL
            else:
                status = self._refusal(directory)
        if directory is None or status:
            return self._failed(status, 17)
        return self._entries(directory, cookie, names_bytes, most_bytes, plus=plus)

    def _is_bad(self, *, cookie_verifier: bytes, directory: Node) -> bool:
        faults = self.faults
        if faults.bad_cookies and self._once("cookie", "", directory, faults.bad_cookies):
            return True
        return cookie_verifier not in ((bytes(8),) if faults.bad_verifiers else (_VERIFIER, bytes(8)))

    def _entries(self, directory: Node, cookie: int, names_bytes: int, most_bytes: int, *, plus: bool) -> Parts:
        faults, tree = self.faults, self.tree
        head = number(wire.OK) + self._optional(directory, faults.other_attributes) + _VERIFIER
        left = most_bytes - len(head) - 8
        parts: Parts = [head]
        total = tree.count(directory) + _DOTS
        if faults.circling:
            cookie %= total
        ready = self._ready_made(directory, cookie, left) if plus else None
        if ready is not None:
            entries, taken = [ready[0]], ready[1]
        else:
            entries = self._made(directory, cookie, names_bytes, left, plus=plus)
            taken = len(entries)
        parts += entries
        end = cookie + taken >= total and not faults.circling
        if not taken and not end:
            return self._failed(wire.TOOSMALL, 17)
        parts.append(ABSENT + number(end))
        return parts

    def _ready_made(self, directory: Node, cookie: int, most_bytes: int) -> tuple[bytes, int] | None:
        """A page of READDIRPLUS that the tree has put together before, and its number of entries."""
        faults = self.faults
        scripted = faults.page_entries or faults.most_handles or not (faults.list_attributes and faults.list_handles)
        if cookie < _DOTS or scripted:
            return None
        ready = self.tree.ready_made(directory, cookie - _DOTS, most_bytes)
        return ready if ready and ready[1] else None

    def _made(self, directory: Node, cookie: int, names_bytes: int, left: int, *, plus: bool) -> list[bytes]:
        """The entries behind a cookie, as many as fit."""
        made: list[bytes] = []
        for name, node in self._named(directory, cookie):
            entry = PRESENT + struct.pack(">Q", node.fileid) + opaque(name) + struct.pack(">Q", cookie + len(made) + 1)
            names_bytes -= len(entry)
            entry += self._plus(name, node) if plus else b""
            left -= len(entry)
            if left < 0 or names_bytes < 0 or len(made) == (self.faults.page_entries or -1):
                break
            made.append(entry)
        return made

    def _plus(self, name: bytes, node: Node) -> bytes:
        """What READDIRPLUS adds to a name."""
        given = self.faults.list_handles and name != b".."
        handle = PRESENT + opaque(self._give(node)) if given else ABSENT
        return self._optional(node, self.faults.list_attributes) + handle

    def _named(self, directory: Node, start: int) -> Iterator[tuple[bytes, Node]]:
        dots = [(b".", directory), (b"..", directory.parent or directory)][start:]
        rest = self.tree.children(directory, max(0, start - _DOTS))
        return itertools.chain(dots, rest)
