"""A tree behind a simulated cache, part of it warm, and a verifier of it: all under simulated time."""

from __future__ import annotations

import random
from functools import partial

from cachewarmer.testing.simulated_cache import CacheModel, CallKind, SimulatedCache, SimulatedReader
from cachewarmer.verification.judging import Pair
from cachewarmer.verification.measuring import PROBES
from cachewarmer.verification.sampling import FoundFile, Sampler

SIZES = (3_000, 20_000, 150_000, 900_000)
MODEL = CacheModel(threads=16, origin_seconds=0.02, link_bytes_per_second=120e6, jitter=0.3)
AT_ONCE = 2


class Tree:
    """Files of several sizes in directories; ``warm`` holds the warm ones, whole directories of them and single ones."""

    def __init__(self, fraction: float, seed: int, *, files: int = 600) -> None:
        chance = random.Random(seed)
        self.files = [
            FoundFile(b"d%d/f%d" % (number % 12, number), size, 0, size, b"", "", "/")
            for number in range(files)
            for size in [chance.choice(SIZES)]
        ]
        order = sorted(self.files, key=lambda one: (chance.random() < 0.5, one.path.split(b"/")[0], chance.random()))
        total = sum(one.size for one in self.files)
        self.warm: set[bytes] = set()
        self.truth = 0.0
        for one in order:
            if self.truth + one.size / total > fraction + 1e-9:
                continue
            self.warm.add(one.path)
            self.truth += one.size / total


def pairs_of(tree: Tree, seed: int, *, count: int, model: CacheModel = MODEL, load: bool = False):
    """Samples the tree and reads each sample twice; with ``load``, while others read cold and warm files."""
    sampler = Sampler(count, seed=seed)
    for one in tree.files:
        sampler.add(one)
    cache = SimulatedCache(model, seed)
    if load:
        others = SimulatedReader(cache, 64 * 1024, window=6, seed=seed + 1)
        others.warm_share = 0.7
        others.fill()
    samples = sampler.samples()
    waiting = list(samples)
    pairs: list[Pair] = []
    origin: list[float] = []

    def begin() -> None:
        if not waiting:
            return
        if len(waiting) % max(1, len(samples) // PROBES) == 0:
            cache.call(CallKind.COLD, 100, origin.append)
        sample = waiting.pop()
        length = sample.stop - sample.start
        kind = CallKind.WARM if sample.file.path in tree.warm else CallKind.COLD

        def twice(first: float) -> None:
            cache.call(CallKind.WARM, length, partial(end, first))

        def end(first: float, second: float) -> None:
            pairs.append(Pair(length, first, second, sample.weight, sample.draws))
            begin()

        cache.call(kind, length, twice)

    for _ in range(AT_ONCE):
        begin()
    while len(pairs) < len(samples):
        cache.run(cache.now + 0.05)
    cache.run(cache.now + 1.0)
    return pairs, origin, samples
