"""Chooses what to read: a stratified sample of a stream of files, in bounded memory (pure).

Every unit of weight (a byte, or a file) rings once, at a time that is exponentially distributed; those that ring first
are the sample. When a file's units ring depends on its path and the seed alone. So the same tree and the same seed give
the same sample, in whatever order the scan finds the files, and each file costs one hash.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
from collections.abc import Iterable
from dataclasses import field
from typing import NamedTuple

from cachewarmer.values import dataclass

BLOCK_BYTES = 64 * 1024
"""What is read of a file for one sample."""
DIRECTORY_GROUPS = 16
"""The directories right below the target are put into this many groups."""
SPARE = 2.0
"""Kept beyond what a stratum is due at present: what it is due in the end, only the end of the scan tells."""
LEAST_OF_STRATUM = 8
LEAST_EXPECTED = 4.0
"""Strata that are due fewer samples than this are joined to one."""
_WORD = 1 << 64

Stratum = tuple[int, int]
"""The class of a file's size, and the group of its directory."""


class FoundFile(NamedTuple):
    """A file, or a range of one, that the scan has found."""

    path: bytes
    """Below the export."""
    size: int
    start: int
    stop: int
    """The part that is meant, in bytes."""
    handle: bytes
    address: str
    export: str


class Sample(NamedTuple):
    """What should be read."""

    file: FoundFile
    start: int
    stop: int
    """The block, in bytes; empty where the file as such is the sample."""
    weight: float
    """The part of the whole that it stands for; those of all samples add up to 1."""
    draws: int = 1
    """How often it was drawn."""


@dataclass(slots=True)
class _Stratum:
    weight: int = 0
    kept: list[tuple[float, int, FoundFile, int]] = field(default_factory=list)
    """A heap with the last to ring on top: (minus the time, tie, file, block)."""


class Sampler:
    """Takes files with ``add``; ``samples`` then gives at most ``count``, in random order.

    ``by_bytes``: each byte has the same chance, and a sample is the block around it; otherwise each file has.
    """

    def __init__(self, count: int, *, seed: int = 0, by_bytes: bool = True, root: bytes = b"") -> None:
        self.count = count
        self.weight = 0
        """Total weight of everything that was added: bytes or files."""
        self._seed = seed.to_bytes(16, "big", signed=True)
        self._by_bytes = by_bytes
        self._skip = len(root) + 1 if root else 0
        self._strata: dict[Stratum, _Stratum] = {}
        self._all: list[tuple[FoundFile, int]] | None = []
        """Every block there is, as long as they are few enough to read them all."""
        self._tie = 0

    def add(self, file: FoundFile) -> None:
        """One more file; each part of a file once."""
        weight = file.stop - file.start if self._by_bytes else 1
        if weight <= 0:
            return
        self.weight += weight
        self._note_all(file)
        key = (self._size_class(file.size), self._group(file.path))
        stratum = self._strata.get(key)
        if stratum is None:
            stratum = self._strata[key] = _Stratum()
        stratum.weight += weight
        kept = stratum.kept
        room = max(LEAST_OF_STRATUM, math.ceil(SPARE * self.count * stratum.weight / self.weight))
        digest = hashlib.blake2b(
            b"%s%d:%s" % (self._seed, file.start, file.path), digest_size=16, person=b"cachewarmer"
        ).digest()
        first = int.from_bytes(digest[:8], "big")
        ringing = -math.log((first + 1) / _WORD) / weight
        if len(kept) < room or -kept[0][0] > ringing:
            self._ring(kept, room, file, weight, ringing, digest)
        while len(kept) > room:
            heapq.heappop(kept)

    def _ring(
        self,
        kept: list[tuple[float, int, FoundFile, int]],
        room: int,
        file: FoundFile,
        weight: int,
        ringing: float,
        digest: bytes,
    ) -> None:
        chance = random.Random(digest)
        for _ in range(room):
            if len(kept) >= room and -kept[0][0] <= ringing:
                return
            block = (file.start + chance.randrange(weight)) // BLOCK_BYTES if self._by_bytes else 0
            self._tie += 1
            push = heapq.heappush if len(kept) < room else heapq.heappushpop
            push(kept, (-ringing, self._tie, file, block))
            if not self._by_bytes:
                return
            ringing += chance.expovariate(weight)

    def _note_all(self, file: FoundFile) -> None:
        if self._all is None:
            return
        first, last = (file.start // BLOCK_BYTES, (file.stop - 1) // BLOCK_BYTES) if self._by_bytes else (0, 0)
        if len(self._all) + last - first + 1 > self.count:
            self._all = None
        else:
            self._all += [(file, block) for block in range(first, last + 1)]

    @staticmethod
    def _size_class(size: int) -> int:
        """A factor of 16 a class."""
        return -(-size.bit_length() // 4)

    def _group(self, path: bytes) -> int:
        top, slash, _ = path[self._skip :].partition(b"/")
        return hashlib.blake2b(top, digest_size=1).digest()[0] % DIRECTORY_GROUPS if slash else 0

    @property
    def complete(self) -> bool:
        """Whether the sample is all there is."""
        return self._all is not None

    def samples(self) -> list[Sample]:
        """The sample, each block once; empty where there is nothing to sample."""
        if self._all is not None:
            made = [self._sample(file, block, 0.0) for file, block in self._all]
            made = [one._replace(weight=self._part(one) / self.weight) for one in made]
        else:
            made = [one for stratum in self._joined() for one in self._drawn(stratum)]
        order = random.Random(self._seed)
        made.sort(key=lambda one: (one.file.path, one.start))
        order.shuffle(made)
        return made

    def _part(self, sample: Sample) -> int:
        return sample.stop - sample.start if self._by_bytes else 1

    def _joined(self) -> Iterable[_Stratum]:
        rest = _Stratum()
        for stratum in self._strata.values():
            if self.count * stratum.weight / self.weight < LEAST_EXPECTED:
                rest.weight += stratum.weight
                rest.kept += stratum.kept
            else:
                yield stratum
        if rest.kept:
            yield rest

    def _drawn(self, stratum: _Stratum) -> list[Sample]:
        part = stratum.weight / self.weight
        due = max(1, round(self.count * part))
        drawn = sorted(stratum.kept, key=lambda one: -one[0])[:due]
        times: dict[tuple[bytes, int, int], int] = {}
        chosen: dict[tuple[bytes, int, int], tuple[FoundFile, int]] = {}
        for _, _, file, block in drawn:
            key = (file.path, file.start, block)
            times[key] = times.get(key, 0) + 1
            chosen[key] = (file, block)
        return [self._sample(*chosen[key], part * count / len(drawn), count) for key, count in times.items()]

    def _sample(self, file: FoundFile, block: int, weight: float, draws: int = 1) -> Sample:
        if not self._by_bytes:
            return Sample(file, 0, 0, weight, draws)
        start = max(file.start, block * BLOCK_BYTES)
        return Sample(file, start, min(file.stop, (block + 1) * BLOCK_BYTES), weight, draws)
