"""The paths that a list has named, kept as digests: ten million paths take about 150 MB."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from hashlib import blake2b

SHARDS = 256
"""Number of parts of a set, so that none takes long to sort."""


class Seen:
    """A set of paths that only grows, kept as a digest of eight bytes for each.

    Two paths are mistaken for one in about one of 4·10¹¹ lists of ten thousand paths, and in one of 400,000 lists of
    ten million.
    """

    def __init__(self) -> None:
        self._sorted = [array("Q") for _ in range(SHARDS)]
        self._recent: list[set[int]] = [set() for _ in range(SHARDS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, path: bytes) -> bool:
        return self._count > 0 and self._has(_digest(path))

    def add(self, path: bytes) -> bool:
        """Adds a path; returns whether it is new."""
        digest = _digest(path)
        if self._has(digest):
            return False
        self._count += 1
        shard = digest % SHARDS
        recent = self._recent[shard]
        recent.add(digest)
        if len(recent) > 64 + len(self._sorted[shard]) // 16:
            self._sorted[shard] = array("Q", sorted([*self._sorted[shard], *sorted(recent)]))
            recent.clear()
        return True

    def _has(self, digest: int) -> bool:
        shard = digest % SHARDS
        if digest in self._recent[shard]:
            return True
        known = self._sorted[shard]
        at = bisect_left(known, digest)
        return at < len(known) and known[at] == digest


def _digest(path: bytes) -> int:
    return int.from_bytes(blake2b(path, digest_size=8).digest(), "big")
