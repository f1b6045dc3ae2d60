"""JuiceFS's control file, through which a mounted volume can be asked to fill its cache, and how much of some files is
in it.

``juicefs warmup`` does so. A message is written to the file ``.control`` at the mount's root, and what is read from there
afterwards is the answer: records of how far it is, then one with the result as JSON, or one byte that is an errno
(``FillCache`` in JuiceFS's pkg/meta/interface.go, pkg/vfs/internal.go). All numbers are big-endian. Each opening of the
file is a conversation of its own, and closing it ends what was asked for.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

from cachewarmer.errors import FileError
from cachewarmer.targets.local.discards import TYPE, read_counts
from cachewarmer.targets.mount.table import TableEntry, read_table

NAMES = (b".jfs.control", b".control")
"""The control file in newer and in older versions."""
NO_INODE = 1 << 62
"""No file has it."""
PROBE_SECONDS = 10.0
"""A mount that does not answer a question about nothing within this time can't be asked."""
MOST_ANSWER_BYTES = 1 << 20
"""A result is longer only where something else answers."""
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.0005, 0.01
"""The file does not block: it is read again after a wait that doubles up to this."""

_FILL_CACHE = 1004
_PROGRESS, _RESULT = 0xFE, 0xFF
_PROGRESS_BYTES, _RESULT_HEAD_BYTES = 17, 5
_READ_BYTES = 128 << 10


class Action(IntEnum):
    """What is to be done with the blocks of some files."""

    FILL = 0
    """Fetch those that are not in the cache, and wait until they are."""
    CHECK = 2
    """Say how many bytes are not in the cache. Versions before 1.2 do not know it, and fill the cache instead."""


class Progress(NamedTuple):
    """How far the mount is with what it was asked for."""

    files: int
    bytes: int


class Answer(NamedTuple):
    """The result."""

    files: int
    """How many were found; less than were asked for where some are gone."""
    bytes: int
    """Theirs, as they are stored: also what was overwritten since."""
    missing_bytes: int
    """Those of them that are not in the cache; 0 for ``FILL``."""


class Refused(FileError):
    """A mount can't be asked, or does not know what it is asked for."""


def message(action: Action, inodes: Sequence[int], threads: int) -> bytes:
    """What to write: inodes of files, or of directories for all that is below them; ``threads`` work at it."""
    if not inodes:
        raise ValueError("no name means the whole volume")
    names = b"\n".join(b"inode:%d" % inode for inode in inodes)
    body = struct.pack(">I", len(names)) + names + struct.pack(">HBB", threads, 0, action)
    return struct.pack(">II", _FILL_CACHE, len(body)) + body


class Decoder:
    """Takes the bytes of an answer as they come. Pure."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        """What was told last; a mount tells three times a second."""
        self._bytes = bytearray()

    def feed(self, received: bytes) -> Answer | None:
        """The answer when it is complete.

        Raises:
            Refused: it is a refusal, or no answer that is known here.
        """
        self._bytes += received
        while self._bytes:
            kind = self._bytes[0]
            if kind not in (_PROGRESS, _RESULT):
                # One byte was the whole result of the versions before 1.2: they do not say the result.
                raise Refused(os.strerror(kind) if kind else "this version of JuiceFS does not say what it has cached")
            if kind == _RESULT:
                return self._result()
            if len(self._bytes) < _PROGRESS_BYTES:
                return None
            self.progress = Progress(*struct.unpack_from(">QQ", self._bytes, 1))
            del self._bytes[:_PROGRESS_BYTES]
        return None

    def _result(self) -> Answer | None:
        if len(self._bytes) < _RESULT_HEAD_BYTES:
            return None
        (length,) = struct.unpack_from(">I", self._bytes, 1)
        if length > MOST_ANSWER_BYTES:
            raise Refused("it gave an answer that this program does not know")
        if len(self._bytes) < _RESULT_HEAD_BYTES + length:
            return None
        try:
            found = json.loads(self._bytes[_RESULT_HEAD_BYTES : _RESULT_HEAD_BYTES + length])
            counts = [found[name] for name in ("FileCount", "TotalBytes", "MissBytes")]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise Refused("it gave an answer that this program does not know") from error
        if not all(type(one) is int and one >= 0 for one in counts):
            raise Refused("it gave an answer that this program does not know")
        return Answer(*counts)


class Control:
    """The control file of one mount. Blocking; each call is a conversation of its own, so that threads can share it."""

    def __init__(self, root: bytes) -> None:
        """``root`` is where the volume is mounted."""
        self.root = root

    def __repr__(self) -> str:
        return f"<Control {os.fsdecode(self.root)}>"

    def ask(
        self,
        action: Action,
        inodes: Sequence[int],
        threads: int,
        alive: Callable[[Progress | None], bool] = lambda _: True,
    ) -> Answer | None:
        """Asks, and waits for the answer. ``alive`` is called from time to time with how far it is, as far as was told; False
        from it ends the wait, and what was asked for: None.

        Raises:
            Refused: it can't be asked. OSError: the file system failed.
        """
        fd = self._open()
        try:
            rest = memoryview(message(action, inodes, threads))
            while rest:
                rest = rest[os.write(fd, rest) :]
            decoder, wait = Decoder(), FIRST_WAIT_SECONDS
            while alive(decoder.progress):
                received = os.read(fd, _READ_BYTES)
                answer = decoder.feed(received)
                if answer is not None:
                    return answer
                if not received:
                    time.sleep(wait)
                    wait = min(MOST_WAIT_SECONDS, 2 * wait)
            return None
        finally:
            os.close(fd)

    def probe(self) -> None:
        """Finds out whether it can be asked: about a file that is not there, so that nothing is done.

        The versions that do not know ``CHECK`` would fill the cache with what they are asked about.

        Raises:
            Refused: it can't. OSError: the file system failed.
        """
        end = time.monotonic() + PROBE_SECONDS
        if self.ask(Action.CHECK, [NO_INODE], 1, lambda _: time.monotonic() < end) is None:
            raise Refused("it did not answer")

    def fetched(self) -> float:
        """Blocks that the mount has fetched so far, for anybody. Raises ``OSError`` or ``ValueError`` where it does not say."""
        return read_counts(self.root + b"/.stats").fetched

    def _open(self) -> int:
        for name in NAMES:
            try:
                return os.open(self.root + b"/" + name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.EISDIR):
                    raise Refused(
                        error.strerror or str(error), doing="open", subject=self.root + b"/" + name
                    ) from error
                raise
        raise Refused("there is no control file", subject=self.root)


def controls(table: Sequence[TableEntry] | None = None) -> dict[int, Control]:
    """The volumes that are mounted on this machine, by device (``st_dev``); by default those of now."""
    found: dict[int, Control] = {}
    for entry in read_table() if table is None else table:
        major, _, minor = entry.device.partition(":")
        if entry.kind == TYPE and entry.root == b"/":  # else it shows a part of the volume, without the file
            found.setdefault(os.makedev(int(major), int(minor)), Control(entry.mount_point))
    return found
