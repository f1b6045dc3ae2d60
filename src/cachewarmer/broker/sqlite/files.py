"""The broker's file on disk, which is accessible only to its user, whatever the umask is.

Anyone who can write to it decides what is read, and as which user.
"""

from __future__ import annotations

import os
import stat

from cachewarmer.config import state_directory
from cachewarmer.errors import BrokerError, ConfigError, NothingThere

FOLDER_MODE = 0o700
FILE_MODE = 0o600
BESIDE = ("", "-wal", "-shm")
"""Suffixes of the file itself, and of those that SQLite creates beside it with the same mode."""


def prepare(path: str, *, create: bool) -> None:
    """Creates the file, empty, and its folder if they are missing, and checks that the file belongs to this user.

    Raises:
        BrokerError: the file is a symbolic link, is not a regular file, or belongs to another user.
        NothingThere: it is missing, and ``create`` is false.
        OSError: it can't be created.
    """
    folder = os.path.dirname(path) or "/"
    if create:
        make_folder(folder)
    for suffix in BESIDE:
        _check(path + suffix, folder)
    if not os.path.lexists(path):
        if not create:
            raise NothingThere(f"there is nothing at {path}: no job was ever submitted there; check the file's name")
        _make(path)


def make_folder(folder: str) -> None:
    """Creates a folder and its parents with mode 0700; an existing state directory is closed to other users too."""
    if not os.path.isdir(folder):
        above = os.path.dirname(folder)
        if above != folder:
            make_folder(above)
        try:
            os.mkdir(folder, FOLDER_MODE)
        except FileExistsError:
            pass  # another process was faster, or it is a file, which opening will report
        else:
            os.chmod(folder, FOLDER_MODE)
    if _is_state_directory(folder):
        status = os.lstat(folder)
        if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
            os.chmod(folder, FOLDER_MODE)


def _is_state_directory(folder: str) -> bool:
    try:
        return folder == str(state_directory())
    except ConfigError:  # there is none
        return False


def _make(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError:
        return  # another process of ours was faster
    try:
        os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def _check(path: str, folder: str) -> None:
    """Checks that a file, if it exists, is a regular file of this user; closes it to other users if necessary."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a file"
        raise BrokerError(f"the broker file {path} can't be opened: it is {kind}; name the file itself")
    user = os.geteuid()
    # Root may use the file of a service in the service's own folder, but not one that somebody put into a shared one.
    if status.st_uid != user and not (user == 0 and status.st_uid == os.stat(folder).st_uid):
        raise BrokerError(
            f"the broker file {path} belongs to another user (uid {status.st_uid}): use a file of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.chmod(path, FILE_MODE)
