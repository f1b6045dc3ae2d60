"""Blocking operations on local directories and files, for the threads of the local target.

Paths are resolved one component at a time from an open directory, so that no link is ever followed and nothing outside
the root is reached, whatever changes in the meantime. Reads bypass the page cache, so that the storage answers.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from mmap import PAGESIZE, mmap
from typing import TypeVar

from cachewarmer.errors import (
    CacheWarmerError,
    ConnectionLost,
    FileError,
    FileVanished,
    own_resource_error,
)
from cachewarmer.targets.base import DirectoryEntry, EntryError, FileKind, Page
from cachewarmer.targets.mount.table import TableEntry, read_table

Result = TypeVar("Result")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECT = getattr(os, "O_DIRECT", 0)
_PATH = getattr(os, "O_PATH", os.O_RDONLY)
_OPEN_DIRECTORIES = 64
_PAGE_ENTRIES = 2000
_ALIGNMENT = max(4096, PAGESIZE)
"""Alignment in bytes that suits block devices with sectors of 512 or 4096 bytes."""

_GONE = frozenset({errno.ENOENT, errno.ESTALE, errno.ENOTDIR})
_ADDRESS_FAILED = frozenset(
    {
        errno.ENOTCONN,  # a FUSE file system whose program died
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
    }
)


def translate(error: OSError, what: str, path: bytes) -> CacheWarmerError:
    """Our exception for an ``OSError`` at a path; ``what`` names the operation. The caller sets the cause."""
    subject = b"/" + path.lstrip(b"/")
    own = own_resource_error(error, doing=what, subject=subject)
    if own is not None:
        return own
    reason = error.strerror or str(error)
    if error.errno in _GONE:
        return FileVanished(reason, doing=what, subject=subject)
    if error.errno in _ADDRESS_FAILED:
        return ConnectionLost(reason, doing=what, subject=subject)
    if error.errno == errno.ELOOP:
        return FileError("it is a symbolic link, and links are not followed", doing=what, subject=subject)
    if error.errno in (errno.EACCES, errno.EPERM):
        return FileError(f"{error.strerror}: uid {os.geteuid()} may not read it", doing=what, subject=subject)
    return FileError(reason, doing=what, subject=subject)


class _OpenDirectory:
    """The descriptor of a directory, which is closed with the last reference to this object."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Tree:
    """Resolves paths below a root. Keeps the most recently used directories open. Thread-safe."""

    def __init__(self, root: bytes) -> None:
        """Opens the root. Links in its path are followed, because the user named it.

        Raises:
            OSError: it can't be opened, or is not a directory.
        """
        self._root: _OpenDirectory | None = _OpenDirectory(os.open(root, _PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[bytes, ...], _OpenDirectory] = OrderedDict()

    def close(self) -> None:
        """Closes the directories, so that a mount can be unmounted. Those in use are closed by their users."""
        with self._lock:
            self._open.clear()
            self._root = None

    def _top(self) -> _OpenDirectory:
        root = self._root
        if root is None:
            raise ConnectionLost("the session is closed")
        return root

    def _directory(self, parts: tuple[bytes, ...], *, fresh: bool) -> tuple[_OpenDirectory, bool]:
        """Returns the open directory, and whether it was open before. ``fresh``: all components are opened again."""
        there, found = self._nearest(parts, fresh=fresh)
        if parts and there == len(parts):
            return found, True
        for depth in range(there + 1, len(parts) + 1):  # one by one: a path may have 2,000 components
            flags = _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            found = _OpenDirectory(os.open(parts[depth - 1], flags, dir_fd=found.fd))
            with self._lock:
                self._open[parts[:depth]] = found
                self._open.move_to_end(parts[:depth])
                while len(self._open) > _OPEN_DIRECTORIES:
                    self._open.popitem(last=False)
        return found, False

    def _nearest(self, parts: tuple[bytes, ...], *, fresh: bool) -> tuple[int, _OpenDirectory]:
        """The depth and the deepest directory on the way that is open already; with ``fresh``, the root."""
        with self._lock:
            for depth in range(0 if fresh else len(parts), 0, -1):
                found = self._open.get(parts[:depth])
                if found is not None:
                    self._open.move_to_end(parts[:depth])
                    return depth, found
        return 0, self._top()

    def _at(self, parts: tuple[bytes, ...], act: Callable[[int], Result]) -> Result:
        """Calls ``act`` with the descriptor of a directory, and opens it again if it has been replaced."""
        directory, kept = self._directory(parts, fresh=False)
        try:
            return act(directory.fd)
        except OSError as error:
            if not kept or error.errno not in _GONE:
                raise
        directory, _ = self._directory(parts, fresh=True)
        return act(directory.fd)

    def status(self, path: bytes) -> os.stat_result:
        """``lstat`` of a path below the root. Raises ``OSError`` or ``FileError``."""
        parts = split(path)
        if not parts:
            return os.fstat(self._top().fd)
        return self._at(parts[:-1], lambda fd: os.stat(parts[-1], dir_fd=fd, follow_symlinks=False))

    def may_read(self, path: bytes) -> bool:
        """Whether this process may read a file, as far as that is known without opening it. Raises as ``status``."""
        parts = split(path)
        name = parts[-1] if parts else b"."
        return self._at(
            parts[:-1], lambda fd: os.access(name, os.R_OK, dir_fd=fd, effective_ids=True, follow_symlinks=False)
        )

    def read_link(self, path: bytes) -> bytes:
        """The text of a symbolic link. Raises ``OSError`` or ``FileError``."""
        parts = split(path)
        return self._at(parts[:-1], lambda fd: os.readlink(parts[-1] if parts else b".", dir_fd=fd))

    def open(self, path: bytes, flags: int) -> int:
        """Opens a path below the root; the caller closes it. Raises ``OSError`` or ``FileError``."""
        parts = split(path)
        if not parts:
            return os.open(b".", flags, dir_fd=self._top().fd)
        return self._at(parts[:-1], lambda fd: os.open(parts[-1], flags, dir_fd=fd))


def split(path: bytes) -> tuple[bytes, ...]:
    """The components of a path.

    Raises:
        FileError: it contains ``..`` or NUL.
    """
    parts = tuple(part for part in path.split(b"/") if part not in (b"", b"."))
    if b".." in parts or b"\0" in path:
        raise FileError("a path below the export can't hold .. or NUL", subject=path)
    return parts


# -- listing -------------------------------------------------------------------------------------------------------


def kind_of(mode: int) -> FileKind:
    """The kind of an entry with this ``st_mode``."""
    if stat.S_ISREG(mode):
        return FileKind.REGULAR
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.LINK if stat.S_ISLNK(mode) else FileKind.SPECIAL


KERNEL_KINDS = frozenset(
    "proc sysfs cgroup cgroup2 debugfs tracefs securityfs configfs selinuxfs bpf pstore efivarfs mqueue devpts "
    "fusectl binfmt_misc".split()
)
"""Virtual file systems of the kernel: nothing in them comes from storage, and reading them may never end."""


class FileSystems:
    """The kinds of the file systems of devices; shared by the threads of a session."""

    def __init__(self, read_table: Callable[[], Sequence[TableEntry]] = read_table) -> None:
        self._read_table = read_table
        self._kinds: dict[int, str] = {}

    def kind_of(self, device: int) -> str:
        """The kind of a device's file system, as in the mount table; empty: unknown."""
        if device not in self._kinds:
            self._kinds[device] = ""
            for entry in self._read_table():
                major, _, minor = entry.device.partition(":")
                if major.isdecimal() and minor.isdecimal():
                    self._kinds[os.makedev(int(major), int(minor))] = entry.kind
        return self._kinds[device]


def file_id(status: os.stat_result) -> int:
    """A number of 64 bits that identifies a file on this machine."""
    return (status.st_ino ^ status.st_dev * 0x9E3779B97F4A7C15) & (1 << 64) - 1


class Listing:
    """A directory that is being read. It is the cookie between two pages.

    One thread reads it at a time; any may close it.
    """

    def __init__(self, tree: Tree, path: bytes, kinds: FileSystems) -> None:
        """Opens it.

        Raises:
            OSError: it can't be opened. FileError: it is on a virtual file system of the kernel.
        """
        self._path = path
        self._reading = threading.Lock()
        self._over = False
        self._fd = tree.open(path, _DIRECTORY)  # its entries ask for their attributes through it
        try:
            self._device = os.fstat(self._fd).st_dev
            kind = kinds.kind_of(self._device)
            if kind in KERNEL_KINDS:
                raise FileError(
                    f"it is a {kind} file system, which has nothing to warm",
                    doing="list",
                    subject=b"/" + path,
                    advice="use another directory, or leave this one out with --exclude",
                )
            self._entries = os.scandir(self._fd)
        except (OSError, FileError):
            os.close(self._fd)
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes it at once, or at the end of the page that is being read, because another thread may use its stream.

        Does not wait.
        """
        self._over = True
        if hasattr(self, "_entries") and self._reading.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._reading.release()

    def _close(self) -> None:
        if hasattr(self, "_entries"):
            self._entries.close()
            del self._entries
            os.close(self._fd)

    def page(self, note: Callable[[], bool]) -> Page:
        """The next entries. ``note`` is called after each entry, and ends the page by returning True.

        Raises:
            OSError: the directory can't be read to its end.
        """
        with self._reading:
            try:
                if self._over:
                    raise OSError(errno.EBADF, "the listing was closed")
                return self._page(note)
            finally:
                if self._over:
                    self._close()

    def _page(self, note: Callable[[], bool]) -> Page:
        entries: list[DirectoryEntry] = []
        errors: list[EntryError] = []
        for entry in self._entries:
            name = os.fsencode(entry.name)
            try:
                # Most file systems return the type with the name, so that only files need a call.
                if entry.is_dir(follow_symlinks=False):
                    entries.append(DirectoryEntry(name, FileKind.DIRECTORY, 0, 0.0, b""))
                elif entry.is_symlink():
                    entries.append(DirectoryEntry(name, FileKind.LINK, 0, 0.0, b""))
                else:
                    found = entry.stat(follow_symlinks=False)
                    entries.append(
                        DirectoryEntry(
                            name,
                            kind_of(found.st_mode),
                            found.st_size,
                            found.st_mtime,
                            b"",
                            file_id(found),
                            found.st_nlink,
                            found.st_ctime,
                        )
                    )
            except OSError as error:
                problem = translate(error, "stat", self._path + b"/" + name)
                problem.__cause__ = error
                errors.append(EntryError(name, problem))
            if note() or len(entries) + len(errors) >= _PAGE_ENTRIES:
                return Page(entries, errors, self, device=self._device)
        self._over = True
        return Page(entries, errors, None, device=self._device)


# -- reading -------------------------------------------------------------------------------------------------------


class Bypass(Enum):
    """How the page cache of a file system can be bypassed."""

    EXACT = "O_DIRECT with any offset and length (NFS, most FUSE)"
    ALIGNED = "O_DIRECT in whole blocks (disks)"
    DROPPED = "no O_DIRECT: dropped before and after"


class Bypasses:
    """The bypass that works for each device; shared by the threads of a session."""

    def __init__(self) -> None:
        self._known: dict[int, Bypass] = {}

    def of(self, device: int) -> Bypass:
        return self._known.get(device, Bypass.EXACT if _DIRECT else Bypass.DROPPED)

    def learn(self, device: int, bypass: Bypass) -> None:
        self._known[device] = bypass


def open_regular(tree: Tree, path: bytes, bypasses: Bypasses) -> tuple[int, os.stat_result]:
    """Opens a regular file for reading, bypassing the page cache if possible; returns its descriptor and status.

    Raises:
        OSError, FileError: it can't be opened, or is no longer a regular file.
    """
    try:
        fd = tree.open(path, _FILE | _DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = tree.open(path, _FILE)
        bypasses.learn(os.fstat(fd).st_dev, Bypass.DROPPED)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("it is no longer a regular file", doing="read", subject=b"/" + path.lstrip(b"/"))
    except BaseException:
        os.close(fd)
        raise
    return fd, status


@contextmanager
def _dropped(fd: int, start: int, length: int) -> Iterator[None]:
    os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)
    try:
        yield
    finally:
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)


def read_piece(fd: int, device: int, bypasses: Bypasses, buffer: mmap, start: int, stop: int) -> int:
    """Reads from ``start`` up to ``stop``, or as much as ``buffer`` holds; returns how many bytes of it were read.

    0: the file ends here. If only whole blocks can be read, the blocks around the range are.

    Raises:
        OSError: reading failed.
    """
    while True:
        bypass = bypasses.of(device)
        view = memoryview(buffer)
        try:
            if bypass is Bypass.EXACT:
                return os.preadv(fd, [view[: stop - start]], start)
            if bypass is Bypass.ALIGNED:
                low = start - start % _ALIGNMENT
                high = min(low + len(buffer), stop + -stop % _ALIGNMENT)
                return max(0, min(stop, low + os.preadv(fd, [view[: high - low]], low)) - start)
            _plain(fd)
            with _dropped(fd, start, min(stop - start, len(buffer))):
                return os.preadv(fd, [view[: stop - start]], start)
        except OSError as error:
            if error.errno == errno.EAGAIN and not os.get_blocking(fd):
                os.set_blocking(fd, True)  # storage that has to fetch the file first
            elif error.errno == errno.EINVAL and bypass is not Bypass.DROPPED:
                bypasses.learn(device, Bypass.ALIGNED if bypass is Bypass.EXACT else Bypass.DROPPED)
            else:
                raise


def _plain(fd: int) -> None:
    """Clears O_DIRECT on a descriptor that was opened with it before reads showed that it does not work."""
    if _DIRECT:
        import fcntl  # noqa: PLC0415 -- rare

        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if flags & _DIRECT:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~_DIRECT)
