"""Keeps data of a scan that should not stay in memory: compressed lists of records in a temporary file."""

from __future__ import annotations

import tempfile
from typing import IO, Any

from cachewarmer.errors import CacheWarmerError

MIB = 1024 * 1024


class Spill:
    """A temporary file without a name, of at most ``max_bytes``.

    An error names ``what`` the file holds, and the ``setting`` in the table ``[plan]`` that limits it.
    """

    def __init__(self, max_bytes: int, what: str, setting: str) -> None:
        self._max = max_bytes
        self._what = what
        self._setting = setting
        self._file: IO[bytes] | None = None
        self._end = 0

    @property
    def bytes(self) -> int:
        """The size of the file."""
        return self._end

    def write(self, records: list[Any]) -> tuple[int, int]:
        """Appends a list of records; returns its place in the file, as offset and length in bytes.

        Raises:
            CacheWarmerError: the file would exceed ``max_bytes``, or can't be written.
        """
        import pickle
        import zlib

        packed = zlib.compress(pickle.dumps(records, protocol=5), 1)
        place = (self._end, len(packed))
        if self._end + len(packed) > self._max:
            raise CacheWarmerError(
                f"{self._what} take more than {self._max // MIB} MiB on disk",
                advice=f"name a part of the tree, or raise [plan] {self._setting}",
            )
        try:
            if self._file is None:
                # Unbuffered: what does not fit must be known here, not when the file is closed.
                self._file = tempfile.TemporaryFile(prefix="cachewarmer-scan-", buffering=0)  # noqa: SIM115  # lives as long as this
            self._file.seek(self._end)
            if self._file.write(packed) != len(packed):
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise CacheWarmerError(
                f"{self._what} can't be kept in a temporary file ({error.strerror or error})",
                advice="make room there, or set TMPDIR to another directory",
            ) from error
        self._end += len(packed)
        return place

    def read(self, place: tuple[int, int]) -> list[Any]:
        """The list of records at a place that ``write`` returned.

        Raises:
            CacheWarmerError: the file can't be read.
        """
        import pickle
        import zlib

        offset, length = place
        if self._file is None:
            raise AssertionError("nothing was written")
        try:
            self._file.seek(offset)
            packed = self._file.read(length)
        except OSError as error:
            raise CacheWarmerError(f"{self._what} can't be read back ({error.strerror or error})") from error
        return list(pickle.loads(zlib.decompress(packed)))  # noqa: S301  # our own file, which has no name

    def cut(self, place: tuple[int, int]) -> None:
        """Cuts off the list at ``place`` and everything after it."""
        self._end = place[0]
        if self._file is not None:
            self._file.truncate(self._end)

    def close(self) -> None:
        """Deletes the file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._end = 0
