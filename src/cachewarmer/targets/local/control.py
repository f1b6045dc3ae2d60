"""The control file of JuiceFS, which makes a mounted volume fill its cache, or report how much of some files is cached.

``juicefs warmup`` uses it. A message is written to the file ``.control`` at the root of the mount, and the answer is
read from there: records of the progress, then one with the result as JSON; or a single byte, which is an errno
(``FillCache`` in JuiceFS's pkg/meta/interface.go, pkg/vfs/internal.go). All numbers are big-endian. Each time the file
is opened, a separate conversation begins; closing the file ends what was requested in it.
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
"""The names of the control file in newer and in older versions."""
NO_INODE = 1 << 62
"""An inode number that no file has."""
PROBE_SECONDS = 10.0
"""Timeout of a probe; a mount that does not answer it in time can't be asked."""
MOST_ANSWER_BYTES = 1 << 20
"""Maximum size of a result; a longer one is not from JuiceFS."""
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.0005, 0.01
"""Waits between reads of the file, which does not block; they double from the first value to the second."""

_FILL_CACHE = 1004
_PROGRESS, _RESULT = 0xFE, 0xFF
_PROGRESS_BYTES, _RESULT_HEAD_BYTES = 17, 5
_READ_BYTES = 128 << 10


class Action(IntEnum):
    """What the mount is asked to do with the blocks of some files."""

    FILL = 0
    """Fetch those that are not in the cache, and wait until they are."""
    CHECK = 2
    """Report how many bytes are not in the cache. Versions before 1.2 do not know this action, and fill the cache."""


class Progress(NamedTuple):
    """The progress of the mount: files and bytes that are done."""

    files: int
    bytes: int


class Answer(NamedTuple):
    """The result of a request."""

    files: int
    """The number of files found; lower than requested if some are gone."""
    bytes: int
    """Their size as it is stored, including what has been overwritten."""
    missing_bytes: int
    """How many of these bytes are not in the cache; 0 for ``FILL``."""


class Refused(FileError):
    """The mount can't be asked, or does not know the request."""


def message(action: Action, inodes: Sequence[int], threads: int) -> bytes:
    """The message for a request: ``inodes`` are of files, or of directories with all below them.

    ``threads`` is how many threads the mount uses for it.
    """
    if not inodes:
        raise ValueError("no name means the whole volume")
    names = b"\n".join(b"inode:%d" % inode for inode in inodes)
    body = struct.pack(">I", len(names)) + names + struct.pack(">HBB", threads, 0, action)
    return struct.pack(">II", _FILL_CACHE, len(body)) + body


class Decoder:
    """Decodes an answer from its bytes as they arrive. Pure."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        """The last progress that was reported; None: none was. A mount reports it three times a second."""
        self._bytes = bytearray()

    def feed(self, received: bytes) -> Answer | None:
        """Takes further bytes; returns the answer when it is complete, else None.

        Raises:
            Refused: the mount refuses, or its answer is not known here.
        """
        self._bytes += received
        while self._bytes:
            kind = self._bytes[0]
            if kind not in (_PROGRESS, _RESULT):
                # Versions before 1.2 answer with this byte alone, and do not report a result.
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
    """The control file of one mount. Calls block; each is a separate conversation, so that threads can share it."""

    def __init__(self, root: bytes) -> None:
        """``root`` is the mount point of the volume."""
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
        """Makes a request and returns its answer.

        ``alive`` is called repeatedly with the last progress. When it returns False, the request is ended, and None is
        returned.

        Raises:
            Refused: the mount can't be asked. OSError: the file system failed.
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
        """Checks whether the mount can be asked, with a request for a file that does not exist.

        An existing file would be fetched by versions that do not know ``CHECK``.

        Raises:
            Refused: it can't be asked. OSError: the file system failed.
        """
        end = time.monotonic() + PROBE_SECONDS
        if self.ask(Action.CHECK, [NO_INODE], 1, lambda _: time.monotonic() < end) is None:
            raise Refused("it did not answer")

    def fetched(self) -> float:
        """Blocks that the mount has fetched so far, for anybody. Raises ``OSError``, ``ValueError``."""
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
    """The JuiceFS volumes in a mount table (None: the current one), by device (``st_dev``)."""
    found: dict[int, Control] = {}
    for entry in read_table() if table is None else table:
        major, _, minor = entry.device.partition(":")
        if entry.kind == TYPE and entry.root == b"/":  # otherwise it shows only a part, without the control file
            found.setdefault(os.makedev(int(major), int(minor)), Control(entry.mount_point))
    return found
