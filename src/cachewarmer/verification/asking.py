"""Asks caches what they hold: JuiceFS with its control file, the page cache of this machine with mincore(2)."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial

from cachewarmer.blocking import in_daemon_thread
from cachewarmer.errors import CacheWarmerError
from cachewarmer.paths import holds, to_bytes, to_text
from cachewarmer.targets.local.control import Action, Answer, Control, Refused, controls
from cachewarmer.targets.local.discards import TYPE
from cachewarmer.targets.local.files import translate
from cachewarmer.targets.mount.table import read_table
from cachewarmer.verification.intervals import Interval, effective_samples, wilson
from cachewarmer.verification.sampling import Sample

CHECK_SECONDS = 3600.0
CHECK_THREADS = 50
"""As many as ``juicefs warmup --check`` has."""
_REMOTE = ("fuse", "nfs", "nfs4", "lustre", "cifs", "smb3", "smbfs", "ceph", "9p", "afs", "beegfs", "gpfs", "glusterfs")
"""File systems whose cache is elsewhere: this machine's page cache says nothing about it."""


class Asked(StrEnum):
    """The caches that can be asked."""

    NOBODY = ""
    JUICEFS = "juicefs warmup --check"
    PAGE_CACHE = "mincore"


async def whom_to_ask(path: str) -> Asked:
    """Which cache can be asked about a local path."""
    return await in_daemon_thread(partial(_whom_to_ask, path))


def _whom_to_ask(path: str) -> Asked:
    kinds = [
        (len(entry.mount_point), entry.kind)
        for entry in read_table()
        if holds(to_text(entry.mount_point), os.path.realpath(path))
    ]
    kind = max(kinds, default=(0, ""))[1]
    if kind == TYPE:
        try:
            _volume(path)[0].probe()
        except (OSError, Refused):
            return Asked.NOBODY
        return Asked.JUICEFS
    if not kind or kind.partition(".")[0] in _REMOTE:
        return Asked.NOBODY
    return Asked.PAGE_CACHE


def _volume(path: str) -> tuple[Control, int]:
    """What answers for a path on JuiceFS, and the path's inode. Raises ``OSError`` or ``Refused``."""
    status = os.stat(to_bytes(path))
    control = controls().get(status.st_dev)
    if control is None:
        raise Refused("the root of the volume is not mounted on this machine", subject=to_bytes(path))
    return control, status.st_ino


async def ask_juicefs(path: str) -> Interval:
    """The fraction of the bytes below ``path`` that JuiceFS says it has in its cache; exact as it says it.

    Raises:
        CacheWarmerError: it does not say.
    """
    end = time.monotonic() + CHECK_SECONDS
    waiting = True

    def ask() -> Answer | None:
        control, inode = _volume(path)
        return control.ask(Action.CHECK, [inode], CHECK_THREADS, lambda _: waiting and time.monotonic() < end)

    try:
        answer = await in_daemon_thread(ask)
    except OSError as error:
        raise translate(error, "asking JuiceFS about", to_bytes(path)) from error
    finally:
        waiting = False
    if answer is None:
        raise CacheWarmerError("no answer within an hour", doing="asking JuiceFS")
    share = max(0.0, 1 - answer.missing_bytes / answer.bytes) if answer.bytes else 1.0
    return Interval(share, share, share)


def ask_page_cache(samples: Sequence[Sample], *, complete: bool) -> tuple[Interval | None, list[bool]]:
    """The fraction of the samples that this machine's page cache holds, and which of them it lacks a page of.

    Nothing is read. Raises ``CacheWarmerError`` where a file can't be opened.
    """
    shares = [resident(sample) for sample in samples]
    weights = [sample.weight for sample in samples]
    total = sum(weights)
    if not total:
        return None, []
    share = min(1.0, sum(one * weight for one, weight in zip(shares, weights, strict=True)) / total)
    interval = (
        Interval(share, share, share)
        if complete
        else wilson(share, effective_samples(weights, [sample.draws for sample in samples]))
    )
    return interval, [one < 1 for one in shares]


def resident(sample: Sample) -> float:
    """The share of a sample's pages that are in memory (mincore(2))."""
    path = b"/" + sample.file.path
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise translate(error, "open", path) from error
    try:
        start = sample.start - sample.start % mmap.PAGESIZE
        length = min(sample.stop, os.fstat(fd).st_size) - start
        if length <= 0:
            return 1.0
        with _mapped(fd, start, length) as place:
            pages = -(-length // mmap.PAGESIZE)
            states = (ctypes.c_ubyte * pages)()
            if _libc().mincore(ctypes.c_void_p(place), ctypes.c_size_t(length), states):
                number = ctypes.get_errno()
                raise translate(OSError(number, os.strerror(number)), "mincore", path)
            return sum(state & 1 for state in states) / pages
    finally:
        os.close(fd)


@contextmanager
def _mapped(fd: int, start: int, length: int) -> Iterator[int]:
    libc = _libc()
    place = libc.mmap(None, ctypes.c_size_t(length), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(start))
    if place in (None, ctypes.c_void_p(-1).value):
        raise CacheWarmerError(os.strerror(ctypes.get_errno()), doing="mapping a file")
    try:
        yield place
    finally:
        libc.munmap(ctypes.c_void_p(place), ctypes.c_size_t(length))


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    return libc
