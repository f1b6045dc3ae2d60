"""Asks a mount to load whole files into its cache, many at a time, instead of reading them through it.

Only JuiceFS can be asked (``control``). It fetches what its cache lacks, and waits for the cache to keep it: so nothing is
dropped, and no byte passes through FUSE. Every batch is confirmed by the mount's own check. What that does not confirm, and
whatever is not an ordinary readable file of the size that was seen at the scan, is read through the mount, which finds the
right outcome for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from cachewarmer.errors import CacheWarmerError
from cachewarmer.targets.base import ReadRequest
from cachewarmer.targets.local.control import Action, Answer, Control, Progress, Refused, controls
from cachewarmer.targets.local.files import Tree
from cachewarmer.targets.local.threads import Operation, ThreadPool

log = logging.getLogger(__name__)

SHARES = 4
"""A batch gets one of so many parts of the threads: while some are being prepared or confirmed, the mount works at others."""
MOST_BATCHES = 12
"""Asked for at the same time. A batch of fewer files than its part has threads leaves the rest of it to further ones."""
BATCH_FILES, BATCH_BYTES = 250, 256 << 20
"""A batch is complete when it holds so many files, or so much and a file for each thread: the mount fetches one block of a
file at a time. A file that is larger than that is read through the mount."""
LOOK_SECONDS = 5.0
"""A mount tells of a file when it is done with it. Where that takes longer, what it has fetched shows that it is at work."""
BARREN_FILES = 100
"""A mount that has kept nothing of this many files in a row is not asked again."""


class _File(NamedTuple):
    request: ReadRequest
    inode: int
    size: int


class Volumes:
    """The mounts that can be asked, by device; shared by the threads of a session."""

    def __init__(self, find: Callable[[], dict[int, Control]] = controls) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._known: dict[int, Control | None] = dict(find())
        self._barren: dict[int, int] = {}
        self._probing = threading.Lock()
        self._probed: set[int] = set()

    def roots(self) -> list[bytes]:
        """Where those are mounted that can be asked, as far as known."""
        with self._lock:
            return [one.root for one in self._known.values() if one is not None]

    def of(self, device: int) -> Control | None:
        """Of the file system with that ``st_dev``; None: it can't be asked."""
        with self._lock:
            if device not in self._known:  # mounted since
                self._known[device] = self._find().get(device)
            return self._known[device]

    def probe(self, device: int, control: Control) -> None:
        """Finds out, once, whether a mount can be asked. Raises as ``Control.probe`` does."""
        with self._probing:
            if device not in self._probed:
                control.probe()
                self._probed.add(device)

    def refuse(self, device: int, why: CacheWarmerError | str) -> None:
        """A mount is not asked again; says so once in this process."""
        with self._lock:
            control, self._known[device] = self._known.get(device), None
        if control is None or control.root in _told:
            return
        _told.add(control.root)
        log.warning(
            "%s: can't be asked to fill its cache (%s): reading files through the mount, which takes longer",
            os.fsdecode(control.root),
            why,
        )

    def kept(self, device: int, missed: int) -> None:
        """Some files were checked: some are in the cache, or none of this many."""
        with self._lock:
            self._barren[device] = barren = self._barren.get(device, 0) + missed if missed else 0
        if barren >= BARREN_FILES:
            self.refuse(device, "it kept nothing of what it was asked for")


_told: set[bytes] = set()
"""The mounts that were said not to be asked."""


class Filling:
    """The requests of a session that mounts are asked for. On the event loop, as the session is.

    ``settle`` takes a request that is done, ``read`` one that should be read through the mount.
    """

    def __init__(
        self,
        volumes: Volumes,
        root: bytes,
        tree: Tree,
        pool: ThreadPool,
        threads: int,
        *,
        settle: Callable[[ReadRequest], None],
        read: Callable[[ReadRequest], None],
    ) -> None:
        """``root`` is what the session's paths are below, without links; ``threads`` fetch at the same time."""
        self.volumes = volumes
        self.tree = tree
        self.threads = max(1, threads // SHARES)
        """The most of one batch."""
        self.settle = settle
        self.read = read
        self.messages = 0
        """Written to mounts so far."""
        self._root = root
        self._pool = pool
        self._waiting: deque[ReadRequest] = deque()
        self._batches = 0
        self._free = SHARES * self.threads
        """Threads that no batch has."""
        self._starting = False
        self._prefixes: tuple[bytes, ...] = ()
        self._look()

    def __repr__(self) -> str:
        return f"<Filling waiting={len(self._waiting)} batches={self._batches}>"

    @property
    def bytes(self) -> int:
        """What mounts may be asked for at the same time, a file for each thread; 0: none is asked."""
        return SHARES * self.threads * BATCH_BYTES if self._prefixes else 0

    def takes(self, request: ReadRequest) -> bool:
        """Takes a request for a whole file where a mount may be asked for it; else False.

        What is read for its time, or in its order, is read through the mount.
        """
        if (
            not self._prefixes
            or request.start
            or not 0 < request.stop <= BATCH_BYTES
            or request.once
            or request.in_order
            or not request.path.startswith(self._prefixes)
        ):
            return False
        self._waiting.append(request)
        if not self._starting:  # with all that is given in this turn of the loop
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)
        return True

    def _look(self) -> None:
        """Finds out what the paths begin with that may lie on a mount that can be asked."""
        self._prefixes = tuple(one for root in self.volumes.roots() if (one := _prefix(self._root, root)) is not None)

    def _start(self) -> None:
        self._starting = False
        while self._waiting and self._free and self._batches < MOST_BATCHES:
            batch: list[ReadRequest] = []
            size = 0
            while self._waiting and len(batch) < BATCH_FILES:
                if size + self._waiting[0].stop > BATCH_BYTES and len(batch) >= self.threads:
                    break
                batch.append(self._waiting.popleft())
                size += batch[-1].stop
            threads = min(self.threads, len(batch), self._free)
            self._batches += 1
            self._free -= threads
            self._pool.submit(_Batch(self, batch, threads))

    def ended(self, threads: int, messages: int) -> None:
        """A batch is over, which had this many threads, and for which this many messages were written."""
        self.messages += messages
        self._batches -= 1
        self._free += threads
        self._look()
        self._start()

    def close(self) -> list[ReadRequest]:
        """Takes no more; what was waiting."""
        waiting, self._waiting = list(self._waiting), deque()
        self._prefixes = ()
        return waiting


def _prefix(root: bytes, mount: bytes) -> bytes | None:
    """What the paths below ``root`` begin with that may lie on ``mount``; None: none does."""
    above, whole = root.rstrip(b"/") + b"/", mount.rstrip(b"/") + b"/"
    if whole.startswith(above):
        return whole[len(above) :]
    return b"" if above.startswith(whole) else None


class _Batch(Operation):
    """Some requests on their way to the mounts that their files lie on."""

    __slots__ = ("_filling", "_kept", "_messages", "_requests", "_seconds", "_threads")

    def __init__(self, filling: Filling, requests: Sequence[ReadRequest], threads: int) -> None:
        super().__init__()
        self._filling = filling
        self._requests = requests
        self._threads = threads
        self._kept: dict[ReadRequest, int] = {}
        """Whose files are in the cache, with their sizes."""
        self._messages = 0
        self._seconds = 0.0

    def run(self, clock: Callable[[], float]) -> None:
        began = clock()
        try:
            for device, files in self._by_device(clock).items():
                control = self._filling.volumes.of(device)
                if control is not None:
                    self._fill(control, device, files, clock)
        except Exception as error:  # whatever it is, reading through the mount finds it as well, file by file
            log.debug("asking to fill a cache: %s", error, exc_info=True)
        self._seconds = clock() - began

    def _by_device(self, clock: Callable[[], float]) -> dict[int, list[_File]]:
        """The files that are what they were at the scan, as far as can be seen, and may be read."""
        found: dict[int, list[_File]] = {}
        for request in self._requests:
            self.progress = clock()
            if self.abandoned:
                break
            try:
                status = self._filling.tree.status(request.path)
                if stat.S_ISREG(status.st_mode) and status.st_size <= request.stop and self._may_read(request, status):
                    found.setdefault(status.st_dev, []).append(_File(request, status.st_ino, status.st_size))
            except (OSError, CacheWarmerError):  # reading it finds out
                continue
        return found

    def _may_read(self, request: ReadRequest, status: os.stat_result) -> bool:
        return status.st_mode & 0o444 == 0o444 or self._filling.tree.may_read(request.path)

    def _fill(self, control: Control, device: int, files: list[_File], clock: Callable[[], float]) -> None:
        def ask(action: Action, some: Sequence[_File]) -> Answer | None:
            self._messages += 1
            pulse = _Pulse(control, clock)

            def alive(progress: Progress | None) -> bool:
                self.progress = pulse.feel(progress)
                return not self.abandoned and any(one.request.stop > one.request.start for one in some)

            return control.ask(action, [one.inode for one in some], self._threads, alive)

        try:
            self._filling.volumes.probe(device, control)
            if ask(Action.FILL, files) is None:
                return
            checked = ask(Action.CHECK, files)
            if checked is None:
                return
            kept = list(_kept(files, checked, partial(ask, Action.CHECK)))
        except Refused as error:
            self._filling.volumes.refuse(device, error)
            return
        self._kept.update((one.request, one.size) for one in kept)
        if kept or checked.missing_bytes:
            self._filling.volumes.kept(device, 0 if kept else len(files))

    def finish(self, error: CacheWarmerError | None) -> None:
        filling = self._filling
        for request in self._requests:
            if error is None and request in self._kept and request.stop > request.start:
                request.bytes_read = min(self._kept[request], request.stop)
                request.seconds = self._seconds / len(self._kept)  # nobody tells what each of them took
            elif error is None and request.stop > request.start:
                filling.read(request)
                continue
            request.error = error
            filling.settle(request)
        filling.ended(self._threads, self._messages)


class _Pulse:
    """When a mount last showed that it is at work at what it was asked for."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control = control
        self._clock = clock
        self._progress: Progress | None = None
        self._fetched = -1.0
        self._moved_at = self._looked_at = clock()

    def feel(self, progress: Progress | None) -> float:
        """The time by the clock, given what it tells now."""
        now = self._clock()
        if progress != self._progress:
            self._progress, self._moved_at = progress, now
        elif now - max(self._moved_at, self._looked_at) >= LOOK_SECONDS:
            self._looked_at = now
            with contextlib.suppress(OSError, ValueError):
                before, self._fetched = self._fetched, self._control.fetched()
                if before not in (-1.0, self._fetched):
                    self._moved_at = now
        return self._moved_at


def _kept(
    files: Sequence[_File], answer: Answer | None, check: Callable[[Sequence[_File]], Answer | None]
) -> Iterator[_File]:
    """Those that a mount has in its cache, given its answer for all of them: where it lacks some, it is asked for halves."""
    if answer is None:
        return
    if answer.files == len(files) and not answer.missing_bytes:
        yield from files
    elif len(files) > 1 and (answer.missing_bytes < answer.bytes or answer.files < len(files)):
        middle = len(files) // 2
        for half in (files[:middle], files[middle:]):
            yield from _kept(half, check(half), check)
