"""What should be read, as numbers: files and bytes by size, and the READ calls that they take. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cachewarmer.errors import UsageError
from cachewarmer.values import dataclass

SMALL_BYTES = 128 * 1024
"""A file of up to this size takes one READ call, which is bound by round trips; a larger one is bound by bytes."""
PAGE_BYTES = 4096
"""What a cache gives a file is a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What should be read."""

    files: int
    bytes: int
    small_calls: int
    small_bytes: int
    """READ calls of small files, and the bytes in them."""
    large_calls: int
    large_bytes: int

    @property
    def calls(self) -> int:
        return self.small_calls + self.large_calls

    @property
    def cached_bytes(self) -> int:
        """What it takes in the cache: half a page more for each file, on average."""
        return self.bytes + self.files * PAGE_BYTES // 2

    @classmethod
    def of_histogram(cls, histogram: Sequence[int], byte_count: int, read_bytes: int) -> Workload:
        """``histogram``: entry *n* counts files of *n* bits; ``read_bytes``: the longest READ.

        The files of one entry are taken to be equally large, and so large that all together have ``byte_count``.
        """
        middle = [0.75 * (1 << bits) for bits in range(len(histogram))]
        rough = sum(count * size for count, size in zip(histogram[1:], middle[1:], strict=True))
        scale = byte_count / rough if rough else 0.0
        small_calls = large_calls = 0
        small_bytes = 0.0
        for count, size in zip(histogram[1:], middle[1:], strict=True):
            if scale * size <= SMALL_BYTES:
                small_calls += count
                small_bytes += count * scale * size
            else:
                large_calls += count * max(1, -int(-scale * size // read_bytes))
        return cls(
            files=sum(histogram),
            bytes=byte_count,
            small_calls=small_calls,
            small_bytes=min(byte_count, int(small_bytes)) if large_calls else byte_count,
            large_calls=large_calls,
            large_bytes=max(0, byte_count - int(small_bytes)) if large_calls else 0,
        )

    @classmethod
    def of_numbers(cls, files: int, byte_count: int, read_bytes: int) -> Workload:
        """This many files, all equally large.

        Raises:
            UsageError: there is no file, or a file would be larger than files can be.
        """
        if files < 1:
            raise UsageError("there are no files to plan for")
        if byte_count // files >= 1 << 62:
            raise UsageError(f"{byte_count} bytes in {files} files: files can't be that large")
        bits = (byte_count // files).bit_length()
        return cls.of_histogram([0] * bits + [files], byte_count, read_bytes)
