"""A ledger as a file: written beside its name and moved there when it is complete, and read again, line by line."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Protocol, TextIO

from cachewarmer.errors import CacheWarmerError, InvalidMessage, UsageError
from cachewarmer.ledger import parquet
from cachewarmer.model.outcomes import FileOutcome, read_line

MOST_LINE_BYTES = 1 << 20
"""A longer line can't be a record: a path has a few thousand bytes at most."""


class Sink(Protocol):
    """What takes the lines of a ledger."""

    def write(self, text: str) -> object:
        """Takes whole lines."""


@contextmanager
def written(name: str) -> Iterator[Sink]:
    """The file of that name while it is written. An earlier one stays as it is until the new one is complete.

    Anything but a plain file, such as a pipe, is written to as it is.

    Raises:
        CacheWarmerError: it can't be written.
    """
    try:
        if parquet.is_parquet(name):
            with _moved_into_place(name) as file, closing(parquet.ParquetSink(file.buffer)) as table:
                yield table
        elif _is_special(name):
            with open(name, "w", encoding="ascii") as special:
                yield special
        else:
            with _moved_into_place(name) as sink:
                yield sink
    except OSError as error:
        raise CacheWarmerError(
            error.strerror or str(error), doing="writing the ledger", subject=os.fsencode(name)
        ) from error


def _is_special(name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _moved_into_place(name: str) -> Iterator[TextIO]:
    target = os.path.realpath(name)
    handle, beside = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
    try:
        with open(handle, "w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, _mode(target))
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def _mode(target: str) -> int:
    """The permissions that the file has, or that a new one gets."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def check_writable(name: str) -> None:
    """Says at once, before hours of work, that a ledger can't be written.

    Raises:
        UsageError: its directory is missing or closed to us, it is a directory, or what it takes is not installed.
    """
    if parquet.is_parquet(name):
        parquet.load()
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        problem = "it is a directory"
    elif not os.path.isdir(folder):
        problem = f"there is no directory {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        problem = f"the directory {folder} may not be written to"
    else:
        return
    raise UsageError(problem, doing="--ledger", subject=os.fsencode(name))


def read(name: str) -> Iterator[FileOutcome]:
    """The records of a ledger's file.

    Raises:
        UsageError: it can't be read, or isn't a ledger.
    """
    try:
        if parquet.is_parquet(name):
            yield from parquet.read(name)
            return
        with open(name, "rb") as file:
            number = 0
            while line := file.readline(MOST_LINE_BYTES):
                number += 1
                if line.strip():
                    yield _record(name, number, line)
    except OSError as error:
        raise UsageError(error.strerror or str(error), doing="reading the ledger", subject=os.fsencode(name)) from error


def _record(name: str, number: int, line: bytes) -> FileOutcome:
    try:
        return read_line(line)
    except InvalidMessage as error:
        raise UsageError(f"line {number}: {error}", doing="reading the ledger", subject=os.fsencode(name)) from None
