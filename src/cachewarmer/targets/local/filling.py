"""Asks a mount to load whole files into its cache, many at a time, instead of reading them through it.

Only JuiceFS can be asked (``control``). It fetches what its cache lacks and waits until the cache has kept it, so that
nothing is dropped and no data passes through FUSE. Each batch is confirmed by the mount's own check. Files that it does
not confirm, and those that are not readable regular files of the size seen at the scan, are read through the mount,
which determines their outcome.
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
"""Number of parts of the threads; a batch gets one: while some are prepared or confirmed, others are fetched."""
MOST_BATCHES = 12
"""Maximum number of concurrent batches. A batch with fewer files than threads leaves the rest of its part to others."""
BATCH_FILES, BATCH_BYTES = 250, 256 << 20
"""A batch is complete when it has so many files, or so many bytes and a file for each thread, because the mount fetches
one block of a file at a time. A file with more bytes is read through the mount."""
LOOK_SECONDS = 5.0
"""A mount reports a file when it is done. If that takes longer, its count of fetched blocks shows that it works."""
BARREN_FILES = 100
"""A mount that has kept none of this many files in a row is not asked again."""


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
        """The mount points of the mounts that can be asked, as far as known."""
        with self._lock:
            return [one.root for one in self._known.values() if one is not None]

    def of(self, device: int) -> Control | None:
        """The control file of the file system with this ``st_dev``; None: it can't be asked."""
        with self._lock:
            if device not in self._known:  # mounted since
                self._known[device] = self._find().get(device)
            return self._known[device]

    def probe(self, device: int, control: Control) -> None:
        """Checks, once for each mount, whether it can be asked. Raises as ``Control.probe``."""
        with self._probing:
            if device not in self._probed:
                control.probe()
                self._probed.add(device)

    def refuse(self, device: int, why: CacheWarmerError | str) -> None:
        """Records that a mount is not to be asked again; logs that once in this process."""
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
        """Records a check of files: ``missed`` is how many there were if none of them is in the cache, else 0."""
        with self._lock:
            self._barren[device] = barren = self._barren.get(device, 0) + missed if missed else 0
        if barren >= BARREN_FILES:
            self.refuse(device, "it kept nothing of what it was asked for")


_told: set[bytes] = set()
"""The mount points for which this was logged."""


class Filling:
    """The requests of a session for which mounts are asked. To be used on the event loop, like the session.

    ``settle`` takes a request that is done, and ``read`` one that is to be read through the mount.
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
        """``root`` is the directory of the session, without links; ``threads`` threads of the mount fetch."""
        self.volumes = volumes
        self.tree = tree
        self.threads = max(1, threads // SHARES)
        """Maximum number of threads of one batch."""
        self.settle = settle
        self.read = read
        self.messages = 0
        """The number of messages written to mounts so far."""
        self._root = root
        self._pool = pool
        self._waiting: deque[ReadRequest] = deque()
        self._batches = 0
        self._free = SHARES * self.threads
        """Threads that no batch uses."""
        self._starting = False
        self._prefixes: tuple[bytes, ...] = ()
        self._look()

    def __repr__(self) -> str:
        return f"<Filling waiting={len(self._waiting)} batches={self._batches}>"

    @property
    def bytes(self) -> int:
        """The most bytes for which mounts may be asked at the same time; 0: none is asked."""
        return SHARES * self.threads * BATCH_BYTES if self._prefixes else 0

    def takes(self, request: ReadRequest) -> bool:
        """Takes a request for a whole file if a mount may be asked for it; else returns False.

        A request that is made for its time, or whose order counts, is read through the mount.
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
        if not self._starting:  # together with all requests of this turn of the loop
            self._starting = True
            asyncio.get_running_loop().call_soon(self._start)
        return True

    def _look(self) -> None:
        """Finds the prefixes of paths that may be on a mount that can be asked."""
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
        """Records the end of a batch that had this many threads, and for which this many messages were written."""
        self.messages += messages
        self._batches -= 1
        self._free += threads
        self._look()
        self._start()

    def close(self) -> list[ReadRequest]:
        """Takes no more requests; returns those that were waiting."""
        waiting, self._waiting = list(self._waiting), deque()
        self._prefixes = ()
        return waiting


def _prefix(root: bytes, mount: bytes) -> bytes | None:
    """The prefix of the paths below ``root`` that may be on ``mount``; None: none is."""
    above, whole = root.rstrip(b"/") + b"/", mount.rstrip(b"/") + b"/"
    if whole.startswith(above):
        return whole[len(above) :]
    return b"" if above.startswith(whole) else None


class _Batch(Operation):
    """Some requests, for which the mounts of their files are asked in a thread."""

    __slots__ = ("_filling", "_kept", "_messages", "_requests", "_seconds", "_threads")

    def __init__(self, filling: Filling, requests: Sequence[ReadRequest], threads: int) -> None:
        super().__init__()
        self._filling = filling
        self._requests = requests
        self._threads = threads
        self._kept: dict[ReadRequest, int] = {}
        """The requests whose files are in the cache, with the sizes of the files."""
        self._messages = 0
        self._seconds = 0.0

    def run(self, clock: Callable[[], float]) -> None:
        began = clock()
        try:
            for device, files in self._by_device(clock).items():
                control = self._filling.volumes.of(device)
                if control is not None:
                    self._fill(control, device, files, clock)
        except Exception as error:  # reading through the mount finds the problem again, for each file
            log.debug("asking to fill a cache: %s", error, exc_info=True)
        self._seconds = clock() - began

    def _by_device(self, clock: Callable[[], float]) -> dict[int, list[_File]]:
        """The files that seem unchanged since the scan and may be read, by device."""
        found: dict[int, list[_File]] = {}
        for request in self._requests:
            self.progress = clock()
            if self.abandoned:
                break
            try:
                status = self._filling.tree.status(request.path)
                if stat.S_ISREG(status.st_mode) and status.st_size <= request.stop and self._may_read(request, status):
                    found.setdefault(status.st_dev, []).append(_File(request, status.st_ino, status.st_size))
            except (OSError, CacheWarmerError):  # reading the file will report it
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
                request.seconds = self._seconds / len(self._kept)  # the time of each file is not known
            elif error is None and request.stop > request.start:
                filling.read(request)
                continue
            request.error = error
            filling.settle(request)
        filling.ended(self._threads, self._messages)


class _Pulse:
    """Observes when a mount last showed that it works on a request."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control = control
        self._clock = clock
        self._progress: Progress | None = None
        self._fetched = -1.0
        self._moved_at = self._looked_at = clock()

    def feel(self, progress: Progress | None) -> float:
        """The time of the clock when the mount was last seen to work; ``progress`` is what it reports now."""
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
    """The files in the cache of a mount, by its answer for all of them; if it lacks some, it is asked about halves."""
    if answer is None:
        return
    if answer.files == len(files) and not answer.missing_bytes:
        yield from files
    elif len(files) > 1 and (answer.missing_bytes < answer.bytes or answer.files < len(files)):
        middle = len(files) // 2
        for half in (files[:middle], files[middle:]):
            yield from _kept(half, check(half), check)
